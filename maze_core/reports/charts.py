"""Charts as files, for papers and reports: panels side by side, drawn by Matplotlib without pyplot.

Colours are those that people with any kind of colour vision tell apart; a legend never lies on the curves.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from maze_core.errors import UserError, printable
from maze_core.reports.curves import COLORS, Curve, Panel
from maze_core.runs.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FORMS = ("png", "svg", "pdf")
WIDTH, HEIGHT = 3.6, 2.6
"""Of one panel, in inches: two fit the width of a page of a paper."""

DPI, MAX_PIXELS = 300.0, 30_000.0
SIZE, SMALL = 9.0, 8.0
LINE, CHARACTER, BOLD = 0.17, 0.068, 0.085
"""Height of a line, width of a character of small text and of titles, in inches."""

UP, BELOW_AXES = 2.0, 0.45
"""What is sure to be free along the y axis, and how far below the x axis its label ends, in inches."""

INK, MUTED, GRID = "#1A1A1A", "#595959", "#E3E3E3"
PALE = "#F0E442"
BAND = 0.2
DASHES = ("-", "--", ":", "-.")
"""Of curves that have to share a colour, because there are more of them than colours."""

MAX_LINES, IN_LEGEND = 3, 34
"""Of a text, and characters in a line of a legend."""

SMALL_NUMBER = 1e-3


def png_of(panels: Sequence[Panel], columns: int | None = None) -> bytes:
    """Draws panels as a PNG of 300 dots per inch.

    Args:
        panels: What is to be seen, in reading order.
        columns: How many stand side by side; None lets their number decide.
    """
    return chart_of(panels, "png", columns)


def chart_of(panels: Sequence[Panel], form: str, columns: int | None = None) -> bytes:
    """Draws panels as a file; the same panels give the same bytes.

    Args:
        panels: What is to be seen, in reading order.
        form: One of `FORMS`.
        columns: How many stand side by side; None lets their number decide.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    file = io.BytesIO()
    with _own_settings():
        figure = _figure(panels, columns or _columns(len(panels)))
        FigureCanvasAgg(figure)
        figure.savefig(file, format=form, metadata=metadata)
    return file.getvalue()


def form_of(path: str | Path) -> str:
    """What a file's name says that it is to be: one of `FORMS`.

    Raises:
        UserError: If it says something else.
    """
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise UserError(f"{printable(str(path))} is no name of a chart: it must end in .png, .svg or .pdf.")
    return form


def write_chart(path: str | Path, panels: Sequence[Panel], columns: int | None = None) -> Path:
    """Draws panels into a file, in the form that its name says; one that is there is replaced.

    Raises:
        UserError: If its name says no such form.
        StorageError: If it cannot be written.
    """
    content = chart_of(panels, form_of(path), columns)
    target = Path(path).expanduser()
    write_file(target, lambda file: file.write(content))
    return target


@contextmanager
def _own_settings() -> Iterator[None]:
    """Matplotlib as it is delivered, whatever the user's own settings are; they are in force again afterwards."""
    from matplotlib import rc_context, rcParamsDefault

    delivered: dict[Any, Any] = {
        key: value for key, value in rcParamsDefault.items() if not key.startswith(("backend", "toolbar"))
    }
    own: dict[Any, Any] = {
        "text.parse_math": False, "font.size": SMALL, "axes.labelsize": SMALL, "axes.titlesize": SIZE,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
        "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.5,
        "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.xmargin": 0.02,
        "legend.fontsize": SMALL, "legend.frameon": False, "pdf.fonttype": 42, "svg.hashsalt": "maze",
    }  # fmt: skip
    with rc_context({**delivered, **own}):
        yield


def _columns(n: int) -> int:
    return max(n, 1) if n <= 3 else 2 if n == 4 else 3


def _figure(panels: Sequence[Panel], columns: int) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.transforms import ScaledTranslation

    rows = -(-len(panels) // columns) or 1
    shared = _shared_legend(panels)
    longest = max(panels, key=lambda panel: len(_handles(panel)), default=None)
    above = _legend_lines(longest, WIDTH * columns) if shared and longest else 0
    below = 0 if shared else max(_legend_lines(panel, WIDTH) for panel in panels)
    size = (WIDTH * columns, HEIGHT * rows + LINE * (above + below * rows))
    figure = Figure(size, min(DPI, MAX_PIXELS / max(size)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr,call-arg]
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw(axes, panel)
        if not shared:
            place = axes.transAxes + ScaledTranslation(0, -BELOW_AXES, figure.dpi_scale_trans)
            axes.legend(handles=_handles(panel), loc="upper left", ncols=_legend_columns(panel, WIDTH),
                        bbox_to_anchor=(0, 0), bbox_transform=place, borderaxespad=0)  # fmt: skip
    if longest and above:
        figure.legend(handles=_handles(longest), loc="outside upper left", ncols=_legend_columns(longest, size[0]))
    return figure


def _legend_columns(panel: Panel, width: float) -> int:
    """How many entries of its legend fit side by side."""
    handles = _handles(panel)
    widest = max((len(line) for handle in handles for line in _label_lines(handle)), default=1)
    return max(1, min(len(handles), int(width / (0.5 + CHARACTER * widest))))


def _legend_lines(panel: Panel, width: float) -> int:
    highest = max((len(_label_lines(handle)) for handle in _handles(panel)), default=0)
    return -(-len(_handles(panel)) // _legend_columns(panel, width)) * highest


def _label_lines(handle: Line2D) -> list[str]:
    return str(handle.get_label()).split("\n")


def _shared_legend(panels: Sequence[Panel]) -> bool:
    """Whether one legend is right for all panels: where two have an n-th curve, it is called the same."""
    longest = max((_names(panel) for panel in panels), key=len, default=[])
    thresholds = {(panel.threshold, panel.threshold_label) for panel in panels if panel.threshold is not None}
    return len(thresholds) <= 1 and all(_names(panel) == longest[: len(panel.curves)] for panel in panels)


def _names(panel: Panel) -> list[str]:
    return [curve.label for curve in panel.curves]


def _draw(axes: Axes, panel: Panel) -> None:
    """One panel in its axes."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_in_lines(panel.title, WIDTH / BOLD))
    axes.set_xlabel(_in_lines(panel.x_label, WIDTH / CHARACTER))
    axes.set_ylabel(_in_lines(panel.y_label, UP / CHARACTER))
    for curve, style in zip(panel.curves, _styles(panel.curves), strict=True):
        _draw_curve(axes, curve, style)
    if panel.threshold is not None:
        axes.axhline(panel.threshold, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.0, zorder=1.5)
    if not any(len(curve.x) for curve in panel.curves):
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        axes.set(xticks=[], yticks=[])
        return
    low, high = axes.dataLim.intervalx
    if 0 <= low <= high / 4:
        axes.set_xlim(left=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(_formatter(axis))


def _draw_curve(axes: Axes, curve: Curve, style: dict[str, Any]) -> None:
    single = len(curve.x) == 1
    axes.plot(curve.x, curve.y, zorder=3, marker="o" if single else "", markersize=4, **style)
    if curve.low is not None and curve.high is not None:
        if single:
            axes.vlines(curve.x, curve.low, curve.high, color=style["color"], alpha=2 * BAND, linewidth=3, zorder=2)
        inside, edge = (style["color"], BAND), (style["color"], 2 * BAND)
        axes.fill_between(curve.x, curve.low, curve.high, facecolor=inside, edgecolor=edge, linewidth=0.5, zorder=2)


def _styles(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Colour and dashes of each curve; a pale one has an outline."""
    from matplotlib.patheffects import withStroke

    styles: list[dict[str, Any]] = []
    for i in range(len(curves)):
        color = COLORS[i % len(COLORS)]
        outline = {"path_effects": [withStroke(linewidth=2.3, foreground=INK)]} if color == PALE else {}
        styles.append({"color": color, "linestyle": DASHES[i // len(COLORS) % len(DASHES)], **outline})
    return styles


def _handles(panel: Panel) -> list[Line2D]:
    """What a legend says of a panel."""
    from matplotlib.lines import Line2D

    pairs = zip(panel.curves, _styles(panel.curves), strict=True)
    handles = [Line2D([], [], label=_in_lines(curve.label, IN_LEGEND), **style) for curve, style in pairs]
    if panel.threshold is not None and panel.threshold_label:
        value = f"{panel.threshold:g}".replace("-", "−")
        label = _in_lines(f"{panel.threshold_label} {value}", IN_LEGEND)
        handles.append(Line2D([], [], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.0, label=label))
    return handles


def _formatter(axis: Axis) -> Callable[[float, float], str]:
    return lambda value, position: _number(value, axis.get_majorticklocs().tolist())


def _number(value: float, ticks: Sequence[float]) -> str:
    """A number at an axis, with as many digits as its neighbours need: 200k, 1.5M, 0.25."""
    largest = max(map(abs, ticks), default=0.0)
    step = min((b - a for a, b in pairwise(ticks)), default=largest) or 1.0
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= 10 * size or (largest >= size and size > 1e3):
            return f"{value / size:g}{unit}".replace("-", "−") if value else "0"
    if largest < SMALL_NUMBER:
        return f"{value:g}".replace("-", "−")
    decimals = next((n for n in range(8) if abs(round(step, n) - step) < step / 100), 8)
    return f"{value:,.{decimals}f}".replace("-", "−")


def _in_lines(text: str, width: float) -> str:
    """A text in lines of so many characters."""
    return "\n".join(wrap(_fitting(text, int(MAX_LINES * width * 0.8)), int(width), max_lines=MAX_LINES))


def _fitting(text: str, size: int) -> str:
    """A text of bounded length, with a square for what the font does not have."""
    from matplotlib import get_data_path
    from matplotlib.font_manager import get_font

    font = get_font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    text = "".join(char if font.get_char_index(ord(char)) else "□" for char in printable(text))
    return text if len(text) <= size else f"{text[: (size - 1) // 2]}…{text[-(size // 2) :]}"
