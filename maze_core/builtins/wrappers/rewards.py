"""Wrappers that shape the reward that is learned from."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from maze_core.builtins.config import ReturnNormalizationConfig, RewardClippingConfig, RewardScalingConfig
from maze_core.builtins.wrappers.common import reset_mask
from maze_core.rl.actors import NEW_STEP, is_structured
from maze_core.rl.normalization import Moments
from maze_core.rl.saved import saved_number

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


class _Reward(Wrapper[Any, Any, Any, Any], ABC):
    """Base of wrappers that change the reward of an env step; of a structured env it comes with the last sub-step."""

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env)
        self._structured = is_structured(env.observation_space, env.action_space)
        self._sum = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._sum = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env and changes its reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._sum += float(reward)
        if self._structured and not (terminated or truncated or observation[NEW_STEP]):
            return observation, 0.0, terminated, truncated, info
        reward, self._sum = self._sum, 0.0
        return observation, self.changed(reward), terminated, truncated, info

    @abstractmethod
    def changed(self, reward: float) -> float:
        """The changed reward of an env step."""


class RewardScaling(_Reward):
    """Multiplies every reward by a constant."""

    def __init__(self, env: AnyEnv, config: RewardScalingConfig) -> None:
        super().__init__(env)
        self._scale = config.scale

    def changed(self, reward: float) -> float:
        """The scaled reward."""
        return reward * self._scale


class RewardClipping(_Reward):
    """Clips every reward."""

    def __init__(self, env: AnyEnv, config: RewardClippingConfig) -> None:
        super().__init__(env)
        self._low, self._high = config.low, config.high

    def changed(self, reward: float) -> float:
        """The clipped reward."""
        return min(max(reward, self._low), self._high)


class _VectorReward(VectorWrapper[Any, Any, Any], ABC):
    """Base of the same for many envs at once."""

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        self._structured = is_structured(env.single_observation_space, env.single_action_space)
        self._live = np.zeros(env.num_envs, bool)
        self._sums = np.zeros(env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = reset_mask(self.env, options)
        self._live |= mask
        self._sums[mask] = 0.0
        self.restarted(mask)
        return self.env.reset(seed=seed, options=options)

    def restarted(self, mask: NDArray[np.bool_]) -> None:
        """Is told which envs begin an episode, [B]."""

    def step(self, actions: Any) -> Any:
        """Steps the envs and changes their rewards, [B]."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        closes = self._live
        if self._structured:
            closes = closes & (terminated | truncated | observation[NEW_STEP].astype(bool))
            self._sums += reward
            reward = np.where(closes, self._sums, 0.0)
            self._sums[closes] = 0.0
        reward = np.where(closes, self.changed(reward, closes), 0.0)
        self._live = self._live & ~(terminated | truncated)
        return observation, reward, terminated, truncated, info

    @abstractmethod
    def changed(self, reward: NDArray[Any], closes: NDArray[np.bool_]) -> NDArray[Any]:
        """The changed rewards of env steps, [B]; only those of envs whose env step closes, [B], matter."""


class VectorRewardScaling(_VectorReward):
    """Multiplies every reward by a constant, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: RewardScalingConfig) -> None:
        super().__init__(env)
        self._scale = config.scale

    def changed(self, reward: NDArray[Any], closes: NDArray[np.bool_]) -> NDArray[Any]:
        """The scaled rewards."""
        scaled: NDArray[Any] = reward * self._scale
        return scaled


class VectorRewardClipping(_VectorReward):
    """Clips every reward, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: RewardClippingConfig) -> None:
        super().__init__(env)
        self._low, self._high = config.low, config.high

    def changed(self, reward: NDArray[Any], closes: NDArray[np.bool_]) -> NDArray[Any]:
        """The clipped rewards."""
        clipped: NDArray[Any] = np.clip(reward, self._low, self._high)
        return clipped


class VectorReturnNormalization(_VectorReward):
    """Divides rewards by the running standard deviation of the discounted return, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: ReturnNormalizationConfig) -> None:
        super().__init__(env)
        self.config = config
        self._returns = np.zeros(env.num_envs)
        self._moments: Moments | None = None

    def restarted(self, mask: NDArray[np.bool_]) -> None:
        """Forgets the returns of the episodes before."""
        self._returns[mask] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What was learned over all episodes."""
        return _state_of(self._moments)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self._moments = _moments_of(state)

    def changed(self, reward: NDArray[Any], closes: NDArray[np.bool_]) -> NDArray[Any]:
        """The normalised rewards; the returns up to these env steps are learned from first."""
        self._returns = np.where(closes, self._returns * self.config.gamma + reward, self._returns)
        if closes.any():
            seen = Moments.of(self._returns[closes])
            self._moments = seen if self._moments is None else self._moments.merged(seen)
        return _normalised(reward, self._moments, self.config.clip)


class ReturnNormalization(_Reward):
    """Divides rewards by the running standard deviation of the discounted return."""

    def __init__(self, env: AnyEnv, config: ReturnNormalizationConfig) -> None:
        super().__init__(env)
        self.config = config
        self._return = 0.0
        self._moments: Moments | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._return = 0.0
        return super().reset(seed=seed, options=options)

    def state_dict(self) -> dict[str, Any]:
        """What was learned over all episodes."""
        return _state_of(self._moments)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self._moments = _moments_of(state)

    def changed(self, reward: float) -> float:
        """The normalised reward; the return up to this env step is learned from first."""
        self._return = self._return * self.config.gamma + reward
        seen = Moments.of(np.array([self._return]))
        self._moments = seen if self._moments is None else self._moments.merged(seen)
        return float(_normalised(np.array([reward]), self._moments, self.config.clip)[0])


def _state_of(moments: Moments | None) -> dict[str, Any]:
    return {} if moments is None else dataclasses.asdict(moments)


def _moments_of(state: Mapping[str, Any]) -> Moments | None:
    """What `_state_of` wrote; raises ValueError if it is none."""
    if not state:
        return None
    arrays = {name: np.asarray(state[name], np.float64) for name in ("mean", "m2", "low", "high")}
    if any(array.shape != () or not np.isfinite(array) for array in arrays.values()) or arrays["m2"] < 0:
        raise ValueError("the statistics of returns are no finite numbers")
    return Moments(saved_number(state, "count", least=1.0), **arrays)


def _normalised(reward: NDArray[Any], moments: Moments | None, clip: float | None) -> NDArray[Any]:
    deviation = 0.0 if moments is None else float(np.sqrt(moments.m2 / moments.count))
    scaled = reward / deviation if deviation > 1e-8 else reward
    return scaled if clip is None else np.clip(scaled, -clip, clip)
