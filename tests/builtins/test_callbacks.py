"""The loggers write what a run reports, each in its own form."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maze_core.builtins.config import ConsoleConfig, JsonlConfig, TensorBoardConfig
from maze_core.builtins.console_callback import ConsoleCallback
from maze_core.builtins.jsonl_callback import JsonlCallback
from maze_core.builtins.tensorboard_callback import TensorBoardCallback
from maze_core.protocols import Callback, EpochReport, RunInfo, RunSummary
from maze_core.stats import Histogram, StageStatistics

AWKWARD = {
    "a/b/tenth": 0.1,
    "a/b/third": 1 / 3,
    "a/b/tiny": 5e-324,
    "a/b/huge": 1.7976931348623157e308,
    "a/b/zero": -0.0,
}
TIME = {"train_s": 2.0, "evaluation_s": 1.0, "wall_s": 4.0}


def make_report(values: dict[str, float], epoch: int = 0, new_best: float | None = None) -> EpochReport:
    stages = [StageStatistics("train", values), StageStatistics("eval", values, {"a/b/c": Histogram(np.arange(3))})]
    return EpochReport(epoch, epoch + 1, 100 * (epoch + 1), TIME, stages, new_best)


def make_info(directory: Path) -> RunInfo:
    return RunInfo(directory, "seed: 1\n", "maze train", ["a note"], 10)


def tell(callback: Callback, directory: Path, *reports: EpochReport) -> None:
    callback.on_run_start(make_info(directory))
    for report in reports:
        callback.on_epoch_end(report)
    callback.on_run_end(RunSummary("it ended", None, None, None, directory))
    callback.close()


def test_jsonl_writes_floats_that_read_back_bit_equal(tmp_path: Path) -> None:
    tell(JsonlCallback(JsonlConfig()), tmp_path, make_report(AWKWARD))
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert row == {"epoch": 0, "stage": "train", "update": 1, "env_steps": 100, "time": TIME, "values": AWKWARD}
    assert math.copysign(1, row["values"]["a/b/zero"]) == -1


def test_jsonl_rows_are_there_before_the_run_ends(tmp_path: Path) -> None:
    callback = JsonlCallback(JsonlConfig())
    callback.on_run_start(make_info(tmp_path))
    callback.on_epoch_end(make_report({"a/b/c": 1.0}))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    callback.close()


def test_tensorboard_has_stage_and_path_as_tag_and_counts_steps_from_one(tmp_path: Path) -> None:
    tell(TensorBoardCallback(TensorBoardConfig()), tmp_path, *(make_report({"a/b/c": 0.5 * n}, n) for n in range(3)))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["train_a/b/c", "eval_a/b/c"]
    assert [(event.step, event.value) for event in events.Scalars("eval_a/b/c")] == [(1, 0.0), (2, 0.5), (3, 1.0)]


def test_console_prints_and_logs_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ConsoleCallback(ConsoleConfig()), tmp_path, make_report({"a/b/c": 1.0}, new_best=28.1))
    text = capsys.readouterr().out
    assert text == (tmp_path / "log.txt").read_text()
    lines = text.splitlines()
    assert lines[:3] == ["seed: 1", f"Run directory: {tmp_path}", "a note"]
    assert "********** Iteration 0 **********" in lines
    assert lines[lines.index("-> new overall best model 28.10000!") + 1].startswith("epoch 1 of 10, 100 env steps, ")
    assert "Run ended: it ended." in lines


def test_a_silent_console_only_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ConsoleCallback(ConsoleConfig(terminal=False)), tmp_path, make_report({"a/b/c": 1.0}))
    assert capsys.readouterr().out == ""
    assert "Iteration 0" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    "callback",
    [ConsoleCallback(ConsoleConfig()), JsonlCallback(JsonlConfig()), TensorBoardCallback(TensorBoardConfig())],
    ids=lambda callback: type(callback).__name__,
)
def test_a_run_that_never_started_can_be_closed(callback: Callback) -> None:
    callback.close()
