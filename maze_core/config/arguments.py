"""Arguments of Python callers as the overrides that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maze_core.config.overrides import Item, items_of_mapping, read_items
from maze_core.errors import UserError
from maze_core.registry import LIST_GROUPS

Choice = str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None
"""An option by name, several by a list of names, or ``{name: {field: value}}``."""

Overrides = Mapping[str, Any] | Sequence[str] | str
"""Values by dotted path, or overrides as they are written on the command line."""


def argument_items(groups: Mapping[str, Choice], fields: Mapping[str, Any], overrides: Overrides) -> list[Item]:
    """All arguments as overrides.

    Args:
        groups: Options by group.
        fields: Fields of the root.
        overrides: Further values; one that is also an argument must be the same.

    Raises:
        UserError: If an argument is no choice, or something is given twice.
    """
    arguments = [item for group, choice in groups.items() for item in _group_items(group, choice)]
    arguments += items_of_mapping(fields)
    named = override_items(overrides)
    given = {item.key: item for item in arguments}
    for item in named:
        other = given.get(item.key)
        if other is not None and other.value != item.value:
            raise UserError(f"{item.key} is given twice: {other.text} as an argument, and {item.text} in overrides.")
    return arguments + named


def override_items(overrides: Overrides) -> list[Item]:
    """Reads overrides in any of their forms."""
    texts = [overrides] if isinstance(overrides, str) else overrides
    return items_of_mapping(texts) if isinstance(texts, Mapping) else read_items(texts)


def _group_items(group: str, choice: Choice) -> list[Item]:
    """The overrides that a group's argument stands for."""
    if choice is None:
        return []
    _check_choice(group, choice)
    names = [choice] if isinstance(choice, str) else list(choice)
    value: Any = names if group in LIST_GROUPS else names[0] if len(names) == 1 else names
    items = [Item(group, value, "set", f"{group}={','.join(names) if names else '[]'}")]
    if isinstance(choice, Mapping):
        fields = {
            f"{group}.{name}.{field}" if group in LIST_GROUPS else f"{group}.{field}": value
            for name, values in choice.items()
            for field, value in values.items()
        }
        items += items_of_mapping(fields)
    return items


def _check_choice(group: str, choice: object) -> None:
    options = choice.values() if isinstance(choice, Mapping) else ()
    names = [choice] if isinstance(choice, str) else choice
    is_list = isinstance(names, (Mapping, list, tuple)) and all(isinstance(name, str) for name in names)
    if not is_list or not all(isinstance(fields, Mapping) for fields in options):
        raise UserError(f"{group}={choice!r} is not allowed: give a name, or {{name: {{field: value}}}}.")
