"""What a run tells of where it stands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maze_core import Callback, RunContext
from maze_core.protocols import EpochReport, RunProgress
from maze_core.runs import progress
from maze_core.runs.progress import Teller, phases, used_share

NOTHING = {"train_s": 0.0, "evaluation_s": 0.0, "wall_s": 0.0}
SMALL = {
    "algorithm.n_envs": 2, "algorithm.n_rollout_steps": 8, "algorithm.epoch_length": 3, "runner.n_epochs": 2,
    "runner.evaluation.n_episodes": 2, "runner.stop_at_reward": float("inf"), "model.hidden_sizes": [4],
    "runner.n_workers": 0,
}  # fmt: skip


class Told(Callback):
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        self.all: list[RunProgress | EpochReport] = []

    def on_update(self, progress: RunProgress) -> None:
        self.all.append(progress)

    def on_epoch_end(self, report: EpochReport) -> None:
        self.all.append(report)


def train(callback: Callback, **options: Any) -> RunContext:
    context = RunContext(
        algorithm="a2c", callbacks=[callback], seed=1, silent=True, run_dir="run", overrides={**SMALL, **options}
    )
    with context:
        context.train()
    return context


def test_between_updates_a_run_tells_where_it_stands(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TELL_EVERY_S", 0.0)
    told = Told()
    train(told)
    seen = [
        (one.doing, one.epoch, one.update, one.env_steps, round(one.share or 0, 3))
        if isinstance(one, RunProgress)
        else f"epoch {one.epoch}"
        for one in told.all
    ]
    assert seen == [
        ("training", 0, 0, 0, 0.0), ("training", 0, 1, 16, 0.167), ("training", 0, 2, 32, 0.333),
        ("evaluation", 0, 3, 48, 0.5), "epoch 0",
        ("training", 1, 3, 48, 0.5), ("training", 1, 4, 64, 0.667), ("training", 1, 5, 80, 0.833),
        ("evaluation", 1, 6, 96, 1.0), "epoch 1",
        ("final evaluation", 1, 6, 96, 1.0), "epoch 1",
    ]  # fmt: skip
    first, last = told.all[0], told.all[-2]
    assert isinstance(first, RunProgress) and isinstance(last, RunProgress)
    assert (first.best_reward, first.patience_left, last.n_epochs) == (None, None, 2)
    assert last.best_epoch is not None
    assert last.patience_left == 15 - (1 - last.best_epoch)


def test_how_often_it_does_depends_on_the_clock(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, after each epoch and before each evaluation in any case."""
    monkeypatch.setattr(progress, "TELL_EVERY_S", 1000.0)
    told = Told()
    train(told)
    doing = [one.doing if isinstance(one, RunProgress) else "told" for one in told.all]
    assert doing == ["training", "evaluation", "told"] * 2 + ["final evaluation", "told"]


def test_nobody_is_told_who_does_not_want_to_know() -> None:
    assert not Teller([Callback()]).due()
    assert Teller([Callback(), Told()]).due()


def test_a_report_says_what_time_was_spent_on(workdir: Path) -> None:
    told = Told()
    train(told)
    report = next(one for one in told.all if isinstance(one, EpochReport))
    assert list(report.phases) == ["env", "forward", "store", "update", "evaluation", "other"]
    assert all(seconds >= 0 for seconds in report.phases.values())
    assert sum(report.phases.values()) == pytest.approx(report.time["wall_s"])


def test_a_trainer_that_does_not_measure_has_one_phase() -> None:
    now = {"train_s": 5.0, "evaluation_s": 2.0, "wall_s": 8.0}
    silent: Any = SimpleNamespace()
    assert phases(silent, now, NOTHING) == {"training": 5.0, "evaluation": 2.0, "other": 1.0}


def test_what_was_before_this_process_does_not_count() -> None:
    now, before = (
        {"train_s": 5.0, "evaluation_s": 2.0, "wall_s": 8.0},
        {"train_s": 4.0, "evaluation_s": 2.0, "wall_s": 7.0},
    )
    measured: Any = SimpleNamespace(seconds={"env": 0.25, "update": 0.5})
    assert phases(measured, now, before) == {"env": 0.25, "update": 0.5, "evaluation": 0.0, "other": 0.25}


@pytest.mark.parametrize(
    ("epochs", "n_epochs", "steps", "total", "share"),
    [(1.5, 10, 0, None, 0.15), (1.0, None, 30, 60, 0.5), (1.0, 10, 30, 60, 0.5), (9.0, 10, 30, 60, 0.9),
     (1.0, None, 90, 60, 1.0), (1.0, None, 90, None, None)],
)  # fmt: skip
def test_the_budget_that_ends_first_counts(
    epochs: float, n_epochs: int | None, steps: int, total: int | None, share: float | None
) -> None:
    assert used_share(epochs, n_epochs, steps, total) == share
