"""The statistics of a run as they were written, row by row: data of a stranger, perhaps of a run under way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import NothingUsableError, printable
from maze_core.runs.files import UnreadableError, parse_json, read_file
from maze_core.runs.stored_run import METRICS, StoredRun
from maze_core.stats import REWARD

MAX_METRICS = 2**28
MAX_ROWS = 10**6
COUNTS = ("epoch", "update", "env_steps")
STAGES = ("train", "eval", "final_eval")


@dataclass(frozen=True)
class MetricRow:
    """One stage of one epoch.

    Args:
        epoch: From 0.
        stage: ``train``, ``eval`` or ``final_eval``.
        update: Updates so far.
        env_steps: Env steps of training so far.
        time: Seconds so far by name: ``train_s``, ``evaluation_s``, ``wall_s``.
        values: Statistics by path; numbers, perhaps not finite.
    """

    epoch: int
    stage: str
    update: int
    env_steps: int
    time: dict[str, float]
    values: dict[str, float]


@dataclass(frozen=True)
class Series:
    """One statistic over a run: E epochs that have it, in order.

    Args:
        epochs: Number of each epoch, [E].
        env_steps: Env steps of training so far, [E].
        train_s: Seconds of training so far, [E].
        values: The statistic, finite, [E].
    """

    epochs: NDArray[np.int64]
    env_steps: NDArray[np.int64]
    train_s: NDArray[np.float64]
    values: NDArray[np.float64]


def read_metrics(run: StoredRun) -> list[MetricRow]:
    """All rows of a run so far; a last line that is not complete yet is left out.

    Raises:
        NothingUsableError: If there are no rows, or what is there are none.
    """
    file = run.path / METRICS
    name = printable(str(file))
    try:
        lines = read_file(file, MAX_METRICS).split(b"\n")[:-1]
    except UnreadableError as error:
        raise NothingUsableError(f"run {run.shown} has no statistics: {error}") from None
    if not lines:
        raise NothingUsableError(f"run {run.shown} has no statistics yet: the first epoch did not end.")
    if len(lines) > MAX_ROWS:
        raise UnreadableError(f"{name} has more than {MAX_ROWS:,} rows.")
    return [_row(parse_json(line, f"line {number} of {name}"), number, name) for number, line in enumerate(lines, 1)]


def _row(data: Any, number: int, name: str) -> MetricRow:
    try:
        counts = [data[key] for key in COUNTS]
        known = all(type(count) is int and 0 <= count < 2**62 for count in counts) and data["stage"] in STAGES
        time, values = (_numbers(data[key]) for key in ("time", "values"))
        if known:
            return MetricRow(counts[0], data["stage"], counts[1], counts[2], time, values)
    except (KeyError, TypeError, OverflowError):
        pass
    raise UnreadableError(f"line {number} of {name} is no row of statistics.")


def _numbers(data: Any) -> dict[str, float]:
    if not isinstance(data, dict) or any(type(value) not in (int, float) for value in data.values()):
        raise TypeError
    return {key: float(value) for key, value in data.items()}


def series(rows: Sequence[MetricRow], stage: str, path: str) -> Series:
    """One statistic of one stage over a run; epochs without it, or where it is not finite, are left out.

    Args:
        rows: Of the run.
        stage: ``train``, ``eval`` or ``final_eval``.
        path: Such as ``BaseEnvEvents/reward/mean``.
    """
    found = [row for row in rows if row.stage == stage and math.isfinite(row.values.get(path, math.nan))]
    return Series(
        np.array([row.epoch for row in found], np.int64),
        np.array([row.env_steps for row in found], np.int64),
        np.array([row.time.get("train_s", math.nan) for row in found]),
        np.array([row.values[path] for row in found]),
    )


def final_return(run: StoredRun) -> float | None:
    """Mean return of the last final evaluation of a run; None if there was none.

    Raises:
        NothingUsableError: If its statistics are none.
    """
    if not (run.path / METRICS).exists():
        return None  # nobody wrote them
    found = series(read_metrics(run), "final_eval", f"{REWARD}mean").values
    return float(found[-1]) if len(found) else None
