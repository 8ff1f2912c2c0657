"""Histograms of what goes in and out of an env."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper, spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from maze_core.builtins.config import MonitoringConfig
from maze_core.builtins.wrappers.common import reset_mask
from maze_core.rl.actors import ACTOR, NEW_STEP, Actors, is_structured
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.rl.spaces import ACTION_MASK, repeat
from maze_core.stats.events import HISTOGRAM

GROUP = "MonitoredEvents"
MAX_PARTS = 32
"""A Box of more numbers is summed up by their mean, so that images do not make thousands of histograms."""

Parts = list[tuple[str, tuple[str, ...], int]]
"""Name, keys in the observation, and columns of each Box that is monitored."""


def monitored_parts(space: spaces.Space[Any], keys: tuple[str, ...] = ()) -> Parts:
    """The Boxes in an observation space, nested ones too; masks and other spaces are left out."""
    if isinstance(space, spaces.Dict):
        parts = ((key, sub) for key, sub in space.spaces.items() if key != ACTION_MASK)
        return [part for key, sub in parts for part in monitored_parts(sub, (*keys, str(key)))]
    if not isinstance(space, spaces.Box):
        return []
    size = int(np.prod(space.shape))
    return [(".".join(("observation", *keys)), keys, size if size <= MAX_PARTS else 1)]


def _step_keys(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Sequence[str]:
    """The step keys of a structured env, in the order of their indices; empty for a flat one."""
    if not is_structured(observation_space, action_space):
        return ()
    return Actors(observation_space, action_space).step_keys


def _columns(observation: Any, parts: Parts, n_rows: int, step_keys: Sequence[str]) -> NDArray[np.float64]:
    """What is monitored of a batch of observations, [n_rows, columns]."""
    columns = []
    for _, keys, size in parts:
        part = observation
        for key in keys:
            part = part[key]
        flat = np.asarray(part, np.float64).reshape(n_rows, -1)
        flat = flat if flat.shape[1] == size else flat.mean(axis=1, keepdims=True)
        if step_keys:  # what an actor sees counts only while it acts
            flat = np.where((np.asarray(observation[ACTOR]) == step_keys.index(keys[0]))[:, None], flat, np.nan)
        columns.append(flat)
    return columns[0] if len(columns) == 1 else np.concatenate([np.zeros((n_rows, 0)), *columns], axis=1)


class Monitoring(Wrapper[Any, Any, Any, Any]):
    """Adds rewards and observations to the statistics of each episode."""

    def __init__(self, env: Env[Any, Any], config: MonitoringConfig) -> None:
        super().__init__(env)
        self._parts = monitored_parts(env.observation_space) if config.observations else []
        self._step_keys = _step_keys(env.observation_space, env.action_space)
        self._rewards: list[float] = []
        self._closes: list[bool] = []
        self._observations: list[NDArray[Any]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._rewards, self._closes, self._observations = [], [], []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._rewards.append(float(reward))
        self._closes.append(not self._step_keys or bool(observation[NEW_STEP]))
        batch = repeat(observation, 1) if self._parts else None
        self._observations.append(_columns(batch, self._parts, 1, self._step_keys)[0])
        if terminated or truncated:
            rewards = _of_env_steps(np.array(self._rewards), np.array(self._closes))
            own = _events_of(rewards, np.stack(self._observations), self._parts)
            info = {**info, EPISODE_EVENTS: _joined(info.get(EPISODE_EVENTS), own)}
        return observation, reward, terminated, truncated, info


class VectorMonitoring(VectorWrapper[Any, Any, Any]):
    """Adds rewards and observations to the statistics of each episode, for many envs at once."""

    def __init__(self, env: VectorEnv[Any, Any, Any], config: MonitoringConfig) -> None:
        super().__init__(env)
        self._parts = monitored_parts(env.single_observation_space) if config.observations else []
        self._step_keys = _step_keys(env.single_observation_space, env.single_action_space)
        n_columns = 2 + sum(size for _, _, size in self._parts)  # the first: reward, whether an env step closes
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
        self._steps[self._n_steps, :, 1] = observation[NEW_STEP] if self._step_keys else 1
        if self._parts:
            self._steps[self._n_steps, :, 2:] = _columns(observation, self._parts, self.num_envs, self._step_keys)
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
            rewards = _of_env_steps(steps[:, 0], steps[:, 1].astype(bool))
            told[row] = _joined(told[row], _events_of(rewards, steps[:, 2:], self._parts))
        return told


def _of_env_steps(rewards: NDArray[np.float64], closes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rewards of the sub-steps of an episode, [S], summed over each env step, [T]; the last one closes in any case."""
    first = np.concatenate([[0], np.flatnonzero(closes[:-1]) + 1])
    sums: NDArray[np.float64] = np.add.reduceat(rewards, first)
    return sums


def _events_of(rewards: NDArray[np.float64], columns: NDArray[np.float64], parts: Parts) -> EpisodeEvents:
    """What is told of an episode with rewards [T] and monitored observations [S, columns]."""
    values: dict[str, Any] = {f"{GROUP}/reward/{HISTOGRAM}": rewards}
    for name in ("mean", "min", "max"):
        values[f"{GROUP}/reward/mean_episode_{name}"] = float(getattr(rewards, name)())
    column = 0
    for name, _, size in parts:
        for index in range(size):
            label = f"{name}:{index}" if size > 1 else name
            values[f"{GROUP}/{label}/{HISTOGRAM}"] = columns[~np.isnan(columns[:, column]), column]
            column += 1
    return EpisodeEvents(values)


def _joined(one: EpisodeEvents | None, other: EpisodeEvents) -> EpisodeEvents:
    return other if one is None else EpisodeEvents({**one.values, **other.values})
