"""The tutorial works as it stands: its files are written and its commands executed, in order, in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cli import Result, run_cli
from support.venvs import Venv

pytestmark = [pytest.mark.xdist_group("tutorial"), pytest.mark.timeout(400)]  # all commands are one fixture

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?:# @package _global_\n)?# ([\w./]+\.\w+)(, continued)?\n")
MAX_COMMANDS, MAX_LINES = 5, 25
TRAINED, RULE = "played", "rule"
"""Folders of the rollouts that the text compares."""


@dataclass(frozen=True)
class Block:
    """A file, or commands, of the page.

    Args:
        file: Path of the file; empty for commands.
        continued: Whether the text is added to the file.
        text: What is in it.
    """

    file: str
    continued: bool
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command; none of a file."""
        lines = [] if self.file else self.text.replace(" && ", "\n").splitlines()
        return [shlex.split(line) for line in lines]


def blocks(text: str) -> Iterator[Block]:
    """All files and commands, in order; a comment at the beginning of a file names it."""
    for language, block in BLOCK.findall(text):
        named = NAMED.match(block)
        assert (language == "sh") == (named is None), block
        yield Block(named[1], bool(named[2]), block) if named else Block("", False, block)


def lines_of_code(source: str) -> int:
    """Lines with code; comments, docstrings and empty lines are none."""
    told = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and number not in told for number, line in lines)


@dataclass
class Reader:
    """Does what the page says.

    Args:
        venv: Where packages are installed; once there is one, commands are executed there.
    """

    venv: Venv
    installed: bool = False
    results: list[tuple[str, Result]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        """Writes the file, or executes the commands."""
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{path.read_text()}\n\n{block.text}" if block.continued else block.text)
        for words in block.commands:
            result = getattr(self, f"_{words[0]}")(*words[1:])
            assert result is None or result.exit_code == 0, f"{shlex.join(words)}\n{result.stdout}\n{result.stderr}"

    def _mkdir(self, folder: str) -> None:
        Path(folder).mkdir()

    def _cd(self, folder: str) -> None:
        os.chdir(folder)

    def _maze(self, *words: str) -> Result:
        if self.installed:
            (result,) = self.venv.maze(shlex.join(words), cwd=Path.cwd())
        else:
            for name in [name for name in sys.modules if name.startswith("maze_plugins")]:
                del sys.modules[name]  # each command is a process of its own, and the file has changed
            result = run_cli(*words)
        self.results.append((shlex.join(words), result))
        return result

    def _python(self, *words: str) -> Result:
        command = [sys.executable, *words, "-p", "no:cacheprovider"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def _pip(self, install: str, source: str) -> None:
        assert install == "install"
        self.venv.install(source)
        self.installed = True


def minimal_path() -> list[Block]:
    """The blocks of the first section."""
    section = PAGE.read_text().partition("\n## From an empty folder")[2].partition("\n## ")[0]
    return list(blocks(section))


def test_from_an_empty_folder_to_a_trained_policy_it_takes_few_commands_and_lines() -> None:
    found = minimal_path()
    commands = [words for block in found for words in block.commands]
    assert ["maze", "train", "env=inventory"] in [words[:3] for words in commands]
    assert len(commands) <= MAX_COMMANDS
    assert sum(lines_of_code(block.text) for block in found if block.file) <= MAX_LINES


def test_lines_of_code_are_counted_as_one_would() -> None:
    assert lines_of_code('"""Text."""\n# comment\nx = 1\n\ndef f():\n    """More\n    text."""\n    return "a"\n') == 3


@pytest.mark.learning
@pytest.mark.timeout(600)
def test_the_minimal_path_trains(workdir: Path, tmp_path: Path) -> None:
    reader = Reader(Venv(tmp_path / "none"))
    for block in minimal_path():
        reader.do(block)
    returns = {line.split()[0]: mean_return(result) for line, result in reader.results}
    assert returns["rollout"] < returns["train"]  # the last rollout is that of random decisions


def mean_return(result: Result) -> float:
    """The last mean return that a command printed."""
    return float(re.findall(r"reward +mean +\| +(-?[\d.]+)", result.stdout)[-1])


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The page, done from its beginning to its end."""
    folder, before, path = tmp_path_factory.mktemp("tutorial"), Path.cwd(), list(sys.path)
    reader = Reader(Venv.make(folder / "venv"))
    (folder / "empty").mkdir()
    os.chdir(folder / "empty")
    try:
        for block in blocks(PAGE.read_text()):
            reader.do(block)
        yield reader
    finally:
        os.chdir(before)
        sys.path[:] = path
        sys.modules.pop("maze_plugins", None)


@pytest.fixture
def store(read: Reader) -> Path:
    return Path.cwd() / "store"


@pytest.mark.learning
@pytest.mark.timeout(900)
def test_the_policy_is_better_than_the_rule_and_than_chance(store: Path) -> None:
    earned = {
        name: json.loads((store / name / "statistics.json").read_text())["BaseEnvEvents/reward/mean"]
        for name in (TRAINED, RULE, "random")
    }
    assert earned["random"] == pytest.approx(100, abs=8)
    assert earned[RULE] == pytest.approx(192, abs=5)
    assert earned[TRAINED] > 200


@pytest.mark.learning
def test_the_statistics_that_the_text_names_are_there(store: Path) -> None:
    told = json.loads((store / "random" / "statistics.json").read_text())
    named = re.findall(r"`((?:SalesEvents|KPIs)/[^`]+)`", PAGE.read_text())
    assert len(named) == 3
    assert [path for path in named if path not in told] == []


@pytest.mark.learning
def test_the_files_that_the_text_names_are_there(store: Path) -> None:
    for name in ("watched/episodes.csv", "watched/trajectories", "trained/networks"):
        assert f"`{name}" in PAGE.read_text()
        assert (store / name).exists()


@pytest.mark.learning
def test_the_package_is_found_in_another_folder(read: Reader) -> None:
    (listed,) = (result.stdout for line, result in read.results if line == "plugins list")
    assert re.search(r"^store +0\.1\.0 +package .*env inventory.*ok", listed, re.MULTILINE)
