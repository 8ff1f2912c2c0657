"""What a config's fields are, read from its class: type, default, allowed values, documentation.

The docstring below a field and the `require` calls in ``__post_init__`` are the only places where
these things are written; both are read from the source of the class.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maze_core.errors import PluginError


@dataclass(frozen=True)
class FieldDoc:
    """One field of a config.

    Args:
        name: Its name; dotted for the fields of a nested config.
        type: Its type in words.
        default: Its default value.
        allowed: The values allowed, in words; empty if the type says it all.
        doc: What it means; empty if undocumented.
    """

    name: str
    type: str
    default: Any
    allowed: str
    doc: str


def field_docs(config_type: type, prefix: str = "") -> list[FieldDoc]:
    """Describes all fields of a config class, those of nested configs included.

    Args:
        config_type: A dataclass type.
        prefix: Put before every name.
    """
    try:
        hints = typing.get_type_hints(config_type)
    except (NameError, TypeError) as error:
        raise PluginError(f"the options of {config_type.__name__} cannot be read: {error}.") from None
    docs, allowed = _from_source(config_type)
    found: list[FieldDoc] = []
    for field in dataclasses.fields(config_type):
        name, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found += field_docs(hint, f"{name}.")
            continue
        found.append(
            FieldDoc(name, describe_type(hint), _default(field), allowed.get(field.name, ""), docs.get(field.name, ""))
        )
    return found


def describe_type(hint: Any) -> str:
    """A type in words: ``a number``, ``null or a whole number``, ``one of adam, sgd``."""
    simple = {float: "a number", int: "a whole number", bool: "true or false", str: "text", Any: "anything"}
    if hint in simple:
        return simple[hint]
    if hint is type(None):
        return "null"
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe_type(arg) for arg in sorted(args, key=lambda arg: arg is not type(None)))
    if origin is list:
        return f"a list, each {describe_type(args[0])}"
    if origin is dict:
        return "a mapping"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(member.name for member in hint)}"
    return getattr(hint, "__name__", str(hint))


def as_text(value: Any) -> str:
    """A value as one types it in an override: ``null``, ``true``, ``[1,2]``, ``'two words'``."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_text(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(as_text(entry) for entry in value) + "]"
    if isinstance(value, enum.Enum):
        return value.name
    if not isinstance(value, str) or _is_bare(value):
        return str(value)
    # In a quoted value a backslash counts only before a quote, and there it is written twice.
    escaped = re.sub(r"(\\*)'", r"\1\1\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _is_bare(text: str) -> bool:
    """True for text that needs no quotes and cannot be taken for something else."""
    return bool(re.fullmatch(r"[A-Za-z_/][\w./+-]*", text)) and text.lower() not in (
        "true",
        "false",
        "null",
        "inf",
        "nan",
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return value.name if isinstance(value, enum.Enum) else value


def _from_source(config_type: type) -> tuple[dict[str, str], dict[str, str]]:
    """Docstrings and allowed values by field, base classes included."""
    docs: dict[str, str] = {}
    allowed: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        tree = _class_tree(base)
        if tree is not None:
            docs |= dict(_field_docstrings(tree))
            allowed |= dict(_requirements(tree))
    return docs, allowed


def _class_tree(cls: type) -> ast.ClassDef | None:
    if cls is object:
        return None
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # made at run time, for instance in an interactive session
        return None
    node = ast.parse(source).body[0]
    return node if isinstance(node, ast.ClassDef) else None


def _field_docstrings(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            yield statement.target.id, " ".join(following.value.value.split())


def _requirements(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    names = ("config", "field", "condition", "allowed")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
            given = dict(zip(names, node.args, strict=False)) | {str(k.arg): k.value for k in node.keywords}
            field, text = given.get("field"), given.get("allowed")
            if isinstance(field, ast.Constant) and isinstance(text, ast.Constant):
                yield str(field.value), str(text.value)
