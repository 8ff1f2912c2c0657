"""``maze sweep``: a sweeper proposes values, and runs show what they are worth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import run_cli
from support.projects import SMALL, write
from support.workers import eventually

from maze_core import EndedTrial, Goal, Outcome, Parameter, SweeperConfig, Trial
from maze_core.api.sweep import _Search, sweep
from maze_core.errors import ConfigError, UserError
from maze_core.runs.jobs import Ended, Job
from maze_core.runs.stored_run import StoredRun
from maze_core.sweeps import read_space

pytestmark = pytest.mark.xdist_group("sweep")

SWEPT = (*SMALL[:2], "algorithm.lr=tag(log,interval(0.001,0.1))", "sweeper.n_parallel=2")
MAZE = (sys.executable, "-c", "from maze_core.cli.main import maze; maze.main()")


def status(run: Path) -> str:
    return StoredRun(run).condition().status


# A whole sweep


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials; nobody may change it."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    result = run_cli("sweep", *SWEPT, "sweeper.n_trials=3", "seed=5", f"run_dir={folder}")
    assert result.exit_code == 0, result.stderr
    (folder / "printed").write_text(result.stdout)
    return folder


@pytest.mark.workers
def test_each_trial_is_a_run_with_values_and_a_seed_of_its_own(swept: Path) -> None:
    configs = [yaml.safe_load((swept / str(number) / "config.yaml").read_text()) for number in (1, 2, 3)]
    assert [status(swept / str(number)) for number in (1, 2, 3)] == ["finished"] * 3
    assert [config["seed"] for config in configs] == [6, 7, 8]
    rates = {config["algorithm"]["lr"] for config in configs}
    assert len(rates) == 3
    assert all(0.001 <= rate <= 0.1 for rate in rates)


@pytest.mark.workers
def test_the_best_is_told_with_the_command_that_shows_what_it_is_worth(swept: Path) -> None:
    printed = (swept / "printed").read_text()
    values = {}
    for number in (1, 2, 3):
        rows = [json.loads(line) for line in (swept / str(number) / "metrics.jsonl").read_text().splitlines()]
        values[rows[-1]["values"]["BaseEnvEvents/reward/mean"]] = yaml.safe_load(
            (swept / str(number) / "config.yaml").read_text()
        )["algorithm"]["lr"]
    assert "[3/3] trial " in printed
    assert f"maze train --multirun {SMALL[0]} {SMALL[1]} algorithm.lr={values[max(values)]} 'seed=range(5)'" in printed


@pytest.mark.workers
def test_the_same_command_adds_trials_and_another_search_is_refused(swept: Path) -> None:
    more = run_cli("sweep", *SWEPT, "sweeper.n_trials=4", f"run_dir={swept}")
    assert more.exit_code == 0, more.stderr
    assert "4 trials in" in more.stdout
    assert "3 of them ended before" in more.stdout
    assert "[4/4] trial 4 complete" in more.stdout
    assert status(swept / "4") == "finished"
    for changed, what in (
        ("algorithm.optimizer=sgd", "overrides"),
        ("seed=6", "seed"),
        ("sweeper.goal=minimize", "goal"),
    ):
        other = run_cli("sweep", *SWEPT, changed, f"run_dir={swept}")
        assert other.exit_code == 2
        assert f"is a sweep with other {what}" in other.stderr


@pytest.mark.kill
def test_a_sweep_that_was_killed_goes_on_with_its_trials(workdir: Path) -> None:
    options = (*SWEPT[1:], "runner.n_epochs=40", "runner.patience=null", "runner.stop_at_reward=inf", "run_dir=sweep")
    options = (*options, "sweeper.n_trials=2", "sweeper.pruner=none", "runner.checkpoint.every_updates=1")
    process = subprocess.Popen([*MAZE, "sweep", *options], stdout=subprocess.DEVNULL, start_new_session=True)
    eventually(lambda: all(len(list(Path(f"sweep/{number}/checkpoints").glob("0*"))) > 1 for number in (1, 2)))
    process.kill()
    process.wait()
    eventually(lambda: "running" not in [status(Path("sweep/1")), status(Path("sweep/2"))])
    begun = [yaml.safe_load(Path(f"sweep/{number}/config.yaml").read_text())["algorithm"]["lr"] for number in (1, 2)]
    done = sweep(options)
    assert sorted(trial.trial.values["algorithm.lr"] for trial in done.trials) == sorted(begun)
    assert [trial.outcome for trial in done.trials] == [Outcome.complete] * 2
    assert [status(Path(f"sweep/{number}")) for number in (1, 2)] == ["finished"] * 2


@pytest.mark.workers
def test_a_trial_that_fails_is_told_with_its_log(workdir: Path) -> None:
    write(workdir / "shop.py", "def make(config):\n    raise OSError(f'no room for {config.size}')\n")
    plugin = """
from dataclasses import dataclass
from maze_core import EnvSpec, hookimpl

@dataclass(kw_only=True)
class ShopConfig:
    '''A shop.'''
    size: int = 1
    '''How large.'''

@hookimpl
def maze_envs():
    yield EnvSpec(name="shop", summary="A shop.", config=ShopConfig, build="shop:make")
"""
    write(workdir / "maze_plugins.py", plugin)
    result = run_cli("sweep", *SMALL[:2], "env=shop", "env.size=1,2", "sweeper.n_trials=1", "run_dir=sweep")
    assert result.exit_code == 3
    assert "trial 1 failed: ended with exit code 3" in result.stderr
    assert "no room for" in result.stderr
    assert "log: sweep/logs/1.log" in result.stderr


# Trials without processes


class Listing:
    """Proposes 1, 2, 3 and ends what brings less than 10."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reported: list[tuple[int, int, float]] = []
        self.asked = 0

    def ended(self) -> list[EndedTrial]:
        return [EndedTrial(trial, outcome, value) for trial, outcome, value in self.told]

    def unfinished(self) -> list[Trial]:
        return []

    def ask(self) -> Trial:
        self.asked += 1
        return Trial(self.asked, {"a": self.asked})

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        self.reported.append((trial.number, epoch, value))
        return value < 10

    def tell(self, trial: Trial, outcome: Outcome, value: float | None) -> None:
        self.told.append((trial, outcome, value))


def job(trial: Trial) -> Job:
    return Job(trial.number, f"a={trial.number}", Path(str(trial.number)), Path("log"), (), ())


def search(**options: Any) -> tuple[_Search, Listing]:
    sweeper = Listing()
    return _Search(SweeperConfig(**options), sweeper, job, lambda line: None), sweeper


def row(epoch: int, stage: str, mean: float) -> str:
    values = {"BaseEnvEvents/reward/mean": mean}
    return (
        json.dumps({"epoch": epoch, "stage": stage, "update": 1, "env_steps": 1, "time": {}, "values": values}) + "\n"
    )


def statistics(number: int, *rows: str) -> None:
    folder = Path(str(number))
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").touch()
    (folder / "metrics.jsonl").write_text("".join(rows))


def test_each_evaluation_is_told_once_and_a_trial_that_promises_little_is_not_wanted(workdir: Path) -> None:
    looked, sweeper = search()
    first = next(looked._jobs())
    assert looked._wanted(first)  # there is nothing yet
    statistics(1, row(0, "train", 1.0), row(0, "eval", 20.0))
    assert looked._wanted(first)
    assert looked._wanted(first)
    statistics(1, row(0, "eval", 20.0), row(1, "eval", 30.0))
    assert looked._wanted(first)
    statistics(1, row(0, "eval", 20.0), row(1, "eval", 30.0), row(2, "eval", 5.0))
    assert not looked._wanted(first)
    assert not looked._wanted(first)
    assert sweeper.reported == [(1, 0, 20.0), (1, 1, 30.0), (1, 2, 5.0)]
    looked._ended(Ended(first, 143, asked=True))
    assert sweeper.told == [(Trial(1, {"a": 1}), Outcome.pruned, None)]


def test_the_final_evaluation_is_what_a_trial_is_worth(workdir: Path) -> None:
    looked, sweeper = search()
    first = next(looked._jobs())
    statistics(1, row(0, "eval", 20.0), row(0, "final_eval", 15.0))
    looked._ended(Ended(first, 0))
    assert sweeper.told == [(Trial(1, {"a": 1}), Outcome.complete, 15.0)]


def test_a_final_statistic_that_is_not_there_fails_the_trial_and_names_those_that_are(workdir: Path) -> None:
    looked, sweeper = search(metric="ShopEvents/sold/mean")
    first = next(looked._jobs())
    statistics(1, row(0, "final_eval", 15.0))
    looked._ended(Ended(first, 0))
    assert sweeper.told == [(Trial(1, {"a": 1}), Outcome.failed, None)]
    assert "has no finite sweeper.metric=ShopEvents/sold/mean. It has BaseEnvEvents/reward/mean" in looked._failures[1]


def test_a_statistic_that_no_evaluation_has_ends_the_sweep_at_the_first(workdir: Path) -> None:
    looked, sweeper = search(metric="ShopEvents/sold/mean")
    first = next(looked._jobs())
    statistics(1, row(0, "eval", 15.0))
    assert not looked._wanted(first)
    assert list(looked._jobs()) == []
    looked._ended(Ended(first, 143, asked=True))
    assert sweeper.told == []
    assert "no evaluation has sweeper.metric=ShopEvents/sold/mean. They have BaseEnvEvents" in str(looked._halted)


def test_what_cannot_be_started_says_nothing_of_its_values(workdir: Path) -> None:
    looked, sweeper = search()
    first = next(looked._jobs())
    looked._ended(Ended(first, 5, problem="the disk is full"))
    assert sweeper.told == []
    assert "the disk is full\nRepeat the sweep" in str(looked._halted)


def test_a_trial_that_fails_while_it_is_pruned_failed(workdir: Path) -> None:
    looked, sweeper = search()
    first = next(looked._jobs())
    looked._pruned.add(1)
    looked._ended(Ended(first, 5, asked=True))
    assert sweeper.told == [(Trial(1, {"a": 1}), Outcome.failed, None)]


def test_a_directory_that_the_sweeper_knows_nothing_of_ends_the_sweep(workdir: Path) -> None:
    looked, _ = search()
    Path("1").mkdir()
    assert list(looked._jobs()) == []
    assert "1 is there, and the sweeper knows nothing of such a trial" in str(looked._halted)


def test_a_trial_that_is_interrupted_with_the_sweep_is_left_to_go_on(workdir: Path) -> None:
    looked, sweeper = search()
    first = next(looked._jobs())
    looked._ended(Ended(first, 143, asked=True))
    assert sweeper.told == []


@pytest.mark.parametrize(("goal", "order"), [(Goal.maximize, [3, 1, 2]), (Goal.minimize, [2, 1, 3])])
def test_the_best_come_first_then_what_was_pruned_then_what_failed(goal: Goal, order: list[int]) -> None:
    looked, _ = search(goal=goal)
    values = {1: 2.0, 2: 1.0, 3: 3.0}
    ended = [EndedTrial(Trial(number, {}), Outcome.complete, value) for number, value in values.items()]
    ended += [EndedTrial(Trial(4, {}), Outcome.failed, None), EndedTrial(Trial(5, {}), Outcome.pruned, 9.0)]
    assert [one.trial.number for one in sorted(ended, key=looked._rank)] == [*order, 5, 4]


# What varies


def test_a_space_is_read_from_a_configuration() -> None:
    space = {"a": [1, 2], "b": {"low": 1e-3, "high": 1, "log": True}, "c": {"low": 1, "high": 9, "step": 2}}
    assert read_space(space) == {
        "a": Parameter(choices=[1, 2]),
        "b": Parameter(low=1e-3, high=1, log=True),
        "c": Parameter(low=1, high=9, step=2, integer=True),
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "it must be a list of values, or {low: ..., high: ...}"),
        ([1], "a list needs two values at least"),
        ({"low": 1}, "it must be a list of values"),
        ({"low": 1, "high": 1}, "low < high"),
        ({"low": 1, "high": "x"}, "low and high must be numbers"),
        ({"low": 0, "high": 1, "log": True}, "log: true needs low > 0"),
        ({"low": 1, "high": 4, "log": True, "step": 1}, "and no step"),
        ({"low": 1, "high": 4, "step": 0}, "steps from low must lead to high"),
        ({"low": 0.01, "high": 0.1, "step": 0.04}, "steps from low must lead to high"),
        ([1, 2, 1], "a value is there more than once"),
        ({"low": 1, "high": 4, "stepp": 1}, "has no 'stepp'. Did you mean 'step'?"),
    ],
)
def test_what_allows_nothing_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space({"a": value})
    assert words in str(caught.value)
    assert "sweeper.space.a" in str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["algorithm.lr=0.1"], "nothing varies"),
        (["algorithm=es,a2c"], "algorithm cannot vary"),
        (["algorithm.lr=interval(-1,1)"], "algorithm.lr=-1.0 is not allowed"),
        (["algorithm.lrr=1,2"], "Did you mean 'lr'?"),
        (["seed=1,2"], "seed cannot vary: it is the sweep's own"),
        (["algorithm.lr=0.1,0.2", "run_dir=taken"], "run_dir=taken exists already"),
        (["algorithm.lr=0.1,0.2", "sweeper=optunna"], "Did you mean 'optuna'?"),
        (["algorithm.lr=0.1,0.2", "sweeper.n_trials=0"], "sweeper.n_trials=0 is not allowed"),
        (["algorithm.lr=0.1,0.2", "~callbacks.jsonl"], "leave jsonl among the callbacks"),
        (["algorithm.lr=glob(*)"], "only lists, choice(...), range(...) and interval(...) can vary"),
        (["+algorithm.lr=0.1,0.2"], "what varies is written without +"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(args: list[str], words: str, workdir: Path) -> None:
    (workdir / "taken").mkdir()
    result = run_cli("sweep", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert [path.name for path in workdir.iterdir()] == ["taken"]


@pytest.mark.workers
def test_a_space_may_stand_in_a_preset_and_intervals_of_whole_numbers_are_whole(workdir: Path) -> None:
    preset = "defaults: [optuna]\nspace:\n  algorithm.n_rollouts_per_update: {low: 4, high: 6}\nn_trials: 2\n"
    write(workdir / "conf" / "sweeper" / "mine.yaml", preset)
    write(workdir / "maze_plugins.py", "")
    done = sweep([SMALL[0], "sweeper=mine", "model.hidden_sizes=choice([4],[8,8])", "run_dir=sweep"])
    assert len(done.trials) == 2
    for ended in done.trials:
        values = ended.trial.values
        assert values["algorithm.n_rollouts_per_update"] in (4, 5, 6)
        assert values["model.hidden_sizes"] in ([4], [8, 8])


def test_without_a_sweeper_it_says_what_to_install(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAZE_DISABLE_PLUGINS", "optuna")
    with pytest.raises((UserError, ConfigError), match="pip install maze-optuna"):
        sweep(["algorithm.lr=0.1,0.2"])


# A stranger's directory, and one that is damaged


def begun(workdir: Path) -> Path:
    """A sweep without a trial yet."""
    folder = Path("sweep")
    folder.mkdir()
    space = {"algorithm.lr": vars(Parameter(choices=[0.1, 0.2]))}
    record = {"sweeper": "optuna", "overrides": [], "space": space, "goal": "maximize",
              "metric": "BaseEnvEvents/reward/mean"}  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps({"seed": 1, **record}))
    return folder


def test_nothing_is_written_through_a_link(workdir: Path) -> None:
    (begun(workdir) / "optuna.journal").symlink_to(workdir / "elsewhere")
    result = run_cli("sweep", "algorithm.lr=0.1,0.2", "run_dir=sweep")
    assert result.exit_code == 6
    assert "sweep/optuna.journal is not used: it is a link" in result.stderr
    assert not (workdir / "elsewhere").exists()


@pytest.mark.parametrize("content", ['{"op_code": 99}\n', "no json\n"])
def test_a_journal_that_is_none_is_told(content: str, workdir: Path) -> None:
    (begun(workdir) / "optuna.journal").write_text(content)
    result = run_cli("sweep", "algorithm.lr=0.1,0.2", "run_dir=sweep")
    assert result.exit_code == 6
    assert "the sweeper cannot go on with what is in sweep" in result.stderr
