"""Evaluation: the deterministic policy on episodes that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from maze_core.protocols import Runner, Workspace
from maze_core.rl.episodes import EpisodeBatch, run_episodes
from maze_core.rl.streams import Streams
from maze_core.stats import ActionCounter, EpisodeTotals, Histogram, StageStatistics

SLICE = 16
"""Episodes that run in lock-step; fixed, because the bits of a matrix product depend on its shape."""


def evaluate_slice(workspace: Workspace, seeds: Sequence[int]) -> tuple[EpisodeBatch, dict[str, Histogram]]:
    """Runs one episode for each seed in lock-step, and counts the actions."""
    counter = ActionCounter(workspace.actors)
    env = workspace.vector_env(len(seeds), training=False)
    batch = run_episodes(env, workspace.actors, workspace.acting.act, seeds, counter.observe)
    return batch, counter.histograms()


def evaluate(runner: Runner, streams: Streams, stage: str, n_episodes: int, totals: EpisodeTotals) -> StageStatistics:
    """Evaluates the policy on exactly `n_episodes` episodes.

    Episode i has the same seed at every evaluation of a stage, whichever env runs it; every episode
    that was started counts, so short ones are not preferred.

    Args:
        runner: Where the episodes run.
        streams: Random streams of the run.
        stage: ``eval`` or ``final_eval``; each has seeds of its own.
        n_episodes: How many.
        totals: Counts over the whole run.
    """
    seeds = streams.episode_seeds(stage, 0, n_episodes)
    results = runner.map(evaluate_slice, [seeds[first : first + SLICE] for first in range(0, n_episodes, SLICE)])
    statistics = totals.reduce(stage, [batch for batch, _ in results])
    actions = merged([histograms for _, histograms in results])
    return replace(statistics, histograms={**actions, **statistics.histograms})


def merged(histograms: Sequence[dict[str, Histogram]]) -> dict[str, Histogram]:
    """The values of several slices together, by path."""
    paths: dict[str, list[Any]] = {}
    for part in histograms:
        for path, histogram in part.items():
            paths.setdefault(path, []).append(histogram.values)
    return {path: Histogram(np.concatenate(values)) for path, values in paths.items()}
