"""A project for runs that go on: env `clock` cannot be repeated, and model `dropout` is random and counts."""

from dataclasses import dataclass

from maze_core import EnvSpec, ModelSpec, hookimpl


@dataclass(kw_only=True)
class ClockConfig:
    """Shows what the clock of the computer says, in episodes of ten steps."""


@dataclass(kw_only=True)
class DropoutConfig:
    """Leaves out half of its units while it learns, and keeps statistics of them."""

    size: int = 16
    """Units of its hidden layer."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="clock", summary="Shows the time.", config=ClockConfig, build=make_clock)


@hookimpl
def maze_models():
    yield ModelSpec(name="dropout", summary="Leaves out units.", config=DropoutConfig, build=make_dropout)


def make_clock(config):
    import time

    import gymnasium
    import numpy as np

    class Clock(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self._steps = 0
            return self._observation(), {}

        def step(self, action):
            self._steps += 1
            return self._observation(), 1.0, False, self._steps == 10, {}

        def _observation(self):
            return np.array([time.perf_counter_ns() % 10**6 / 10**6], np.float32)

    return Clock()


def make_dropout(config, observation_space, output_sizes):
    import torch
    from torch import nn

    from maze_core.rl import concat_leaves, flat_size, split_heads

    class Dropout(nn.Module):
        def __init__(self):
            super().__init__()
            n_inputs, n_outputs = flat_size(observation_space), sum(output_sizes.values())
            self.layers = nn.Sequential(
                nn.Linear(n_inputs, config.size), nn.BatchNorm1d(config.size), nn.Tanh(), nn.Dropout(0.5),
                nn.Linear(config.size, n_outputs),
            )  # fmt: skip

        def forward(self, observation):
            return split_heads(self.layers(concat_leaves(observation).to(torch.float32)), output_sizes)

    return Dropout()
