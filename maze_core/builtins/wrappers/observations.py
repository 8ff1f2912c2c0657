"""Wrappers that change what is observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env, Wrapper, spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from maze_core.builtins.config import MaskFromInfoConfig, ObservationStackingConfig
from maze_core.builtins.wrappers.common import refuse_structured, reset_mask
from maze_core.errors import EnvFaultError, UserError
from maze_core.rl.actors import is_structured

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


class ObservationStacking(Wrapper[Any, Any, Any, Any]):
    """Shows the last observations together; the newest comes last."""

    def __init__(self, env: AnyEnv, config: ObservationStackingConfig) -> None:
        super().__init__(env)
        self._n = config.n_observations
        self.observation_space = _stacked_space(env.observation_space, env.action_space, self._n)
        self._stack: NDArray[Any] = np.zeros(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode with its first observation repeated."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._stack = np.repeat(np.asarray(observation)[None], self._n, axis=0)
        return self._stack.copy(), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._stack = np.concatenate((self._stack[1:], np.asarray(observation)[None]))
        return self._stack.copy(), reward, terminated, truncated, info


class VectorObservationStacking(VectorWrapper[Any, Any, Any]):
    """Shows the last observations together, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: ObservationStackingConfig) -> None:
        super().__init__(env)
        self._n = config.n_observations
        space = _stacked_space(env.single_observation_space, env.single_action_space, self._n)
        self.single_observation_space = space
        self.observation_space = batch_space(space, env.num_envs)
        self._stack = np.zeros((env.num_envs, *space.shape), space.dtype)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs; their first observations are repeated."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = reset_mask(self.env, options)
        self._stack[mask] = observation[mask][:, None]
        return self._stack.copy(), info

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._stack = np.concatenate((self._stack[:, 1:], observation[:, None]), axis=1)
        return self._stack.copy(), reward, terminated, truncated, info


def _stacked_space(space: spaces.Space[Any], action_space: spaces.Space[Any], n: int) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        what = "a structured env" if is_structured(space, action_space) else str(space)
        raise UserError(f"wrapper observation_stacking stacks a single Box, and the observations here are {what}.")
    low, high = (np.repeat(bound[None], n, axis=0) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype)


class MaskFromInfo(Wrapper[Any, Any, Any, Any]):
    """Puts an action mask from the info into the observation, beside what the env shows."""

    def __init__(self, env: AnyEnv, config: MaskFromInfoConfig) -> None:
        super().__init__(env)
        refuse_structured("mask_from_info", env.observation_space, env.action_space)
        self._key = config.key
        shown = env.observation_space
        parts = dict(shown.spaces) if isinstance(shown, spaces.Dict) else {"observation": shown}
        self._is_dict = isinstance(shown, spaces.Dict)
        self.observation_space = spaces.Dict({**parts, "action_mask": _mask_space(env.action_space)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._masked(observation, info), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._masked(observation, info), reward, terminated, truncated, info

    def _masked(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        if self._key not in info:
            keys = ", ".join(map(str, info)) or "none"
            raise EnvFaultError(f"wrapper mask_from_info: the info has no {self._key!r} (its keys: {keys}).")
        parts = observation if self._is_dict else {"observation": observation}
        return {**parts, "action_mask": np.asarray(info[self._key], np.int8)}


def _mask_space(action_space: spaces.Space[Any]) -> spaces.MultiBinary:
    if isinstance(action_space, spaces.Discrete):
        return spaces.MultiBinary(int(action_space.n))
    if isinstance(action_space, spaces.MultiDiscrete):
        return spaces.MultiBinary(int(action_space.nvec.sum()))
    raise UserError(
        f"wrapper mask_from_info needs a Discrete or MultiDiscrete action space, and this is {action_space}."
    )
