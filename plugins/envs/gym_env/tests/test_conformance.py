"""Envs of Gymnasium keep the contract of envs, with and without a vector form of their own."""

from maze_core.testing import EnvConformance, PluginConformance


class TestPlugin(PluginConformance):
    name = "gym_env"


class TestCartPole(EnvConformance):
    name = "gym_env"


class TestPendulum(EnvConformance):
    name = "gym_env"
    overrides = {"name": "Pendulum-v1", "kwargs.max_episode_steps": 30}
