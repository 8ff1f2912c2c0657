"""A2C keeps the contract of algorithms."""

import pytest

from maze_core.testing import PluginConformance, TrainerConformance


class TestPlugin(PluginConformance):
    name = "a2c"


class TestAlgorithm(TrainerConformance):
    name = "a2c"
    overrides = {"n_envs": 8}
    learns_in = 10_000

    @pytest.mark.learning
    def test_learns(self) -> None:
        super().test_learns()
