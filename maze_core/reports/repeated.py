"""What was asked of a run, to be asked again: of a stranger's run nothing that would run the stranger's code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from maze_core.config.overrides import Item, read_items
from maze_core.errors import UserError

OF_ONE_RUN = ("run_dir", "input_dir")
MODULE = re.compile(r"\s*[\w.]+:[A-Za-z_]")
"""What a text begins with that names something in a module, such as ``module:Env-v1``."""


def safe_overrides(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates overrides that another run may have from those that nobody should copy unread.

    Args:
        texts: Lines of ``overrides.txt``, perhaps a stranger's.

    Returns:
        Those to be copied, without the directories of the run; and those that are options of a command, cannot be
        read, or name a module.
    """
    kept: list[str] = []
    refused: list[str] = []
    for text in texts:
        item = _read(text)
        if item is None or _names_code(item):
            refused.append(text)
        elif item.key not in OF_ONE_RUN:
            kept.append(text)
    return kept, refused


def _read(text: str) -> Item | None:
    """An override; None if it is none, or would be an option of the command."""
    if text.lstrip().startswith("-"):
        return None
    try:
        return read_items([text])[0]
    except UserError:
        return None


def _names_code(item: Item) -> bool:
    """Whether a value names a module; what an env is given may not even be put together of other values."""
    texts = list(_texts(item.value))
    if item.key.startswith(("env.", "env@")):
        return any(":" in text or "$" in text for text in texts)
    return any(MODULE.match(text) for text in texts)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif value is not None:
        yield str(value)
