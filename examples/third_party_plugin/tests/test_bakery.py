"""All that belongs to the bakery keeps the contracts of Maze."""

from maze_core import rollout
from maze_core.testing import (
    CallbackConformance,
    EnvConformance,
    ModelConformance,
    PluginConformance,
    PolicyConformance,
    WrapperConformance,
)


class TestPlugin(PluginConformance):
    name = "bakery"


class TestEnv(EnvConformance):
    name = "bakery"


class TestWrapper(WrapperConformance):
    name = "bakery_weekend"
    env = "bakery"


class TestModel(ModelConformance):
    name = "bakery_table"


class TestRule(PolicyConformance):
    name = "bakery_rule"
    env = "bakery"


class TestWaste(CallbackConformance):
    name = "bakery_waste"


def test_the_rule_earns_what_the_text_says():
    result = rollout(env="bakery", policy="bakery_rule", n_episodes=50, seed=1, save=False, silent=True)
    assert abs(result.statistics["BaseEnvEvents/reward/mean"] / 4 - 27) < 1.5
