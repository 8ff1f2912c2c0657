"""From a name to its spec, and what is said when there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from maze_core.errors import PluginError, UserError
from maze_core.plugins import Plugin, PluginSources, load_plugins
from maze_core.registry import GROUPS, Registry, distribution_of
from maze_core.specs import EnvSpec


def make_spec(name: str) -> EnvSpec:
    @dataclass(kw_only=True)
    class Config:
        values: list[int] = field(default_factory=list)

    return EnvSpec(name=name, summary="An env.", config=Config, build="nowhere:nothing")


def make_plugin(name: str, *envs: str, error: str = "") -> Plugin:
    return Plugin(name, "package", f"fake-{name} 1.0", f"fake_{name}", specs=[make_spec(e) for e in envs], error=error)


def test_specs_are_sorted_by_name() -> None:
    assert Registry([make_plugin("p", "b", "a"), make_plugin("q", "c")]).names("env") == ["a", "b", "c"]


def test_a_spec_is_found_by_its_name_and_by_its_config() -> None:
    registry = Registry([make_plugin("p", "a")])
    spec = registry.get("env", "a")
    assert registry.of_config(spec.config) is spec
    assert registry.owner(spec).name == "p"


def test_a_misspelt_name_gets_the_nearest_one_and_the_list() -> None:
    with pytest.raises(UserError) as caught:
        Registry([make_plugin("p", "cutting_2d", "gym_env")]).get("env", "cuting_2d")
    assert str(caught.value) == "no env named 'cuting_2d'. Did you mean 'cutting_2d'?\nKnown: cutting_2d, gym_env."


def test_a_name_of_another_kind_is_unknown() -> None:
    with pytest.raises(UserError, match="no model named 'a'"):
        Registry([make_plugin("p", "a")]).get("model", "a")


def test_a_missing_name_is_explained_by_the_plugin_that_failed() -> None:
    registry = Registry([make_plugin("cutting_2d", error="ModuleNotFoundError: No module named 'shapely'")])
    message = registry.explain_missing("env", "cutting_2d")
    assert "Plugin 'cutting_2d' (fake-cutting_2d 1.0) failed to load" in message
    assert "No module named 'shapely'" in message
    assert "maze plugins check cutting_2d" in message


def test_a_missing_default_is_explained_by_what_to_install() -> None:
    assert "pip install maze-es" in Registry([]).explain_missing("algorithm", "es")


def test_any_broken_plugin_may_have_been_the_one() -> None:
    registry = Registry([make_plugin("p", error="KeyError: 'x'")])
    assert "Plugins that failed to load: p" in registry.explain_missing("env", "unheard_of")


def test_problems_has_a_line_for_each_broken_plugin_and_conflict() -> None:
    registry = Registry([make_plugin("p", "a"), make_plugin("q", "a"), make_plugin("r", error="KeyError: 'x'")])
    assert registry.problems() == [
        "plugin 'r' (fake-r 1.0) is not used: KeyError: 'x'",
        "env 'a' is offered by fake-p 1.0 and fake-q 1.0, so that neither is used",
    ]


def test_an_unknown_plugin_gets_the_nearest_one() -> None:
    with pytest.raises(PluginError, match="Did you mean 'perception'"):
        Registry([make_plugin("perception")]).plugin("perceptoin")


def test_everything_that_our_plugins_bring_is_explained_by_what_to_install() -> None:
    registry = Registry(load_plugins(PluginSources()))
    ours = [plugin for plugin in registry.plugins if plugin.origin == "package"]
    specs = [(spec.kind, spec.name, plugin) for plugin in ours for spec in plugin.specs]
    files = [(file, plugin) for plugin in ours if plugin.conf_dir for file in plugin.conf_dir.glob("*/*.yaml")]
    presets = [(GROUPS.get(file.parent.name, file.parent.name), file.stem, plugin) for file, plugin in files]
    assert (len(specs) > 10, len(presets) > 10) == (True, True)
    brought = {(kind, name): plugin.distribution.split()[0] for kind, name, plugin in specs + presets}
    assert {key: distribution_of(*key) for key in brought} == brought


def test_what_is_not_ours_is_not_said_to_be() -> None:
    registry = Registry(load_plugins(PluginSources()))
    core = [plugin for plugin in registry.plugins if plugin.origin == "core"]
    assert {distribution_of(spec.kind, spec.name) for plugin in core for spec in plugin.specs} == {""}
