"""What charts show, however they are drawn: lines with bands, side by side in panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Colours that people with any kind of colour vision tell apart (Okabe and Ito, 2008), in the order of use."""


@dataclass(frozen=True)
class Curve:
    """One line of n points, from left to right.

    Args:
        label: What it is, for the legend.
        x: Positions, [n].
        y: Values, finite, [n].
        low: Lower end of its band, [n]; None for no band.
        high: Upper end of its band, [n].
    """

    label: str
    x: NDArray[Any]
    y: NDArray[Any]
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None


@dataclass(frozen=True)
class Panel:
    """One chart.

    Args:
        title: What it shows.
        x_label: What is to the right, with its unit.
        y_label: What is upwards, with its unit.
        curves: Its lines; the n-th has the n-th of `COLORS`.
        threshold: A height that matters, such as that of a solved env; None for none.
        threshold_label: What that is; the height is shown behind it.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    threshold: float | None = None
    threshold_label: str = ""
