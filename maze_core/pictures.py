"""Pictures of networks: what goes in, which layers follow, what comes out, how many parameters each has.

`_arrange` gives every box its place, `_svg` and `_png` draw. Lengths are points (1/72 inch); y points down.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

from gymnasium import spaces
from torch import nn

from maze_core.rl.critics import Critic
from maze_core.rl.network_graph import NetworkGraph, network_graph
from maze_core.rl.policy import Policy

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

FONT, LINE, PAD, GAP, LANE = 10.0, 14.0, 8.0, 26.0, 8.0
MAX_TEXT, MAX_TITLE, MAX_IN_ROW, MAX_ROWS = 40, 60, 5, 10
"""Longer lines, of layers and of titles, are shortened; more boxes go to the next row, more rows to the next column."""

DPI, MAX_PIXELS = 120.0, 30_000.0
COLORS = {  # border and bar from Okabe & Ito (2008), a light tint of it behind dark text
    "title": ("#000000", "#FFFFFF"), "input": ("#56B4E9", "#E6F4FC"), "layer": ("#0072B2", "#FFFFFF"),
    "plain": ("#8C8C8C", "#EEEEEE"), "shared": ("#CC79A7", "#F9EEF4"), "output": ("#E69F00", "#FDF3DC"),
}  # fmt: skip
INK, ARROW = "#1A1A1A", "#808080"


@dataclass(frozen=True)
class NetworkPicture:
    """One network, drawn twice.

    Args:
        name: Such as ``policy-substep_0``: file stem and TensorBoard tag.
        png: The file, RGBA with a transparent background.
        svg: The file; its text is text.
    """

    name: str
    png: bytes
    svg: str


def network_pictures(networks: Mapping[str, Policy | Critic]) -> list[NetworkPicture]:
    """Draws the networks of all actors; neither the networks nor torch's random state are touched.

    Args:
        networks: What has the networks, by role, such as ``{"policy": policy, "critic": critic}``; the
            critic's belong to the actors of the policy.

    Returns:
        One picture for each role and actor, or for all of them that have the same network.
    """
    policies = [policy for policy in networks.values() if isinstance(policy, Policy)]
    read = {key: encoder.space for policy in policies for key, encoder in policy.encoders.items()}
    models: dict[int, tuple[nn.Module, spaces.Dict, list[str]]] = {}
    for role, of_role in networks.items():
        for step_key, model in of_role.models.items():
            models.setdefault(id(model), (model, read[step_key], []))[2].append(f"{role}-{step_key}")
    users: dict[int, list[str]] = {}
    for model, _, names in models.values():
        for parameter in model.parameters():
            users.setdefault(id(parameter), []).extend(names)
    pictures = []
    for model, space, own in models.values():
        graph = network_graph(model, space, {key: [u for u in all_ if u not in own] for key, all_ in users.items()})
        drawing = _arrange(_title(graph, own), graph)
        pictures.append(NetworkPicture(re.sub(r"[^\w.-]", "_", own[0]), _png(drawing), _svg(drawing)))
    return pictures


@dataclass(eq=False)
class _Box:
    """A box, or, without lines, the point at which an arrow passes a row; x is that of its centre."""

    kind: str
    lines: list[str]
    before: list[_Box] = field(default_factory=list)
    x: float = 0.0
    top: float = 0.0
    width: float = 0.0
    row_end: float = 0.0

    @property
    def height(self) -> float:
        """Of the box."""
        return 2 * PAD + LINE * len(self.lines) - 2 if self.lines else 0.0


def _title(graph: NetworkGraph, names: list[str]) -> _Box:
    lines = [_short(names[0]), f"{graph.n_parameters:,} parameters in total"]
    if len(names) > 1:
        lines += map(_short, wrap(f"one network, shared by {', '.join(names)}", MAX_TITLE))
    if graph.failure:
        reason = f"zeros cannot pass, so layers are listed as they were defined ({graph.failure})"
        lines += map(_short, wrap(reason, MAX_TITLE, max_lines=4, placeholder=" …"))
    return _Box("title", lines)


def _short(text: str, size: int = MAX_TITLE) -> str:
    """Without what cannot be printed, and shortened in the middle."""
    text = "".join(char if char.isprintable() else "□" for char in text)
    return text if len(text) <= size else f"{text[: (size - 1) // 2]}…{text[-(size // 2) :]}"


def _boxes(graph: NetworkGraph) -> list[_Box]:
    """All equally wide."""
    boxes = {node: _Box(node.kind, [_short(line, MAX_TEXT) for line in node.lines]) for node in graph.nodes}
    width = max((_width(box) for box in boxes.values()), default=0.0)
    for node, box in boxes.items():
        box.width, box.before = width, [boxes[other] for other in node.before]
    return list(boxes.values())


@dataclass(frozen=True)
class _Drawing:
    """Boxes at their places, lines through points, and where the tips of arrows are."""

    width: float
    height: float
    boxes: list[_Box]
    lines: list[list[tuple[float, float]]]
    tips: list[tuple[float, float]]


def _ranks(boxes: list[_Box]) -> dict[_Box, int]:
    """The row of each box: below all before it, inputs just above what reads them, boxes without arrows last."""
    readers = {box: [other for other in boxes if box in other.before] for box in boxes}
    rank: dict[_Box, int] = {}
    linked = [box for box in boxes if box.before or readers[box]]
    for box in [*linked, *(box for box in boxes if box not in linked)]:
        alone = 0 if readers[box] else max((rank[other] for other in linked if other in rank), default=-1) + 1
        rank[box] = max((rank[other] + 1 for other in box.before), default=alone)
        while sum(r == rank[box] for r in rank.values()) > MAX_IN_ROW:
            rank[box] += 1
    return rank | {b: min(rank[r] for r in readers[b]) - 1 for b in boxes if readers[b] and b.kind == "input"}


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    """Boxes row by row, with a point of passage for every connection in every row between its ends."""
    rank = _ranks(boxes)
    rows: list[list[_Box]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    passages: dict[tuple[_Box, int], _Box] = {}
    for box in boxes:
        rows[rank[box]].append(box)
        for i, upper in enumerate(box.before):
            for key in ((upper, r) for r in range(rank[upper] + 1, rank[box])):
                if key not in passages:
                    passages[key] = _Box("passage", [], [box.before[i]])
                    rows[key[1]].append(passages[key])
                box.before[i] = passages[key]
    return [row for row in rows if row]


def _align(row: list[_Box], links: Mapping[_Box, list[_Box]]) -> None:
    """Moves what stands in a row as near as possible to what it is linked with, without overlap."""
    wish = {box: sum(n.x for n in near) / len(near) if (near := links[box]) else box.x for box in row}
    row.sort(key=wish.__getitem__)
    half = [(box.width + GAP) / 2 for box in row]
    low = [wish[box] for box in row]
    high = list(low)
    for i in range(1, len(row)):
        low[i] = max(low[i], low[i - 1] + half[i - 1] + half[i])
        high[-1 - i] = min(high[-1 - i], high[-i] - half[-i] - half[-1 - i])
    for box, a, b in zip(row, low, high, strict=True):
        box.x = (a + b) / 2


def _arrange(title: _Box, graph: NetworkGraph) -> _Drawing:
    """Aligns rows with the rows above and below, in turn, breaks them into columns, and connects them."""
    boxes = _boxes(graph)
    rows = [[box] for box in boxes] if graph.failure else _rows(boxes)
    before = {box: box.before for row in rows for box in row}
    after = {box: [other for other in before if box in before[other]] for box in before}
    for row, near in 4 * ([(row, before) for row in rows] + [(row, after) for row in rows[::-1]]):
        _align(row, near)
    n_columns = -(-len(rows) // MAX_ROWS)
    columns = [rows[len(rows) * i // n_columns : len(rows) * (i + 1) // n_columns] for i in range(n_columns)]
    leaving = [[(a, b) for a in sorted(c[-1], key=lambda a: -a.x) for b in after[a]] for c in columns]
    lanes = LANE * max(map(len, leaving), default=0)
    title.width, title.top = _width(title), PAD
    title.x, top = PAD + title.width / 2, PAD + title.height + GAP + lanes
    rights, left = [], PAD
    for column, links in zip(columns, leaving, strict=True):
        rights.append(_place(column, left, top))
        left = rights[-1] + GAP + LANE * len(links)
    lines = [_connection(a, b) for c in columns for row in c[:-1] for a in row for b in after[a]]
    for right, links in zip(rights, leaving, strict=True):
        lines += [_detour(a, b, right + GAP / 2 + LANE * i, LANE * i + PAD, top) for i, (a, b) in enumerate(links)]
    width = max([title.x + title.width / 2, *rights]) + PAD
    height = max((box.row_end for box in before), default=top) + PAD + lanes
    return _Drawing(width, height, [title, *boxes], lines, [(box.x, box.top) for box in boxes if box.before])


def _place(column: list[list[_Box]], left: float, top: float) -> float:
    """Sets rows below each other; returns the right end."""
    shift = left - min(box.x - box.width / 2 for row in column for box in row)
    for row in column:
        row_end = top + max(box.height for box in row)
        for box in row:
            box.x, box.top, box.row_end = box.x + shift, top, row_end
        top = row_end + GAP
    return max(box.x + box.width / 2 for row in column for box in row)


def _connection(a: _Box, b: _Box) -> list[tuple[float, float]]:
    """From a box or passage to one in the next row, as an S."""
    steps = [i / 16 for i in range(17)]
    curve = [(a.x + (b.x - a.x) * t * t * (3 - 2 * t), a.row_end + (b.top - a.row_end) * t) for t in steps]
    return [(a.x, a.top + a.height), *curve]


def _detour(a: _Box, b: _Box, x: float, margin: float, top: float) -> list[tuple[float, float]]:
    """From the last row of a column to the first row of the next one, between the columns."""
    low, high = a.row_end + margin, top - margin - PAD
    return [(a.x, a.top + a.height), (a.x, low), (x, low), (x, high), (b.x, high), (b.x, b.top)]


def _font(bold: bool) -> FontProperties:
    from matplotlib import get_data_path
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' * bold}.ttf", size=FONT)


def _drawable(text: str, bold: bool) -> str:
    """The text with a square for what the font does not have."""
    from matplotlib.font_manager import get_font

    font = get_font(str(_font(bold).get_file()))
    return "".join(char if font.get_char_index(ord(char)) else "□" for char in text)


def _width(box: _Box) -> float:
    """Of a box that holds its text."""
    from matplotlib.textpath import text_to_path

    sizes = [(_drawable(text, i == 0), _font(i == 0)) for i, text in enumerate(box.lines)]
    return max(text_to_path.get_text_width_height_descent(*size, ismath=False)[0] for size in sizes) + 3 * PAD


def _svg(drawing: _Drawing) -> str:
    """By hand, since Matplotlib's options for SVG are global."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:.1f} {drawing.height:.1f}" '
        f'width="{drawing.width * 4 / 3:.1f}" height="{drawing.height * 4 / 3:.1f}" fill="{INK}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="{FONT:g}">'
    ]
    for line in drawing.lines:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{ARROW}" stroke-width="1.5"/>')
    parts += [f'<path d="M{x:.1f},{y:.1f} l-4,-8 h8 z" fill="{ARROW}"/>' for x, y in drawing.tips]
    for box in drawing.boxes:
        border, fill = COLORS[box.kind]
        left, y = box.x - box.width / 2, f'y="{box.top:.1f}" height="{box.height:.1f}"'
        parts.append(
            f'<rect x="{left:.1f}" {y} width="{box.width:.1f}" fill="{fill}" stroke="{border}"/>'
            f'<rect x="{left:.1f}" {y} width="{PAD / 2:g}" fill="{border}"/>'
        )
        for i, text in enumerate(box.lines):
            weight = ' font-weight="bold"' if i == 0 else ""
            at = f'x="{left + 1.5 * PAD:.1f}" y="{box.top + PAD + FONT + LINE * i - 1:.1f}"'
            parts.append(f"<text {at}{weight}>{escape(text)}</text>")
    return "\n".join([*parts, "</svg>\n"])


def _png(drawing: _Drawing) -> bytes:
    """By Matplotlib without pyplot, so that nothing global is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch, Polygon, Rectangle
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    dpi = min(DPI, 72 * MAX_PIXELS / max(drawing.width, drawing.height))
    figure = Figure((drawing.width / 72, drawing.height / 72), dpi, facecolor="none")
    place = Affine2D().scale(1, -1).translate(0, drawing.height).scale(dpi / 72)
    for line in drawing.lines:
        figure.add_artist(PathPatch(Path(line), facecolor="none", edgecolor=ARROW, linewidth=1.5, transform=place))
    for x, y in drawing.tips:
        figure.add_artist(Polygon([(x, y), (x - 4, y - 8), (x + 4, y - 8)], color=ARROW, linewidth=0, transform=place))
    for box in drawing.boxes:
        border, fill = COLORS[box.kind]
        left, top, size = box.x - box.width / 2, box.top, (box.width, box.height)
        figure.add_artist(Rectangle((left, top), *size, facecolor=fill, edgecolor=border, linewidth=1, transform=place))
        figure.add_artist(Rectangle((left, top), PAD / 2, box.height, color=border, linewidth=0, transform=place))
        for i, text in enumerate(box.lines):
            figure.text(
                left + 1.5 * PAD, top + PAD + FONT + LINE * i - 1, _drawable(text, i == 0),
                fontproperties=_font(i == 0), color=INK, transform=place, parse_math=False,
            )  # fmt: skip
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return file.getvalue()
