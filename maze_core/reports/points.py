"""What a chart of a page is drawn from: few enough points of each curve, with its extremes among them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.reports.curves import Curve, Panel

DIGITS = 7
"""Significant digits of a number in a page; files have all of them."""


def chart_data(panel: Panel, more: Sequence[Panel], points: int) -> dict[str, Any]:
    """A panel as JSON values.

    Args:
        panel: What is shown.
        more: The same curves over other things.
        points: About how many points of each curve.
    """
    panels = [panel, *more]
    threshold = None
    if panel.threshold is not None and np.isfinite(panel.threshold):
        threshold = {"value": panel.threshold, "label": panel.threshold_label}
    return {
        "title": panel.title,
        "y": panel.y_label,
        "x": [other.x_label for other in panels],
        "curves": [_curve([other.curves[i] for other in panels], points) for i in range(len(panel.curves))],
        "threshold": threshold,
    }


def _curve(forms: Sequence[Curve], points: int) -> dict[str, Any]:
    """One curve, over each of several things."""
    first = forms[0]
    bands = [] if first.low is None or first.high is None else [first.low, first.high]
    kept = kept_points([first.y, *bands], points)
    return {
        "label": first.label,
        "x": [_numbers(form.x[kept]) for form in forms],
        "y": _numbers(first.y[kept]),
        "low": _numbers(bands[0][kept]) if bands else None,
        "high": _numbers(bands[1][kept]) if bands else None,
        "left_out": len(first.y) - len(kept),
    }


def kept_points(lines: Sequence[NDArray[Any]], points: int) -> NDArray[np.int64]:
    """Which points of a curve are shown: the smallest and largest of each stretch, the first and the last.

    Args:
        lines: Its values, and the ends of its band, [n] each.
        points: About how many; at least 2 for each line.

    Returns:
        Their numbers, increasing.
    """
    n = len(lines[0])
    if n <= points:
        return np.arange(n)
    n_stretches = max(1, points // (2 * len(lines)))
    edges = np.linspace(0, n, n_stretches + 1).astype(np.int64)
    kept = {0, n - 1}
    for begin, end in pairwise(edges.tolist()):
        for line in lines:
            stretch = line[begin:end]
            kept |= {int(begin + np.argmin(stretch)), int(begin + np.argmax(stretch))}
    return np.array(sorted(kept), np.int64)


def _numbers(values: NDArray[Any]) -> list[float | int | None]:
    """JSON numbers, null for what is none."""
    if np.issubdtype(values.dtype, np.integer):
        return [int(value) for value in values]
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
