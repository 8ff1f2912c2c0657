"""PPO keeps the contract of algorithms."""

import pytest

from maze_core.testing import PluginConformance, TrainerConformance


class TestPlugin(PluginConformance):
    name = "ppo"


class TestAlgorithm(TrainerConformance):
    name = "ppo"
    overrides = {"n_envs": 4, "n_rollout_steps": 32, "batch_size": 32, "n_optimization_epochs": 4, "lr": 3e-3}
    learns_in = 10_000

    @pytest.mark.learning
    def test_learns(self) -> None:
        super().test_learns()
