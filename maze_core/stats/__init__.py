"""Statistics: from steps to episodes to epochs, as plain numbers under a path of three parts.

A path is ``group/event/statistic``, such as ``BaseEnvEvents/reward/mean``. Arrays are reduced once
per epoch; nothing here is called per step except the counting of actions in evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.rl.actors import Actors, Turn
from maze_core.rl.episodes import EpisodeBatch
from maze_core.stats.events import HISTOGRAM, Event, EventGroup, EventRecorder, reduce_events

__all__ = [
    "REWARD", "ActionCounter", "EpisodeTotals", "Event", "EventGroup", "EventRecorder", "Histogram",
    "StageStatistics", "trainer_histograms", "trainer_statistics",
]  # fmt: skip

REWARD = "BaseEnvEvents/reward/"


@dataclass(frozen=True)
class Histogram:
    """Values of an event whose distribution matters more than their mean.

    Args:
        values: All values, [n].
    """

    values: NDArray[Any]

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.mean(self.values)) if len(self.values) else 0.0


@dataclass(frozen=True)
class StageStatistics:
    """The statistics of one epoch and stage.

    Args:
        stage: ``train``, ``eval`` or ``final_eval``.
        values: By path; plain Python floats.
        histograms: By path.
    """

    stage: str
    values: Mapping[str, float]
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    @property
    def mean_reward(self) -> float:
        """Mean episode return."""
        return self.values[REWARD + "mean"]


class EpisodeTotals:
    """Reduces the episodes of a stage, counting their steps and number over the whole run."""

    def __init__(self) -> None:
        self.env_steps = 0
        self.episodes = 0

    def reduce(
        self,
        stage: str,
        batches: Sequence[EpisodeBatch],
        more: Mapping[str, float] | None = None,
        more_histograms: Mapping[str, Histogram] | None = None,
    ) -> StageStatistics:
        """Statistics of the episodes of one epoch; without episodes only the totals.

        Args:
            stage: ``train``, ``eval`` or ``final_eval``.
            batches: The epoch's episodes.
            more: Further statistics by path, shown first.
            more_histograms: Further histograms by path, shown first.
        """
        joined = EpisodeBatch.joined(batches)
        self.env_steps += int(joined.lengths.sum())
        self.episodes += len(joined.returns)
        values: dict[str, float] = {}
        if len(joined.returns):
            values["median_step_count"] = float(np.median(joined.lengths))
            values["mean_step_count"] = float(joined.lengths.mean())
        values["total_step_count"] = float(self.env_steps)
        values["total_episode_count"] = float(self.episodes)
        values["episode_count"] = float(len(joined.returns))
        if len(joined.returns):
            for name in ("std", "mean", "min", "max"):
                values[name] = float(getattr(joined.returns, name)())
        events, histograms = reduce_events(joined.events)
        return StageStatistics(
            stage,
            {**(more or {}), **events, **{REWARD + name: value for name, value in values.items()}},
            {**(more_histograms or {}), **{path: Histogram(collected) for path, collected in histograms.items()}},
        )


class ActionCounter:
    """Collects the actions that a policy chose, for the histograms of the evaluation.

    Args:
        actors: The env's actors.
    """

    def __init__(self, actors: Actors) -> None:
        self._actors = actors
        self._values: dict[str, list[NDArray[Any]]] = {}

    def observe(self, turn: Turn, actions: Any, live: NDArray[np.bool_]) -> None:
        """Takes the actions of one turn; rows that are not live do not count."""
        space = self._actors.by_key[turn.step_key].action_space
        for group, name, values in _parts(space, actions, ""):
            path = f"{group}/action/{turn.step_key}/{name}"
            self._values.setdefault(path, []).append(np.array(values)[live])

    def histograms(self) -> dict[str, Histogram]:
        """All histograms, by path; the last part names sub-step and action."""
        return {path: Histogram(np.concatenate(values)) for path, values in self._values.items()}


def _parts(space: spaces.Space[Any], actions: Any, name: str) -> list[tuple[str, str, Any]]:
    """The scalar parts of a batch of actions, as (group, name, values [B])."""
    if isinstance(space, spaces.Dict):
        return [part for key, sub in space.spaces.items() for part in _parts(sub, actions[key], _join(name, key))]
    if isinstance(space, spaces.Tuple):
        return [part for i, sub in enumerate(space.spaces) for part in _parts(sub, actions[i], _join(name, str(i)))]
    name = name or "action"
    group = {spaces.Box: "BoxActionEvents", spaces.MultiBinary: "BinaryActionEvents"}
    kind = group.get(type(space), "DiscreteActionEvents")
    if np.ndim(actions) == 1:
        return [(kind, name, actions)]
    flat = np.asarray(actions).reshape(len(actions), -1)
    if flat.shape[1] == 1:
        return [(kind, name, flat[:, 0])]
    return [(kind, f"{name}_{column}", flat[:, column]) for column in range(flat.shape[1])]


def _join(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def trainer_statistics(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the updates of an epoch of what `Trainer.step` returned."""
    names = list(dict.fromkeys(name for update in metrics for name in update))
    return {
        f"TrainerEvents/{name}/mean": float(np.mean([update[name] for update in metrics if name in update]))
        for name in names
    }


def trainer_histograms(arrays: Mapping[str, Any]) -> dict[str, Histogram]:
    """What a trainer tells as distributions, by path; numbers that are not finite are left out."""
    found = {name: np.asarray(values, np.float64).ravel() for name, values in arrays.items()}
    found = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {f"TrainerEvents/{name}/{HISTOGRAM}": Histogram(values) for name, values in found.items() if len(values)}
