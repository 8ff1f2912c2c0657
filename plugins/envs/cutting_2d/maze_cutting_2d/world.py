"""The rules, for one inventory at a time: written to be read, and the reference of the vector form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maze_core.stats import Event, EventGroup, EventRecorder
from maze_cutting_2d.config import CuttingConfig, Demand

CUTTING = EventGroup(
    "CuttingEvents",
    valid_cut=Event(),
    invalid_cut=Event(),
    invalid_piece_selected=Event(),
    piece_share=Event("mean", "histogram", figure="maze_cutting_2d.figures:piece_shares"),
)
"""What is done; ``piece_share`` is the area of a piece that is cut into, as a share of a raw piece."""

INVENTORY = EventGroup(
    "InventoryEvents", piece_discarded=Event(), piece_replenished=Event(), pieces_in_inventory=Event("mean", "max")
)

Size = tuple[int, int]


@dataclass(frozen=True)
class MadeCut:
    """A cut that was made.

    Args:
        piece: Size of the piece.
        order: Size of what was cut out, rotated as it was.
        height_first: Whether its height was cut before its width.
    """

    piece: Size
    order: Size
    height_first: bool


def draw_orders(config: CuttingConfig, generator: np.random.Generator) -> NDArray[np.int64]:
    """The orders of an episode, [max_steps + 1, 2]; the next one is shown after the last step too."""
    count, orders = config.max_steps + 1, np.array(config.orders, np.int64)
    if config.demand is Demand.fixed:
        return np.repeat(orders[:1], count, axis=0)
    if config.demand is Demand.cycle:
        return orders[np.arange(count) % len(orders)]
    if config.random_sides is None:
        return orders[generator.integers(len(orders), size=count)]
    low, high = config.random_sides
    return generator.integers(low, high, size=(count, 2), endpoint=True)


class CuttingWorld:
    """Inventory and orders.

    Args:
        config: Options.

    Attributes:
        inventory: Pieces, the oldest first.
        n_steps: Env steps of the episode so far.
        last_cut: The last cut; None before the first.
    """

    def __init__(self, config: CuttingConfig) -> None:
        self.config, self.events = config, EventRecorder(CUTTING, INVENTORY)
        self.raw: Size = (config.raw_piece_size[0], config.raw_piece_size[1])
        self.inventory: list[Size] = []
        self.n_steps = self._n_cut = self._n_raw = 0
        self._orders = np.zeros((1, 2), np.int64)
        self._reward = 0.0
        self.last_cut: MadeCut | None = None

    @property
    def order(self) -> Size:
        """What has to be cut now."""
        w, h = self._orders[self._n_cut].tolist()
        return w, h

    def reset(self, generator: np.random.Generator) -> None:
        """Starts an episode with one raw piece, which is charged to the first step."""
        self.events.reset()
        self._orders = draw_orders(self.config, generator)
        self.inventory, self.n_steps, self._n_cut, self._n_raw, self._reward = [], 0, 0, 0, 0.0
        self.last_cut = None
        self._replenish()

    def piece(self, index: int) -> Size:
        """The piece in a slot; (0, 0) if the slot is empty."""
        return self.inventory[index] if index < len(self.inventory) else (0, 0)

    def step(self, piece_idx: int, cut_rotation: int, cut_order: int) -> float:
        """Cuts the order out of a piece, and returns the reward.

        Args:
            piece_idx: Slot of the piece.
            cut_rotation: 1 rotates the order.
            cut_order: 0 cuts its width first, 1 its height.
        """
        size = self.piece(piece_idx)
        order = self.order[::-1] if cut_rotation else self.order
        if size == (0, 0):
            self._penalise("invalid_piece_selected")
        elif not fits(order, size):
            self._penalise("invalid_cut")
        else:
            self._cut(piece_idx, order, (1, 0) if cut_order else (0, 1))
        if not any(fits_somehow(self.order, piece) for piece in self.inventory):
            self._replenish()
        self.events.fire(INVENTORY, "pieces_in_inventory", len(self.inventory))
        self.n_steps += 1
        reward, self._reward = self._reward, 0.0
        return reward

    def _cut(self, piece_idx: int, order: Size, dimensions: tuple[int, int]) -> None:
        size = self.inventory.pop(piece_idx)
        remainder = list(size)
        for dimension in dimensions:
            left_over = list(remainder)
            left_over[dimension] -= order[dimension]
            if left_over[dimension] > 0:
                self._store((left_over[0], left_over[1]))
            remainder[dimension] = order[dimension]
        self.last_cut = MadeCut(size, order, dimensions == (1, 0))
        self.events.fire(CUTTING, "valid_cut")
        self.events.fire(CUTTING, "piece_share", size[0] * size[1] / (self.raw[0] * self.raw[1]))
        if size == self.raw:
            self._replenish()
        self._n_cut += 1

    def _replenish(self) -> None:
        self._store(self.raw)
        self.events.fire(INVENTORY, "piece_replenished")
        self._n_raw += 1
        self._reward += self.config.raw_piece_penalty

    def _store(self, size: Size) -> None:
        if len(self.inventory) == self.config.max_pieces_in_inventory:
            self.inventory.pop(0)
            self.events.fire(INVENTORY, "piece_discarded")
        self.inventory.append(size)

    def _penalise(self, event: str) -> None:
        self.events.fire(CUTTING, event)
        self._reward += self.config.invalid_action_penalty

    @property
    def ended(self) -> bool:
        """Whether the episode has had all its env steps."""
        return self.n_steps == self.config.max_steps

    def told(self) -> dict[str, object]:
        """The info of the last step: events and key figures of the episode."""
        return self.events.episode(raw_piece_usage_per_step=self._n_raw / self.n_steps)


def fits(order: Size, piece: Size) -> bool:
    """True if the order can be cut out of the piece as it lies."""
    return order[0] <= piece[0] and order[1] <= piece[1]


def fits_somehow(order: Size, piece: Size) -> bool:
    """True if it can be cut out of it, rotated or not."""
    return fits(order, piece) or fits(order[::-1], piece)
