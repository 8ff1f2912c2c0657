"""Noughts and crosses against chance, computed exactly: what the best player reaches, and what any other does.

A board is a text of nine places, row by row: ``x`` for the first player, ``o`` for the second, ``.`` for nobody.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

EMPTY = "........."
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
OTHER = {"x": "o", "o": "x"}


class Rates(NamedTuple):
    """How often a player wins, draws and loses."""

    win: float
    draw: float
    loss: float


Player = Callable[[str], Sequence[int]]
"""From a board to the places of which it takes each with equal probability: `free` is chance itself."""


def free(board: str) -> list[int]:
    """Return the places that nobody has."""
    return [place for place, mark in enumerate(board) if mark == "."]


def put(board: str, place: int, mark: str) -> str:
    """Return the board after a move."""
    return board[:place] + mark + board[place + 1 :]


def has_won(board: str, mark: str) -> bool:
    """Return whether a player has three in a row."""
    return any(all(board[place] == mark for place in line) for line in LINES)


def rates(mark: str, player: Player | None = None) -> Rates:
    """Return what a player reaches against an opponent whose moves are all valid ones with equal probability.

    Args:
        mark: As whom it plays.
        player: It; None for the best one, which maximises the wins less the losses.
    """

    @cache
    def after(board: str, turn: str) -> Rates:
        if has_won(board, mark):
            return Rates(1.0, 0.0, 0.0)
        if has_won(board, OTHER[mark]):
            return Rates(0.0, 0.0, 1.0)
        if not free(board):
            return Rates(0.0, 1.0, 0.0)
        places = player(board) if turn == mark and player is not None else free(board)
        reached = [after(put(board, place, turn), OTHER[turn]) for place in places]
        return best(reached) if turn == mark and player is None else mean(reached)

    return after(EMPTY, "x")


def best(reached: Sequence[Rates]) -> Rates:
    """Return the rates with the most wins less losses."""
    return max(reached, key=lambda one: one.win - one.loss)


def mean(reached: Sequence[Rates]) -> Rates:
    """Return the means of several rates."""
    return Rates(*(sum(values) / len(reached) for values in zip(*reached, strict=True)))
