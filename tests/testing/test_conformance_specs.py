"""What the kit finds of any spec, and of a plugin as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.conformance import failure, failures, options, plugin_with
from support.projects import write

from maze_core import CommandSpec, EnvSpec, require
from maze_core.testing import EnvConformance, PluginConformance
from maze_core.testing.toys import FLAT

BUILD = "maze_core.testing.toy_envs:FlatToy"


@dataclass
class ByPosition:
    """Options."""

    size: bool = True
    """Size."""


@dataclass(kw_only=True)
class Undocumented:
    """Options."""

    size: bool = True


@dataclass(kw_only=True)
class Nameless:
    size: bool = True
    """Size."""


@dataclass(kw_only=True)
class BadDefaults:
    """Options."""

    size: int = 0
    """Size."""

    def __post_init__(self) -> None:
        require(self, "size", self.size >= 1, "a whole number >= 1")


@dataclass(kw_only=True)
class NoRange:
    """Options."""

    share: float = 0.5
    """Share."""


@dataclass(kw_only=True)
class WrongName:
    """Options."""

    share: float | None = 0.5
    """Share."""

    size: bool = True
    """Size."""

    def __post_init__(self) -> None:
        require(self, "size", 0 <= (self.share or 0) <= 1, "true or false")


@dataclass(kw_only=True)
class OwnError:
    """Options."""

    share: float = 0.5
    """Share."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("share!")


@dataclass(kw_only=True)
class Inner:
    """Nested options."""

    depth: int = 1
    """Depth."""


@dataclass(kw_only=True)
class Nested:
    """Options."""

    inner: Inner = field(default_factory=Inner)
    """Nested."""


@dataclass(kw_only=True)
class Unrecordable:
    """Options."""

    bell: str = "\a"
    """A sound."""


def spec(**changes) -> EnvSpec:
    return EnvSpec(**{"name": "subject", "summary": "A toy.", "config": options(), "build": BUILD, **changes})


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"summary": ""}, "test_summary_is_one_line", "write one line"),
        ({"build": "nowhere:nothing"}, "test_what_builds_it_can_be_imported", "'nowhere:nothing': PluginError"),
        ({"resolve": "math:tau"}, "test_what_builds_it_can_be_imported", "resolve='math:tau' is a float"),
        ({"config": ByPosition}, "test_config_is_keyword_only_and_documented", "kw_only=True"),
        ({"config": Undocumented}, "test_config_is_keyword_only_and_documented", "option 'size' has no docstring"),
        ({"config": Nameless}, "test_config_is_keyword_only_and_documented", "Nameless has no docstring"),
        ({"config": BadDefaults}, "test_config_has_valid_defaults", "size=0 is not allowed"),
        ({"config": NoRange}, "test_config_says_what_numbers_may_be", "every number is taken, nan too"),
        ({"config": WrongName}, "test_config_says_what_numbers_may_be", "option share: every number is taken"),
        ({"config": OwnError}, "test_config_says_what_numbers_may_be", "is refused with ValueError: share!"),
        ({"config": Nested}, "test_config_says_what_numbers_may_be", "option inner.depth: every number"),
        ({"config": Unrecordable}, "test_config_survives_its_record", "cannot be read back"),
    ],
)
def test_of_a_spec_it_finds(changes: dict[str, object], check: str, words: str) -> None:
    found = failures(EnvConformance, spec(**changes), only=check)
    assert words in found.get(check, "nothing")


def test_a_message_says_what_it_is_about() -> None:
    (message,) = failures(EnvConformance, spec(config=NoRange), only="test_config_says_what_numbers_may_be").values()
    assert message == (
        "env 'subject': option share: every number is taken, nan too; state its range with require(self, 'share', ...)."
    )


def test_an_unknown_name_gets_the_nearest_one() -> None:
    checks = type("Subject", (EnvConformance,), {"name": "toy_flut"})
    assert "Did you mean 'toy_flat'?" in str(failure(checks, "test_summary_is_one_line"))


def test_overrides_are_checked() -> None:
    checks = type("Subject", (EnvConformance,), {"name": FLAT, "overrides": {"size": 1}})
    assert "env has no 'size'" in str(failure(checks, "test_config_survives_its_record"))


HEAVY = '''"""A plugin."""
import numpy
from dataclasses import dataclass
from maze_core import EnvSpec, hookimpl

@dataclass(kw_only=True)
class HeavyConfig:
    """Options."""

@hookimpl
def maze_envs():
    yield EnvSpec(name="heavy", summary="A toy.", config=HeavyConfig, build="maze_core.testing.toy_envs:FlatToy")
'''


def checks_of_plugin(name: str, plugin: str) -> type[PluginConformance]:
    return type("Subject", (PluginConformance,), {"name": name, "plugins": (plugin,)})


def test_a_module_that_imports_what_is_heavy_fails(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(workdir / "heavy_plugin.py", HEAVY)
    monkeypatch.syspath_prepend(str(workdir))
    message = failure(checks_of_plugin("heavy_plugin", "heavy_plugin"), "test_imports_are_light")
    assert "importing heavy_plugin imports numpy" in str(message)


def test_a_single_file_may_import_what_is_heavy(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", HEAVY)
    checks = checks_of_plugin(workdir.name, str(workdir))()
    checks.test_imports_are_light()
    assert "in a package, keep that out of plugin.py" in checks.notes[0]


def test_a_plugin_that_does_not_load_fails(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "raise KeyError('missing')\n")
    message = failure(checks_of_plugin(workdir.name, str(workdir)), "test_loads")
    assert "KeyError: 'missing'" in str(message)


def test_a_plugin_that_changes_the_process_fails(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "import random\n\nrandom.seed(1)\n")
    message = failure(checks_of_plugin(workdir.name, str(workdir)), "test_loads")
    assert "loading it changed the process: " in str(message)


@pytest.mark.parametrize(
    ("build", "words"),
    [("math:tau", "command count is a float; build must lead to a click.Command"), ("math:none", "cannot be imported")],
)
def test_a_command_that_is_none_fails(build: str, words: str) -> None:
    with plugin_with(CommandSpec(name="count", summary="Count.", build=build)) as name:
        checks = type("Subject", (PluginConformance,), {"name": name, "plugins": (name,)})
        assert words in str(failure(checks, "test_commands_can_be_imported"))


def test_names_that_another_plugin_offers_too_fail() -> None:
    with plugin_with(spec(name="twin")) as one, plugin_with(spec(name="twin")) as other:
        checks = type("Subject", (PluginConformance,), {"name": one, "plugins": (one, other)})
        assert "env twin is offered by another plugin too" in str(failure(checks, "test_loads"))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("env/far.yaml", "defaults: [nowhere]\n", "conf/env/far.yaml cannot be composed"),
        ("experiment/far.yaml", "# @package _global_\nnonsense: 1\n", "conf/experiment/far.yaml cannot be composed"),
        ("envs/far.yaml", "a: 1\n", "conf/envs/far.yaml lies in no group; folders of conf/ are env, wrappers"),
    ],
)
def test_presets_that_do_not_compose_fail(workdir: Path, file: str, content: str, words: str) -> None:
    write(workdir / "maze_plugins.py", '"""A plugin with presets only."""\n')
    write(workdir / "conf" / file, content)
    message = failure(checks_of_plugin(workdir.name, str(workdir)), "test_presets_and_experiments_compose")
    assert words in str(message)


class TestToysThemselves(PluginConformance):
    name = "maze_core.testing.toys"
