"""Envs of EnvPool keep the contract of envs, in their vector form too: each episode has a seed of its own."""

import pytest

from maze_core.testing import EnvConformance, PluginConformance

pytest.importorskip("envpool", reason="EnvPool is not installed; it has wheels for some systems only")


class TestPlugin(PluginConformance):
    name = "envpool"


class TestLander(EnvConformance):
    name = "envpool"
    overrides = {"name": "LunarLander-v3"}
    n_env_steps = 300


class TestContinuous(EnvConformance):
    name = "envpool"
    overrides = {"name": "Pendulum-v1", "kwargs.max_episode_steps": 20, "n_threads": 2}


class TestNested(EnvConformance):
    name = "envpool"
    overrides = {"name": "MiniGrid-Empty-5x5-v0", "kwargs.max_episode_steps": 20}
