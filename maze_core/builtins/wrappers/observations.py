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
from maze_core.rl.spaces import ACTION_MASK

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


class ObservationStacking(Wrapper[Any, Any, Any, Any]):
    """Shows the last observations together, the newest last; of a Dict its Boxes, and the mask as it is."""

    def __init__(self, env: AnyEnv, config: ObservationStackingConfig) -> None:
        super().__init__(env)
        self._n = config.n_observations
        self._keys = _stacked_keys(env.observation_space, env.action_space)
        self.observation_space = _stacked_space(env.observation_space, self._keys, self._n)
        self._stacks: dict[str, NDArray[Any]] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode with its first observation repeated."""
        observation, info = self.env.reset(seed=seed, options=options)
        parts = _parts_of(observation, self._keys)
        self._stacks = {key: np.repeat(np.asarray(part)[None], self._n, axis=0) for key, part in parts.items()}
        return _with_stacks(observation, self._stacks), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        parts = _parts_of(observation, self._keys)
        self._stacks = {k: np.concatenate((self._stacks[k][1:], np.asarray(part)[None])) for k, part in parts.items()}
        return _with_stacks(observation, self._stacks), reward, terminated, truncated, info


class VectorObservationStacking(VectorWrapper[Any, Any, Any]):
    """Shows the last observations together, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: ObservationStackingConfig) -> None:
        super().__init__(env)
        self._n = config.n_observations
        self._keys = _stacked_keys(env.single_observation_space, env.single_action_space)
        space = _stacked_space(env.single_observation_space, self._keys, self._n)
        self.single_observation_space = space
        self.observation_space = batch_space(space, env.num_envs)
        self._stacks: dict[str, NDArray[Any]] = {}

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs; their first observations are repeated."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = reset_mask(self.env, options)
        for key, part in _parts_of(observation, self._keys).items():
            if key not in self._stacks:
                self._stacks[key] = np.repeat(np.zeros_like(part)[:, None], self._n, axis=1)
            self._stacks[key][mask] = part[mask][:, None]
        return _with_stacks(observation, self._stacks), info

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        parts = _parts_of(observation, self._keys)
        self._stacks = {k: np.concatenate((self._stacks[k][:, 1:], part[:, None]), axis=1) for k, part in parts.items()}
        return _with_stacks(observation, self._stacks), reward, terminated, truncated, info


PLAIN = ""
"""Key of an observation that is no Dict."""


def _stacked_keys(space: spaces.Space[Any], action_space: spaces.Space[Any]) -> list[str]:
    """The Boxes that are stacked.

    Raises:
        UserError: If there is none, or the env is structured.
    """
    if isinstance(space, spaces.Box):
        return [PLAIN]
    if isinstance(space, spaces.Dict) and not is_structured(space, action_space):
        keys = [key for key, part in space.spaces.items() if isinstance(part, spaces.Box) and key != ACTION_MASK]
        if keys:
            return keys
    what = "a structured env" if is_structured(space, action_space) else str(space)
    raise UserError(
        f"wrapper observation_stacking stacks Boxes, alone or in a Dict, and the observations here are {what}."
    )


def _stacked_space(space: spaces.Space[Any], keys: list[str], n: int) -> spaces.Space[Any]:
    def stacked(box: spaces.Space[Any]) -> spaces.Box:
        assert isinstance(box, spaces.Box)
        low, high = (np.repeat(bound[None], n, axis=0) for bound in (box.low, box.high))
        return spaces.Box(low, high, dtype=box.dtype)

    if not isinstance(space, spaces.Dict):
        return stacked(space)
    return spaces.Dict([(key, stacked(part) if key in keys else part) for key, part in space.spaces.items()])


def _parts_of(observation: Any, keys: list[str]) -> dict[str, Any]:
    return {PLAIN: observation} if keys == [PLAIN] else {key: observation[key] for key in keys}


def _with_stacks(observation: Any, stacks: dict[str, NDArray[Any]]) -> Any:
    """The observation with its Boxes replaced by copies of their stacks."""
    if list(stacks) == [PLAIN]:
        return stacks[PLAIN].copy()
    return {**observation, **{key: stack.copy() for key, stack in stacks.items()}}


class MaskFromInfo(Wrapper[Any, Any, Any, Any]):
    """Puts an action mask from the info into the observation, beside what the env shows."""

    def __init__(self, env: AnyEnv, config: MaskFromInfoConfig) -> None:
        super().__init__(env)
        refuse_structured(
            "mask_from_info", env.observation_space, env.action_space, "would not know whose mask it is in the info"
        )
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
