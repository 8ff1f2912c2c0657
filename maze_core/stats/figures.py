"""Pictures of what happened in an evaluation, as PNG files."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.stats.events import figure_of

MAX_SIDE = 4096
"""Most rows and columns of an image."""


def drawn(path: str, values: NDArray[Any]) -> bytes | None:
    """The figure that an env declared for an event, as a PNG file; None if it declared none.

    Args:
        path: Of the histogram, such as ``CuttingEvents/left_over/histogram``.
        values: All of an evaluation, [n].

    Raises:
        Exception: Whatever the function raises that draws it; ValueError if what it returns is no picture.
    """
    figure = figure_of(path)
    return None if figure is None else as_png(figure(np.asarray(values, np.float64)))


def as_png(picture: Any) -> bytes:
    """A picture as a PNG file.

    Args:
        picture: An image [H, W, 3] of uint8, or a figure of Matplotlib, which is closed.

    Raises:
        ValueError: If it is something else.
    """
    if callable(getattr(picture, "savefig", None)):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png")
        if "matplotlib.pyplot" in sys.modules:  # which keeps the figures that it makes
            sys.modules["matplotlib.pyplot"].close(picture)
        return buffer.getvalue()
    image = np.asarray(picture)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not 0 < max(image.shape[:2]) <= MAX_SIDE:
        raise ValueError(
            f"it returned a {type(picture).__name__} {image.dtype} {list(image.shape)}; return an image [H, W, 3] of "
            f"uint8 with at most {MAX_SIDE} rows and columns, or a figure of Matplotlib"
        )
    return _encoded(image)


def _encoded(image: NDArray[np.uint8]) -> bytes:
    """An image [H, W, 3] as PNG (ISO/IEC 15948): 8 bits, RGB, rows without filter."""
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
