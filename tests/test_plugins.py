"""Finding plugins, and what a broken one costs: itself, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import write, write_project

from maze_core.errors import PluginError
from maze_core.plugins import Plugin, PluginSources, load_plugins
from maze_core.registry import Registry

Install = Callable[..., None]
PACKAGES = ["a2c", "cutting_2d", "envpool", "es", "gym_env", "minigrid", "optuna", "perception", "pettingzoo", "ppo",
            "ray"]  # fmt: skip


def load(*named: str, local: Path | None = None, **environ: str) -> list[Plugin]:
    return load_plugins(PluginSources(named=named, local_dir=local, environ=environ))


def names(plugins: list[Plugin]) -> list[str]:
    return [plugin.name for plugin in plugins]


def by_name(plugins: list[Plugin], name: str) -> Plugin:
    return next(plugin for plugin in plugins if plugin.name == name)


def offers(plugin: Plugin) -> list[str]:
    return [spec.name for spec in plugin.specs]


def test_builtins_come_first_then_packages_by_name(workdir: Path) -> None:
    assert names(load()) == ["builtins", *PACKAGES]


def test_a_package_tells_its_distribution_and_version(install: Install) -> None:
    install("good")
    plugin = by_name(load(), "good")
    assert (plugin.origin, plugin.distribution, plugin.version) == ("package", "fake-good 1.0", "1.0")
    assert offers(plugin) == ["fake_good"]


BROKEN = {
    "broken_import": "ModuleNotFoundError: No module named 'a_package_that_is_not_installed'",
    "system_exit": "SystemExit: 3",
    "key_error": "KeyError: 'missing'",
    "misspelt_hook": "implements 'maze_env', which is no hook. Did you mean 'maze_envs'?",
    "hook_with_arguments": "hooks take none",
    "foreign_version": "written for version 99 of the plugin interface, this is version 1",
    "wrong_spec_type": "maze_envs yields ModelSpec instead of EnvSpec",
    "no_spec": "maze_envs yields str instead of EnvSpec",
    "bad_name": "'fake name!' is not allowed",
    "frozen_config": "frozen",
    "plain_config": "not a dataclass type",
    "missing_build": "build",
    "unusable_build": "'module:attribute'",
    "raising_hook": "RuntimeError: half way",
}


@pytest.mark.parametrize(("name", "reason"), BROKEN.items())
def test_a_broken_plugin_costs_itself_only(install: Install, name: str, reason: str) -> None:
    install(name, "good")
    plugins = load()
    broken = by_name(plugins, name)
    assert reason in broken.error
    assert "\n" not in broken.error
    assert broken.specs == []
    assert offers(by_name(plugins, "good")) == ["fake_good"]
    assert {"fake_good", "gym_env"} <= set(Registry(plugins).names("env"))


def test_a_plugin_that_raises_keeps_its_traceback_for_plugins_check(install: Install) -> None:
    install("key_error")
    assert "Traceback" in by_name(load(), "key_error").details


def test_an_interrupt_during_loading_is_not_swallowed(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load(local=workdir)


@pytest.mark.parametrize("order", [("twin_a", "twin_b"), ("twin_b", "twin_a")])
def test_a_name_that_two_distributions_offer_is_withdrawn_in_any_order(
    install: Install, order: tuple[str, str]
) -> None:
    install(*order)
    registry = Registry(load())
    names = registry.names("env")
    assert {"gym_env", "only_twin_a", "only_twin_b"} <= set(names)
    assert "twin" not in names
    assert [plugin.name for plugin in registry.conflicts[("env", "twin")]] == ["twin_a", "twin_b"]
    message = registry.explain_missing("env", "twin")
    assert "fake-twin-a 1.0 and fake-twin-b 1.0" in message
    assert "MAZE_DISABLE_PLUGINS" in message


def test_a_conflict_ends_when_one_of_the_two_is_switched_off(install: Install) -> None:
    install("twin_a", "twin_b")
    assert "twin" in Registry(load(MAZE_DISABLE_PLUGINS="twin_b")).names("env")


def test_a_config_class_serves_one_spec_only(install: Install) -> None:
    install("shared_config")
    registry = Registry(load())
    assert {"fake_first", "gym_env"} <= set(registry.names("env"))
    assert "uses the config class of env 'fake_first'" in registry.plugin("shared_config").error


def test_borrowing_the_config_class_of_another_plugin_costs_the_borrower(install: Install) -> None:
    install("aaa_borrowed_config")
    registry = Registry(load())
    assert "gym_env" in registry.names("env")
    assert registry.plugin("gym_env").error == ""


def test_maze_disable_plugins_leaves_them_out(install: Install) -> None:
    install("good", "key_error")
    left = names(load(MAZE_DISABLE_PLUGINS="key_error, es"))
    assert left == ["builtins", *sorted([*(name for name in PACKAGES if name != "es"), "good"])]


def test_maze_load_plugins_leaves_out_all_others(install: Install) -> None:
    install("good")
    assert names(load(MAZE_LOAD_PLUGINS="good,es")) == ["builtins", "es", "good"]


def test_maze_strict_makes_a_broken_plugin_an_error(install: Install) -> None:
    install("key_error")
    with pytest.raises(PluginError, match=r"'key_error' \(fake-key-error 1.0\) is unusable: KeyError: 'missing'"):
        load(MAZE_STRICT="1")


def test_maze_plugins_names_modules_files_and_folders(workdir: Path) -> None:
    folder = write_project(workdir / "project", "yonder")
    plugins = load(MAZE_PLUGINS=f"{folder}, maze_es.plugin", MAZE_DISABLE_PLUGINS="es")
    assert names(plugins)[-2:] == ["project", "maze_es.plugin"]
    assert plugins[-2].origin == "environment"


@pytest.mark.parametrize("form", ["folder", "folder/maze_plugins.py", "folder/other_name.py"])
def test_plugin_option_takes_a_file_or_a_folder(workdir: Path, form: str) -> None:
    folder = write_project(workdir / "folder", "yonder", {"env/far": "defaults: [yonder]"})
    (folder / "other_name.py").write_text((folder / "maze_plugins.py").read_text())
    plugin = load(form)[-1]
    assert (plugin.name, plugin.origin, offers(plugin)) == ("folder", "option", ["yonder"])
    assert plugin.conf_dir == folder / "conf"
    assert sys.path[0] == str(folder)


def test_plugin_option_takes_a_module(install: Install) -> None:
    install("good")
    plugin = load("fake_good", MAZE_DISABLE_PLUGINS="good")[-1]
    assert (plugin.name, plugin.origin, offers(plugin)) == ("fake_good", "option", ["fake_good"])


@pytest.mark.parametrize("missing", ["./nowhere", "nowhere.py", "not a module"])
def test_plugin_option_refuses_what_is_not_there(workdir: Path, missing: str) -> None:
    with pytest.raises(PluginError, match="--plugin"):
        load(missing)


def test_a_module_that_the_user_names_must_exist(workdir: Path) -> None:
    with pytest.raises(PluginError, match="nowhere_to_be_found"):
        load("nowhere_to_be_found")


def test_a_local_project_is_loaded_last(workdir: Path) -> None:
    write_project(workdir, "here")
    plugin = load(local=workdir)[-1]
    assert (plugin.name, plugin.origin, offers(plugin)) == (workdir.name, "local", ["here"])


def test_a_local_project_imports_modules_beside_it(workdir: Path) -> None:
    write(workdir / "beside_it.py", "VALUE = 3\n")
    write(workdir / "maze_plugins.py", "import beside_it\nassert beside_it.VALUE == 3\n")
    assert load(local=workdir)[-1].error == ""


def test_a_broken_local_project_costs_itself_only(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "def broken(:\n")
    plugins = load(local=workdir)
    assert plugins[-1].error.startswith("SyntaxError")
    assert not any(plugin.error for plugin in plugins[:-1])


def test_without_a_local_directory_nothing_local_is_loaded(workdir: Path) -> None:
    write_project(workdir, "here")
    assert names(load()) == ["builtins", *PACKAGES]


def test_a_project_that_is_named_and_local_is_loaded_once(workdir: Path) -> None:
    write_project(workdir, "here")
    assert names(load(str(workdir), local=workdir)) == ["builtins", *PACKAGES, workdir.name]


def test_a_project_that_is_installed_in_place_is_the_package_in_its_own_folder(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``pip install -e .``: the same file is not loaded twice, and its names are no conflict."""
    write_project(workdir, "here")
    write(workdir / "here-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: maze-here\nVersion: 1.0\n")
    write(workdir / "here-1.0.dist-info" / "entry_points.txt", "[maze]\nhere = maze_plugins\n")
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.delitem(sys.modules, "maze_plugins", raising=False)
    plugins = load(local=workdir)
    assert [plugin.origin for plugin in plugins if "here" in offers(plugin)] == ["package"]
    assert "here" in Registry(plugins).names("env")


def test_nothing_local_is_loaded_from_a_run_directory_and_that_is_told(workdir: Path) -> None:
    inside = write_project(workdir / "run" / "deep", "evil")
    for name in ("command.txt", "config.yaml", "environment.json"):
        write(workdir / "run" / name, "")
    plugin = load(local=inside)[-1]
    assert (plugin.specs, plugin.error) == (
        [],
        f"it lies in the run directory {workdir / 'run'}, from which none is loaded",
    )
    with pytest.raises(PluginError, match="run directory"):
        load(str(inside))


def test_a_plugin_that_is_installed_and_named_is_loaded_once() -> None:
    assert names(load("maze_es.plugin")) == names(load())


def test_two_projects_in_one_process_keep_their_own_types(workdir: Path) -> None:
    """Both are modules named maze_plugins, and each has annotations that only itself can resolve."""
    plugin = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom enum import Enum\n"
        "from maze_core import EnvSpec, hookimpl\nclass {n}Mode(Enum):\n    a = 'a'\n"
        "@dataclass(kw_only=True)\nclass {n}Config:\n    mode: {n}Mode = {n}Mode.a\n"
        "@hookimpl\ndef maze_envs():\n    yield EnvSpec(name='{n}', summary='', config={n}Config, build='a:b')\n"
    )
    for name in ("one", "two"):
        write(workdir / name / "maze_plugins.py", plugin.format(n=name))
    from maze_core.field_docs import field_docs

    registry = Registry(load("one", "two"))
    assert [field_docs(registry.get("env", name).config)[0].type for name in ("one", "two")] == ["one of a"] * 2


def test_importing_maze_core_loads_no_plugin(workdir: Path) -> None:
    import subprocess

    code = "import maze_core, sys; print([n for n in sys.modules if n.startswith('maze_') and n != 'maze_core' " + (
        "and not n.startswith('maze_core.')], 'maze_core.plugins' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
