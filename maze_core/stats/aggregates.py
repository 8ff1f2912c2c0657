"""What several runs say together: aggregates over seeds, and how sure they are.

Source of all but Wilson's interval: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv:2108.13264. Scores come as one array for each task, `[n_k]` for its n_k runs; tasks with more runs
count more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From scores, [..., n], to one number for each row, [...]."""

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
MAX_BLOCK = 2**22
"""Numbers that are in memory at once, beside the results."""


def interquartile_mean(scores: NDArray[Any]) -> Floats:
    """Mean of the middle half (Agarwal et al. 2021, section 4.3): a quarter is cut off at either end.

    Of n scores the ``floor(n / 4)`` smallest and largest are cut, whole ones only: of five, three are left.

    Args:
        scores: [..., n], n >= 1.

    Returns:
        [...]
    """
    n = scores.shape[-1]
    return np.asarray(np.sort(scores, axis=-1)[..., n // 4 : n - n // 4].mean(axis=-1), dtype=np.float64)


def resampled(
    tasks: Sequence[Floats], statistic: Statistic, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Floats:
    """A statistic of stratified bootstrap resamples (Agarwal et al. 2021, section 4.1).

    Each task's runs are drawn anew from themselves, with replacement; the tasks stay.

    Args:
        tasks: Scores of each task's runs, [n_k] each.
        statistic: Computes it from the scores of all tasks side by side.
        rng: Draws the runs.
        n_resamples: R.

    Returns:
        [R]
    """
    blocks = _blocks(n_resamples, sum(len(scores) for scores in tasks))
    drawn = (np.concatenate([scores[_drawn(len(scores), n, rng)] for scores in tasks], axis=1) for n in blocks)
    return np.concatenate([statistic(block) for block in drawn])


def percentile_interval(values: NDArray[Any], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """What the middle of the values lies between: the percentile interval of a bootstrap.

    Args:
        values: Of the resamples, [R].
        confidence: Which part of them lies inside, in (0, 1).
    """
    low, high = np.percentile(values, _percentiles(confidence))
    return float(low), float(high)


def wilson_interval(n_successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between which rates the true one lies, of which so many successes were seen (Wilson 1927).

    Unlike the mean and its deviation it stays within [0, 1], and is right for rates near the ends.

    Args:
        n_successes: How often it happened, 0 to n.
        n: How often it was tried, >= 1.
        confidence: How probably such an interval has the true rate in it, in (0, 1).
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, spread = n_successes / n, z * z / n
    middle = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def improvement_probability(tasks_x: Sequence[Floats], tasks_y: Sequence[Floats]) -> float:
    """How probably a run of X scores higher than one of Y, ties half (Agarwal et al. 2021, section 4.3).

    It is the statistic U of Mann and Whitney divided by the number of pairs, averaged over tasks.

    Args:
        tasks_x: Scores of each task's runs, [n_k] each.
        tasks_y: The same tasks of the other.
    """
    return float(np.mean([_wins(x, y).mean() for x, y in zip(tasks_x, tasks_y, strict=True)]))


def resampled_improvement(
    tasks_x: Sequence[Floats], tasks_y: Sequence[Floats], rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Floats:
    """`improvement_probability` of stratified bootstrap resamples, of each side by itself.

    Args:
        tasks_x: Scores of each task's runs, [n_k] each.
        tasks_y: The same tasks of the other.
        rng: Draws the runs.
        n_resamples: R.

    Returns:
        [R]
    """
    total = np.zeros(n_resamples)
    for x, y in zip(tasks_x, tasks_y, strict=True):
        wins = _wins(x, y)
        first = 0
        for n in _blocks(n_resamples, len(x) + len(y)):
            often_x, often_y = _how_often(len(x), n, rng), _how_often(len(y), n, rng)
            total[first : first + n] += ((often_x @ wins) * often_y).sum(axis=1) / wins.size
            first += n
    return total / len(tasks_x)


def bands(
    curves: Floats,
    statistic: Statistic,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats, Floats]:
    """A statistic of several curves at every point, with its percentile interval there.

    Whole curves are drawn, the same ones for all points where the same curves exist.

    Args:
        curves: Scores of each run at each point, NaN where a run has none, [n, T].
        statistic: Computes it from the scores at a point.
        rng: Draws the runs.
        n_resamples: R.
        confidence: Of the interval at one point, in (0, 1).

    Returns:
        The statistic and both ends, [T] each; NaN where no run has a score.
    """
    value, low, high = (np.full(curves.shape[1], np.nan) for _ in range(3))
    present = ~np.isnan(curves)
    for pattern in np.unique(present[:, present.any(axis=0)], axis=1).T:
        here = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        drawn = _drawn(int(pattern.sum()), n_resamples, rng)
        size = max(1, MAX_BLOCK // drawn.size)
        for points in np.split(here, range(size, len(here), size)):
            scores = curves[np.ix_(pattern, points)].T
            value[points] = statistic(scores)
            ends = np.percentile(statistic(scores[:, drawn]), _percentiles(confidence), axis=1)
            low[points], high[points] = ends
    return value, low, high


def _percentiles(confidence: float) -> list[float]:
    return [round(50 * (1 - confidence), 9), round(50 * (1 + confidence), 9)]


def _blocks(n_resamples: int, width: int) -> Iterator[int]:
    """Sizes of blocks of resamples that fit into memory."""
    size = max(1, MAX_BLOCK // max(width, 1))
    for first in range(0, n_resamples, size):
        yield min(size, n_resamples - first)


def _drawn(n: int, n_resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of n runs are drawn, [R, n]."""
    return rng.integers(0, n, (n_resamples, n))


def _how_often(n: int, n_resamples: int, rng: np.random.Generator) -> Floats:
    """How often each of n runs is drawn, [R, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float64)


def _wins(x: Floats, y: Floats) -> Floats:
    """1 where a run of X scores higher than one of Y, half at a tie, [n_x, n_y]."""
    above: NDArray[np.bool_] = x[:, None] > y
    return np.asarray(above + 0.5 * (x[:, None] == y), dtype=np.float64)
