"""How groups of runs learn: curves with bands, and what it takes until a threshold is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.api.compared_runs import EVAL, ComparedRun, Measure
from maze_core.api.run_groups import RunGroup
from maze_core.api.verdicts import FEW, SEED
from maze_core.errors import one_line
from maze_core.reports.curves import Curve, Panel
from maze_core.run_config import MEAN_RETURN
from maze_core.runs.metrics import Series
from maze_core.stats.aggregates import CONFIDENCE, bands, interquartile_mean

N_POINTS, N_RESAMPLES = 200, 2000


@dataclass(frozen=True)
class Threshold:
    """A level of the statistic that counts as reached.

    Args:
        value: The level.
        source: Where it is from, in words.
    """

    value: float
    source: str


@dataclass(frozen=True)
class Reached:
    """How many runs reach a threshold, and what it takes them.

    Args:
        n: Runs that reach it.
        env_steps: Median env steps of training until the first evaluation that does, over all runs: those that do
            not count as never. None if that is never, or if no threshold is known.
        train_s: The same in seconds of training.
    """

    n: int
    env_steps: float | None
    train_s: float | None


def threshold_of(groups: Sequence[RunGroup], measure: Measure, given: float | None) -> Threshold | None:
    """The threshold of one env; None if none is known.

    For the mean return it is that at which the runs were to stop, or the one that Gymnasium knows of the env.
    """
    if given is not None:
        return Threshold(given, "as asked for")
    if measure.metric != MEAN_RETURN:
        return None
    settings = [run.settings for group in groups for run in group.runs]
    stops = {stop for one in settings if (stop := _number(one.get("runner.stop_at_reward"))) is not None}
    if len(stops) == 1:
        return Threshold(stops.pop(), "runner.stop_at_reward of the runs")
    from gymnasium.envs.registration import registry

    names = {str(one.get("env.name")) for one in settings}
    spec = registry.get(names.pop()) if len(names) == 1 else None  # never by import, whatever is written there
    if spec is None or spec.reward_threshold is None:
        return None
    return Threshold(float(spec.reward_threshold), f"where Gymnasium calls {spec.id} solved")


def _number(value: Any) -> float | None:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None


def reached(curve: Series, threshold: Threshold, measure: Measure) -> tuple[int, float] | None:
    """Env steps and seconds of training until the first row that reaches a threshold; None if none does."""
    above = curve.values <= threshold.value if measure.lower_is_better else curve.values >= threshold.value
    if not above.any():
        return None
    first = int(above.argmax())
    return int(curve.env_steps[first]), float(curve.train_s[first])


def reached_by(runs: Sequence[ComparedRun], threshold: Threshold, measure: Measure) -> Reached:
    """The same of several runs."""
    found = [reached(run.curve, threshold, measure) for run in runs]
    steps, seconds = (float(np.median([math.inf if one is None else one[index] for one in found])) for index in (0, 1))
    n = sum(one is not None for one in found)
    return Reached(n, steps if math.isfinite(steps) else None, seconds if math.isfinite(seconds) else None)


def panels_of(
    task: str, groups: Mapping[str, Sequence[ComparedRun]], measure: Measure, threshold: Threshold | None
) -> list[Panel]:
    """Learning curves of one env: by env steps, and by seconds of training.

    Args:
        task: The env, in words.
        groups: Runs of each group by its label; a run without evaluations has no part in it.
        measure: What is compared.
        threshold: Is drawn too.
    """
    drawn = {label: [run for run in runs if len(run.curve.values)] for label, runs in groups.items()}
    curves = [run.curve for runs in drawn.values() for run in runs]
    if not curves:
        return []
    where = "evaluation" if measure.curve_stage == EVAL else "training"
    what = f"mean {where} return" if measure.metric == MEAN_RETURN else f"{one_line(measure.metric, 60)} ({where})"
    sure = any(len(runs) >= FEW for runs in drawn.values())
    title = f"{task}: IQM, {100 * CONFIDENCE:g} % interval" if sure else f"{task}: IQM"
    label = "" if threshold is None else "threshold"
    level = None if threshold is None else threshold.value
    axes = [("env steps of training", "env_steps"), ("time of training [s]", "train_s")]
    timed = all(np.isfinite(curve.train_s).all() for curve in curves)
    return [
        Panel(
            title, x_label, what,
            [_curve(name, runs, axis) for name, runs in drawn.items()], level, label,
        )
        for x_label, axis in axes[: 1 + timed]
    ]  # fmt: skip


def _curve(name: str, runs: Sequence[ComparedRun], axis: str) -> Curve:
    """The interquartile mean of a group's runs along an axis; the band is its interval, or the range of few runs."""
    label = f"{name} ({len(runs) or 'no'} run{'s' * (len(runs) != 1)})"
    if not runs:
        return Curve(label, np.zeros(0), np.zeros(0))
    x, scores = side_by_side(runs, axis)
    if len(runs) == 1:
        return Curve(label, x, scores[0])
    if len(runs) < FEW:
        label = f"{name} ({len(runs)} runs, band: their range)"
        value, low, high = interquartile_means(scores), np.nanmin(scores, axis=0), np.nanmax(scores, axis=0)
    else:
        value, low, high = bands(scores, interquartile_mean, np.random.default_rng(SEED), N_RESAMPLES)
    return Curve(label, x, value, low, high)


def interquartile_means(scores: NDArray[Any]) -> NDArray[Any]:
    """Of the runs that have a score at each point, [n, T] -> [T]."""
    return np.array([interquartile_mean(point[~np.isnan(point)]) for point in scores.T])


def side_by_side(runs: Sequence[ComparedRun], axis: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores of several runs at the same positions.

    Between two evaluations of a run the score is on the line from one to the other. A run that came to its own end
    stays at its last evaluation, since its policy does not change any more; one that was interrupted has no score
    from there on. Positions before the first evaluation of any run are left out, and those after fewer than half of
    the runs have a score.

    Args:
        runs: Each with an evaluation.
        axis: ``env_steps`` or ``train_s``.

    Returns:
        Positions, [T], and scores, NaN where a run has none, [n, T].
    """
    places = [np.asarray(getattr(run.curve, axis), dtype=np.float64) for run in runs]
    begin, end = max(place.min() for place in places), max(place.max() for place in places)
    x = np.linspace(begin, end, N_POINTS if end > begin else 1)
    scores = np.array([
        np.interp(x, place, run.curve.values, left=np.nan, right=None if run.ended else np.nan)
        for run, place in zip(runs, places, strict=True)
    ])  # fmt: skip
    enough = 2 * (~np.isnan(scores)).sum(axis=0) >= len(runs)
    return x[enough], scores[:, enough]
