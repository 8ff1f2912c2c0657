"""Charts of the statistics of runs: which there are, what is upwards, and what is to the right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.reports.curves import Curve, Panel
from maze_core.runs.metrics import MetricRow, Series, series
from maze_core.stats import REWARD

STAGES = {"eval": "evaluation", "train": "training", "final_eval": "final evaluation"}
"""What the stages are called in a legend, in the order of their curves."""

TWO = ("eval", "train")
"""Stages of small charts."""

TRAINER, KPIS = "TrainerEvents/", "KPIs/"
LARGEST = 1e300
"""What is larger cannot be drawn, and counts as not finite."""

TRAINER_NAMES = {
    "policy_loss": ("Policy loss", "loss"),
    "value_loss": ("Value loss", "loss, in squared units of return"),
    "entropy": ("Entropy of the policy", "entropy (nats)"),
    "approx_kl": ("Approximate KL divergence", "from the policy of the rollout (nats)"),
    "clip_fraction": ("Clipped decisions", "share of decisions (0 to 1)"),
    "explained_variance": ("Explained variance", "share of the variance of returns (at most 1)"),
    "gradient_norm": ("Norm of the gradient", "Euclidean norm"),
    "update_norm": ("Norm of the update", "Euclidean norm"),
    "parameter_norm": ("Norm of the parameters", "Euclidean norm"),
    "n_gradient_steps": ("Gradient steps", "per update"),
    "lr": ("Learning rate", "lr, as scheduled"),
    "clip_range": ("Clip range", "as scheduled"),
    "entropy_coef": ("Entropy coefficient", "as scheduled"),
}
"""Title and what is upwards, for what the algorithms that come with Maze tell of their updates."""

REDUCTIONS = {
    "mean_episode_total": "total of an episode",
    "mean_episode_mean": "mean within an episode",
    "mean_episode_min": "smallest of an episode",
    "mean_episode_max": "largest of an episode",
    "mean_episode_count": "times in an episode",
}


@dataclass
class Statistics:
    """The statistics of one run, as far as charts need them.

    Args:
        name: Of the run.
        rows: All of them.
    """

    name: str
    rows: Sequence[MetricRow]
    _by_stage: dict[str, list[MetricRow]] = field(default_factory=dict, init=False)
    _series: dict[tuple[str, str], Series] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._by_stage.setdefault(row.stage, []).append(row)

    def of_stage(self, stage: str) -> list[MetricRow]:
        """The rows of a stage."""
        return self._by_stage.get(stage, [])

    def series(self, stage: str, path: str) -> Series:
        """One statistic; what cannot be drawn is left out."""
        key = (stage, path)
        if key not in self._series:
            self._series[key] = _drawable(series(self.of_stage(stage), stage, path))
        return self._series[key]

    def paths(self) -> list[str]:
        """All statistics, in the order in which they are met."""
        return list(dict.fromkeys(path for row in self.rows for path in row.values))

    def not_finite(self) -> dict[str, int]:
        """How many values of each statistic are left out, where there are any."""
        counts: dict[str, int] = {}
        for row in self.rows:
            for path, value in row.values.items():
                if not abs(value) <= LARGEST:
                    counts[path] = counts.get(path, 0) + 1
        return counts


def _drawable(found: Series) -> Series:
    kept = np.abs(found.values) <= LARGEST
    return Series(found.epochs[kept], found.env_steps[kept], found.train_s[kept], found.values[kept])


@dataclass(frozen=True)
class Axis:
    """What is to the right.

    Args:
        name: What it is called where it is chosen.
        label: The same with its unit.
        of: Positions of the points of a series.
    """

    name: str
    label: str
    of: Callable[[Series], NDArray[Any]]


STEPS = Axis("env steps", "env steps of training", lambda found: found.env_steps)


def axes(runs: Sequence[Statistics]) -> list[Axis]:
    """What curves can be drawn over; the first is what is shown first."""
    longest = max((row.time.get("train_s", 0.0) for run in runs for row in run.rows[-3:]), default=0.0)
    size, unit = next(((s, u) for s, u in ((3600.0, "h"), (60.0, "min")) if longest >= 3 * s), (1.0, "s"))
    return [
        STEPS,
        Axis("epochs", "epoch", lambda found: found.epochs),
        Axis("training time", f"training time ({unit})", lambda found: found.train_s / size),
    ]


@dataclass(frozen=True)
class Statistic:
    """What a chart shows.

    Args:
        path: Of the statistic.
        title: What it is.
        y_label: What is upwards, with its unit.
        stages: Whose curves there are, as far as they have it.
        band: Paths of the lower and upper end of a band.
        threshold: A height that matters.
        threshold_label: What that is.
    """

    path: str
    title: str
    y_label: str
    stages: Sequence[str] = tuple(STAGES)
    band: tuple[str, str] | None = None
    threshold: float | None = None
    threshold_label: str = ""


RETURN = Statistic(
    f"{REWARD}mean", "Episode return", "mean return (band: smallest to largest)",
    band=(f"{REWARD}min", f"{REWARD}max"),
)  # fmt: skip
LENGTH = Statistic(f"{REWARD}mean_step_count", "Episode length", "mean env steps of an episode")


def returns(threshold: float | None = None) -> Statistic:
    """The statistic that runs are judged by, with the return that counts as solved, if it is known."""
    return replace(RETURN, threshold=threshold, threshold_label="" if threshold is None else "solved at")


def trainer_statistics(paths: Iterable[str]) -> list[Statistic]:
    """What the algorithm tells of its updates."""
    return [_of_trainer(path) for path in paths if path.startswith(TRAINER)]


def _of_trainer(path: str) -> Statistic:
    name = path.removeprefix(TRAINER).removesuffix("/mean")
    title, label = TRAINER_NAMES.get(name, (_in_words(name), "mean of the updates of an epoch"))
    return Statistic(path, title, label, ("train",))


def kpi_statistics(paths: Iterable[str]) -> list[Statistic]:
    """Figures of whole episodes that the env tells."""
    return [
        Statistic(path, _in_words(path.removeprefix(KPIS).removesuffix("/mean")), "KPI, mean of the episodes", TWO)
        for path in paths
        if path.startswith(KPIS)
    ]


def event_statistics(paths: Iterable[str]) -> list[Statistic]:
    """What else the env and its wrappers tell of episodes."""
    others = [path for path in paths if not path.startswith((TRAINER, KPIS, REWARD))]
    return [_of_event(path) for path in others]


def _of_event(path: str) -> Statistic:
    group, *names = path.split("/")
    if len(names) < 2:
        return Statistic(path, _in_words(path), "value", TWO)
    reduced = REDUCTIONS.get(names[-1], _in_words(names[-1]).lower())
    return Statistic(path, _in_words("/".join(names[:-1])), f"{reduced} ({group})", TWO)


def _in_words(name: str) -> str:
    words = name.replace("_", " ").strip() or name
    return words[:1].upper() + words[1:]


def panels(statistic: Statistic, runs: Sequence[Statistics], over: Sequence[Axis]) -> list[Panel]:
    """A chart over each of several things; without curves if no run has the statistic.

    Of one run there is a curve for each stage. Of several there is one for each run, of the first stage that any has;
    a run without the statistic has one without points, so that each run has the same colour everywhere.

    Args:
        statistic: What is shown.
        runs: Whose curves.
        over: What is to the right, at least one.
    """
    found = [
        (f"{run.name}" if len(runs) > 1 else STAGES[stage], run, stage)
        for stage in _stages(statistic, runs)
        for run in runs
        if len(runs) > 1 or len(run.series(stage, statistic.path).values)
    ]
    return [
        Panel(
            statistic.title, axis.label, statistic.y_label,
            [_curve(label, run, stage, statistic, axis) for label, run, stage in found],
            statistic.threshold, statistic.threshold_label,
        )
        for axis in over
    ]  # fmt: skip


def _stages(statistic: Statistic, runs: Sequence[Statistics]) -> Sequence[str]:
    if len(runs) == 1:
        return statistic.stages
    present = [
        stage for stage in statistic.stages if any(len(run.series(stage, statistic.path).values) for run in runs)
    ]
    return present[:1]


def _curve(label: str, run: Statistics, stage: str, statistic: Statistic, axis: Axis) -> Curve:
    found = run.series(stage, statistic.path)
    bands = [] if statistic.band is None else [run.series(stage, path) for path in statistic.band]
    if any(not np.array_equal(band.epochs, found.epochs) for band in bands):  # it has gaps that the curve has not
        bands = []
    low, high = (band.values for band in bands) if bands else (None, None)
    return Curve(label, axis.of(found), found.values, low, high)


def threshold_of(config: Mapping[str, Any] | None) -> float | None:
    """The return at which a run was to end, where its configuration says one."""
    runner = (config or {}).get("runner")
    value = runner.get("stop_at_reward") if isinstance(runner, dict) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and value is not None else None
