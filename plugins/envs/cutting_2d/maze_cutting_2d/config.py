"""Options of the cutting problem."""

import math
from dataclasses import dataclass, field
from enum import Enum

from maze_core import require

TUTORIAL_ORDERS = [[1, 2], [1, 2], [1, 1], [2, 2], [1, 2], [1, 1]]


class Demand(Enum):
    """Which orders come."""

    cycle = "cycle"
    fixed = "fixed"
    random = "random"


class Cut(Enum):
    """Which cut a heuristic makes."""

    x_first = "x_first"
    y_first = "y_first"
    best = "best"


@dataclass(kw_only=True)
class CuttingConfig:
    """Cuts rectangular orders out of an inventory of pieces; every raw piece taken costs."""

    raw_piece_size: list[int] = field(default_factory=lambda: [4, 3])
    """Width and height of a new piece."""

    max_pieces_in_inventory: int = 50
    """Pieces that the inventory holds; storing another drops the oldest."""

    max_steps: int = 180
    """Env steps of an episode."""

    demand: Demand = Demand.cycle
    """cycle repeats the list of orders, fixed its first one; random draws anew for each episode."""

    orders: list[list[int]] = field(default_factory=lambda: [list(order) for order in TUTORIAL_ORDERS])
    """Width and height of each order of the list."""

    random_sides: list[int] | None = None
    """Smallest and largest side of random orders, both drawn uniformly; null draws from the list."""

    invalid_action_penalty: float = -2.0
    """Reward of choosing an empty slot or a piece that the order does not fit."""

    raw_piece_penalty: float = -1.0
    """Reward of taking a raw piece."""

    def __post_init__(self) -> None:
        raw = self.raw_piece_size
        plain = len(raw) == 2 and min(raw) >= 1 and max(raw) <= 10**6
        require(self, "raw_piece_size", plain, "two whole numbers from 1 to 1000000")
        n = self.max_pieces_in_inventory
        require(self, "max_pieces_in_inventory", 1 <= n <= 10**5, "a whole number from 1 to 100000")
        require(self, "max_steps", 1 <= self.max_steps <= 10**6, "a whole number from 1 to 1000000")
        sizes = bool(self.orders) and all(len(order) == 2 and min(order) >= 1 for order in self.orders)
        require(self, "orders", sizes, "a list of sizes, two whole numbers >= 1 each")
        fit = all(_fits(order, raw) for order in self.orders)
        listed = self.demand is not Demand.random or self.random_sides is None
        require(self, "orders", fit or not listed, "a list of sizes that fit into raw_piece_size")
        sides = self.random_sides
        require(
            self,
            "random_sides",
            sides is None or (len(sides) == 2 and 1 <= sides[0] <= sides[1] <= min(raw)),
            "null, or two whole numbers from 1 to the shorter side of raw_piece_size, the smaller first",
        )
        require(self, "invalid_action_penalty", math.isfinite(self.invalid_action_penalty), "a finite number")
        require(self, "raw_piece_penalty", math.isfinite(self.raw_piece_penalty), "a finite number")


def _fits(order: list[int], piece: list[int]) -> bool:
    (w, h), (x, y) = order, piece
    return (w <= x and h <= y) or (h <= x and w <= y)


@dataclass(kw_only=True)
class FlatCuttingConfig(CuttingConfig):
    """One decision: which piece, whether the order is rotated, and which cut comes first."""


@dataclass(kw_only=True)
class StructuredCuttingConfig(CuttingConfig):
    """Two dependent decisions: first which piece, then how it is cut."""


@dataclass(kw_only=True)
class MaskedCuttingConfig(CuttingConfig):
    """Two dependent decisions, with masks of what is possible."""


@dataclass(kw_only=True)
class SizeScalingConfig:
    """Shows all sizes as shares of the longer side of a raw piece."""


@dataclass(kw_only=True)
class GreedyConfig:
    """Cuts from the smallest piece that the order fits."""

    cut: Cut = Cut.best
    """x_first and y_first cut one side of the order first, best the one that leaves the larger piece."""


@dataclass(kw_only=True)
class PieceScoringConfig:
    """Chooses a piece by comparing each with the order, in a common embedding."""

    embedding_size: int = 32
    """Numbers that a piece and the order are embedded in."""

    def __post_init__(self) -> None:
        require(self, "embedding_size", 1 <= self.embedding_size <= 10**5, "a whole number from 1 to 100000")


@dataclass(kw_only=True)
class PieceCuttingConfig:
    """Decides how a piece is cut from embeddings of the piece and of the order."""

    embedding_size: int = 32
    """Numbers that each is embedded in, and units of the layer that joins them."""

    def __post_init__(self) -> None:
        require(self, "embedding_size", 1 <= self.embedding_size <= 10**5, "a whole number from 1 to 100000")
