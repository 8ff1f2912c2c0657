"""What every class of checks has: how the thing is found, and what is checked of anything that a plugin offers."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np
import torch

from maze_core.config import Configured, check_specs
from maze_core.config.arguments import Choice
from maze_core.errors import MazeError, MissingPackageError, PluginError
from maze_core.field_docs import field_docs
from maze_core.plugins import Plugin
from maze_core.registry import Registry, load_registry
from maze_core.specs import resolve_build
from maze_core.testing import toys
from maze_core.testing.configurations import (
    config_at,
    configured_with,
    lost_in_record,
    numeric_fields,
    refusal,
)
from maze_core.testing.imports import heavy_imports, is_file

Check = TypeVar("Check")
Made = TypeVar("Made")


def slow(check: Check) -> Check:
    """Marks a check that takes long; ``maze plugins check --fast`` leaves it out."""
    check.slow = True  # type: ignore[attr-defined]
    return check


@cache
def loaded(plugins: tuple[str, ...], local_plugins: bool, folder: str) -> Registry:
    """All specs, those of the toys too; loaded once.

    Args:
        plugins: As ``--plugin``.
        local_plugins: Whether the project in the current directory is loaded.
        folder: The current directory.
    """
    registry = load_registry((toys.PLUGIN, *plugins), local_plugins)
    check_specs(registry)
    return registry


class Checks:
    """Base of all classes of checks; a subclass says what it is about.

    Attributes:
        name: Name of the thing.
        plugins: Modules, files or folders to load besides what is installed and the project in the current directory.
        local_plugins: Whether that project is loaded.
    """

    what: ClassVar[str] = ""
    """What kind of thing is checked, in messages."""

    name: str = ""
    plugins: Sequence[str] = ()
    local_plugins: bool = True

    @property
    def registry(self) -> Registry:
        """All specs."""
        return loaded(tuple(self.plugins), self.local_plugins, str(Path.cwd()))

    @property
    def label(self) -> str:
        """How messages begin."""
        return f"{self.what} {self.name!r}"

    @property
    def notes(self) -> list[str]:
        """What is worth knowing and no failure."""
        found: list[str] = vars(self).setdefault("_notes", [])
        return found

    def note(self, text: str) -> None:
        """Adds a note."""
        self.notes.append(text)

    def fail(self, message: str) -> NoReturn:
        """Fails.

        Args:
            message: What was found, what is allowed and what to do.
        """
        raise AssertionError(f"{self.label}: {message}")

    def expect(self, condition: bool, message: str) -> None:
        """Fails unless a condition holds."""
        if not condition:
            self.fail(message)

    def skip(self, reason: str) -> NoReturn:
        """Leaves a check out where there is nothing to check."""
        raise unittest.SkipTest(reason)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What is made once for all checks of a class, which must not change it.

        Args:
            name: What it is.
            make: Makes it.
        """
        kept: dict[str, Any] | None = type(self).__dict__.get("_kept")
        if kept is None:
            kept = {}
            type(self)._kept = kept  # type: ignore[attr-defined]
        if name not in kept:
            kept[name] = make()
        made: Made = kept[name]
        return made

    @contextlib.contextmanager
    def telling(self, doing: str = "") -> Iterator[None]:
        """Around what a plugin does: whatever it raises becomes a failure that says so, and a missing package a note.

        Args:
            doing: What was done, to begin the message with.
        """
        before = f"{self.label}: {f'{doing}: ' if doing else ''}"
        try:
            yield
        except (AssertionError, unittest.SkipTest):
            raise
        except MissingPackageError as error:
            self.note(str(error))
            self.skip(str(error))
        except MazeError as error:
            raise AssertionError(f"{before}{error}") from error
        except Exception as error:
            raise AssertionError(f"{before}it raised {type(error).__name__}: {error}") from error

    def expect_light(self, plugin: Plugin) -> None:
        """Fails if listing a plugin imports what takes long; of a single file it is noted."""
        for module, heavy in heavy_imports(plugin).items():
            found = f"importing {module} imports {', '.join(heavy)}, for which every command would wait"
            if is_file(plugin):
                self.note(f"{found}; in a package, keep that out of plugin.py and config.py")
            else:
                self.fail(f"{found}. Import it where it is used, and write build as 'module:attribute'.")


class Conformance(Checks):
    """What is checked of each spec, whatever it makes.

    Attributes:
        overrides: Fields of its config by dotted path, such as ``{"hidden_sizes": [8]}``.
        env: What needs an env is checked in this one: a name, or ``{name: {field: value}}``. If not given, in those
            toys that it takes, or else in the envs of its own plugin.
    """

    overrides: Mapping[str, Any] = MappingProxyType({})
    env: Choice = None

    @property
    def spec(self) -> Any:
        """The spec that is checked."""
        with self.telling():
            return self.registry.get(self.what, self.name)

    @property
    def configured(self) -> Configured:
        """A configuration that selects it."""
        with self.telling():
            return configured_with(self.registry, self.spec, self.overrides)

    def config(self) -> Any:
        """Its config with the overrides, a new one each time."""
        spec = self.spec
        if not self.overrides and getattr(spec, "resolve", None) is None:
            return spec.config()
        return config_at(self.configured, spec)

    def make(self, *arguments: Any, build: str = "build") -> Any:
        """Makes it.

        Args:
            arguments: What its `build` is called with.
            build: Field of the spec that says how.
        """
        with self.telling():
            return resolve_build(getattr(self.spec, build))(*arguments)

    def test_summary_is_one_line(self) -> None:
        """`maze list` shows it in a table."""
        summary = self.spec.summary
        one_line = isinstance(summary, str) and summary.strip() and "\n" not in summary
        self.expect(bool(one_line), f"its summary is {summary!r}; write one line that says what it is.")

    def test_what_builds_it_can_be_imported(self) -> None:
        """Every ``"module:attribute"`` leads to something that can be called."""
        for name, build in vars(self.spec).items():
            if name in ("name", "summary", "config") or not (isinstance(build, str) or callable(build)):
                continue
            try:
                found = resolve_build(build)
            except PluginError as error:
                self.fail(f"{build!r}: {type(error).__name__}: {error}")
            self.expect(callable(found), f"{name}={build!r} is a {type(found).__name__}; name what can be called.")

    def test_config_is_keyword_only_and_documented(self) -> None:
        """`maze info` and completion show the docstrings."""
        config_type = self.spec.config
        positional = [field.name for field in dataclasses.fields(config_type) if not field.kw_only]
        self.expect(
            not positional,
            f"the options {', '.join(positional)} can be given by position; write @dataclass(kw_only=True).",
        )
        generated = (config_type.__doc__ or "").startswith(f"{config_type.__name__}(")
        self.expect(not generated, f"{config_type.__name__} has no docstring; say in one line what it configures.")
        with self.telling():
            bare = [doc.name for doc in field_docs(config_type) if not doc.doc]
        self.expect(not bare, f"the option {bare[0]!r} has no docstring; write one below the field." if bare else "")

    def test_config_has_valid_defaults(self) -> None:
        """The defaults keep to the ranges."""
        try:
            self.spec.config()
        except Exception as error:  # whatever a plugin's own check raises
            self.fail(f"its config has no valid defaults: {type(error).__name__}: {error}")

    def test_config_says_what_numbers_may_be(self) -> None:
        """Some value of each number is refused, with the name of the option."""
        for name, config_type, field, number in numeric_fields(self.spec.config):
            wrong = refusal(config_type, field, number)
            if wrong:
                self.fail(f"option {name}: {wrong}; state its range with require(self, {field!r}, ...).")

    def test_config_survives_its_record(self) -> None:
        """Written to ``config.yaml`` and read back it is the same, so that runs can be resumed."""
        lost = lost_in_record(self.registry, self.configured, self.spec, self.overrides)
        self.expect(lost is None, f"its config {lost}. Use numbers, bool, text, Enum, lists and dicts of them.")

    def test_imports_are_light(self) -> None:
        """Listing and completing import the module that registers it, and its config."""
        with self.telling():
            plugin = self.registry.owner(self.registry.get(self.what, self.name))
        self.expect_light(plugin)


@contextlib.contextmanager
def kept_randomness() -> Iterator[None]:
    """Restores the state of global generators."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextlib.contextmanager
def other_randomness(number: int) -> Iterator[None]:
    """Global generators in another state, so that what draws from them shows; they are restored."""
    with kept_randomness():
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        yield
