"""What happens to rewards happens to those of env steps, also where these consist of sub-steps."""

import numpy as np
import pytest
from gymnasium import spaces
from support.envs import CountdownEnv

from maze_core.builtins.config import (
    MonitoringConfig,
    ReturnNormalizationConfig,
    RewardClippingConfig,
    RewardScalingConfig,
)
from maze_core.builtins.wrappers import monitoring, rewards
from maze_core.rl import InProcessVectorEnv, StructuredEnv

BOX = spaces.Box(0, 100, (2,))
WRAPPERS = {
    "scaling": (rewards.RewardScaling, rewards.VectorRewardScaling, RewardScalingConfig(scale=3.0)),
    "clipping": (rewards.RewardClipping, rewards.VectorRewardClipping, RewardClippingConfig(low=0.5, high=1.2)),
    "normalization": (
        rewards.ReturnNormalization, rewards.VectorReturnNormalization, ReturnNormalizationConfig(gamma=0.9),
    ),
}  # fmt: skip


class SplitEnv(StructuredEnv):
    """`CountdownEnv` in two sub-steps, each of which brings a half of the reward."""

    def __init__(self) -> None:
        super().__init__({"first": (BOX, spaces.Discrete(2)), "second": (BOX, spaces.Discrete(2))})
        self.env = CountdownEnv()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen, self.acted = self.env.reset(seed=seed)[0], None
        return self.turn_of("first", self.seen, new_step=True), {}

    def step(self, action):
        if self.acted is None:
            self.acted, self.result = action["first"], self.env.step(action["first"])
            return self.turn_of("second", self.seen, new_step=False), self.result[1] / 2, False, False, {}
        self.seen, reward, terminated, truncated, _ = self.result
        self.acted = None
        return self.turn_of("first", self.seen, new_step=True), reward / 2, terminated, truncated, {}


def episodes_of(env, structured, n_episodes=6):
    """Rewards of env steps, and the info of the last step, of some episodes of a scalar env."""
    found = []
    for seed in range(n_episodes):
        env.reset(seed=seed)
        ended, sums, told = False, [0.0], {}
        while not ended:
            action = {"first": 1, "second": 0} if structured else 1
            observation, reward, terminated, truncated, told = env.step(action)
            sums[-1] += reward
            ended = terminated or truncated
            if not ended and (not structured or observation["new_step"]):
                sums.append(0.0)
        found.append((sums, told))
    return found


@pytest.mark.parametrize("name", WRAPPERS)
def test_rewards_of_a_structured_env_are_changed_like_those_of_a_flat_one(name):
    scalar, _, config = WRAPPERS[name]
    flat = episodes_of(scalar(CountdownEnv(), config), structured=False)
    split = episodes_of(scalar(SplitEnv(), config), structured=True)
    assert [sums for sums, _ in split] == [pytest.approx(sums) for sums, _ in flat]


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_vector_form_changes_them_alike(name):
    scalar, vector, config = WRAPPERS[name]
    one = vector(InProcessVectorEnv(SplitEnv, 1), config)
    found = []
    for seed in range(6):
        one.reset(seed=[seed])
        total, ended = 0.0, False
        while not ended:
            action = {"first": np.ones(1, np.int64), "second": np.zeros(1, np.int64)}
            _, reward, terminated, truncated, _ = one.step(action)
            total, ended = total + reward[0], bool(terminated[0] or truncated[0])
        found.append(total)
    expected = [sum(sums) for sums, _ in episodes_of(scalar(SplitEnv(), config), structured=True)]
    assert found == pytest.approx(expected)


def test_monitoring_counts_the_rewards_of_env_steps():
    path = "MonitoredEvents/reward/histogram"
    flat = episodes_of(monitoring.Monitoring(CountdownEnv(), MonitoringConfig()), structured=False)
    split = episodes_of(monitoring.Monitoring(SplitEnv(), MonitoringConfig()), structured=True)
    for (_, one), (_, other) in zip(flat, split, strict=True):
        np.testing.assert_allclose(other["episode_events"].values[path], one["episode_events"].values[path])


def test_monitoring_counts_them_in_its_vector_form_too():
    env = monitoring.VectorMonitoring(InProcessVectorEnv(SplitEnv, 1), MonitoringConfig())
    scalar = episodes_of(monitoring.Monitoring(SplitEnv(), MonitoringConfig()), structured=True, n_episodes=1)
    env.reset(seed=[0])
    ended = False
    while not ended:
        action = {"first": np.ones(1, np.int64), "second": np.zeros(1, np.int64)}
        _, _, terminated, truncated, info = env.step(action)
        ended = bool(terminated[0] or truncated[0])
    one, other = info["episode_events"][0].values, scalar[0][1]["episode_events"].values
    assert set(one) == set(other)
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path])
