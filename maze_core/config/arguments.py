"""Arguments of Python callers as the overrides that they stand for."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maze_core.config.overrides import Item, items_of_mapping, read_items
from maze_core.errors import UserError
from maze_core.field_docs import as_text
from maze_core.live import LiveObjects, is_network, not_allowed
from maze_core.registry import GROUPS, LIST_GROUPS, Registry

Choice = Any
"""An option by name, ``{name: {field: value}}``, a config, or a live object; for wrappers and callbacks several.

For `model` and `critic` also a mapping from step keys to any of them.
"""

Overrides = Mapping[str, Any] | Sequence[str] | str
"""Values by dotted path, or overrides as they are written on the command line."""


class Arguments:
    """Turns arguments into overrides.

    Args:
        registry: All specs.
        live: Takes the live objects among them.
        whole: Whether all fields of a config are named, and not only those that differ from its defaults.
    """

    def __init__(self, registry: Registry, live: LiveObjects, whole: bool = False) -> None:
        self._registry, self._live, self._whole = registry, live, whole

    def items(self, groups: Mapping[str, Choice], fields: Mapping[str, Any], overrides: Overrides) -> list[Item]:
        """All arguments as overrides.

        Args:
            groups: Options by group.
            fields: Fields of the root.
            overrides: Further values; one that is also an argument must be the same.

        Raises:
            UserError: If an argument is no choice, or something is given twice.
        """
        arguments = [item for group, choice in groups.items() for item in self.group_items(group, choice)]
        arguments += items_of_mapping(fields)
        named = self._override_items(overrides)
        given = {item.key: item for item in arguments}
        for item in named:
            other = given.get(item.key)
            if other is not None and other.value != item.value:
                raise UserError(
                    f"{item.key} is given twice: {other.text} as an argument, and {item.text} in overrides."
                )
        return [*arguments, *named, *self._critic_of_network([*arguments, *named])]

    def _critic_of_network(self, items: Sequence[Item]) -> list[Item]:
        """A network that is given puts out no value: unless a critic is chosen, it gets a network of its own."""
        chosen = any(item.key.split(".")[0] == "critic" for item in items)
        given = [item.value for item in items if item.key.split(".")[0] == "model" and isinstance(item.value, str)]
        live = any(is_network(self._live.by_name.get(name)) for name in given)
        return [_item("critic.model", "flatten_concat")] if live and not chosen else []

    def _override_items(self, overrides: Overrides) -> list[Item]:
        if not isinstance(overrides, Mapping):
            return override_items(overrides)
        return [item for key, value in overrides.items() for item in self._value_items(key, value)]

    def group_items(self, group: str, choice: Choice) -> list[Item]:
        """The overrides that a group's argument stands for."""
        if choice is None:
            return []
        if group in ("model", "critic") and _is_by_actor(choice):
            return list(self._by_actor(group, choice))
        names: list[str] = []
        items: list[Item] = []
        for option in choice if isinstance(choice, (list, tuple)) else [choice]:
            for name, fields in self._options(group, option):
                names.append(name)
                items += fields
        value: Any = names if group in LIST_GROUPS else names[0] if len(names) == 1 else names
        return [Item(group, value, "set", f"{group}={','.join(names) if names else '[]'}"), *items]

    def _options(self, group: str, option: Any) -> Iterator[tuple[str, list[Item]]]:
        """Options as pairs of name and overrides of its fields."""
        if isinstance(option, str):
            yield option, []
        elif isinstance(option, Mapping):
            for name, fields in option.items():
                if not isinstance(name, str) or not isinstance(fields, Mapping):
                    raise not_allowed(group, option)
                at = f"{group}.{name}" if group in LIST_GROUPS else group
                yield name, [item for key, value in fields.items() for item in self._value_items(f"{at}.{key}", value)]
        elif _is_config(option):
            name = self._name_of(group, option)
            yield name, list(self._field_items(f"{group}.{name}" if group in LIST_GROUPS else group, option))
        elif group == "critic":
            yield "shared", [_item("critic.model", self._live.add(group, option))]
        elif group == "algorithm":
            raise not_allowed(group, option)
        else:
            yield self._live.add(group, option), []

    def _by_actor(self, group: str, choice: Mapping[str, Any]) -> Iterator[Item]:
        """A network for each actor."""
        model = "model" if group == "model" else "critic.model"
        if group == "critic":
            yield _item("critic", "per_sub_step")
        yield _item(model, "per_actor")
        for key, option in choice.items():
            yield from self._value_items(f"{model}.actors.{key}", option, key)

    def _value_items(self, key: str, value: Any, part: str = "") -> Iterator[Item]:
        """A value at a dotted path; a config or network there chooses a model."""
        if _is_config(value) and self._registry.of_config(type(value)) is not None:
            yield _item(key, self._name_of("model", value))
            yield from self._field_items(key, value)
        elif _is_config(value):
            yield from self._field_items(key, value)
        elif is_network(value) or (part and callable(value)):
            yield _item(key, self._live.add(str(key).split(".")[0], value, part))
        elif isinstance(value, Mapping) and any(_is_config(entry) or is_network(entry) for entry in value.values()):
            for name, entry in value.items():
                yield from self._value_items(f"{key}.{name}", entry, str(name))
        else:
            yield from items_of_mapping({key: value.name if isinstance(value, enum.Enum) else value})

    def _name_of(self, group: str, config: Any) -> str:
        """The option that a config configures."""
        spec, kind = self._registry.of_config(type(config)), GROUPS[group]
        name = type(config).__name__
        if spec is None:
            raise UserError(
                f"{group}: no plugin that is loaded has registered the config {name}. See: maze list {kind}s"
            )
        if spec.kind != kind:
            raise UserError(f"{group}: {name} configures {spec.kind} {spec.name!r} and no {kind}.")
        return spec.name

    def _field_items(self, key: str, config: Any) -> Iterator[Item]:
        defaults = type(config)()
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if self._whole or value != getattr(defaults, field.name):
                yield from self._value_items(f"{key}.{field.name}", value)


def _item(key: str, value: str) -> Item:
    return Item(key, value, "set", f"{key}={as_text(value)}")


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_by_actor(choice: Any) -> bool:
    """True for a mapping from step keys to models, rather than from names to their fields."""
    return isinstance(choice, Mapping) and not all(isinstance(value, Mapping) for value in choice.values())


def override_items(overrides: Overrides) -> list[Item]:
    """Reads overrides in any of their forms."""
    texts = [overrides] if isinstance(overrides, str) else overrides
    return items_of_mapping(texts) if isinstance(texts, Mapping) else read_items(texts)
