"""Whether groups of runs can be told apart, in numbers and in words.

A verdict needs both: the interval of the difference of interquartile means lies beyond 0, and that of the
probability of improvement beyond 1/2. In simulations of equal groups (normal, skewed and capped scores, and those of
runs that either learn or do not; a thousand each), 12 % to 18 % of verdicts on two groups of 3 runs were wrong, 5 % to
7 % on groups of 5, and 4 % to 5 % on groups of 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from maze_core.reports.tables import number_texts
from maze_core.stats.aggregates import (
    CONFIDENCE,
    Floats,
    improvement_probability,
    interquartile_mean,
    percentile_interval,
    resampled,
    resampled_improvement,
)

FEW = 5
"""Runs of a group below which there are no intervals and no verdicts.

Agarwal et al. 2021 (arXiv:2108.13264) show that conclusions from 3 to 5 runs often do not hold. In the simulations,
95 % intervals of 3 runs contained the true value in 72 % to 76 % of cases, of 4 in 87 % to 89 %, of 5 in 89 % to 95 %,
of 10 in 93 %.
"""

SEED = 0
"""Of the resampling, so that the same runs give the same numbers."""


@dataclass(frozen=True)
class Estimate:
    """A number and its interval.

    Args:
        value: Of the runs.
        low: Lower end of its interval; None if there are too few runs for one.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scores:
    """The scores of a group.

    Args:
        label: What the group is called.
        tasks: Of each env's runs, [n_k] each.
    """

    label: str
    tasks: Sequence[Floats]

    @property
    def n_runs(self) -> int:
        """Runs in the env that has fewest."""
        return min(len(scores) for scores in self.tasks)


@dataclass(frozen=True)
class Pair:
    """Two groups in comparison; of the first it is more probable that it is better.

    Args:
        task: The env, in words.
        first: Label of a group.
        second: Label of another one.
        probability: That a run of the first is better than one of the second, ties half.
        difference: Of the interquartile means, first - second.
        confidence: Of both intervals.
        verdict: ``better``, ``not told apart``, ``equal scores`` or ``too few runs``.
        sentence: The same in words.
    """

    task: str
    first: str
    second: str
    probability: Estimate
    difference: Estimate
    confidence: float
    verdict: str
    sentence: str


def estimate(tasks: Sequence[Floats]) -> Estimate:
    """The interquartile mean of all runs, with its interval where there are enough."""
    value = float(interquartile_mean(np.concatenate(tasks)))
    if min(map(len, tasks)) < FEW:
        return Estimate(value)
    return Estimate(value, *percentile_interval(resampled(tasks, interquartile_mean, _rng())))


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def pairs_of(groups: Sequence[tuple[str, Sequence[Scores]]], lower_is_better: bool) -> list[Pair]:
    """Compares all groups of each env with each other.

    All intervals together are to hold with 95 %, so each of several is wider (Bonferroni).

    Args:
        groups: Those of each env, with its name.
        lower_is_better: Whether small scores are good.
    """
    pairs = [(task, *pair) for task, of_task in groups for pair in combinations(of_task, 2)]
    n = sum(min(x.n_runs, y.n_runs) >= FEW for _, x, y in pairs)
    confidence = 1 - (1 - CONFIDENCE) / max(n, 1)
    return [_pair(task, x, y, confidence, lower_is_better) for task, x, y in pairs]


def _pair(task: str, x: Scores, y: Scores, confidence: float, lower_is_better: bool) -> Pair:
    sign = -1 if lower_is_better else 1
    signed = [[sign * scores for scores in group.tasks] for group in (x, y)]
    probability = improvement_probability(*signed)
    if probability < 0.5:
        return _pair(task, y, x, confidence, lower_is_better)
    difference = float(interquartile_mean(np.concatenate(x.tasks)) - interquartile_mean(np.concatenate(y.tasks)))
    if min(x.n_runs, y.n_runs) < FEW:
        sentence = (
            f"{x.label} and {y.label}: too few runs to tell, {x.n_runs} and {y.n_runs}; each needs {FEW} or more."
        )
        estimates = Estimate(probability), Estimate(difference)
        return Pair(task, x.label, y.label, *estimates, confidence, "too few runs", sentence)
    rng = _rng()
    differences = resampled(x.tasks, interquartile_mean, rng) - resampled(y.tasks, interquartile_mean, rng)
    change = Estimate(difference, *percentile_interval(differences, confidence))
    chance = Estimate(probability, *percentile_interval(resampled_improvement(signed[0], signed[1], rng), confidence))
    verdict = _verdict(x, y, chance, change, sign)
    return Pair(task, x.label, y.label, chance, change, confidence, verdict, _sentence(x, y, chance, change, verdict))


def _verdict(x: Scores, y: Scores, chance: Estimate, change: Estimate, sign: int) -> str:
    if len(np.unique(np.concatenate([*x.tasks, *y.tasks]))) == 1:
        return "equal scores"
    _, low, high = _ends(change)
    beyond = low > 0 if sign > 0 else high < 0
    return "better" if _ends(chance)[1] > 0.5 and beyond else "not told apart"


def _sentence(x: Scores, y: Scores, chance: Estimate, change: Estimate, verdict: str) -> str:
    if verdict == "equal scores":
        score = number_texts([float(x.tasks[0][0])])[0]
        return f"{x.label} and {y.label}: every run of both scored {score}, which cannot tell them apart."
    improvement = "{:.2f} [{:.2f}, {:.2f}]".format(*_ends(chance))
    difference = "{} [{}, {}]".format(*number_texts(_ends(change), signed=True))
    numbers = f"probability of improvement {improvement}, difference of interquartile means {difference}"
    if verdict == "better":
        return f"{x.label} is better than {y.label}: {numbers}."
    n = f"{x.n_runs} runs each" if x.n_runs == y.n_runs else f"{x.n_runs} and {y.n_runs} runs"
    return f"{x.label} and {y.label} cannot be told apart with {n}: {numbers}."


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.value, estimate.low, estimate.high
