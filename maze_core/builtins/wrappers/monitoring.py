"""Histograms of what goes in and out of an env."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env, Wrapper, spaces
from gymnasium.vector import VectorEnv, VectorWrapper

from maze_core.builtins.config import MonitoringConfig
from maze_core.builtins.wrappers.common import reset_mask
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.stats import Event, EventGroup, EventRecorder

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


MONITORED = EventGroup(
    "MonitoredEvents", reward=Event("mean", "min", "max", "histogram"), observation=Event("histogram")
)


class Monitoring(Wrapper[Any, Any, Any, Any]):
    """Adds histograms of rewards and observations to the statistics of each episode."""

    def __init__(self, env: AnyEnv, config: MonitoringConfig) -> None:
        super().__init__(env)
        self._observations = config.observations and isinstance(env.observation_space, spaces.Box)
        self._events = EventRecorder(MONITORED)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._events.reset()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._events.fire(MONITORED, "reward", float(reward))
        if self._observations:
            for index, value in enumerate(np.asarray(observation).ravel()):
                self._events.fire(MONITORED, "observation", float(value), by=str(index))
        if terminated or truncated:
            own = self._events.episode()[EPISODE_EVENTS]
            info = {**info, EPISODE_EVENTS: _joined(info.get(EPISODE_EVENTS), own)}
        return observation, reward, terminated, truncated, info


class VectorMonitoring(VectorWrapper[Any, Any, Any]):
    """Adds histograms of rewards and observations to the statistics, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: MonitoringConfig) -> None:
        super().__init__(env)
        self._observations = config.observations and isinstance(env.single_observation_space, spaces.Box)
        self._events = EventRecorder(MONITORED, num_envs=env.num_envs)
        self._live = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = reset_mask(self.env, options)
        self._live |= mask
        self._events.reset(mask)
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        rows = np.flatnonzero(self._live)
        self._events.fire(MONITORED, "reward", reward[rows], rows=rows)
        if self._observations:
            for index, values in enumerate(observation.reshape(self.num_envs, -1).T):
                self._events.fire(MONITORED, "observation", values[rows], rows=rows, by=str(index))
        ended = terminated | truncated
        self._live &= ~ended
        if ended.any():
            told = info.get(EPISODE_EVENTS, np.full(self.num_envs, None, dtype=object)).copy()
            own = self._events.episode(rows=ended)[EPISODE_EVENTS]
            for row in np.flatnonzero(ended):
                told[row] = _joined(told[row], own[row])
            info = {**info, EPISODE_EVENTS: told}
        return observation, reward, terminated, truncated, info


def _joined(one: EpisodeEvents | None, other: EpisodeEvents) -> EpisodeEvents:
    return other if one is None else EpisodeEvents({**one.values, **other.values})
