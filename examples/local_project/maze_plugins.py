"""A project of one's own: an env, a model, and presets in conf/, without any packaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from maze_core import EnvSpec, ModelSpec, hookimpl, require
from maze_core.rl import concat_leaves, flat_size, split_heads


@dataclass(kw_only=True)
class ThermostatConfig:
    """A room that is to be kept warm at the least cost of heating."""

    target: float = 21.0
    """Wanted temperature, in degrees Celsius."""

    outside: float = 5.0
    """Temperature outside, in degrees Celsius."""

    max_steps: int = 60
    """Env steps per episode, one a minute."""

    def __post_init__(self) -> None:
        require(self, "max_steps", self.max_steps >= 1, "a whole number >= 1")


class Thermostat(gymnasium.Env[Any, Any]):
    """Heats a room or not, once a minute.

    Observation: temperature minus target, [1]. Action: heat or not. Reward: minus the distance from
    the target, minus 0.1 for heating.
    """

    def __init__(self, config: ThermostatConfig) -> None:
        self.config = config
        self.observation_space = spaces.Box(-100.0, 100.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts at a random temperature."""
        super().reset(seed=seed)
        self.temperature = self.np_random.uniform(self.config.outside, self.config.target)
        self.steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Lets a minute pass."""
        self.temperature += 1.5 * int(action) - 0.03 * (self.temperature - self.config.outside)
        self.steps += 1
        reward = -abs(self.temperature - self.config.target) - 0.1 * int(action)
        return self._observation(), reward, False, self.steps >= self.config.max_steps, {}

    def _observation(self) -> Any:
        return np.array([self.temperature - self.config.target], np.float32)


@dataclass(kw_only=True)
class LinearConfig:
    """One linear layer: enough for a thermostat, and quick to read."""

    bias: bool = True
    """Whether the layer has a bias."""


class Linear(nn.Module):
    """Maps all observations, side by side, linearly to all outputs."""

    def __init__(self, config: LinearConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        self.layer = nn.Linear(flat_size(observation_space), sum(self.output_sizes.values()), bias=config.bias)

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps leaves [B, ...] to ``{head: [B, size]}``."""
        return split_heads(self.layer(concat_leaves(observation)), self.output_sizes)


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``thermostat``."""
    yield EnvSpec(
        name="thermostat", summary="Keeps a room warm at the least cost.", config=ThermostatConfig, build=Thermostat
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """The model ``linear``."""
    yield ModelSpec(name="linear", summary="One linear layer.", config=LinearConfig, build=Linear)
