"""What an evaluation shows at a glance: from which pieces a policy cuts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = (640, 400)
LEFT, RIGHT, TOP, BOTTOM = 86, 20, 104, 78
TITLE, TOLD, TICKS = 28, 21, 20
"""Sizes of letters: TensorBoard shows the picture half as large."""

PAPER, INK, MUTED, GRID, PIECE, RAW = "#FFFFFF", "#1A1A1A", "#595959", "#E3E3E3", "#56B4E9", "#D55E00"
N_BARS = 20


def piece_shares(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draws how large the pieces were that were cut into.

    Whoever wastes little cuts from what is left of earlier pieces, and seldom from a raw one.

    Args:
        values: Area of each piece, as a share of a raw piece, [n].

    Returns:
        An image [400, 640, 3].
    """
    image = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(image)
    is_raw = values >= 1.0
    counts, _ = np.histogram(values[~is_raw], bins=N_BARS, range=(0.0, 1.0))
    shares = np.append(counts, is_raw.sum()) / max(len(values), 1)
    highest = max(0.05, float(shares.max()))
    pen.text((LEFT, 10), "Pieces that were cut into", fill=INK, font=ImageFont.load_default(TITLE))
    told = f"{is_raw.mean():.0%} of {len(values):,} cuts are into a raw piece" if len(values) else "no cuts"
    pen.text((LEFT, 46), told, fill=RAW, font=ImageFont.load_default(TOLD))
    _axes(pen, highest)
    width = (SIZE[0] - LEFT - RIGHT) / (N_BARS + 2)
    for number, share in enumerate(shares):
        raw = number == N_BARS
        left = LEFT + width * (number + 1 if raw else number)
        box = [left + 1, _height(float(share), highest), left + width - 1, SIZE[1] - BOTTOM]
        if share > 0:
            pen.rectangle(box, fill=RAW if raw else PIECE)
    return np.asarray(image)


def _axes(pen: ImageDraw.ImageDraw, highest: float) -> None:
    """Lines at round shares of all cuts, and areas below."""
    font, width = ImageFont.load_default(TICKS), (SIZE[0] - LEFT - RIGHT) / (N_BARS + 2)
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if highest / step <= 5)
    for share in np.arange(0.0, highest + 1e-9, step):
        y = _height(float(share), highest)
        pen.line([(LEFT, y), (SIZE[0] - RIGHT, y)], fill=INK if share == 0 else GRID)
        pen.text((LEFT - 8, y), f"{share:.0%}", fill=MUTED, font=font, anchor="rm")
    below = SIZE[1] - BOTTOM + 6
    for area in (0, 0.25, 0.5, 0.75):
        pen.text((LEFT + width * N_BARS * area, below), f"{area:g}", fill=MUTED, font=font, anchor="ma")
    pen.text((LEFT + width * N_BARS, below), "1", fill=MUTED, font=font, anchor="ma")
    pen.text((LEFT + width * (N_BARS + 1.5), below), "raw", fill=RAW, font=font, anchor="ma")
    middle = LEFT + width * N_BARS / 2
    pen.text((middle, below + 32), "area, as a share of a raw piece", fill=MUTED, font=font, anchor="ma")
    pen.text((LEFT - 8, TOP - 8), "of cuts", fill=MUTED, font=font, anchor="rb")


def _height(share: float, highest: float) -> float:
    """Where a share of all cuts is, in pixels from the top."""
    return SIZE[1] - BOTTOM - (SIZE[1] - BOTTOM - TOP - 8) * share / highest
