"""Networks that know what a piece and an order are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from maze_core import Activation, UserError
from maze_core.rl import (
    VALUE,
    Dense,
    SetScoring,
    filled_elements,
    masked_mean,
    output_gains,
    split_heads,
    without_last_zeros,
)
from maze_cutting_2d.config import PieceCuttingConfig, PieceScoringConfig


class PieceScoring(nn.Module):
    """Scores every slot of the inventory by the dot product of its embedding with that of the order.

    Asked for a value, it reads one from the mean embedding of all pieces, their number, and the embedding of the order.

    Args:
        config: Sizes.
        observation_space: Encoded observation space of the sub-step that selects a piece.
        output_sizes: ``piece_idx`` and, of a critic, ``value``.

    Raises:
        UserError: If the space has no inventory, or something else is asked for.
    """

    def __init__(
        self, config: PieceScoringConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]
    ) -> None:
        super().__init__()
        if "inventory" not in observation_space.spaces or not set(output_sizes) <= {"piece_idx", VALUE}:
            raise UserError(
                "model cutting_2d_piece_scoring selects pieces of a cutting_2d env, and is asked for "
                f"{', '.join(output_sizes)} of {', '.join(observation_space.spaces)}."
            )
        size = config.embedding_size
        self.pieces = Dense([2, size], Activation.relu, math.sqrt(2))
        self.order = Dense([2, size, size], Activation.relu, 1.0 if VALUE in output_sizes else 0.01)
        self.heads = nn.ModuleDict()
        for head, n in output_sizes.items():
            of_value = Dense([2 * size + 1, size, 1], Activation.relu, 1.0)
            self.heads[head] = of_value if head == VALUE else SetScoring(n)

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps inventory [B, n, 2], inventory_size [B, 1] and ordered_piece [B, 2] to ``{head: [B, size]}``."""
        inventory = observation["inventory"]
        filled = filled_elements(inventory)
        pieces, order = torch.relu(self.pieces(inventory)), self.order(observation["ordered_piece"])
        outputs: dict[str, torch.Tensor] = {}
        for name, head in self.heads.items():
            if name == VALUE:
                count = observation["inventory_size"]
                outputs[name] = head(torch.cat([masked_mean(pieces, filled), order, count], dim=1))
            else:
                outputs[name] = head(pieces, order, filled)
        return outputs

    def without_padding(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Drops slots that are empty everywhere; see `maze_core.rl.PaddedModel`."""
        return {**observation, "inventory": without_last_zeros(observation["inventory"])}


class PieceCutting(nn.Module):
    """Decides how a piece is cut from embeddings of both, joined in one more layer.

    Args:
        config: Sizes.
        observation_space: Encoded observation space of the sub-step that cuts a piece.
        output_sizes: Size of each head.

    Raises:
        UserError: If the space has no selected piece.
    """

    def __init__(
        self, config: PieceCuttingConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]
    ) -> None:
        super().__init__()
        if "selected_piece" not in observation_space.spaces:
            raise UserError(
                "model cutting_2d_piece_cutting cuts pieces of a cutting_2d env, and this actor sees "
                f"{', '.join(observation_space.spaces)}."
            )
        size = config.embedding_size
        self.output_sizes = dict(output_sizes)
        self.piece = Dense([2, size], Activation.relu, 1.0)
        self.order = Dense([2, size], Activation.relu, 1.0)
        sizes = [2 * size, size, sum(self.output_sizes.values())]
        self.joined = Dense(sizes, Activation.relu, output_gains(output_sizes))

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps selected_piece [B, 2] and ordered_piece [B, 2] to ``{head: [B, size]}``."""
        pieces, order = self.piece(observation["selected_piece"]), self.order(observation["ordered_piece"])
        both = torch.cat([torch.relu(pieces), torch.relu(order)], dim=1)
        return split_heads(self.joined(both), self.output_sizes)
