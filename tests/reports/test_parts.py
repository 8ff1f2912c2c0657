"""Building blocks of pages: texts stay texts, and charts keep what matters of long curves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.reports import ReadPage

from maze_core.errors import hide
from maze_core.reports import page as blocks
from maze_core.reports.clip import shrunk
from maze_core.reports.curves import COLORS, Curve, Panel
from maze_core.reports.markup import Html, data_block, element, escaped
from maze_core.reports.page import Section, text_of
from maze_core.reports.points import chart_data, kept_points

NASTY = "</script><script>alert('1')</script>\"&<!--"


def curve(n: int, **more: object) -> Curve:
    return Curve("a", np.arange(n), np.sin(np.arange(n) / 7.0), **more)  # type: ignore[arg-type]


# Texts


def test_a_text_cannot_become_markup() -> None:
    made = element("p", NASTY, title=NASTY)
    assert made.count("<") == 2
    assert 'title="&lt;/script&gt;' in made
    assert "&quot;&amp;&lt;!--" in made


def test_markup_stays_markup_and_is_not_escaped_twice() -> None:
    assert element("p", element("b", "a & b"), " < c") == "<p><b>a &amp; b</b> &lt; c</p>"


def test_control_characters_and_endless_texts_are_tamed() -> None:
    assert escaped("a\x1b[31mb\nc") == "a\\x1b[31mb\nc"
    assert len(escaped("x" * 10**6)) < 21_000


def test_values_of_secret_variables_are_not_shown() -> None:
    hide(["topsecret"])
    assert "topsecret" not in element("p", "a topsecret", title="topsecret") + data_block({"topsecret": ["topsecret"]})


def test_data_cannot_end_its_element_and_reads_back() -> None:
    block = data_block({"label": NASTY, "y": [1.5, None]})
    inner = block.removeprefix('<script type="application/json">').removesuffix("</script>")
    assert "<" not in inner
    assert json.loads(inner) == {"label": NASTY, "y": [1.5, None]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (3, "3"), (12345, "12,345"), (28.1, "28.100"), (-31.0, "−31"), (0.25, "0.250"),
        (1234.56, "1,234.6"),
        (1e-5, "1e−05"), (float("nan"), "nan"), (float("-inf"), "-inf"), (True, "True"), ("a-b", "a-b"),
        (1.5e12, "1.5e+12"),
    ],
)  # fmt: skip
def test_numbers_are_shown_with_few_digits(value: object, shown: str) -> None:
    assert text_of(value) == shown


# Points


def test_a_short_curve_keeps_all_points() -> None:
    assert kept_points([np.zeros(5)], 5).tolist() == [0, 1, 2, 3, 4]


def test_a_long_curve_keeps_its_extremes_and_its_ends() -> None:
    line = np.zeros(100_000)
    line[[1234, 77_777]] = 9.0, -9.0
    kept = kept_points([line], 500)
    assert len(kept) <= 502
    assert {0, 1234, 77_777, 99_999} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)


def test_the_extremes_of_a_band_are_kept_too() -> None:
    line, low, high = np.zeros(5000), np.full(5000, -1.0), np.ones(5000)
    low[1111], high[2222] = -50.0, 50.0
    assert {1111, 2222} <= set(kept_points([line, low, high], 300).tolist())


def test_data_of_a_chart_is_that_of_its_panels() -> None:
    steps = Panel(
        "Return", "env steps", "mean", [Curve("a", np.array([10, 20]), np.array([1.0, 2.0]))], 2.5, "solved at"
    )
    time = Panel("Return", "time (s)", "mean", [Curve("a", np.array([0.5, np.nan]), np.array([1.0, 2.0]))])
    assert chart_data(steps, [time], 100) == {
        "title": "Return", "y": "mean", "x": ["env steps", "time (s)"],
        "threshold": {"value": 2.5, "label": "solved at"},
        "curves": [{"label": "a", "x": [[10, 20], [0.5, None]], "y": [1.0, 2.0], "low": None, "high": None,
                    "left_out": 0}],
    }  # fmt: skip


def test_it_is_known_how_many_points_are_left_out() -> None:
    (data,) = chart_data(Panel("", "", "", [curve(5000)]), [], 100)["curves"]
    assert data["left_out"] == 5000 - len(data["y"]) > 4000


# Frames


def test_a_shrunk_frame_is_the_mean_of_its_areas() -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[:2, :3] = 200
    assert shrunk(frame, 24).tolist() == frame.tolist()
    assert shrunk(frame, 6)[:, :, 0].tolist() == [[200, 100, 0], [0, 0, 0]]


# Pages


def page(tmp_path: Path, *sections: Section) -> ReadPage:
    file = tmp_path / "page.html"
    file.write_bytes(blocks.page(f"A {NASTY}", sections))
    return ReadPage(file)


def test_a_page_allows_nothing_but_its_own_script_and_style(tmp_path: Path) -> None:
    read = page(tmp_path, Section("One", blocks.paragraph(NASTY)))
    policy = next(a["content"] for tag, a in read.elements if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", read.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [a for _, a in read.elements if "style" in a or any(name.startswith("on") for name in a)]


def test_a_page_fetches_nothing(tmp_path: Path) -> None:
    read = page(tmp_path, Section("One", blocks.picture(b"PNG", "image/png", "a dot")))
    assert all(value.startswith(("#", "data:")) for name in ("src", "href") for value in read.values(name))
    assert not re.findall(r"url\((?!#)", read.source)
    assert "@import" not in read.source


def test_the_contents_lead_to_all_sections(tmp_path: Path) -> None:
    read = page(tmp_path, Section("Events and KPIs", Html("")), Section("Runs", Html("")))
    assert {"#events-and-kpis", "#runs"} <= set(read.values("href"))
    assert {"events-and-kpis", "runs"} <= set(read.values("id"))


def test_everything_has_a_name_for_who_cannot_see_it(tmp_path: Path) -> None:
    read = page(
        tmp_path,
        Section("One", blocks.picture(b"", "image/png", "a dot")),
        Section("Two", blocks.table(("a",), [["1"]], "a table")),
        Section("Three", blocks.code("maze", "a command")),
    )
    assert all(a.get("alt") for tag, a in read.elements if tag == "img")
    assert all(a.get("aria-label") for _, a in read.elements if a.get("tabindex") or a.get("class") == "copy")
    assert {"a table", "a command", "Copy: a command"} <= set(read.values("aria-label"))


def test_the_colours_of_curves_are_those_of_all_charts() -> None:
    style = blocks.template("report.css")
    for number, color in enumerate(COLORS[:7]):
        assert f"--c{number}: {color.lower()};" in style


CSS = blocks.template("report.css")
THEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2], strict=True))
PAIRS = [
    ("ink", "ground"), ("ink", "card"), ("muted", "ground"), ("muted", "card"), ("link", "card"), ("link", "ground"),
    ("ink", "code"), ("good", "good-ground"), ("busy", "busy-ground"), ("stopped", "stopped-ground"),
    ("bad", "bad-ground"), ("ink", "stopped-ground"), ("ink", "busy-ground"),
]  # fmt: skip


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back"), PAIRS, ids=["-on-".join(pair) for pair in PAIRS])
def test_texts_can_be_read(theme: str, front: str, back: str) -> None:
    colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", THEMES[theme]))
    bright, dark = sorted((luminance(colors[front]), luminance(colors[back])), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, level AA
