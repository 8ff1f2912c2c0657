"""Pages that stand for themselves: one file without anything to fetch, made of a few building blocks.

Whoever opens such a page needs no network, and the page could not use one: its policy forbids all but its own
script and style, which are known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from maze_core.errors import UserError
from maze_core.reports.curves import Panel
from maze_core.reports.markup import Html, data_block, element, joined
from maze_core.reports.points import chart_data
from maze_core.runs.files import UnreadableError, open_file

MARK = "<!-- A page that maze wrote; it may be replaced by a newer one. -->"
"""Begins every page, so that nothing else is ever replaced by one."""

NO_SCRIPT = (
    "Without JavaScript this page shows no curves, and its buttons do nothing. Everything else is here, "
    "the statistics as a table; --csv and --png write all numbers and the curves as files."
)


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, which the list of contents names.

    Args:
        title: Its heading.
        content: What is in it.
    """

    title: str
    content: Html

    @property
    def anchor(self) -> str:
        """What a link to it says after ``#``."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


def page(title: str, sections: Sequence[Section], header: Html | str = "", footer: str = "") -> bytes:
    """A whole page.

    Args:
        title: What it is about.
        sections: Its parts, in order; their titles differ.
        header: What stands below the title.
        footer: Its last line.
    """
    style, script = template("report.css"), template("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )
    links = [element("li", element("a", part.title, href=f"#{part.anchor}")) for part in sections]
    body = joined(
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("h1", title), header),
        element("nav", element("ul", *links), aria_label="Contents"),
        element("noscript", element("p", NO_SCRIPT, class_="notice")),
        element("main", *map(_shown, sections), id="content"),
        element("footer", element("p", footer)) if footer else "",
        element("script", Html(script)),
    )
    document = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{MARK}\n{document}\n".encode(errors="backslashreplace")


def free_for_page(path: Path) -> Path:
    """Where a page goes: nothing but an older page is replaced there.

    Raises:
        UserError: If something else is there.
    """
    if os.path.lexists(path) and not is_page(path):
        raise UserError(f"{path} exists already, and is no report that could be replaced. Name another file.")
    return path


def is_page(path: Path) -> bool:
    """Whether a file is an older page."""
    try:
        with open_file(path, 2**40) as file:
            return MARK.encode() in file.read(200)
    except UnreadableError:
        return False


@cache
def template(name: str) -> str:
    """A file that is part of every page."""
    return resources.files("maze_core.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _shown(part: Section) -> Html:
    label = f"{part.anchor}-title"
    return element("section", element("h2", part.title, id=label), part.content, id=part.anchor, aria_labelledby=label)


def paragraph(*content: object) -> Html:
    """A paragraph."""
    return element("p", *content)


def hint(text: str) -> Html:
    """How the page is used; left out when it is printed."""
    return element("p", text, class_="hint")


def heading(text: str) -> Html:
    """A heading within a section."""
    return element("h3", text)


def notice(*content: object, kind: str = "warning") -> Html:
    """What should not be overlooked: ``warning`` or ``note``."""
    return element("div", *content, class_=f"notice {kind}", role="note")


def status(text: str) -> Html:
    """How a run is doing, as a coloured word."""
    return element("span", text, class_=f"status {text if text.isalpha() else ''}")


@dataclass(frozen=True)
class Tile:
    """A figure that is seen first.

    Args:
        label: What it is.
        value: The figure.
        detail: What belongs to it, in smaller letters.
    """

    label: str
    value: str
    detail: str = ""


def tiles(entries: Sequence[Tile]) -> Html:
    """Figures side by side."""
    shown = [
        element(
            "div", element("dt", tile.label), element("dd", tile.value, class_="value"),
            element("dd", tile.detail, class_="detail") if tile.detail else "", class_="tile",
        )
        for tile in entries
    ]  # fmt: skip
    return element("dl", *shown, class_="tiles")


def facts(entries: Sequence[tuple[str, object]]) -> Html:
    """Names and what they stand for, one below the other."""
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in entries]
    return element("dl", *pairs, class_="facts")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str, numbers: Sequence[int] = ()) -> Html:
    """A table, which is scrolled within its box where it is too wide.

    Args:
        columns: Its header.
        rows: Cells: texts or markup; the first of each row names the row.
        caption: What it shows.
        numbers: Columns that are set as numbers.
    """
    kinds = dict.fromkeys(numbers, "number")
    head = [element("th", name, scope="col", class_=kinds.get(i)) for i, name in enumerate(columns)]
    body = [
        element(
            "tr",
            *(
                element("th", cell, scope="row", class_=kinds.get(i)) if i == 0
                else element("td", cell, class_=kinds.get(i))
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    ]  # fmt: skip
    whole = element(
        "table", element("caption", caption), element("thead", element("tr", *head)), element("tbody", *body)
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def picture(data: bytes, media_type: str, text: str, caption: str = "", size: tuple[int, int] | None = None) -> Html:
    """An image; whatever is in it, it is only looked at.

    Args:
        data: The file.
        media_type: Such as ``image/png``.
        text: What is to be seen, for who does not see it.
        caption: What stands below.
        size: Width and height in pixels, if they are known.
    """
    below = element("figcaption", caption) if caption else ""
    return element("figure", image(data, media_type, text, size), below, class_="picture")


def image(data: bytes, media_type: str, text: str, size: tuple[int, int] | None = None) -> Html:
    """An image alone; see `picture`."""
    width, height = size or (None, None)
    source = Html(f"data:{media_type};base64,{base64.b64encode(data).decode()}")
    return element("img", src=source, alt=text, width=width, height=height)


def code(text: str, label: str, command: bool = False, copied: bool = True) -> Html:
    """A text as it is, with a button that copies it.

    Args:
        text: Itself.
        label: What it is, or does.
        command: Whether long lines are wrapped.
        copied: Whether there is the button; not for commands that a stranger wrote.
    """
    above = element("span", label, class_="code-label")
    name = f"Copy: {label}"
    button = element("button", "Copy", type="button", class_="copy", hidden=True, aria_label=name) if copied else ""
    kind = "command" if command else None
    box = element("pre", element("code", text), tabindex="0", role="region", aria_label=label, class_=kind)
    return element("div", element("div", above, button, class_="code-head"), box, class_="code")


def collapsible(summary: object, *content: object, anchor: str | None = None, kind: str | None = None) -> Html:
    """What is only shown when it is asked for, or when a link leads to its anchor."""
    return element("details", element("summary", summary), *content, id=anchor, class_=kind)


def film(still: bytes, moving: bytes, media_type: str, text: str, size: tuple[int, int], caption: str) -> Html:
    """An animation that stands still until it is asked for, and again when it is closed; no script is needed.

    Args:
        still: Its first frame, an image file.
        moving: All of it, an image file.
        media_type: Of both.
        text: What is to be seen.
        size: Width and height in pixels.
        caption: What stands below.
    """
    play = element("span", class_="play", aria_hidden="true")
    label = element("span", "Play or stop the animation", class_="hint")
    summary = element("summary", label, image(still, media_type, f"{text}, first frame", size), play)
    box = element("details", summary, image(moving, media_type, text, size), class_="film")
    return element("figure", box, element("figcaption", caption), class_="picture")


def grid(*content: object) -> Html:
    """Small charts side by side, as many as fit."""
    return element("div", *content, class_="grid")


def axis_choice(labels: Sequence[str], group: str) -> Html:
    """Lets one choose what the charts of a group have to the right; see `chart`."""
    options = [
        element(
            "label",
            element("input", type="radio", name=f"axis-{group}", value=number, checked=number == 0),
            element("span", label),
        )
        for number, label in enumerate(labels)
    ]
    legend = element("legend", "Horizontal axis")
    return element("fieldset", legend, *options, class_="axis", hidden=True, data_group=group)


def chart(panel: Panel, more: Sequence[Panel] = (), group: str = "", large: bool = False, note: str = "",
          points: int = 600) -> Html:  # fmt: skip
    """A chart that can be zoomed into and read point by point, with the mouse and with keys.

    Args:
        panel: What it shows.
        more: The same curves over other things, which `axis_choice` lets one choose; only `x` and `x_label` differ.
        group: Charts with the same one are zoomed together.
        large: Whether it gets more height.
        note: What stands below its title, before what is upwards.
        points: About how many points of each curve are drawn; the extremes are among them.
    """
    data = chart_data(panel, more, points)
    below = ", ".join(text for text in (note, panel.y_label) if text)
    head = element(
        "figcaption", element("strong", panel.title), element("span", below, class_="y-label"),
        element("button", "Reset zoom", type="button", class_="reset", hidden=True),
    )  # fmt: skip
    return element(
        "figure", head, element("div", class_="legend"), element("div", class_="plot"),
        element("p", class_="live", aria_live="polite"),
        element("details", element("summary", "Data as a table"), class_="data", hidden=True),
        data_block(data), class_="chart large" if large else "chart", data_group=group,
    )  # fmt: skip


def text_of(value: object) -> str:
    """A value as it is shown in tables: numbers with a few digits, and nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or abs(value) == float("inf"):
        return str(value)
    size = abs(value)
    if size < 1e9 and value == int(value):
        return f"{value:,.0f}".replace("-", "−")
    form = f"{value:.3g}" if size >= 1e9 or 0 < size < 1e-3 else f"{value:,.3f}" if size < 1000 else f"{value:,.1f}"
    return form.replace("-", "−")
