"""The model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from maze_bakery.config import TableConfig
from maze_core.rl import concat_leaves, flat_size, split_heads


class Table(nn.Module):
    """One linear layer: on one-hot observations, such as weekdays, it looks numbers up in a table.

    Args:
        config: Options.
        observation_space: Encoded observation space: a Dict of float32 Boxes.
        output_sizes: Size of each head.
    """

    def __init__(self, config: TableConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        self.numbers = nn.Linear(flat_size(observation_space), sum(self.output_sizes.values()), bias=False)
        nn.init.zeros_(self.numbers.weight)

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps leaves [B, ...] to ``{head: [B, size]}``."""
        return split_heads(self.numbers(concat_leaves(observation)), self.output_sizes)
