"""``maze init`` makes a project that works, and replaces nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import run_cli
from support.venvs import Venv

SMALL = (
    "runner.n_epochs=1", "algorithm.n_rollouts_per_update=4", "runner.evaluation.n_episodes=1", "seed=1",
)  # fmt: skip


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(workdir: Path) -> Path:
    assert run_cli("init", "--name", "shop").exit_code == 0
    return workdir


def test_a_project_has_plugins_configurations_tests_and_a_text(project: Path) -> None:
    assert files_below(project) == {
        "maze_plugins.py", "README.md", "conf/env/shop_week.yaml", "conf/experiment/shop.yaml", "tests/test_plugins.py",
    }  # fmt: skip


def test_nothing_is_left_of_the_names_of_the_template(project: Path) -> None:
    texts = [(project / file).read_text() for file in files_below(project)]
    assert not [text for text in texts if "sketch" in text.lower()]


def test_the_env_trains_at_once(project: Path) -> None:
    assert run_cli("train", "env=shop", *SMALL).exit_code == 0
    assert run_cli("train", "env=shop_week", *SMALL).exit_code == 0


@pytest.mark.parametrize("option", ["--plugin", "-cd"])
def test_it_trains_from_another_folder(option: str, project: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = ["--plugin", str(project), *(["-cd", str(project / "conf")] if option == "-cd" else [])]
    small = ("algorithm.epoch_length=1", "runner.n_epochs=1", "runner.evaluation.n_episodes=1", "seed=1")
    assert run_cli("train", "experiment=shop", *small, *found).exit_code == 0


@pytest.mark.long
@pytest.mark.learning
def test_the_experiment_learns_to_buy_cheap_and_to_sell_dear(project: Path) -> None:
    assert run_cli("train", "experiment=shop", "seed=1", "run_dir=run").exit_code == 0
    (run,) = run_cli("runs", "--json", ".").json
    assert run["best_reward"] > 7  # who sells all at the first noon gets 4


def test_its_next_commands_are_told(workdir: Path) -> None:
    told = run_cli("init", "there", "--name", "shop").stdout.splitlines()
    lines = [line.removeprefix("Next:").strip() for line in told]
    assert lines[-4:] == ["cd there", "maze train env=shop", "maze train experiment=shop", "pytest"]


def test_a_file_that_is_there_is_kept_and_nothing_is_written(workdir: Path) -> None:
    (workdir / "README.md").write_text("mine")
    result = run_cli("init")
    assert (result.exit_code, files_below(workdir)) == (2, {"README.md"})
    assert "nothing was written" in result.stderr
    assert "README.md" in result.stderr
    assert (workdir / "README.md").read_text() == "mine"


def test_a_file_in_the_place_of_a_folder_is_kept_too(workdir: Path) -> None:
    (workdir / "conf").write_text("mine")
    assert run_cli("init").exit_code == 2
    assert files_below(workdir) == {"conf"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-Env", "small letters"),
        ("../up", "small letters"),
        ("1st", "small letters"),
        ("", "small letters"),
        ("x" * 31, "at most 30"),
        ("lambda", "word of Python"),
        ("gym_env", "there is env 'gym_env' already, of gym_env"),
        ("cutting_2d_large", "there is env 'cutting_2d_large' already, of cutting_2d"),
        ("es_cartpole", "there is experiment 'es_cartpole' already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, words: str, workdir: Path) -> None:
    result = run_cli("init", "--name", name)
    assert (result.exit_code, files_below(workdir)) == (2, set())
    assert words in result.stderr


@pytest.mark.long
def test_its_own_tests_pass(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.workers
def test_it_becomes_a_package_by_the_file_that_its_text_shows(project: Path, tmp_path) -> None:
    added = (project / "README.md").read_text().partition("```toml\n")[2].partition("```")[0]
    (project / "pyproject.toml").write_text(added)
    venv, elsewhere = Venv.make(tmp_path / "venv"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.install(project)
    small = "algorithm.epoch_length=1 runner.n_epochs=1 runner.evaluation.n_episodes=1 runner.n_workers=2"
    listed, trained = venv.maze("list presets --json", f"train experiment=shop {small}", cwd=elsewhere)
    assert {("env", "shop_week"), ("experiment", "shop")} <= {(row["group"], row["name"]) for row in listed.json}
    assert (trained.exit_code, trained.stderr) == (0, "")
