"""Keeps the values of ``env.kwargs``, which may be secrets of the environment, out of what is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"


def hide_values(text: str, kwargs: Mapping[str, Any]) -> str:
    """The text with every string that is a value somewhere in ``kwargs`` replaced by ``***``."""
    longest_first = sorted(set(_strings(kwargs)), key=len, reverse=True)
    return re.sub("|".join(map(_pattern, longest_first)), HIDDEN, text) if longest_first else text


def hide_in_chain(problem: BaseException, kwargs: Mapping[str, Any]) -> BaseException:
    """The exception to chain to: itself, or one with the same traceback if a text in its chain has a value."""
    chain = list(_chain(problem))
    if all(hide_values(str(link), kwargs) == str(link) for link in chain):
        return problem
    hidden: Exception | None = None
    for link in reversed(chain):
        told = Exception(f"{type(link).__name__}: {hide_values(str(link), kwargs)}").with_traceback(link.__traceback__)
        told.__cause__, hidden = hidden, told
    assert hidden is not None  # a chain has at least one link
    return hidden


def _strings(value: Any) -> Iterator[str]:
    """All strings that are not empty among nested values; keys are names and no secrets."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, str) and value:
        yield value


def _pattern(value: str) -> str:
    """Matches a string as it is, and however often `repr` has escaped it."""
    pattern = ""
    for part in re.findall(r"\\+|[^\\]", value):
        if part.startswith("\\"):
            pattern += r"\\+"
        elif part in "'\"":
            pattern += r"\\*" + part
        elif part.isprintable():
            pattern += re.escape(part)
        else:
            pattern += rf"(?:{re.escape(part)}|\\+{re.escape(repr(part)[2:-1])})"
    return pattern


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, as a traceback shows them."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
