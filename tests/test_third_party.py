"""A package of somebody else: built, installed into another environment, used everywhere, and removed again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from support.cli import Result
from support.venvs import Venv, build_wheel

pytestmark = [pytest.mark.workers, pytest.mark.xdist_group("third party")]

SOURCE = Path(__file__).parents[1] / "examples" / "third_party_plugin"
SMALL = "algorithm.epoch_length=1 runner.evaluation.n_episodes=2 seed=1"
STOPPER = '''
import os, signal
from dataclasses import dataclass
from maze_core import Callback, CallbackSpec, hookimpl

@dataclass(kw_only=True)
class StopperConfig:
    """Stops a run after its first epoch, as Ctrl-C does."""

class Stopper(Callback):
    def __init__(self, config):
        pass
    def on_epoch_end(self, report):
        if report.epoch == 0:
            os.kill(os.getpid(), signal.SIGINT)

@hookimpl
def maze_callbacks():
    yield CallbackSpec(name="stopper", summary="Stops.", config=StopperConfig, build=Stopper)
'''
LINES = {
    "plugins": "plugins list --json",
    "list": "list --json",
    "presets": "list presets --json",
    "info": "info env bakery",
    "help": "--help",
    "key": "TAB train env=bakery env.n_l",
    "value": "TAB train experiment=ba",
    "trained": f"train experiment=bakery run_dir=trained runner.n_epochs=2 runner.n_workers=2 {SMALL}",
    "stopped": "train env=bakery_village wrappers=bakery_weekend model=bakery_table +callbacks=bakery_waste,stopper "
    f"run_dir=stopped algorithm=a2c runner.n_epochs=3 runner.n_workers=2 {SMALL} --plugin stopper.py",
    "resumed": "resume stopped --plugin stopper.py",
    "played": "rollout env=bakery policy=bakery_rule n_episodes=3 seed=1 run_dir=played",
    "followed": "rollout --run trained n_episodes=3 seed=1 run_dir=followed",
    "command": "bakery trained",
    "checked": "plugins check bakery",
}  # fmt: skip
"""What is done while it is installed, by name."""


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Venv:
    return Venv.make(tmp_path_factory.mktemp("third") / "venv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "stopper.py").write_text(STOPPER)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the package: building leaves files in it."""
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    return Path(shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "maze-bakery", ignore=ignored))


@pytest.fixture(scope="module")
def told(venv: Venv, source: Path, folder: Path) -> dict[str, Result]:
    """What each line did while the wheel was installed; it is removed afterwards."""
    venv.install(build_wheel(source, source.parent))
    try:
        return dict(zip(LINES, venv.maze(*LINES.values(), cwd=folder), strict=True))
    finally:
        venv.uninstall("maze-bakery")


def test_everything_works(told):
    assert {name: result.stderr for name, result in told.items() if result.exit_code and name != "stopped"} == {}


def test_it_is_listed(told):
    (row,) = (row for row in told["plugins"].json if row["plugin"] == "bakery")
    assert (row["version"], row["from"], row["status"]) == ("0.1.0", "package", "ok")
    offered = {(row["kind"], row["name"]) for row in told["list"].json if row["plugin"].startswith("maze-bakery")}
    assert offered >= {
        ("env", "bakery"), ("wrapper", "bakery_weekend"), ("model", "bakery_table"), ("policy", "bakery_rule"),
        ("callback", "bakery_waste"),
    }  # fmt: skip
    presets = {(row["group"], row["name"]) for row in told["presets"].json if row["plugin"] == "bakery"}
    assert presets == {("env", "bakery_village"), ("experiment", "bakery")}


def test_it_is_explained_and_completed(told):
    assert "Customers that come on average" in told["info"].stdout
    assert told["key"].stdout == "env.n_loaves="
    assert told["value"].stdout == "experiment=bakery"


def test_its_command_is_one_of_maze(told):
    assert "Show what a trained policy bakes on each weekday." in told["help"].stdout
    assert [line.split()[0] for line in told["command"].stdout.splitlines()] == [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
    ]  # fmt: skip


def test_it_trains_in_workers(told):
    assert "in 2 workers" in told["trained"].stdout
    assert "LoafEvents" in told["trained"].stdout


def test_a_run_that_was_stopped_goes_on_with_it(told, folder):
    assert told["stopped"].exit_code == 128 + signal.SIGINT
    rows = [line.split(",")[0] for line in (folder / "stopped/waste.csv").read_text().splitlines()]
    assert rows == ["epoch", "0", "1", "2"]


def test_its_rule_earns_what_its_text_says(told, folder):
    earned = json.loads((folder / "played/statistics.json").read_text())["BaseEnvEvents/reward/mean"] / 4
    assert 20 < earned < 35


def test_nothing_of_it_remains(told, venv, folder):
    listed, presets, trained, refused, resumed = venv.maze(
        "list --json", "list presets --json", f"train run_dir=other runner.n_epochs=1 {SMALL}", "train env=bakery",
        "resume trained runner.n_epochs=3", cwd=folder,
    )  # fmt: skip
    assert not [row for row in (*listed.json, *presets.json) if "bakery" in str(row)]
    assert (trained.exit_code, trained.stderr) == (0, "")
    assert (refused.exit_code, resumed.exit_code) == (2, 2)
    assert "no env named 'bakery'" in refused.stderr
    assert "bakery" in resumed.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_its_own_tests_pass(venv, source):
    venv.install(source)
    try:
        assert "passed" in venv.pytest(source)
    finally:
        venv.uninstall("maze-bakery")
