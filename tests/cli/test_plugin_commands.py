"""Commands of plugins: found, listed, completed, and imported when they are used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import run_cli
from support.projects import write

from maze_core.cli import completion_command
from maze_core.cli.main import COMMANDS, maze
from maze_core.spec_checks import COMMANDS as FOLDER

pytestmark = pytest.mark.usefixtures("workdir")
Install = Callable[..., None]
ROOT = Path(__file__).parents[2]


def offered(*words: str) -> dict[str, str | None]:
    """What is offered for the last of these words after ``maze``, with its help."""
    shell = completion_command.Zsh(maze, {}, "maze", "_MAZE_COMPLETE")
    items = shell.get_completions(list(words[:-1]), words[-1])
    return {item.value: item.help for item in items}


def test_a_command_runs_with_its_options(install: Install) -> None:
    install("command")
    result = run_cli("fake-count", "--up-to", "4")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "0 1 2 3\n", "")
    assert "Count things, one after the other." in run_cli("fake-count", "--help").stdout


def test_a_mistake_in_its_options_is_a_sentence(install: Install) -> None:
    install("command")
    result = run_cli("fake-count", "--up-to", "many")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "maze: Invalid value for '--up-to': 'many' is not a valid integer.\n"


def test_help_lists_commands_of_plugins_in_a_section_and_imports_none(install: Install) -> None:
    install("command")
    result = run_cli("--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"\nCommands of plugins:\n  fake-count +Count things\.\n", result.stdout)
    assert "fake_command_line" not in sys.modules


def test_help_has_no_such_section_without_such_commands() -> None:
    assert "Commands of plugins" not in run_cli("--help").stdout


@pytest.mark.parametrize("environ", [{"MAZE_STRICT": "1"}, {"MAZE_LOAD_PLUGINS": "nowhere"}, {"MAZE_PLUGINS": "./no"}])
def test_help_comes_whatever_is_wrong_with_plugins(
    install: Install, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("key_error")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = run_cli("--help")
    assert result.exit_code == 0
    assert all(f"  {command} " in result.stdout for command in COMMANDS)
    assert len(result.stderr.splitlines()) in (1, 2)


def test_tab_completes_commands_of_plugins_and_their_options(install: Install) -> None:
    install("command")
    assert offered("fake") == {"fake-count": "Count things."}
    assert "fake_command_line" not in sys.modules
    assert offered("fake-count", "--u") == {"--up-to": None}


def test_list_and_plugins_show_tell_of_commands(install: Install) -> None:
    install("command")
    row = {"kind": "command", "name": "fake-count", "plugin": "fake-command 1.0", "summary": "Count things."}
    assert run_cli("list", "commands", "--json").json == [row]
    assert row in run_cli("list", "--json").json
    shown = run_cli("plugins", "show", "command", "--json").json
    assert (shown["offers"][0]["name"], shown["status"]) == ("fake-count", "ok")


def test_a_misspelt_command_gets_the_nearest_one(install: Install) -> None:
    install("command")
    result = run_cli("fake-cuont")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("maze: no command named 'fake-cuont'. Did you mean 'fake-count'?\n")
    assert "fake-count, info" in result.stderr


def test_a_missing_command_is_explained_by_the_plugin_that_failed(install: Install) -> None:
    install("key_error")
    assert "Plugin 'key_error' (fake-key-error 1.0) failed to load" in run_cli("key_error").stderr


def test_no_plugin_replaces_a_command_of_maze(install: Install) -> None:
    install("command_of_core")
    assert run_cli("train", "--help").stdout.startswith("Usage: maze train [OPTIONS]")
    assert "'train' is a command of Maze itself" in run_cli("list", "commands").stderr


def test_every_command_of_maze_is_known_by_its_file() -> None:
    assert {file.stem.removesuffix("_command") for file in FOLDER.glob("*_command.py")} == set(COMMANDS)


def test_a_command_that_two_plugins_offer_is_withdrawn(install: Install) -> None:
    install("command", "command_twin")
    result = run_cli("fake-count")
    assert result.exit_code == 2
    assert "is offered by fake-command 1.0 and fake-command-twin 1.0, so that neither is used." in result.stderr
    assert "fake-count" not in run_cli("--help").stdout


@pytest.mark.parametrize(
    ("fake", "name", "reason"),
    [
        ("command_broken", "fake-broken", "cannot be imported: ModuleNotFoundError: No module named 'fake_nowhere'"),
        ("command_exits", "fake-exits", "cannot be imported: SystemExit: 7"),
        ("command_plain", "fake-plain", "is builtin_function_or_method and no command of click"),
    ],
)
def test_a_command_that_is_none_is_a_sentence(install: Install, fake: str, name: str, reason: str) -> None:
    install(fake)
    result = run_cli(name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"maze: command '{name}': ")
    assert reason in result.stderr
    assert offered(name, "--") == {}


def test_a_local_project_brings_commands_and_is_announced(workdir: Path) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    snippet = next(b for b in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "CommandSpec" in b)
    write(workdir / "maze_plugins.py", snippet)
    result = run_cli("forecast", "--days", "3")
    assert result.stdout == "Nothing will be ordered in the next 3 days.\n"
    assert result.stderr.startswith(f"maze: using the local plugins of {workdir}")


def test_a_command_of_maze_is_found_without_loading_a_plugin() -> None:
    code = (
        "import sys\nfrom maze_core.cli.main import maze\n"
        "try:\n    maze.main(['train', '--help'])\nexcept SystemExit:\n"
        "    print([name for name in sys.modules if name.startswith('maze_') and name.endswith('.plugin')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
