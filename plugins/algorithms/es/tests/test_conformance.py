"""Evolution strategies keeps the contract of algorithms."""

import pytest

from maze_core.testing import PluginConformance, TrainerConformance


class TestPlugin(PluginConformance):
    name = "es"


class TestAlgorithm(TrainerConformance):
    name = "es"
    overrides = {"n_rollouts_per_update": 20}
    learns_in = 10_000

    @pytest.mark.learning
    def test_learns(self) -> None:
        super().test_learns()
