"""Wrappers that shape the reward that is learned from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.wrappers import TransformReward
from numpy.typing import NDArray

from maze_core.builtins.config import ReturnNormalizationConfig, RewardClippingConfig, RewardScalingConfig
from maze_core.builtins.wrappers.common import reset_mask
from maze_core.rl.normalization import Moments

AnyEnv = Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


class RewardScaling(TransformReward[Any, Any]):
    """Multiplies every reward by a constant."""

    def __init__(self, env: AnyEnv, config: RewardScalingConfig) -> None:
        super().__init__(env, lambda reward: float(reward) * config.scale)


class RewardClipping(TransformReward[Any, Any]):
    """Clips every reward."""

    def __init__(self, env: AnyEnv, config: RewardClippingConfig) -> None:
        super().__init__(env, lambda reward: min(max(float(reward), config.low), config.high))


class _VectorReward(VectorWrapper[Any, Any, Any], ABC):
    """Base of wrappers that change the rewards of envs that are not idle."""

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        self._live = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = reset_mask(self.env, options)
        self._live |= mask
        self.restarted(mask)
        return self.env.reset(seed=seed, options=options)

    def restarted(self, mask: NDArray[np.bool_]) -> None:
        """Is told which envs begin an episode, [B]."""

    def step(self, actions: Any) -> Any:
        """Steps the envs and changes their rewards, [B]."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        ended = terminated | truncated
        reward = np.where(self._live, self.changed(reward, ended), 0.0)
        self._live &= ~ended
        return observation, reward, terminated, truncated, info

    @abstractmethod
    def changed(self, reward: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        """The changed rewards, [B]; those of idle envs do not matter."""


class VectorRewardScaling(_VectorReward):
    """Multiplies every reward by a constant, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: RewardScalingConfig) -> None:
        super().__init__(env)
        self._scale = config.scale

    def changed(self, reward: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        """The scaled rewards."""
        scaled: NDArray[Any] = reward * self._scale
        return scaled


class VectorRewardClipping(_VectorReward):
    """Clips every reward, for many envs at once."""

    def __init__(self, env: AnyVectorEnv, config: RewardClippingConfig) -> None:
        super().__init__(env)
        self._low, self._high = config.low, config.high

    def changed(self, reward: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
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

    def changed(self, reward: NDArray[Any], ended: NDArray[np.bool_]) -> NDArray[Any]:
        """The normalised rewards; the returns of envs that are not idle are learned from first."""
        self._returns = self._returns * self.config.gamma + reward
        if self._live.any():
            seen = Moments.of(self._returns[self._live])
            self._moments = seen if self._moments is None else self._moments.merged(seen)
        return _normalised(reward, self._moments, self.config.clip)


class ReturnNormalization(Wrapper[Any, Any, Any, Any]):
    """Divides rewards by the running standard deviation of the discounted return."""

    def __init__(self, env: AnyEnv, config: ReturnNormalizationConfig) -> None:
        super().__init__(env)
        self.config = config
        self._return = 0.0
        self._moments: Moments | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        self._return = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Steps the env and normalises its reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return = self._return * self.config.gamma + float(reward)
        seen = Moments.of(np.array([self._return]))
        self._moments = seen if self._moments is None else self._moments.merged(seen)
        changed = _normalised(np.array([reward], float), self._moments, self.config.clip)
        return observation, float(changed[0]), terminated, truncated, info


def _normalised(reward: NDArray[Any], moments: Moments | None, clip: float | None) -> NDArray[Any]:
    deviation = 0.0 if moments is None else float(np.sqrt(moments.m2 / moments.count))
    scaled = reward / deviation if deviation > 1e-8 else reward
    return scaled if clip is None else np.clip(scaled, -clip, clip)
