"""``maze plugins new`` makes a package of each kind that installs, works, and passes its own tests."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.cli import run_cli
from support.venvs import Venv

import maze_core
from maze_core.cli.plugins_new import TRY
from maze_core.scaffold import KINDS

ROOT = Path(maze_core.__file__).parents[1]


def make(name: str, kind: str, *options: str) -> Path:
    result = run_cli("plugins", "new", name, "--kind", kind, *options)
    assert result.exit_code == 0, result.stderr
    return Path(f"maze-{name.replace('_', '-')}").resolve()


@pytest.fixture(scope="session")
def venv(tmp_path_factory) -> Venv:
    return Venv.make(tmp_path_factory.mktemp("new") / "venv")


def test_every_kind_of_spec_can_be_made() -> None:
    assert set(KINDS) == {*(row["kind"] for row in run_cli("list", "--json").json), "command"} == set(TRY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete_and_bears_its_name(kind: str, workdir: Path) -> None:
    folder = make("two_words", kind)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "setup.cfg", "pyproject.toml", "maze_two_words", "tests"
    }  # fmt: skip
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if "sketch" in f"{path} {path.read_text()}".lower()]
    assert "maze plugins new" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["a", "zebra", "a_name_of_thirty_characters_ab"])
def test_code_is_formatted_and_clean_whatever_the_name(name: str, workdir: Path) -> None:
    for kind in KINDS:
        assert run_cli("plugins", "new", name, "--kind", kind, "--dir", kind).exit_code == 0
    assert run_cli("init", "project", "--name", name).exit_code == 0
    own = f"src = {[str(folder) for folder in workdir.glob('*/maze-*')]}"  # as if each was checked in its folder
    for command in (["check"], ["format", "--check"]):
        args = [*command, "--no-cache", "--config", str(ROOT / "pyproject.toml"), "--config", own, "."]
        done = subprocess.run([sys.executable, "-m", "ruff", *args], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_installed_and_passes_its_own_tests(kind: str, venv: Venv, workdir: Path) -> None:
    check_installed(kind, venv)


@pytest.mark.workers
def test_an_env_is_installed_and_passes_its_own_tests(venv: Venv, workdir: Path) -> None:
    check_installed("env", venv)


def check_installed(kind: str, venv: Venv) -> None:
    folder = make(f"new_{kind}", kind)
    venv.install(folder)
    try:
        assert "passed" in venv.pytest(folder)
    finally:
        venv.uninstall(folder.name)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_its_types_are_right(workdir: Path, monkeypatch) -> None:
    folders = [make(f"new_{kind}", kind) for kind in KINDS]
    packages = [argument for kind in KINDS for argument in ("-p", f"maze_new_{kind}")]
    monkeypatch.setenv("MYPYPATH", ":".join(map(str, [ROOT, *folders])))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *packages]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_a_maze_of_this_version(kind: str, workdir: Path) -> None:
    lines = (make("mine", kind) / "setup.cfg").read_text().splitlines()
    (requirement,) = (Requirement(line.strip()) for line in lines if line.strip().startswith("maze-core"))
    (core,) = (row for row in run_cli("plugins", "list", "--json").json if row["from"] == "core")
    assert core["version"] in requirement.specifier


def test_the_templates_are_part_of_the_distribution() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    pattern, folder = config["options.package_data"]["maze_core.scaffold"], ROOT / "maze_core" / "scaffold"
    templates = {path for path in (folder / "templates").rglob("*") if path.is_file()}
    assert set(folder.glob(pattern)) == templates


def test_its_folder_can_be_elsewhere(workdir: Path) -> None:
    assert run_cli("plugins", "new", "mine", "--kind", "env", "--dir", "some/where").exit_code == 0
    assert (workdir / "some/where/maze-mine/setup.cfg").is_file()


def test_next_commands_are_told(workdir: Path) -> None:
    told = run_cli("plugins", "new", "my_env", "--kind", "env").stdout.splitlines()
    lines = [line.removeprefix("Next:").strip() for line in told]
    assert lines[-3:] == ["pip install -e ./maze-my-env", "maze train env=my_env", "pytest ./maze-my-env"]


def test_nothing_is_replaced(workdir: Path) -> None:
    folder = make("mine", "env")
    (folder / "README.md").write_text("mine")
    result = run_cli("plugins", "new", "mine", "--kind", "model")
    assert result.exit_code == 2
    assert "nothing was written" in result.stderr
    assert (folder / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a/b", "env", "small letters"),
        ("..", "env", "small letters"),
        ("Mine", "env", "small letters"),
        ("a__b", "env", "small letters"),
        ("class", "model", "word of Python"),
        ("ppo", "env", "there is a plugin 'ppo' already, maze-ppo 0.1.0"),
        ("core", "env", "there is a package maze_core already"),
        ("conf", "env", "there is a package maze_conf already"),
        ("flatten_concat", "model", "there is model 'flatten_concat' already, of perception"),
        ("random", "policy", "there is policy 'random' already, of builtins"),
        ("train", "command", "there is a command 'train' already: maze train --help"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, kind: str, words: str, workdir: Path) -> None:
    result = run_cli("plugins", "new", name, "--kind", kind)
    assert (result.exit_code, list(workdir.iterdir())) == (2, [])
    assert words in result.stderr


def test_a_kind_that_is_none_is_refused(workdir: Path) -> None:
    result = run_cli("plugins", "new", "mine", "--kind", "agent")
    assert result.exit_code == 2
    assert "'callback'" in result.stderr
