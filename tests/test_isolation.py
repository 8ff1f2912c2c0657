"""A plugin that is rude, broken or hostile costs itself only, is explained, and leaves the process as it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import run_cli
from support.projects import write, write_package
from test_plugins import by_name, load, names, offers

from maze_core.errors import PluginError
from maze_core.plugins import Plugin
from maze_core.registry import Registry

Install = Callable[..., None]
IMPATIENT = {"MAZE_PLUGIN_TIMEOUT": "0.2"}


def process_state() -> dict[str, Any]:
    """What a plugin must leave as it was."""
    return {
        "current directory": Path.cwd(),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "random": random.getstate(),
        "NumPy": np.random.get_state()[1].tobytes(),  # type: ignore[index,union-attr]
        "torch": torch.get_rng_state().numpy().tobytes(),
        "dtype": torch.get_default_dtype(),
        "sys.path": (id(sys.path), list(sys.path)),
        "sys.argv": (id(sys.argv), list(sys.argv)),
        "streams": (sys.stdout, sys.stderr),
        "tracer": sys.gettrace(),
    }


def load_unchanged(name: str, **environ: str) -> Plugin:
    """Loads all plugins, one of which is a fake, and makes sure that the process and the others are well."""
    before, timer = process_state(), signal.getitimer(signal.ITIMER_REAL)
    plugins = load(**environ)
    assert process_state() == before
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert (left > 0, interval) == (timer[0] > 0, timer[1])  # that of pytest-timeout
    assert "gym_env" in Registry(plugins).names("env")
    assert [plugin.name for plugin in plugins if plugin.error and plugin.name != name] == []
    return by_name(plugins, name)


# what a plugin changes is undone


CHANGES = {
    "changes_folder": ["it changed the current directory; that was undone"],
    "changes_signals": ["it changed the handler of SIGALRM, signal handlers; that was undone"],
    "changes_random": ["it changed the state of random, NumPy's random state, torch's random state; that was undone"],
    "changes_dtype": ["it changed torch's default dtype; that was undone"],
    "changes_sys": ["it changed sys.path, sys.argv; that was undone"],
    "changes_streams": ["it changed sys.stdout, sys.stderr; that was undone"],
    "prints": [],
    "good": [],
}


@pytest.mark.parametrize(("name", "notes"), CHANGES.items())
def test_what_a_plugin_changes_of_the_process_is_undone_and_noted(
    install: Install, name: str, notes: list[str]
) -> None:
    install(name)
    plugin = load_unchanged(name)
    assert (plugin.error, plugin.notes, offers(plugin)) == ("", notes, [f"fake_{name}"])


def test_what_a_broken_plugin_changed_is_undone_too(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "import os\nos.chdir('/')\nraise KeyError('later')\n")
    plugin = load(local=workdir)[-1]
    assert (plugin.error, plugin.notes) == ("KeyError: 'later'", CHANGES["changes_folder"])
    assert Path.cwd() == workdir


def test_what_a_hook_changes_is_undone_too(workdir: Path) -> None:
    hook = "@hookimpl\ndef maze_envs():\n    os.chdir('/')\n    return ()\n"
    write(workdir / "maze_plugins.py", f"import os\nfrom maze_core import hookimpl\n{hook}")
    assert load(local=workdir)[-1].notes == CHANGES["changes_folder"]
    assert Path.cwd() == workdir


def test_the_folder_of_a_local_project_stays_first_whatever_it_does_to_the_path(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", "import sys\nsys.path.clear()\n")
    before = list(sys.path)
    assert load(local=workdir)[-1].notes == ["it changed sys.path; that was undone"]
    assert sys.path == [str(workdir), *before]


def test_where_the_current_directory_is_gone_plugins_load_all_the_same(install: Install, workdir: Path) -> None:
    install("good")
    gone = workdir / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert by_name(load(), "good").error == ""
    finally:
        os.chdir(workdir)


def test_in_another_thread_all_but_signals_is_undone(install: Install) -> None:
    install("changes_folder", "changes_dtype", "changes_signals")
    found: list[Plugin] = []
    before = process_state()
    thread = threading.Thread(target=lambda: found.extend(load()))
    thread.start()
    thread.join()
    assert process_state() == before
    assert by_name(found, "changes_folder").notes == CHANGES["changes_folder"]
    assert "ValueError: signal only works in main thread" in by_name(found, "changes_signals").error


GENERATORS_OF_A_PLUGIN = """
import random, sys
from maze_core.plugins import PluginSources, load_plugins
state = random.getstate()
assert "torch" not in sys.modules
plugin = next(p for p in load_plugins(PluginSources()) if p.name == "changes_random")
import numpy, torch
print(plugin.error, plugin.notes, random.getstate() == state, torch.initial_seed() == 1,
      numpy.random.get_state()[1][0] == 1)
"""


def in_process(code: str, *fakes: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs code where fakes are installed."""
    folders = [str(Path(__file__).parent / "data" / "fake_plugins" / name) for name in fakes]
    path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, **environ}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False)


def test_generators_that_come_with_a_plugin_are_not_left_seeded() -> None:
    done = in_process(GENERATORS_OF_A_PLUGIN, "changes_random")
    assert done.stdout == " ['it changed the state of random; that was undone'] True False False\n", done.stderr


# what it prints


def test_what_plugins_print_is_no_part_of_the_answer(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install("prints")
    load()
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == [
        "echoed by a fake", "printed by a fake", "printed past a fake", "written by a fake"
    ]  # fmt: skip


def test_json_stays_json(install: Install) -> None:
    install("prints")
    result = run_cli("list", "envs", "--json")
    assert "fake_prints" in [row["name"] for row in result.json]
    assert "printed by a fake" in result.stderr


def test_where_stdout_is_closed_plugins_load_all_the_same() -> None:
    code = "import sys; from maze_core.plugins import *; sys.exit(load_plugins(PluginSources())[1].error)"
    command = f"exec '{sys.executable}' -c '{code}' >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "\n")  # no error


# what hangs


@pytest.mark.parametrize("name", ["hangs", "hangs_busily", "hangs_in_hook", "swallows"])
def test_a_plugin_that_hangs_is_given_up(install: Install, name: str) -> None:
    install(name)
    plugin = load_unchanged(name, **IMPATIENT)
    assert plugin.error == (
        "it was given up because it did not come to an end, and imported nothing more, for 0.2 s. "
        "If it needs longer: MAZE_PLUGIN_TIMEOUT=60"
    )
    assert f"fake_{name}.py" in plugin.details  # where it hung


def test_a_plugin_that_goes_on_importing_gets_more_time(workdir: Path) -> None:
    write(workdir / "part_0.py", "")
    write(workdir / "part_1.py", "")
    late = "signal.raise_signal(signal.SIGALRM)\n"  # as if the time were over
    write(workdir / "maze_plugins.py", f"import signal\nimport part_0\n{late}import part_1\n{late}")
    assert load(local=workdir)[-1].error == ""
    write(workdir / "other" / "maze_plugins.py", f"import signal\n{late}{late}")
    assert "it was given up" in load(local=workdir / "other")[-1].error


def test_a_plugin_that_imports_for_ever_is_given_up(workdir: Path) -> None:
    endless = "for number in itertools.count():\n    sys.modules[f'endless_{number % 10_000}'] = sys\n"
    write(workdir / "maze_plugins.py", f"import itertools, sys\n{endless}")
    try:
        assert "it was given up" in load(local=workdir, MAZE_PLUGIN_TIMEOUT="0.02")[-1].error
    finally:
        for name in [name for name in sys.modules if name.startswith("endless_")]:
            del sys.modules[name]


def test_a_plugin_that_cannot_be_interrupted_ends_the_program_with_a_sentence() -> None:
    done = in_process("from maze_core.cli.main import maze\nmaze.main(['list'])", "swallows_all", **IMPATIENT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "maze: plugin 'swallows_all' does not end although it is interrupted. Next: MAZE_DISABLE_PLUGINS=swallows_all\n"
    )


def test_a_timer_of_the_program_goes_off_after_loading(install: Install) -> None:
    install("good")
    heard: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    left, interval = signal.setitimer(signal.ITIMER_REAL, 1e-4)
    try:
        load()
        while not heard:
            signal.pause()
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, interval)
    assert heard == [signal.SIGALRM]


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e9"])
def test_the_time_that_a_plugin_may_take_is_a_number_of_seconds(workdir: Path, value: str) -> None:
    with pytest.raises(
        PluginError, match=f"MAZE_PLUGIN_TIMEOUT={value} is not allowed: it must be a number of seconds"
    ):
        load(MAZE_PLUGIN_TIMEOUT=value)


# what raises, and what is no answer

HOSTILE = {
    "recursion_error": "RecursionError: maximum recursion depth exceeded",
    "memory_error": "MemoryError: too much",
    "stop_iteration": "StopIteration: early",
    "generator_exit": "GeneratorExit:",
    "hostile_error": "it raised an error that cannot be shown",
    "loud_error": r"ValueError: \x1b[2Jgone xxx",
    "replaces_itself": "it replaced itself in sys.modules by SimpleNamespace, which is no module",
    "endless_specs": "maze_envs yields more than 1000 specs",
    "hostile_spec": "maze_envs yields HostileSpec instead of EnvSpec",
    "hostile_fields": "the name of type Hostile is not allowed",
    "hostile_flag": "training_only of wrapper 'fake_flag' is neither True nor False",
    "hostile_config": "has a metaclass that compares classes in its own way",
    "homeless_config": "does not say in which module it is defined",
    "no_summary": "the summary of env 'fake_no_summary' is no text",
    "live_name": "env 'live_env': names that begin with 'live_' are reserved for live objects of Python programs",
    "command_of_core": "command 'train' is a command of Maze itself, which no plugin replaces",
    "no_module": "its entry point leads to '../fake_no_module', which is no module",
    "malformed": "its entry points cannot be read: TypeError",
    "undecodable": "its entry points cannot be read: UnicodeDecodeError",
    "nameless": "the name of its package of type NoneType is not allowed",
}


@pytest.mark.parametrize(("name", "reason"), HOSTILE.items())
def test_a_hostile_plugin_costs_itself_only(install: Install, name: str, reason: str) -> None:
    install(name, "good")
    plugin = load_unchanged(name if name not in ("malformed", "undecodable") else f"fake_{name}")
    assert reason in plugin.error
    assert plugin.error.isprintable()
    assert len(plugin.error) <= 500
    assert plugin.offers == []


def test_the_traceback_of_a_plugin_commands_no_terminal(install: Install) -> None:
    install("loud_error")
    details = by_name(load(), "loud_error").details
    assert all(line.isprintable() for line in details.splitlines())
    assert len(details) < 30_000


# names

NAMES = {
    "a path upwards": "../x",
    "a path": "a/b",
    "an option": "-x",
    "what removes": "~x",
    "what adds": "+x",
    "an assignment": "a=b",
    "two words": "a b",
    "colours": "\x1b[31mred",
    "a new line": "a\nb",
    "another alphabet": "gym_еnv",
    "right to left": "\u202egym",
    "a long one": "x" * 65,
    "nothing": "",
}


def offer_of(name: str) -> str:
    """A local project that offers an env of this name."""
    return (
        "from dataclasses import dataclass\nfrom maze_core import EnvSpec, hookimpl\n"
        "@dataclass(kw_only=True)\nclass Config:\n    pass\n"
        f"@hookimpl\ndef maze_envs():\n    yield EnvSpec(name={name!r}, summary='', config=Config, build='a:b')\n"
    )


def assert_refused(plugin: Plugin, name: str, what: str) -> None:
    assert plugin.error.startswith(f"the name {what}{repr(name)[:60]}"[:20])
    assert "is not allowed: letters a to z, digits" in plugin.error
    assert plugin.error.isprintable()
    assert plugin.offers == []


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_spec_has_a_name_that_can_be_typed(workdir: Path, name: str) -> None:
    write(workdir / "maze_plugins.py", offer_of(name))
    assert_refused(load(local=workdir)[-1], name, "")


@pytest.mark.parametrize("name", [n for n in NAMES.values() if n and "\n" not in n and "=" not in n], ids=ascii)
def test_an_entry_point_has_a_name_that_can_be_typed(workdir: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = write_package(workdir, "fake_names", {})
    write(home / "fake_names-1.0.dist-info" / "entry_points.txt", f"[maze]\n{name} = fake_names\n")
    monkeypatch.syspath_prepend(str(home))
    (plugin,) = [plugin for plugin in load() if plugin.distribution == "fake_names 1.0"]
    assert_refused(plugin, name, "of the entry point ")
    assert (plugin.name.isprintable(), len(plugin.name) <= 500) == (True, True)
    assert "fake_names" not in sys.modules


@pytest.mark.parametrize("name", [n for n in NAMES.values() if n and "\n" not in n], ids=ascii)
def test_a_package_has_a_name_that_can_be_typed(workdir: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = write_package(workdir, "fake_names", {})
    write(home / "fake_names-1.0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\x1b[31m\n")
    monkeypatch.syspath_prepend(str(home))
    plugin = by_name(load(), "fake_names")
    assert_refused(plugin, name, "of its package ")
    assert plugin.label.isprintable()


@pytest.mark.parametrize("name", [n for n in NAMES.values() if n and "/" not in n], ids=ascii)
def test_a_preset_has_a_name_that_can_be_typed(workdir: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(write_package(workdir, "fake_names", {f"env/{name}": "defaults: [gym_env]"})))
    plugin = by_name(load(), "fake_names")
    assert_refused(plugin, name, "of preset ")
    assert name not in [row["name"] for row in run_cli("list", "presets", "--json").json]


def test_the_folder_of_a_local_project_may_have_any_name(workdir: Path) -> None:
    folder = workdir / "\x1b[31mmy project"
    write(folder / "maze_plugins.py", offer_of("here"))
    plugin = load(local=folder)[-1]
    assert (plugin.name, plugin.error, offers(plugin)) == (r"\x1b[31mmy project", "", ["here"])
    assert plugin.label.isprintable()


def test_a_summary_is_shown_in_one_printable_line(workdir: Path) -> None:
    summary = "red \x1b[31m\nand\tlong " + "x" * 1000
    write(workdir / "maze_plugins.py", offer_of("here").replace("summary=''", f"summary={summary!r}"))
    shown = load(local=workdir)[-1].specs[0].summary
    assert shown.startswith(r"red \x1b[31m and long xxx")
    assert len(shown) == 200


# where it is shown


def test_commands_tell_in_one_line_what_a_plugin_changed(install: Install) -> None:
    install("changes_folder")
    result = run_cli("list", "envs")
    assert result.stderr == (
        "maze: plugin 'changes_folder' (fake-changes-folder 1.0): it changed the current directory; that was undone\n"
    )


def test_plugins_list_and_show_tell_what_a_plugin_changed(install: Install) -> None:
    install("changes_folder")
    rows = {row["plugin"]: row["status"] for row in run_cli("plugins", "list", "--json").json}
    sys.modules.pop("fake_changes_folder")
    assert rows["changes_folder"] == "ok; it changed the current directory; that was undone"
    assert f"status: {rows['changes_folder']}\n" in run_cli("plugins", "show", "changes_folder").stdout


def test_all_plugins_of_this_file_together_cost_nothing_else(install: Install) -> None:
    fakes = [name for name in (*CHANGES, *HOSTILE) if name not in ("malformed", "undecodable")]
    install(*fakes, "malformed")
    result = run_cli("list", "envs", "--json")
    assert {"gym_env", "fake_good", "fake_changes_folder"} <= {row["name"] for row in result.json}
    assert all(line.isprintable() for line in result.stderr.splitlines())
    assert set(fakes) <= set(names(load()))
