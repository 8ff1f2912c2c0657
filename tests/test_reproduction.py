"""``maze reproduce``: whether a run gives the same numbers again, and from where on it does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from support.cli import run_cli
from support.projects import SCRIPTED
from support.trained import context

import maze_core
from maze_core.api import reproduction
from maze_core.api.reproduction import in_words, reproduce
from maze_core.errors import NothingUsableError, UserError

pytestmark = pytest.mark.usefixtures("workdir")

MEAN = "BaseEnvEvents/reward/mean"


class UnseededEnv(gymnasium.Env[Any, Any]):
    """Draws its rewards without regard to seeds."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), float(np.random.default_rng().random()), True, False, {}


class InterruptingEnv(UnseededEnv):
    """Asks the program to end, once, where there is a file of that name."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if Path("interrupt").exists():
            Path("interrupt").unlink()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().reset(seed=seed)


def train(name: str, folder: str | Path, **options: Any) -> Path:
    overrides = {"runner.n_epochs": 2, "runner.stop_at_reward": float("inf"), **options.pop("overrides", {})}
    with context(name, run_dir=str(folder), callbacks=["jsonl"], overrides=overrides, **options) as run:
        run.train()
    return Path(folder)


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is finished; nobody may change it."""
    folder = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where there is no repository whose revision would be recorded
        return train("running", folder / "run")


def changed(ppo: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A copy of a run with other statistics."""
    copy = Path(shutil.copytree(ppo, "changed"))
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    change(rows)
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


def content(folder: Path) -> dict[Path, str]:
    return {path: sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


# The same again


@pytest.mark.parametrize("name", ["flat", "structured", "sampled"])
def test_a_run_gives_the_same_statistics_and_weights_again(name: str) -> None:
    result = reproduce(train(name, "run"))
    assert (result.identical, result.same_weights, result.difference, list(result.versions)) == (True, True, None, [])
    assert result.n_identical == result.n_rows == 5  # train and eval of two epochs, and the final evaluation
    assert in_words(result)[0] == "Identical: all 5 rows of statistics, and so are the last weights."


def test_the_old_run_stays_as_it_is_and_the_new_one_is_a_run(ppo: Path) -> None:
    before = content(ppo)
    result = reproduce(ppo, to="again")
    assert content(ppo) == before
    assert result.directory == Path("again")
    assert [json.loads(line)["values"] for line in Path("again/metrics.jsonl").read_text().splitlines()] == [
        json.loads(line)["values"] for line in (ppo / "metrics.jsonl").read_text().splitlines()
    ]


def test_a_run_that_went_on_for_longer_is_run_as_long() -> None:
    train("flat", "run")
    with maze_core.RunContext.resume("run", overrides={"runner.n_epochs": 3}, silent=True) as run:
        run.train()
    result = reproduce("run")
    assert (result.identical, result.n_rows) == (True, 6)


def test_a_warm_start_is_reproduced_from_the_same_weights(ppo: Path) -> None:
    first = train("flat", "first")
    assert reproduce(train("flat", "second", input_dir=str(first), seed=5)).identical


def test_a_run_that_was_interrupted_is_compared_as_far_as_it_came() -> None:
    script = (f"--plugin={SCRIPTED}", "env=dial", "algorithm=scripted", "model.hidden_sizes=[]", "run_dir=run")
    assert run_cli("train", *script, "algorithm.interrupt_at=3", "algorithm.signals=[SIGTERM]").exit_code == 143
    result = run_cli("reproduce", "run", f"--plugin={SCRIPTED}", "--to", "again")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Identical: all 4 rows of statistics.\n" in result.stdout  # of the two epochs that were complete


def test_an_interrupt_ends_it_with_what_is_known_so_far() -> None:
    run = train("flat", "run", env=InterruptingEnv)
    Path("interrupt").touch()
    result = reproduce(run, env=InterruptingEnv)
    assert (result.signal, result.n_identical, result.identical) == (signal.SIGTERM, 0, False)
    assert in_words(result)[0] == "Interrupted: 0 of 5 rows of statistics are identical so far."


def test_it_may_execute_elsewhere(ppo: Path) -> None:
    assert reproduce(ppo, overrides=["runner.n_workers=0", "runner.step_timeout=null"]).identical


# Not the same


def test_the_first_statistic_that_differs_is_told(ppo: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["values"][MEAN] += 1e-13 * abs(rows[3]["values"][MEAN]) + 1e-300
        rows[4]["values"][MEAN] = 0.0

    result = reproduce(changed(ppo, change))
    assert not result.identical
    assert result.difference is not None
    assert (result.n_identical, result.difference.epoch, result.difference.stage) == (3, 1, "eval")
    assert [path for path, _, _ in result.difference.values] == [MEAN]
    lines = in_words(result)
    assert lines[0].startswith("NOT identical: 3 of 5 rows are; they part in eval of epoch 1, after ")
    assert "may not keep to its seed" in "\n".join(lines)


def test_a_run_that_is_shorter_now_is_not_identical(ppo: Path) -> None:
    def lengthen(rows: list[dict[str, Any]]) -> None:
        rows.insert(4, {**rows[3], "epoch": 2})

    result = reproduce(changed(ppo, lengthen))
    assert result.difference is not None
    assert (result.difference.epoch, result.n_identical) == (2, 4)


def test_an_env_that_does_not_keep_to_its_seed_shows_in_the_first_epoch() -> None:
    run = train("flat", "run", env=UnseededEnv)
    result = reproduce(run, env=UnseededEnv)
    assert result.difference is not None
    assert result.difference.epoch == 0


def test_other_versions_are_told(ppo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = reproduction.run_fingerprint
    monkeypatch.setattr(reproduction, "run_fingerprint", lambda *args: {**real(*args), "torch": "99.0"})
    result = reproduce(ppo)
    assert result.identical
    assert len(result.versions) == 1
    assert result.versions[0].startswith("torch was 2")
    assert result.versions[0].endswith("and is 99.0")
    assert "Not as then:\n  torch was" in "\n".join(in_words(result))


@pytest.mark.usefixtures("ppo")
def test_the_exit_code_says_whether_it_is_identical(ppo: Path) -> None:
    assert run_cli("reproduce", str(ppo)).exit_code == 0
    other = changed(ppo, lambda rows: rows[0]["values"].update({MEAN: 0.5}))
    result = run_cli("reproduce", str(other))
    assert result.exit_code == 7
    assert f"  {MEAN}: 0.5 then, " in result.stdout


# Mistakes


def test_a_run_without_statistics_cannot_be_compared() -> None:
    with context("flat", run_dir="run") as run:
        run.train()
    with pytest.raises(NothingUsableError, match="run run has no statistics"):
        reproduce("run")


def test_what_would_make_it_another_run_is_refused(ppo: Path) -> None:
    with pytest.raises(UserError, match=r"cannot change algorithm\.lr"):
        reproduce(ppo, overrides=["algorithm.lr=1"])
    with pytest.raises(UserError, match="callbacks cannot be chosen"):
        reproduce(ppo, overrides=["callbacks=[console]"])


def test_the_limits_are_those_of_the_run(ppo: Path) -> None:
    with pytest.raises(UserError, match=r"runner\.n_epochs=1: the limits are those of the run"):
        reproduce(ppo, overrides=["runner.n_epochs=1"])


def test_the_new_run_does_not_lie_in_the_old_one(ppo: Path) -> None:
    with pytest.raises(UserError, match="it lies in the run, which stays as it is"):
        reproduce(ppo, to=ppo / "inside")


def test_a_run_that_was_evaluated_at_an_earlier_end_is_told(workdir: Path) -> None:
    train("flat", "run", overrides={"runner.n_epochs": 1, "runner.evaluation.every_epochs": 2})
    with maze_core.RunContext.resume("run", overrides={"runner.n_epochs": 3}, silent=True) as run:
        run.train()
    assert "went on after an end of its own" in "\n".join(in_words(reproduce("run")))


def test_without_rows_of_training_there_is_nothing_to_compare(ppo: Path) -> None:
    run = changed(ppo, lambda rows: rows.__setitem__(slice(None), [rows[-1], rows[-1]]))
    with pytest.raises(NothingUsableError, match="no statistics of training that could be compared"):
        reproduce(run)


def test_a_directory_that_exists_is_not_written_to(ppo: Path) -> None:
    Path("taken").mkdir()
    result = run_cli("reproduce", str(ppo), "--to", "taken")
    assert result.exit_code == 2
    assert "exists already, and nothing is ever overwritten" in result.stderr


def test_live_objects_are_asked_for() -> None:
    run = train("flat", "run", env=UnseededEnv)
    with pytest.raises(UserError, match=r"needs them again: reproduce\('run', env=\.\.\.\)"):
        reproduce(run)
