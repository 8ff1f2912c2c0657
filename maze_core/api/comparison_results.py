"""What a comparison found: as numbers, as rows, as charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maze_core.api.compared_runs import EVAL, FINAL, ComparedRun, Measure
from maze_core.api.learning_curves import Reached, Threshold, panels_of, reached
from maze_core.api.verdicts import FEW, SEED, Estimate, Pair, Scores
from maze_core.errors import UserError, checked_path, one_line
from maze_core.reports.charts import form_of, write_chart
from maze_core.reports.comparison_page import comparison_page
from maze_core.reports.curves import Panel
from maze_core.reports.tables import number_texts, write_csv
from maze_core.reports.targets import check_targets
from maze_core.run_config import MEAN_RETURN
from maze_core.runs.files import write_file
from maze_core.stats.aggregates import CONFIDENCE, N_RESAMPLES, Floats

ALL_ENVS = "all envs, normalised"


class Table(NamedTuple):
    """A table for people.

    Args:
        title: What it shows, in a line.
        columns: Their names.
        rows: Cells.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class GroupResult:
    """One group in one env, or in all.

    Args:
        task: The env, in words.
        label: What the group is called.
        values: Setting of each key that runs are grouped by.
        scores: Of its runs; of each env's runs, where envs are taken together.
        iqm: Interquartile mean of the scores.
        reached: What it takes until the threshold; None without one.
        runs: What is in it, in the order of the scores.
    """

    task: str
    label: str
    values: Mapping[str, str]
    scores: Scores
    iqm: Estimate
    reached: Reached | None
    runs: Sequence[ComparedRun]

    @property
    def all_scores(self) -> Floats:
        """Those of all runs, [n]."""
        return np.concatenate(self.scores.tasks)

    @property
    def env_steps(self) -> float:
        """Median env steps of training of its runs."""
        return float(np.median([run.env_steps for run in self.runs]))

    @property
    def train_s(self) -> float | None:
        """Median seconds of training of its runs, if they are known."""
        seconds = float(np.median([run.train_s for run in self.runs]))
        return seconds if math.isfinite(seconds) else None


@dataclass(frozen=True)
class TaskResult:
    """All groups in one env.

    Args:
        task: The env, in words.
        groups: Best interquartile mean first.
        threshold: What counts as reached; None if nothing is known.
        measure: What is compared.
        labels: Of the groups in any env, in the order of their colours in charts.
    """

    task: str
    groups: Sequence[GroupResult]
    threshold: Threshold | None
    measure: Measure
    labels: Sequence[str] = ()

    @cached_property
    def panels(self) -> list[Panel]:
        """Learning curves, for charts; none for envs that are taken together."""
        if self.task == ALL_ENVS:
            return []
        runs = {group.label: group.runs for group in self.groups}
        every = {label: runs.get(label, []) for label in [*self.labels, *runs]}
        return panels_of(self.task, every, self.measure, self.threshold)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        by: Keys that runs are grouped by.
        measure: Which number stands for a run.
        tasks: Results by env; those of all envs together last, if scores are normalised.
        pairs: Every two groups of an env.
        warnings: What speaks against conclusions, in sentences.
        left_out: Runs that are not compared, each with the reason.
    """

    by: Sequence[str]
    measure: Measure
    tasks: Sequence[TaskResult]
    pairs: Sequence[Pair]
    warnings: Sequence[str]
    left_out: Sequence[str]

    @property
    def panels(self) -> list[Panel]:
        """Learning curves of all envs."""
        return [panel for task in self.tasks for panel in task.panels]

    @property
    def note(self) -> str:
        """How verdicts allow for their number; empty if there is no more than one."""
        decided = [pair for pair in self.pairs if pair.verdict != "too few runs"]
        if len(decided) < 2:
            return ""
        percent = 100 * decided[0].confidence
        return (
            f"There are {len(decided)} comparisons. So that all of them together hold with {100 * CONFIDENCE:g} %, the "
            f"interval of each is one of {percent:.4g} % (Bonferroni)."
        )

    def tables(self, task: TaskResult) -> list[Table]:
        """What is to be read of one env: scores, training, and comparisons if there are several."""
        largest = max((float(np.abs(group.all_scores).max()) for group in task.groups), default=0.0)
        columns = ["group", "runs", "IQM", f"{100 * CONFIDENCE:g} % interval", "median", "lowest", "highest"]
        scores = Table(self._title(task), columns, [_score_cells(group, largest) for group in task.groups])
        columns, title = ["group", "env steps", "seconds"], "Training, median of the runs"
        if task.threshold is not None:
            columns += ["reached", "after env steps", "after seconds"]
            title += f"; threshold {task.threshold.value:g}, {task.threshold.source}"
        training = Table(title, columns, [_training_cells(group) for group in task.groups])
        pairs = [pair for pair in self.pairs if pair.task == task.task]
        columns = ["comparison", "verdict", "P(improvement)", "difference of IQM"]
        compared = Table("Comparisons", columns, [_pair_cells(pair) for pair in pairs])
        own = [] if task.task == ALL_ENVS else [training]
        return [scores, *own, *([compared] if pairs and len(self.pairs) > 1 else [])]

    def _title(self, task: TaskResult) -> str:
        what = "mean return" if self.measure.metric == MEAN_RETURN else one_line(self.measure.metric, 80)
        stage = {FINAL: "final evaluation of the best policy", EVAL: f"{self.measure.at} evaluation"}
        where = stage.get(self.measure.stage, f"{self.measure.at} epoch of training")
        return f"{task.task}: {what}, {where}"

    def save_chart(self, path: str | Path) -> Path:
        """Draws the learning curves into a file; one that is there is replaced, if it is no part of a run.

        Args:
            path: Ends in ``.png``, ``.svg`` or ``.pdf``.

        Raises:
            UserError: If it ends otherwise, cannot go there, or there are no curves.
            StorageError: If it cannot be written.
        """
        form_of(path)
        check_targets(None, path)
        if not self.panels:
            raise UserError(f"there are no learning curves: no run has {self.measure.metric} over time.")
        return write_chart(path, self.panels, columns=min(len(self.panels), 2))

    def save_page(self, path: str | Path) -> Path:
        """Writes a page about it, one file that everybody can open; an older page there is replaced.

        Raises:
            UserError: If it cannot go there.
            StorageError: If it cannot be written.
        """
        check_targets(checked_path("path", path))
        target = Path(path).expanduser()
        content = comparison_page(self)
        write_file(target, lambda file: file.write(content))
        return target

    def save_table(self, path: str | Path) -> Path:
        """Writes `group_rows` as CSV; a file that is there is replaced, if it is no part of a run.

        Raises:
            UserError: If it cannot go there.
            StorageError: If it cannot be written.
        """
        check_targets(None, checked_path("path", path))
        return write_csv(path, self.group_rows())

    def save_runs(self, path: str | Path) -> Path:
        """Writes `run_rows` as CSV; a file that is there is replaced, if it is no part of a run.

        Raises:
            UserError: If it cannot go there.
            StorageError: If it cannot be written.
        """
        check_targets(None, checked_path("path", path))
        return write_csv(path, self.run_rows())

    def group_rows(self) -> list[dict[str, Any]]:
        """A row for each group of each env."""
        return [_group_row(group, task.threshold) for task in self.tasks for group in task.groups]

    def run_rows(self) -> list[dict[str, Any]]:
        """A row for each run."""
        return [
            _run_row(group, run, task.threshold, self.measure)
            for task in self.tasks
            if task.task != ALL_ENVS
            for group in task.groups
            for run in group.runs
        ]

    def as_data(self) -> dict[str, Any]:
        """All of it but the curves, as JSON values."""
        return {
            "by": list(self.by),
            **asdict(self.measure),
            "confidence": CONFIDENCE,
            "fewest_runs": FEW,
            "resamples": N_RESAMPLES,
            "resampling_seed": SEED,
            "groups": self.group_rows(),
            "pairs": [asdict(pair) for pair in self.pairs],
            "warnings": list(self.warnings),
            "left_out": list(self.left_out),
            "runs": self.run_rows(),
        }


def _score_cells(group: GroupResult, largest: float) -> list[str]:
    scores, iqm = group.all_scores, group.iqm
    values = [iqm.value, iqm.low, iqm.high, float(np.median(scores)), float(scores.min()), float(scores.max())]
    value, low, high, *others = number_texts([*values, largest])[:-1]
    return [group.label, str(len(group.runs)), value, "-" if iqm.low is None else f"{low} to {high}", *others]


def _training_cells(group: GroupResult) -> list[str]:
    cells, level = [group.label, f"{group.env_steps:,.0f}", _seconds(group.train_s)], group.reached
    if level is None:
        return cells
    steps = "-" if level.env_steps is None else f"{level.env_steps:,.0f}"
    return [*cells, f"{level.n} of {len(group.runs)}", steps, _seconds(level.train_s)]


def _pair_cells(pair: Pair) -> list[str]:
    names, chance, change = f"{pair.first} over {pair.second}", pair.probability, pair.difference
    if chance.low is None:
        return [names, pair.verdict, "-", "-"]
    shown = f"{chance.value:.2f} [{chance.low:.2f}, {chance.high:.2f}]"
    difference = "{} [{}, {}]".format(*number_texts([change.value, change.low, change.high], signed=True))
    return [names, pair.verdict, shown, difference]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _group_row(group: GroupResult, threshold: Threshold | None) -> dict[str, Any]:
    scores, level = group.all_scores, group.reached
    return {
        "env": group.task,
        "group": group.label,
        **{f"by {key}": value for key, value in group.values.items()},
        "runs": len(group.runs),
        "iqm": group.iqm.value,
        "iqm_low": group.iqm.low,
        "iqm_high": group.iqm.high,
        "mean": float(scores.mean()),
        "median": float(np.median(scores)),
        "lowest": float(scores.min()),
        "highest": float(scores.max()),
        "env_steps": group.env_steps,
        "train_s": group.train_s,
        "threshold": None if threshold is None else threshold.value,
        "reached": None if level is None else level.n,
        "env_steps_to_threshold": None if level is None else level.env_steps,
        "train_s_to_threshold": None if level is None else level.train_s,
    }


def _run_row(group: GroupResult, run: ComparedRun, threshold: Threshold | None, measure: Measure) -> dict[str, Any]:
    level = None if threshold is None else reached(run.curve, threshold, measure)
    steps, seconds = (None, None) if level is None else level
    return {
        "env": group.task,
        "group": group.label,
        **{f"by {key}": value for key, value in group.values.items()},
        "seed": run.seed,
        "score": run.score,
        "env_steps": run.env_steps,
        "train_s": _or_none(run.train_s),
        "env_steps_to_threshold": steps,
        "train_s_to_threshold": None if seconds is None else _or_none(seconds),
        "run": run.path,
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
