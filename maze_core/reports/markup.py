"""Markup in which nothing of a stranger can become markup: every plain text is escaped when it is put in."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from maze_core.errors import masked, printable

MAX_TEXT = 20_000
"""Characters of one text; who writes more than that into a run directory is not shown in full."""

VOID = frozenset({"img", "link", "meta", "br", "input"})


class Html(str):
    """Markup that is complete and safe; any other text is escaped where it meets markup."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """A text as markup: escaped, bounded, without control characters and hidden values; markup stays what it is."""
    if isinstance(text, Html):
        return text
    plain = masked(str(text))
    plain = plain if len(plain) <= MAX_TEXT else f"{plain[:MAX_TEXT]} ..."
    lines = [printable(line.replace("\t", "    ")) for line in plain.split("\n")]
    return Html(html.escape("\n".join(lines)))


def joined(*content: object) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(escaped(piece) for piece in content))


def element(tag: str, *content: object, **attributes: object) -> Html:
    """An element.

    Args:
        tag: Its name.
        content: Texts, which are escaped, and markup.
        attributes: True has no value, None and False leave one out; ``_`` in a name stands for ``-``, and one at its
            end for nothing, as in ``class_``.
    """
    written = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return Html(f"<{tag}{written}>" if tag in VOID else f"<{tag}{written}>{joined(*content)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{value if isinstance(value, Html) else escaped(value)}"'


def data_block(value: Mapping[str, Any], **attributes: object) -> Html:
    """Data for a script of the page, in a form that cannot end its element.

    Args:
        value: What can be written as JSON; its texts are bounded and shown as they are elsewhere on the page.
        attributes: Further attributes.
    """
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    safe = re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return element("script", Html(safe), type="application/json", **attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(masked(value))[:MAX_TEXT]
    if isinstance(value, Mapping):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], float):
        return [_plain(entry) for entry in value]
    return value
