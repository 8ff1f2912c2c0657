"""What `maze info` knows about a config, read from its class."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

from maze_core import require
from maze_core.field_docs import FieldDoc, describe_type, field_docs
from maze_core.plugins import PluginSources, load_plugins


class Colour(Enum):
    """Colours."""

    red = "r"
    blue = "b"


@dataclass(kw_only=True)
class Inner:
    """A nested config."""

    size: int = 3
    """How large
    it is."""

    def __post_init__(self) -> None:
        require(self, "size", self.size > 0, "a whole number > 0")


@dataclass(kw_only=True)
class Base:
    """A base class."""

    name: str = "a"
    """Its name."""


@dataclass(kw_only=True)
class Example(Base):
    """All kinds of fields."""

    undocumented: bool = False

    colour: Colour = Colour.red
    """Its colour."""

    inner: Inner = field(default_factory=Inner)
    """Below it."""


def test_fields_come_with_type_default_range_and_docstring() -> None:
    assert field_docs(Example) == [
        FieldDoc("name", "text", "a", "", "Its name."),
        FieldDoc("undocumented", "true or false", False, "", ""),
        FieldDoc("colour", "one of red, blue", "red", "", "Its colour."),
        FieldDoc("inner.size", "a whole number", 3, "a whole number > 0", "How large it is."),
    ]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (float, "a number"),
        (int | None, "null or a whole number"),
        (None | str, "null or text"),
        (list[float], "a list, each a number"),
        (dict[str, Any], "a mapping"),
        (Colour, "one of red, blue"),
        (Any, "anything"),
    ],
)
def test_types_are_told_in_words(hint: Any, words: str) -> None:
    assert describe_type(hint) == words


def test_a_class_without_source_has_fields_but_no_docs() -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec("from dataclasses import dataclass\n@dataclass\nclass Made:\n    x: int = 1\n    'Doc.'", namespace)
    assert field_docs(namespace["Made"]) == [FieldDoc("x", "a whole number", 1, "", "")]


CONFIGS = [(s.kind, s.name, s.config) for p in load_plugins(PluginSources(environ={})) for s in p.specs]


@pytest.mark.parametrize(("kind", "name", "config"), CONFIGS, ids=[f"{kind}-{name}" for kind, name, _ in CONFIGS])
def test_every_option_that_ships_has_a_default_and_a_docstring(kind: str, name: str, config: type) -> None:
    config()
    assert [doc.name for doc in field_docs(config) if not doc.doc] == []


@dataclass(kw_only=True)
class WithKeywords:
    """Its range is stated with keywords."""

    size: int = 3
    """How large it is."""

    share: float = 0.5
    """Which part."""

    def __post_init__(self) -> None:
        require(self, field="size", condition=self.size > 0, allowed="a whole number > 0")
        require(self, "share", condition=0 < self.share < 1, allowed="a number between 0 and 1")


def test_a_range_may_be_stated_with_keywords() -> None:
    assert [doc.allowed for doc in field_docs(WithKeywords)] == ["a whole number > 0", "a number between 0 and 1"]
