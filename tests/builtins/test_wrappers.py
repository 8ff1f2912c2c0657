"""Wrappers act the same in scalar and vector form."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_native_vector_env

from maze_core.builtins.config import RewardScalingConfig
from maze_core.builtins.wrappers import RewardScaling, VectorRewardScaling
from maze_core.errors import ConfigError


def test_every_reward_of_an_env_is_scaled() -> None:
    env = RewardScaling(gymnasium.make("CartPole-v1"), RewardScalingConfig(scale=-2.5))
    env.reset(seed=1)
    reward = env.step(0)[1]
    assert (reward, type(reward)) == (-2.5, float)
    env.close()


def test_every_reward_of_a_vector_env_is_scaled() -> None:
    inner = make_native_vector_env(GymEnvConfig(), 3)
    assert inner is not None
    env = VectorRewardScaling(inner, RewardScalingConfig(scale=-2.5))
    env.reset(seed=[1, 2, 3])
    assert env.step(np.zeros(3, np.int64))[1].tolist() == [-2.5] * 3
    assert env.single_action_space == inner.single_action_space
    env.close()


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_loses_the_reward_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="a finite number other than 0"):
        RewardScalingConfig(scale=scale)
