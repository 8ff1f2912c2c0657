"""Compares runs: reads them, groups them over seeds, and says what they score and whether that tells them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maze_core.api.compared_runs import FINAL, Measure, read_runs
from maze_core.api.comparison_results import ALL_ENVS, Comparison, GroupResult, TaskResult
from maze_core.api.learning_curves import reached_by, threshold_of
from maze_core.api.run_groups import RunGroup, grouped
from maze_core.api.verdicts import FEW, Scores, estimate, pairs_of
from maze_core.errors import UserError, checked_texts
from maze_core.run_config import MEAN_RETURN
from maze_core.runs.metrics import STAGES
from maze_core.stats.aggregates import Floats

AT = ("last", "best")


def compare(
    run_dirs: str | Path | Sequence[str | Path],
    *,
    by: str | Sequence[str] = (),
    stage: str = FINAL,
    at: str = "last",
    metric: str = MEAN_RETURN,
    lower_is_better: bool = False,
    threshold: float | None = None,
    normalize: Mapping[str, tuple[float, float]] | None = None,
) -> Comparison:
    """Compares runs over seeds, as ``maze compare`` does.

    Args:
        run_dirs: Directories of runs, or folders with runs below them.
        by: Keys of settings that make a group, such as ``algorithm`` or ``algorithm.lr``; none takes the one that
            the runs differ in.
        stage: ``final_eval``, the best policy on episodes that did not select it, ``eval`` or ``train``.
        at: ``last`` or ``best`` row of the stage.
        metric: Path of the statistic that is compared.
        lower_is_better: Whether small numbers are good.
        threshold: What counts as reached; None takes what is known of the env.
        normalize: By env, what counts as 0 and what as 1: takes the envs together.

    Raises:
        NothingUsableError: If there is no run that can be compared.
        UserError: If a key, the statistic or an env is that of no run, or it is not clear what makes a group.
    """
    measure = _checked(stage, at, metric, lower_is_better, threshold)
    runs, left_out = read_runs(checked_texts("run_dirs", run_dirs), measure)
    keys, groups, warnings = grouped(runs, checked_texts("by", by))
    names = list(dict.fromkeys(group.task for group in groups))
    scales = _checked_scales(normalize or {}, names)
    tasks = [_task(name, [group for group in groups if group.task == name], measure, threshold) for name in names]
    tasks += [_together(tasks, scales, measure)] if scales else []
    labels = list(dict.fromkeys(group.label for task in tasks for group in task.groups))
    tasks = [replace(task, labels=labels) for task in tasks]
    pairs = pairs_of([(task.task, [group.scores for group in task.groups]) for task in tasks], lower_is_better)
    return Comparison(keys, measure, tasks, pairs, [*warnings, *doubts(tasks, measure)], left_out)


def _checked(stage: str, at: str, metric: str, lower_is_better: bool, threshold: float | None) -> Measure:
    for name, value, allowed in (("stage", stage, STAGES), ("at", at, AT)):
        if value not in allowed:
            raise UserError(f"{name}={value!r} is not allowed: it must be one of {', '.join(allowed)}.")
    if at == "best" and stage == FINAL:
        raise UserError(f"at='best' is not allowed with stage={FINAL!r}, of which there is one; use stage='eval'.")
    if threshold is not None and not math.isfinite(threshold):
        raise UserError(f"threshold={threshold} is not allowed: it must be a number.")
    return Measure(stage, metric, at, lower_is_better)


def _checked_scales(scales: Mapping[str, tuple[float, float]], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """What counts as 0 and as 1 in each env, or nothing."""
    for name, (low, high) in scales.items():
        if name not in names:
            raise UserError(f"no run is in an env {name!r} to be normalised. Known: {', '.join(names)}.")
        if not -math.inf < low < high < math.inf:
            raise UserError(
                f"normalize: {name}={low:g},{high:g} is not allowed: it must be two numbers, smaller first."
            )
    missing = [name for name in names if name not in scales]
    if scales and missing:
        raise UserError(f"normalize: {missing[0]} is missing; all envs are taken together, or none.")
    return dict(scales)


def _task(name: str, groups: Sequence[RunGroup], measure: Measure, given: float | None) -> TaskResult:
    threshold = threshold_of(groups, measure, given)
    results = []
    for group in groups:
        scores = Scores(group.label, [np.array([run.score for run in group.runs])])
        level = None if threshold is None else reached_by(group.runs, threshold, measure)
        results.append(GroupResult(name, group.label, group.values, scores, estimate(scores.tasks), level, group.runs))
    return TaskResult(name, _best_first(results, measure), threshold, measure)


def _best_first(groups: Sequence[GroupResult], measure: Measure) -> list[GroupResult]:
    return sorted(groups, key=lambda group: group.iqm.value, reverse=not measure.lower_is_better)


def _together(tasks: Sequence[TaskResult], scales: Mapping[str, tuple[float, float]], measure: Measure) -> TaskResult:
    """The groups that are in all envs, over all envs."""
    by_label: dict[str, list[GroupResult]] = {}
    for task in tasks:
        for group in task.groups:
            by_label.setdefault(group.label, []).append(group)
    results = []
    for label, groups in by_label.items():
        if len(groups) == len(tasks):
            scores = Scores(label, [_scaled(group, *scales[group.task]) for group in groups])
            runs = [run for group in groups for run in group.runs]
            results.append(GroupResult(ALL_ENVS, label, groups[0].values, scores, estimate(scores.tasks), None, runs))
    return TaskResult(ALL_ENVS, _best_first(results, measure), None, measure)


def _scaled(group: GroupResult, low: float, high: float) -> Floats:
    return (group.all_scores - low) / (high - low)


def doubts(tasks: Sequence[TaskResult], measure: Measure) -> list[str]:
    """What speaks against conclusions from these results, in sentences."""
    groups = [group for task in tasks for group in task.groups]
    return [*_about_measure(groups, measure), *_about_numbers(groups), *_about_envs(tasks)]


def _about_measure(groups: Sequence[GroupResult], measure: Measure) -> list[str]:
    said = []
    if measure.at == "best":
        said.append(
            "the best of several evaluations was selected by its result, so it is too good to be true, the more so the "
            "more evaluations a run has."
        )
    unfinished = sum(not run.ended for group in groups for run in group.runs if group.task != ALL_ENVS)
    if unfinished:
        said.append(f"{unfinished} of the runs did not come to their end; they are compared as far as they are.")
    return said


def _about_numbers(groups: Sequence[GroupResult]) -> list[str]:
    few = [group for group in groups if group.scores.n_runs < FEW and group.task != ALL_ENVS]
    if not few:
        return []
    several = len({group.task for group in groups}) > 1
    shown = ", ".join(
        f"{group.label}{f' in {group.task}' if several else ''} has {group.scores.n_runs}" for group in few[:8]
    )
    return [
        f"too few runs: {shown}{', ...' if len(few) > 8 else ''}. Below {FEW} runs a group gets no interval and no "
        f"verdict: they would be wrong too often. Train more seeds, such as 'seed=range({FEW})'; 10 are better."
    ]


def _about_envs(tasks: Sequence[TaskResult]) -> list[str]:
    own = [task for task in tasks if task.task != ALL_ENVS]
    said = []
    alone = [task.task for task in own if len(task.groups) == 1]
    if alone and len(own) > 1:
        said.append(f"only one group ran in {', '.join(alone[:4])}, so nothing is compared there.")
    for together in (task for task in tasks if task.task == ALL_ENVS):
        labels = dict.fromkeys(group.label for task in own for group in task.groups)
        if missing := [label for label in labels if label not in {group.label for group in together.groups}]:
            said.append(f"not in all envs, and so not in the results over all of them: {', '.join(missing[:8])}.")
        uneven = [group.label for group in together.groups if len({len(runs) for runs in group.scores.tasks}) > 1]
        if uneven:
            said.append(f"not as many runs in each env: {', '.join(uneven[:8])}; envs with more runs count more.")
    return said
