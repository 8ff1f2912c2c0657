"""The rules for many inventories at once, in arrays; equal to `CuttingWorld` step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.stats import EventRecorder
from maze_cutting_2d.config import CuttingConfig
from maze_cutting_2d.world import CUTTING, INVENTORY, draw_orders

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]
Sizes = NDArray[np.float32]


class VectorCuttingWorld:
    """Inventories and orders of B worlds; n slots each.

    Args:
        config: Options.
        num_envs: B.

    Attributes:
        inventory: Pieces, the oldest first, zeros after the last, [B, n, 2].
        count: Pieces in each inventory, [B].
        order: What has to be cut now, [B, 2].
        n_steps: Env steps of the episode so far, [B].
        fitting: Slots whose piece the order fits, rotated or not, [B, n].
    """

    def __init__(self, config: CuttingConfig, num_envs: int) -> None:
        self.config, self.num_envs, self.n_slots = config, num_envs, config.max_pieces_in_inventory
        self.events = EventRecorder(CUTTING, INVENTORY, num_envs=num_envs)
        self.raw = np.array(config.raw_piece_size, np.float32)
        self._raw_area = float(config.raw_piece_size[0] * config.raw_piece_size[1])
        self.inventory = np.zeros((num_envs, self.n_slots, 2), np.float32)
        self.count, self.n_steps = np.zeros(num_envs, np.intp), np.zeros(num_envs, np.int64)
        self.order = np.ones((num_envs, 2), np.float32)
        self.fitting = np.zeros((num_envs, self.n_slots), bool)
        self._n_cut, self._n_raw = np.zeros(num_envs, np.intp), np.zeros(num_envs, np.int64)
        self._rewards = np.zeros(num_envs)
        self._orders = np.ones((num_envs, config.max_steps + 1, 2), np.float32)
        self._slots = np.arange(self.n_slots)

    def reset(self, rows: Rows, generators: list[np.random.Generator]) -> None:
        """Starts an episode in some worlds, each with its own generator."""
        self.events.reset(rows)
        for row, generator in zip(rows, generators, strict=True):
            self._orders[row] = draw_orders(self.config, generator)
        self.inventory[rows], self.order[rows] = 0.0, self._orders[rows, 0]
        for counter in (self.count, self.n_steps, self._n_cut, self._n_raw, self._rewards):
            counter[rows] = 0
        self._replenish(rows)
        self._look(rows)

    def pieces(self, rows: Rows, piece_idx: NDArray[Any]) -> Sizes:
        """The pieces in these slots, [len(rows), 2]; zeros if a slot is empty."""
        found: Sizes = self.inventory[rows, piece_idx]
        return found

    def step(self, rows: Rows, piece_idx: NDArray[Any], cut_rotation: NDArray[Any], cut_order: NDArray[Any]) -> Any:
        """Cuts in some worlds, and returns their rewards, [len(rows)]; see `CuttingWorld.step`."""
        sizes, orders = self.inventory[rows, piece_idx], self.order[rows]
        orders = np.where(cut_rotation[:, None] == 1, orders[:, ::-1], orders)
        filled, fits = sizes[:, 0] > 0, (orders <= sizes).all(axis=1)
        valid = filled & fits
        if not valid.all():
            self._penalise("invalid_piece_selected", rows[~filled])
            self._penalise("invalid_cut", rows[filled & ~fits])
        if valid.any():
            self._cut(rows[valid], piece_idx[valid], sizes[valid], orders[valid], cut_order[valid] == 1)
        self._look(rows)
        stuck = rows[~self.fitting[rows].any(axis=1)]
        if len(stuck):
            self._replenish(stuck)
            self._look(stuck)
        self.events.fire(INVENTORY, "pieces_in_inventory", self.count[rows], rows=rows)
        self.n_steps[rows] += 1
        rewards = self._rewards[rows]
        self._rewards[rows] = 0.0
        return rewards

    def _cut(self, rows: Rows, piece_idx: NDArray[Any], sizes: Sizes, orders: Sizes, height_first: Bools) -> None:
        self._remove(rows, piece_idx)
        remainder, every = sizes.copy(), np.arange(len(rows))
        first = height_first.astype(np.intp)
        for dimension in (first, 1 - first):
            left_over, cut = remainder.copy(), orders[every, dimension]
            left_over[every, dimension] -= cut
            kept = left_over[every, dimension] > 0
            self._store(rows[kept], left_over[kept])
            remainder[every, dimension] = cut
        self.events.fire(CUTTING, "valid_cut", rows=rows)
        self.events.fire(CUTTING, "piece_share", sizes.prod(axis=1, dtype=np.float64) / self._raw_area, rows=rows)
        self._replenish(rows[(sizes == self.raw).all(axis=1)])
        self._n_cut[rows] += 1
        self.order[rows] = self._orders[rows, self._n_cut[rows]]

    def _remove(self, rows: Rows, piece_idx: NDArray[Any]) -> None:
        """Takes a piece out; those after it move up."""
        source = self._slots + (self._slots >= piece_idx[:, None])
        last = source[:, -1] == self.n_slots
        source[:, -1] = np.minimum(source[:, -1], self.n_slots - 1)
        moved = self.inventory[rows[:, None], source]
        moved[last, -1] = 0.0
        self.inventory[rows] = moved
        self.count[rows] -= 1

    def _store(self, rows: Rows, sizes: Sizes) -> None:
        """Adds a piece to each of these inventories; a full one drops its oldest."""
        full = rows[self.count[rows] == self.n_slots]
        if len(full):
            self._remove(full, np.zeros(len(full), np.intp))
            self.events.fire(INVENTORY, "piece_discarded", rows=full)
        self.inventory[rows, self.count[rows]] = sizes
        self.count[rows] += 1

    def _replenish(self, rows: Rows) -> None:
        if len(rows):
            self._store(rows, np.repeat(self.raw[None], len(rows), axis=0))
            self.events.fire(INVENTORY, "piece_replenished", rows=rows)
            self._n_raw[rows] += 1
            self._rewards[rows] += self.config.raw_piece_penalty

    def _penalise(self, event: str, rows: Rows) -> None:
        if len(rows):
            self.events.fire(CUTTING, event, rows=rows)
            self._rewards[rows] += self.config.invalid_action_penalty

    def _look(self, rows: Rows) -> None:
        """Finds out where the orders fit."""
        pieces, orders = self.inventory[rows], self.order[rows]
        x, y, w, h = pieces[:, :, 0], pieces[:, :, 1], orders[:, :1], orders[:, 1:]
        self.fitting[rows] = ((w <= x) & (h <= y)) | ((h <= x) & (w <= y))

    def ended(self, rows: Rows) -> Bools:
        """Whether the episode has had all its env steps, [len(rows)]."""
        over: Bools = self.n_steps[rows] == self.config.max_steps
        return over

    def told(self, rows: Rows) -> dict[str, Any]:
        """The infos of the last step of these worlds: events and key figures of their episodes."""
        return self.events.episode(rows, raw_piece_usage_per_step=self._n_raw[rows] / self.n_steps[rows])
