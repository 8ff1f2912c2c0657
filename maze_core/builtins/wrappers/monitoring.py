"""Histograms of what goes in and out of an env."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env, Wrapper, spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from maze_core.builtins.config import MonitoringConfig
from maze_core.builtins.wrappers.common import reset_mask
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.stats.events import HISTOGRAM

GROUP = "MonitoredEvents"


class Monitoring(Wrapper[Any, Any, Any, Any]):
    """Adds rewards and observations to the statistics of each episode."""

    def __init__(self, env: Env[Any, Any], config: MonitoringConfig) -> None:
        super().__init__(env)
        self._observed = config.observations and isinstance(env.observation_space, spaces.Box)
        self._rewards: list[float] = []
        self._observations: list[NDArray[Any]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._rewards, self._observations = [], []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._rewards.append(float(reward))
        if self._observed:
            self._observations.append(np.array(observation, np.float64).ravel())
        if terminated or truncated:
            observations = np.stack(self._observations) if self._observed else None
            own = _events_of(np.array(self._rewards), observations)
            info = {**info, EPISODE_EVENTS: _joined(info.get(EPISODE_EVENTS), own)}
        return observation, reward, terminated, truncated, info


class VectorMonitoring(VectorWrapper[Any, Any, Any]):
    """Adds rewards and observations to the statistics of each episode, for many envs at once."""

    def __init__(self, env: VectorEnv[Any, Any, Any], config: MonitoringConfig) -> None:
        super().__init__(env)
        space = env.single_observation_space
        self._observed = config.observations and isinstance(space, spaces.Box)
        n_columns = 1 + (int(np.prod(space.shape)) if self._observed and space.shape is not None else 0)
        # Rows are steps of the vector env, so that a step costs one contiguous write per part.
        self._steps = np.zeros((256, env.num_envs, n_columns))
        self._n_steps = 0
        self._first_step = np.zeros(env.num_envs, np.int64)  # of the present episode of each env
        self._live = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = reset_mask(self.env, options)
        self._live |= mask
        self._first_step[mask] = self._n_steps
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if self._n_steps == len(self._steps):
            self._make_room()
        self._steps[self._n_steps, :, 0] = reward
        if self._observed:
            self._steps[self._n_steps, :, 1:] = observation.reshape(self.num_envs, -1)
        self._n_steps += 1
        ended = terminated | truncated
        if ended.any():
            self._live &= ~ended
            info = {**info, EPISODE_EVENTS: self._told(info.get(EPISODE_EVENTS), np.flatnonzero(ended))}
        return observation, reward, terminated, truncated, info

    def _make_room(self) -> None:
        """Drops the steps before all present episodes, and takes more room if that frees little."""
        oldest = int(self._first_step[self._live].min()) if self._live.any() else self._n_steps
        kept = self._steps[oldest : self._n_steps]
        room = len(self._steps) * (2 if len(kept) > len(self._steps) // 2 else 1)
        self._steps, before = np.zeros((room, *self._steps.shape[1:])), kept
        self._steps[: len(before)] = before
        self._first_step -= oldest
        self._n_steps -= oldest

    def _told(self, before: NDArray[Any] | None, rows: NDArray[np.intp]) -> NDArray[Any]:
        told = np.full(self.num_envs, None, dtype=object) if before is None else before.copy()
        for row in rows:
            steps = self._steps[self._first_step[row] : self._n_steps, row].copy()
            told[row] = _joined(told[row], _events_of(steps[:, 0], steps[:, 1:] if self._observed else None))
        return told


def _events_of(rewards: NDArray[np.float64], observations: NDArray[np.float64] | None) -> EpisodeEvents:
    """What is told of an episode with rewards [T] and observations [T, k]."""
    values: dict[str, Any] = {f"{GROUP}/reward/{HISTOGRAM}": rewards}
    for name in ("mean", "min", "max"):
        values[f"{GROUP}/reward/mean_episode_{name}"] = float(getattr(rewards, name)())
    for index in range(0 if observations is None else observations.shape[1]):
        assert observations is not None
        values[f"{GROUP}/observation:{index}/{HISTOGRAM}"] = observations[:, index]
    return EpisodeEvents(values)


def _joined(one: EpisodeEvents | None, other: EpisodeEvents) -> EpisodeEvents:
    return other if one is None else EpisodeEvents({**one.values, **other.values})
