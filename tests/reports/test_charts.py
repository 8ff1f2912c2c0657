"""Charts as files: that they show what they are given, that nothing overlaps, and that nothing global changes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from maze_core.errors import UserError
from maze_core.reports import charts
from maze_core.reports.charts import FORMS, chart_of, png_of, write_chart
from maze_core.reports.curves import COLORS, Curve, Panel


def curve(label: str, top: float = 100.0, n: int = 20, last: float = 2e5) -> Curve:
    x = np.linspace(0, last, n)
    y = top * x / last
    return Curve(label, x, y, y - 5, y + 5)


def panel(*curves: Curve, title: str = "CartPole-v1", threshold: float | None = 90.0, level: str = "solved") -> Panel:
    return Panel(title, "env steps", "mean return", curves, threshold, level)


def figure_of(*panels: Panel, columns: int = 2) -> Figure:
    """The figure with everything in its place."""
    with charts._own_settings():
        figure = charts._figure(panels, columns)
        FigureCanvasAgg(figure).draw()
    return figure


def drawn(panels: Sequence[Panel]) -> Image.Image:
    return Image.open(io.BytesIO(png_of(panels)))


def colors_in(image: Image.Image) -> set[str]:
    """Colours of the picture, as they are written."""
    found = image.convert("RGB").getcolors(2**24)
    assert found is not None
    return {"#{:02X}{:02X}{:02X}".format(*color) for _, color in found}  # type: ignore[misc]


TEN = [curve(f"group {i}", 10.0 * i) for i in range(10)]
MANY = {
    "one": [panel(curve("ppo"))],
    "shared legend": [panel(curve("ppo"), curve("es")), panel(curve("ppo"), curve("es"), curve("a2c"))],
    "legends of their own": [panel(curve("ppo")), panel(curve("es"), threshold=None), panel(*TEN)],
    "long texts": [
        panel(curve("ppo, hidden_sizes=[64, 64, 64], lr=0.0003, gamma=0.99 (10 runs)"), title="a long title " * 8),
        panel(curve("ppo, hidden_sizes=[32], lr=0.0003, gamma=0.99 (10 runs)"), title="Pendulum-v1"),
    ],
    "many groups": [panel(*TEN), panel(*TEN)],
    "five": [panel(curve("ppo"))] * 5,
    "nothing": [panel(threshold=None)],
}


def boxes_of(figure: Figure) -> list[Bbox]:
    """Where its axes and its texts are."""
    boxes = [legend.get_window_extent() for legend in figure.legends]
    for axes in figure.axes:
        low, high = sorted(axes.get_ylim())
        ticks = [tick.label1 for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        texts = [axes.xaxis.label, axes.yaxis.label, *ticks, *filter(None, [axes.get_legend()])]
        titles = [  # and text in the middle
            item for item in axes.get_children() if isinstance(item, Text) and item.get_text()
        ]
        boxes += [item.get_window_extent() for item in (*texts, *titles)]
        boxes += [] if axes.texts else [axes.get_window_extent()]
    return [box for box in boxes if box.width > 1]


@pytest.mark.parametrize("name", MANY)
def test_no_text_lies_on_another_or_on_curves_or_outside(name: str) -> None:
    figure = figure_of(*MANY[name])
    boxes = boxes_of(figure)
    assert len(boxes) > len(figure.axes)
    for i, one in enumerate(boxes):
        assert min(one.x0, one.y0, figure.bbox.width - one.x1, figure.bbox.height - one.y1) >= -1
        for other in boxes[i + 1 :]:
            shared = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(shared) <= 2


def test_curves_have_the_colours_in_their_order() -> None:
    assert {COLORS[0], COLORS[1]} <= colors_in(drawn([panel(curve("a"), curve("b", 50), threshold=None)]))
    assert COLORS[1] not in colors_in(drawn([panel(curve("a"), threshold=None)]))


def test_curves_that_share_a_colour_differ_in_their_dashes() -> None:
    styles = charts._styles(TEN)
    assert len({(style["color"], style["linestyle"]) for style in styles}) == len(TEN)


def test_a_band_and_a_threshold_are_seen() -> None:
    plain, band = curve("a"), panel(curve("a"), threshold=None)
    without = panel(Curve("a", plain.x, plain.y), threshold=None)
    assert len(colors_in(drawn([band])) - colors_in(drawn([without]))) > 0
    (axes,) = figure_of(panel(curve("a"), threshold=90.0)).axes
    assert [line.get_ydata() for line in axes.lines][1:] == [[90.0, 90.0]]


def test_one_legend_is_enough_where_curves_are_called_the_same() -> None:
    figure = figure_of(panel(curve("ppo"), curve("es")), panel(curve("ppo"), curve("es")))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ppo", "es", "solved 90"]
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_each_panel_has_its_legend_where_curves_are_called_otherwise() -> None:
    figure = figure_of(panel(curve("ppo")), panel(curve("es")))
    assert figure.legends == []
    assert [axes.get_legend().get_texts()[0].get_text() for axes in figure.axes] == ["ppo", "es"]


@pytest.mark.parametrize(
    ("value", "ticks", "text"),
    [
        (200_000, [0, 100_000, 200_000], "200k"),
        (0, [0, 100_000, 200_000], "0"),
        (-50_000, [-50_000, 0], "−50k"),
        (2_500_000, [0, 2_500_000, 5_000_000], "2.5M"),
        (1500, [0, 500, 1000, 1500], "1,500"),
        (0.25, [0, 0.25, 0.5], "0.25"),
        (1, [0, 0.5, 1], "1.0"),
        (2e-5, [0, 1e-5, 2e-5], "2e−05"),
    ],
)
def test_numbers_at_an_axis_are_short(value: float, ticks: list[float], text: str) -> None:
    assert charts._number(value, ticks) == text


def test_texts_are_shown_as_they_are() -> None:
    (axes,) = figure_of(panel(curve("a"), title="$x$ \x1b[2J \u2066 日")).axes
    assert axes.get_title(loc="left") == "$x$ \\x1b[2J \\u2066 □"


def test_the_same_panels_give_the_same_bytes() -> None:
    for form in FORMS:
        assert chart_of([panel(curve("a"))], form) == chart_of([panel(curve("a"))], form)


def test_the_users_settings_of_matplotlib_neither_count_nor_change() -> None:
    plain = png_of([panel(curve("a"))])
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert png_of([panel(curve("a"))]) == plain
        assert dict(matplotlib.rcParams) == before


def test_a_png_is_sharp_enough_for_a_paper() -> None:
    image = drawn([panel(curve("a")), panel(curve("a"))])
    assert image.size[0] == 2 * 3.6 * 300
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_many_panels_stay_within_what_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MAX_PIXELS", 2000.0)
    assert max(drawn([panel(curve("a", n=2))] * 7).size) <= 2000


@pytest.mark.parametrize(("name", "begin"), [("c.png", b"\x89PNG"), ("c.SVG", b"<?xml"), ("c.pdf", b"%PDF")])
def test_the_name_says_the_form(name: str, begin: bytes, tmp_path: Path) -> None:
    target = tmp_path / name
    target.write_text("old")
    assert write_chart(target, [panel(curve("a"))]) == target
    assert target.read_bytes().startswith(begin)


def test_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape("it must end in .png, .svg or .pdf.")):
        write_chart(tmp_path / "chart.jpeg", [panel(curve("a"))])


def test_text_in_a_pdf_is_text() -> None:
    """Type 3 fonts, which are Matplotlib's own choice, are refused by many publishers."""
    content = chart_of([panel(curve("a"))], "pdf")
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
