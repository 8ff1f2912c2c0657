"""Env `slow`: a random walk whose step sleeps or computes for a given time."""

import time
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class SlowConfig:
    """100 steps; the reward is minus the distance."""

    sleep_ms: float = 0.0
    """How long a step sleeps, as one does that waits for another program."""

    compute_ms: float = 0.0
    """How long a step computes."""


def make(config):
    """Builds the env."""
    import gymnasium
    import numpy as np

    class Slow(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32)
        action_space = gymnasium.spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.position, self.steps = self.np_random.normal(size=8).astype(np.float32), 0
            return self.position.copy(), {}

        def step(self, action):
            if config.sleep_ms:
                time.sleep(config.sleep_ms / 1000)
            end = time.thread_time() + config.compute_ms / 1000
            while config.compute_ms and time.thread_time() < end:
                pass
            self.position[action] += 0.1
            self.steps += 1
            return self.position.copy(), -float(np.abs(self.position).sum()), False, self.steps == 100, {}

    return Slow()


@hookimpl
def maze_envs():
    """The env `slow`."""
    yield EnvSpec(name="slow", summary="Takes its time.", config=SlowConfig, build=make)
