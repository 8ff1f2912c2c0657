"""Sweeps with Optuna keep the contract of sweepers."""

from maze_core.testing import PluginConformance, SweeperConformance


class TestPlugin(PluginConformance):
    name = "optuna"


class TestSweeper(SweeperConformance):
    name = "optuna"


class TestLearningSweeper(SweeperConformance):
    name = "optuna"
    overrides = {"n_startup_trials": 2, "pruner": "successive_halving"}


class TestRandomSweeper(SweeperConformance):
    name = "optuna"
    overrides = {"sampler": "random", "pruner": "none", "goal": "minimize"}
