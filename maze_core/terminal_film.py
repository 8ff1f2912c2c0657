"""Films in a terminal: images of half blocks, played in place, and of characters where nobody looks live."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from maze_core.animations import LAST_FRAME_S, Film, Frame
from maze_core.console import Output
from maze_core.errors import UserError

HALF_BLOCK, COLORS, RESET = "▀", "\x1b[38;2;{};{};{};48;2;{};{};{}m", "\x1b[0m"
INK = " .:-=+*#%@"
"""From what is as bright as most of the image to what is least like it."""

ACCENT = 0.5
"""How far a cell is moved from its mean towards its most unlike pixel: 0 loses thin lines, 1 makes all jagged."""

PLAIN_COLUMNS, PLAIN_ROWS = 80, 24
"""Size of an image in a file or pipe."""

SGR = r"\x1b\[[\d;:]*m"
ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\n\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")
"""Commands to a terminal: CSI, strings such as titles, and all others (ECMA-48)."""


def frame_lines(frame: Frame, columns: int, rows: int, in_color: bool = True) -> list[str]:
    """A frame as lines of text.

    Args:
        frame: An image [H, W, 3], which is made to fit and keeps its proportions, or text.
        columns: Most characters of a line of an image.
        rows: Most lines.
        in_color: True uses 24-bit colours, two pixels for each character; False characters of different darkness.

    Returns:
        Lines without control characters other than colour codes, at least one.
    """
    if isinstance(frame, str):
        return _text_lines(frame, in_color)[:rows]
    height, width, _ = frame.shape
    scale = min(columns / width, 2 * rows / height)  # a character is twice as high as wide
    if scale > 1:
        scale = float(int(scale))  # whole pixels
    n_columns, n_lines = max(1, round(width * scale)), max(1, round(height * scale / 2))
    if in_color:
        return _colored_lines(_scaled(frame, 2 * n_lines, n_columns))
    return _plain_lines(_scaled(frame, n_lines, n_columns))


def _text_lines(text: str, in_color: bool) -> list[str]:
    """The lines of a text, each of which ends in the colours that it began in."""
    text = text.replace("\r\n", "\n").expandtabs()
    text = ESCAPES.sub(lambda found: found.group() if in_color and re.fullmatch(SGR, found.group()) else "", text)
    parts = re.split(f"({SGR})", text)
    parts[::2] = ["".join(char for char in part if char.isprintable() or char == "\n") for part in parts[::2]]
    lines = "".join(parts).rstrip("\n").split("\n")
    return [line + RESET if "\x1b" in line else line for line in lines]


def _scaled(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The image [H, W, 3] in another size [height, width, 3]: means of areas, moved towards what stands out in them."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width

    def reduced(by: np.ufunc, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        return by.reduceat(by.reduceat(pixels, rows, 0), columns, 1).astype(np.float32)

    n_rows = np.maximum(np.diff(rows, append=image.shape[0]), 1)
    n_columns = np.maximum(np.diff(columns, append=image.shape[1]), 1)
    mean = reduced(np.add, image.astype(np.uint32)) / (n_rows[:, None] * n_columns)[..., None]
    low, high = reduced(np.minimum, image), reduced(np.maximum, image)
    brighter = (high - mean).sum(-1, keepdims=True) > (mean - low).sum(-1, keepdims=True)  # one choice for all colours
    unlike = np.where(brighter, high, low)
    return (mean + ACCENT * (unlike - mean)).round().astype(np.uint8)  # type: ignore[no-any-return]


def _colored_lines(pixels: NDArray[np.uint8]) -> list[str]:
    """Two rows of pixels [2 * rows, columns, 3] in a line: the upper in the colour of the text, the lower behind it."""
    return [_colored_line(cells) for cells in np.concatenate([pixels[::2], pixels[1::2]], -1)]


def _colored_line(cells: NDArray[np.uint8]) -> str:
    """Half blocks for cells [columns, 6]; colours are told where they change."""
    starts = [0, *(np.flatnonzero((cells[1:] != cells[:-1]).any(1)) + 1).tolist()]
    lengths = np.diff(starts, append=len(cells)).tolist()
    runs = zip(cells[starts].tolist(), lengths, strict=True)
    return "".join(COLORS.format(*cell) + HALF_BLOCK * length for cell, length in runs) + RESET


def _plain_lines(pixels: NDArray[np.uint8]) -> list[str]:
    """A character for each pixel [rows, columns, 3], the denser the less it is like most of the image."""
    brightness = pixels @ np.array([0.299, 0.587, 0.114])
    most = np.median(brightness)
    unlike = np.abs(brightness - most) / max(most, 255 - most)
    levels = np.ceil(unlike * (len(INK) - 1) - 0.25).astype(int)
    return ["".join(INK[level] for level in row).rstrip() for row in levels.tolist()]


def play(film: Film, output: Output, title: str) -> None:
    """Shows a film: on a terminal in place and at its speed, elsewhere only how it begins and how it ends.

    The last frame stays below what was printed before.

    Args:
        film: The film.
        output: Where.
        title: What it shows, such as ``episode 3``.

    Raises:
        UserError: If it has no frames.
    """
    if not len(film):
        raise UserError(f"there is nothing to show of {title}: the film has no frames.")
    last = len(film) - 1
    if not output.can_draw:
        for number in sorted({0, last}):
            output.line("\n".join(_titled(film, number, title, PLAIN_COLUMNS, PLAIN_ROWS, in_color=False)))
        return
    with output.screen() as draw:
        for number in _due(film):
            draw(_titled(film, number, title, *output.size, output.in_color))  # the size may change at any time
        time.sleep(LAST_FRAME_S)
    columns, rows = output.size
    output.picture(_titled(film, last, title, columns, rows - 1, output.in_color))  # a line is left for the prompt


def _titled(film: Film, number: int, title: str, columns: int, rows: int, in_color: bool) -> list[str]:
    """The lines of a frame, and one that says which it is."""
    caption = f"{title}, frame {number + 1} of {len(film)}"
    return [*frame_lines(film[number], columns, max(1, rows - 1), in_color), caption]


def _due(film: Film) -> Iterator[int]:
    """Numbers of frames, each at its time; of those that are late some are left out, but never the last."""
    started, number = time.monotonic(), 0
    while number < len(film):
        time.sleep(max(0.0, started + number / film.fps - time.monotonic()))
        yield number
        now_due = int((time.monotonic() - started) * film.fps)
        number = max(number + 1, min(now_due, len(film) - 1))
