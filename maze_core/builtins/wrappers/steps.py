"""Wrappers that change what a step is: its end, or how often an action is taken."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.vector import VectorEnv, VectorWrapper

from maze_core.builtins.config import ActionRepeatConfig, TimeLimitConfig
from maze_core.builtins.wrappers.common import refuse_structured, reset_mask
from maze_core.rl.actors import Actors
from maze_core.rl.episodes import EPISODE_EVENTS
from maze_core.rl.spaces import put_rows, take_rows

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


class EnvStepLimit(Wrapper[Any, Any, Any, Any]):
    """Truncates episodes after a number of env steps."""

    def __init__(self, env: AnyEnv, config: TimeLimitConfig) -> None:
        super().__init__(env)
        self._limit, self._steps = config.max_env_steps, 0
        self._actors = Actors(env.observation_space, env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env; an env step counts when all its sub-steps are taken."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        begins = self._actors.step_begins(observation)
        self._steps += 1 if begins is None else int(begins)
        return observation, reward, terminated, truncated or (not terminated and self._steps >= self._limit), info


class VectorEnvStepLimit(VectorWrapper[Any, Any, Any]):
    """Truncates episodes after a number of env steps, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: TimeLimitConfig) -> None:
        super().__init__(env)
        self._limit = config.max_env_steps
        self._steps, self._live = np.zeros(env.num_envs, np.int64), np.zeros(env.num_envs, bool)
        self._actors = Actors(env.single_observation_space, env.single_action_space)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = reset_mask(self.env, options)
        self._steps[mask] = 0
        self._live |= mask
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """Steps the envs; one that was truncated here idles, although the env below goes on."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        begins = self._actors.step_begins(observation)
        self._steps += self._live if begins is None else self._live & begins
        truncated = self._live & (truncated | (~terminated & (self._steps >= self._limit)))
        terminated = self._live & terminated
        reward = np.where(self._live, reward, 0.0)
        self._live &= ~(terminated | truncated)
        return observation, reward, terminated, truncated, info


class ActionRepeat(Wrapper[Any, Any, Any, Any]):
    """Repeats each action for several env steps."""

    def __init__(self, env: AnyEnv, config: ActionRepeatConfig) -> None:
        super().__init__(env)
        refuse_structured("action_repeat", env.observation_space, env.action_space, "would count the sub-steps")
        self._n = config.n_repeats

    def step(self, action: Any) -> Any:
        """Steps the env until all repeats are taken or the episode ends."""
        total = 0.0
        for _ in range(self._n):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class VectorActionRepeat(VectorWrapper[Any, Any, Any]):
    """Repeats each action for several env steps, for many envs at once; ended envs idle meanwhile."""

    def __init__(self, env: AnyVectorEnv, config: ActionRepeatConfig) -> None:
        super().__init__(env)
        refuse_structured(
            "action_repeat", env.single_observation_space, env.single_action_space, "would count the sub-steps"
        )
        self._n = config.n_repeats

    def step(self, actions: Any) -> Any:
        """Steps the envs until all repeats are taken."""
        total = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        told: dict[str, Any] = {}
        shown: Any = None
        for _ in range(self._n):
            rows = np.flatnonzero(~(terminated | truncated))  # what ended keeps its last observation
            observation, reward, ends, cuts, info = self.env.step(actions)
            if shown is None:
                shown = deepcopy(observation)
            else:
                put_rows(shown, rows, take_rows(observation, rows))
            total += reward
            terminated |= ends
            truncated |= cuts
            told = _with_events(info, told)
        return shown, total, terminated, truncated, told


def _with_events(info: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The newest infos, and the events of episodes that ended earlier."""
    before = earlier.get(EPISODE_EVENTS)
    if before is None:
        return info
    now = info.get(EPISODE_EVENTS)
    events = np.array([b if n is None else n for n, b in zip(now, before, strict=True)]) if now is not None else before
    return {**info, EPISODE_EVENTS: events}
