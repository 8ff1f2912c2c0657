"""Pictures of the cutting problem: the last cut, what is ordered, and the inventory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maze_cutting_2d.world import MadeCut, Size

WIDTH, HEIGHT, MARGIN, TEXT = 640, 480, 16, 18
PAPER, INK, PIECE, ORDER, LINE = "#FFFFFF", "#1A1A1A", "#E6F4FC", "#E69F00", "#D55E00"


def draw(
    raw: Size, inventory: Sequence[Size], order: Size, cut: MadeCut | None, selected: int | None = None
) -> NDArray[np.uint8]:
    """Draws a state.

    Args:
        raw: Size of a raw piece.
        inventory: Pieces, the oldest first.
        order: What has to be cut next.
        cut: The last cut; None if there was none.
        selected: Slot of the piece that was selected to be cut next; None if none was.

    Returns:
        An image [480, 640, 3].
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    half = (WIDTH - 3 * MARGIN) // 2
    top = MARGIN + TEXT
    room = HEIGHT // 2 - top - MARGIN
    scale = min(half / raw[0], room / raw[1])
    pen.text((MARGIN, MARGIN), "last cut" if cut else "nothing cut yet", fill=INK)
    if cut is not None:
        _draw_cut(pen, (MARGIN, top), scale, cut)
    pen.text((2 * MARGIN + half, MARGIN), f"next order: {order[0]} x {order[1]}", fill=INK)
    _box(pen, (2 * MARGIN + half, top), order, scale, ORDER)
    chosen = "" if selected is None else ", one of them selected"
    pen.text((MARGIN, HEIGHT // 2), f"pieces, the oldest first: {len(inventory)}{chosen}", fill=INK)
    _draw_inventory(pen, raw, inventory, selected)
    return np.asarray(image)


def _draw_cut(pen: ImageDraw.ImageDraw, corner: tuple[float, float], scale: float, cut: MadeCut) -> None:
    """The piece, the order in its corner, and the two lines: the first goes through, the second ends at it."""
    (x, y), (w, h) = cut.piece, cut.order
    left, top = corner
    _box(pen, corner, cut.piece, scale, PIECE)
    _box(pen, corner, cut.order, scale, ORDER)
    across = (x if cut.height_first else w) * scale
    down = (h if cut.height_first else y) * scale
    pen.line([(left, top + h * scale), (left + across, top + h * scale)], fill=LINE, width=3)
    pen.line([(left + w * scale, top), (left + w * scale, top + down)], fill=LINE, width=3)


def _draw_inventory(pen: ImageDraw.ImageDraw, raw: Size, inventory: Sequence[Size], selected: int | None) -> None:
    """All pieces in rows of equal cells, the selected one in the colour of cuts."""
    top, room = HEIGHT // 2 + TEXT + 4, HEIGHT // 2 - TEXT - MARGIN
    columns = 1
    while columns * int(room * columns / (WIDTH - 2 * MARGIN)) < len(inventory):  # rows of square cells that fit
        columns += 1
    cell = (WIDTH - 2 * MARGIN) / columns
    scale = 0.85 * cell / max(raw)
    for index, piece in enumerate(inventory):
        row, column = divmod(index, columns)
        _box(pen, (MARGIN + column * cell, top + row * cell), piece, scale, LINE if index == selected else PIECE)


def _box(pen: ImageDraw.ImageDraw, corner: tuple[float, float], size: Size, scale: float, fill: str) -> None:
    left, top = corner
    pen.rectangle([left, top, left + size[0] * scale, top + size[1] * scale], fill=fill, outline=INK)
