"""What is observed and decided, in each form."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from maze_cutting_2d.config import CuttingConfig

SELECT, CUT = "select_piece", "cut_piece"


def piece_space(config: CuttingConfig, *shape: int) -> spaces.Box:
    """Sizes of pieces, [*shape, 2]; no side is longer than the longer side of a raw piece."""
    return spaces.Box(0, max(config.raw_piece_size), (*shape, 2), np.float32)


def inventory_space(config: CuttingConfig) -> spaces.Dict:
    """Inventory, number of pieces in it, and what has been ordered."""
    n = config.max_pieces_in_inventory
    return spaces.Dict(
        {
            "inventory": piece_space(config, n),
            "inventory_size": spaces.Box(0, n, (1,), np.float32),
            "ordered_piece": piece_space(config),
        }
    )


def cut_space() -> spaces.Dict:
    """How a piece is cut."""
    return spaces.Dict({"cut_rotation": spaces.Discrete(2), "cut_order": spaces.Discrete(2)})


def flat_spaces(config: CuttingConfig) -> tuple[spaces.Dict, spaces.Dict]:
    """Observation and action space of the flat form."""
    piece = {"piece_idx": spaces.Discrete(config.max_pieces_in_inventory)}
    return inventory_space(config), spaces.Dict({**piece, **cut_space().spaces})


def structured_spaces(config: CuttingConfig, masked: bool) -> dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]]:
    """Observation and action space of each sub-step."""
    n = config.max_pieces_in_inventory
    select = dict(inventory_space(config).spaces)
    cut: dict[str, spaces.Space[Any]] = {"selected_piece": piece_space(config), "ordered_piece": piece_space(config)}
    if masked:
        select["action_mask"] = spaces.Dict({"piece_idx": spaces.MultiBinary(n)})
        cut["action_mask"] = spaces.Dict({"cut_rotation": spaces.MultiBinary(2), "cut_order": spaces.MultiBinary(2)})
    piece = spaces.Dict({"piece_idx": spaces.Discrete(n)})
    return {SELECT: (spaces.Dict(select), piece), CUT: (spaces.Dict(cut), cut_space())}
