"""Env wrappers, in scalar and vector form."""

from __future__ import annotations

from typing import Any

from gymnasium import Env
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.wrappers import TransformReward

from maze_core.builtins.config import RewardScalingConfig


class RewardScaling(TransformReward[Any, Any]):
    """Multiplies every reward by a constant."""

    def __init__(self, env: Env[Any, Any], config: RewardScalingConfig) -> None:
        super().__init__(env, lambda reward: float(reward) * config.scale)


class VectorRewardScaling(VectorWrapper[Any, Any, Any]):
    """Multiplies every reward by a constant, for many envs at once."""

    def __init__(self, env: VectorEnv[Any, Any, Any], config: RewardScalingConfig) -> None:
        super().__init__(env)
        self._scale = config.scale

    def step(self, actions: Any) -> Any:
        """Steps the envs and scales their rewards, [B]."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return observation, reward * self._scale, terminated, truncated, info
