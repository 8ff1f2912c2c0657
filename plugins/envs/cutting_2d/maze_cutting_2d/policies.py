"""A policy that needs no training: cut from the smallest piece that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core import UserError
from maze_core.rl import FLAT, Actors, Turn
from maze_cutting_2d.config import Cut, GreedyConfig
from maze_cutting_2d.spaces import CUT, SELECT

Sizes = NDArray[np.float32]


class GreedyPolicy:
    """Takes the smallest piece that the order fits, and cuts it as it is told to.

    Args:
        config: Options.
        actors: Of a cutting_2d env, flat or structured, with or without masks; its sizes may be scaled.

    Raises:
        UserError: If the env is no cutting problem.
    """

    def __init__(self, config: GreedyConfig, actors: Actors) -> None:
        spaces_seen = [actor.observation_space for actor in actors.by_key.values()]
        of_cutting = all(isinstance(seen, spaces.Dict) and "ordered_piece" in seen.spaces for seen in spaces_seen)
        if set(actors.step_keys) not in ({SELECT, CUT}, {FLAT}) or not of_cutting:
            raise UserError("policy cutting_2d_greedy plays cutting_2d envs only.")
        self.config, self.actors = config, actors

    def act(self, turn: Turn) -> dict[str, Any]:
        """The decisions of one actor, leaves [len(rows)]."""
        seen = turn.observation
        if turn.step_key == CUT:
            return self._cut(seen["selected_piece"], seen["ordered_piece"])
        piece_idx = smallest_that_fits(seen["inventory"], seen["ordered_piece"])
        if turn.step_key == SELECT:
            return {"piece_idx": piece_idx}
        pieces = seen["inventory"][np.arange(len(piece_idx)), piece_idx]
        return {"piece_idx": piece_idx, **self._cut(pieces, seen["ordered_piece"])}

    def _cut(self, pieces: Sizes, orders: Sizes) -> dict[str, Any]:
        """How pieces [n, 2] are cut for orders [n, 2]."""
        scores = np.stack([largest_left_over(pieces, orders, rotation, order)
                           for rotation in (0, 1) for order in (0, 1)], axis=1)  # fmt: skip
        if self.config.cut is not Cut.best:  # the order as it lies if it fits so, and always the same cut first
            scores = np.where(scores >= 0, np.array([2.0, 2.0, 1.0, 1.0]), scores)
            scores[:, (1, 3) if self.config.cut is Cut.x_first else (0, 2)] = -1.0
        best = scores.argmax(axis=1)
        return {"cut_rotation": best // 2, "cut_order": best % 2}


def smallest_that_fits(inventory: Sizes, orders: Sizes) -> NDArray[np.intp]:
    """Slot of the smallest piece [n, slots, 2] that each order [n, 2] fits, the oldest of several; 0 if none does."""
    x, y, w, h = inventory[:, :, 0], inventory[:, :, 1], orders[:, :1], orders[:, 1:]
    fits = ((w <= x) & (h <= y)) | ((h <= x) & (w <= y))
    smallest: NDArray[np.intp] = np.where(fits, x * y, np.inf).argmin(axis=1)
    return smallest


def largest_left_over(pieces: Sizes, orders: Sizes, rotation: int, height_first: int) -> NDArray[np.float64]:
    """Area of the larger of the two pieces that a cut leaves, [n]; -1 where the order does not fit."""
    w, h = (orders[:, ::-1] if rotation else orders).T
    x, y = pieces.T
    first, second = ((y - h) * x, (x - w) * h) if height_first else ((x - w) * y, (y - h) * w)
    return np.where((w <= x) & (h <= y), np.maximum(first, second), -1.0)
