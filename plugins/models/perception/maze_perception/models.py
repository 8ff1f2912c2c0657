"""Networks that read whole observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from maze_core import UserError
from maze_core.rl import Dense, DenseSpec, concat_leaves, flat_size, output_gains, split_heads
from maze_perception.config import DenseConfig, FlattenConcatConfig, VectorObsConfig


class DenseObservationModel(nn.Module):
    """All observations flattened side by side, dense layers, and one output per head.

    Args:
        config: Sizes and activation.
        observation_space: Encoded observation space.
        output_sizes: Size of each head.
    """

    def __init__(self, config: DenseConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        sizes = [flat_size(observation_space), *config.hidden_sizes, sum(self.output_sizes.values())]
        self.dense = Dense(sizes, config.activation, output_gains(output_sizes))

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps leaves [B, ...] to ``{head: [B, size]}``."""
        return split_heads(self.dense(concat_leaves(observation)), self.output_sizes)

    def dense_layers(self) -> DenseSpec:
        """Describes the model to the dense kernel."""
        return DenseSpec(self.dense.linear_layers(), self.dense.activation, self.output_sizes)


def flatten_concat(
    config: FlattenConcatConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]
) -> nn.Module:
    """Builds the default model, for any observation space."""
    return DenseObservationModel(config, observation_space, output_sizes)


def vector_obs(config: VectorObsConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> nn.Module:
    """Builds the model for a single vector observation.

    Raises:
        UserError: If there is more than one observation, or it is not a vector.
    """
    parts = list(observation_space.spaces.values())
    if len(parts) != 1 or len(parts[0].shape or ()) != 1:
        raise UserError(
            f"model vector_obs reads one vector, and the observation space is {observation_space}. "
            "Use model=flatten_concat."
        )
    return DenseObservationModel(config, observation_space, output_sizes)
