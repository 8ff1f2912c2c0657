"""Arguments of Python callers as the overrides that they stand for."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maze_core.config.overrides import EXPERIMENT, NESTED_MODEL, Item, items_of_mapping, keys_of, read_items
from maze_core.errors import UserError
from maze_core.field_docs import as_text
from maze_core.live import LiveObjects, describe, not_allowed
from maze_core.presets import CORE_CONF, group_options, search_path
from maze_core.registry import GROUPS, LIST_GROUPS, Registry

Choice = Any
"""An option by name, ``{name: {field: value}}``, a config, or a live object; for wrappers and callbacks several.

For `model` and `critic` also a mapping from step keys to any of them.
"""

Overrides = Mapping[str, Any] | Sequence[str] | str
"""Values by dotted path, or overrides as they are written on the command line."""


class Arguments:
    """Turns arguments into overrides.

    A config says all its fields. Those that have their defaults are not repeated where nothing else could have
    set them: that makes the record of a run short.

    Args:
        registry: All specs.
        live: Takes the live objects among them.
        config_name: Root configuration; empty for none that sets anything.
        config_dirs: The user's own config directories.
    """

    def __init__(
        self, registry: Registry, live: LiveObjects, config_name: str = "", config_dirs: Sequence[Path] = ()
    ) -> None:
        self._registry, self._live = registry, live
        self._names = {
            name.name for group in ("model", "critic") for name in group_options(registry, config_dirs, group)
        }
        directories = [directory for _, directory in search_path(registry, config_dirs)]
        root = f"{config_name.removesuffix('.yaml')}.yaml"
        self._whole = next((folder for folder in directories if (folder / root).is_file()), CORE_CONF) != CORE_CONF
        self._implied: set[str] = set()  # keys that a config has at their defaults

    def items(self, groups: Mapping[str, Choice], fields: Mapping[str, Any], overrides: Overrides) -> list[Item]:
        """All arguments as overrides.

        Args:
            groups: Options by group.
            fields: Fields of the root.
            overrides: Further values; one that is also an argument must be the same.

        Raises:
            UserError: If an argument is no choice, or something is given twice.
        """
        self._whole |= groups.get(EXPERIMENT) is not None or _names_experiment(overrides)
        arguments = [item for group, choice in groups.items() for item in self.group_items(group, choice)]
        arguments += items_of_mapping(_plain(fields))
        named = self.override_items(overrides)
        replaced = self._implied & {item.key for item in named}
        arguments = [item for item in arguments if item.key not in replaced]
        _refuse_contradictions(arguments, named)
        return [*arguments, *named]

    def override_items(self, overrides: Overrides) -> list[Item]:
        """Overrides in any of their forms; values may be configs and live objects."""
        if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
            return override_items(overrides)
        return [item for key, value in overrides.items() for item in self._value_items(key, value)]

    def group_items(self, group: str, choice: Choice) -> list[Item]:
        """The overrides that a group's argument stands for."""
        if choice is None:
            return []
        if group in ("model", "critic") and self._is_by_actor(choice):
            critic = [_item("critic", "per_sub_step")] if group == "critic" else []
            return [*critic, *self._actor_items("model" if group == "model" else "critic.model", choice)]
        options = choice if isinstance(choice, (list, tuple)) else [choice]
        chosen = [found for option in options for found in self._options(group, option)]
        names = [name for name, _ in chosen]
        several = group in LIST_GROUPS
        places = [f"{group}.{key}" for key in keys_of(names)] if several else [group] * len(names)
        value: Any = names if several or len(names) != 1 else names[0]
        content = [item for at, (_, fields) in zip(places, chosen, strict=True) for item in self._items_at(at, fields)]
        return [Item(group, value, "set", f"{group}={','.join(names) if names else '[]'}"), *content]

    def _options(self, group: str, option: Any) -> list[tuple[str, Any]]:
        """Options as pairs of name and what sets their fields: a mapping, a config, or None."""
        if isinstance(option, str):
            return [(option, None)]
        if group == EXPERIMENT:
            raise UserError(f"{group}={option!r} is not allowed: give the name of one. See: maze list presets")
        if isinstance(option, Mapping):
            for name, fields in option.items():
                if not isinstance(name, str) or not isinstance(fields, Mapping):
                    raise not_allowed(group, option)
            return list(option.items())
        spec = self._registry.of_config(type(option)) if _is_config(option) else None
        if group == "critic" and (spec is None or spec.kind == "model"):
            return [("shared", {"model": option})]
        if spec is not None:
            return [(self._name_of(group, option), option)]
        return [(self._add(group, option), None)]

    def _add(self, key: str, value: Any) -> str:
        """Takes a live object."""
        if isinstance(value, type) and self._registry.of_config(value) is not None:
            raise UserError(f"{key}={value.__name__} is the class of a config. Give a config: {value.__name__}(...).")
        try:
            return self._live.add(key, value)
        except UserError:
            if _is_config(value):
                self._name_of(key.split(".")[0], value)
            raise

    def _is_by_actor(self, choice: Any) -> bool:
        """True for a mapping from step keys to models, rather than from the name of one to its fields."""
        if not isinstance(choice, Mapping) or not choice:
            return False
        fields = [value for value in choice.values() if isinstance(value, Mapping)]
        options = all(len(value) == 1 and isinstance(next(iter(value.values())), Mapping) for value in fields)
        return len(fields) < len(choice) or (options and self._names.isdisjoint(choice))

    def _actor_items(self, key: str, choice: Mapping[str, Any]) -> Iterator[Item]:
        """A network for each actor."""
        yield _item(key, "per_actor")
        yield from self._value_items(f"{key}.actors", choice)

    def _items_at(self, key: str, content: Any) -> Iterator[Item]:
        """What a mapping, a config or None sets below a key."""
        if isinstance(content, Mapping):
            for name, value in content.items():
                yield from self._value_items(f"{key}.{name}", value)
        elif content is not None:
            yield from self._field_items(key, content, _usual(key, content), self._whole)

    def _value_items(self, key: str, value: Any) -> Iterator[Item]:
        """A value at a dotted path."""
        if key in GROUPS and not _is_names(value):
            yield from self.group_items(key, value)
        elif NESTED_MODEL.fullmatch(key):
            yield from self._model_items(key, value)
        elif isinstance(value, Mapping) and key in ("model.actors", "critic.model.actors"):
            for name, entry in value.items():
                if not re.fullmatch(r"\w+", str(name)):
                    raise UserError(
                        f"{key}: {name!r} is no step key of an actor; they have letters, digits and '_' only."
                    )
                yield from self._model_items(f"{key}.{name}", entry)
        elif _is_config(value):
            yield from self._field_items(key, value, _usual(key, value), whole=True)
        elif isinstance(value, Mapping) and any(_is_config(entry) for entry in value.values()):
            yield from self._items_at(key, value)
        else:
            yield from items_of_mapping({key: _plain(value)})

    def _model_items(self, key: str, value: Any) -> Iterator[Item]:
        """The choice of a model at a path."""
        of_actor = ".actors." in key
        if isinstance(value, str) or (value is None and not of_actor):
            yield _item(key, value)
        elif self._registered(value):
            yield _item(key, self._name_of("model", value))
            yield from self._items_at(key, value)
        elif not isinstance(value, Mapping):
            yield _item(key, self._add(key, value))
        elif self._is_by_actor(value) and not of_actor:
            yield from self._actor_items(key, value)
        elif len(value) == 1 and all(isinstance(fields, Mapping) for fields in value.values()):
            ((name, fields),) = value.items()
            yield _item(key, name)
            yield from self._items_at(key, fields)
        else:
            raise not_allowed(key, value)

    def _registered(self, value: Any) -> bool:
        return _is_config(value) and self._registry.of_config(type(value)) is not None

    def _name_of(self, group: str, config: Any) -> str:
        """The option that a config configures."""
        spec, kind = self._registry.of_config(type(config)), GROUPS[group]
        name = type(config).__name__
        if spec is None:
            listed = "policies" if kind == "policy" else f"{kind}s"
            raise UserError(
                f"{group}: no plugin that is loaded has registered the config {name}. See: maze list {listed}"
            )
        if spec.kind != kind:
            raise UserError(f"{group}: {name} configures {spec.kind} {spec.name!r} and no {kind}.")
        return spec.name

    def _field_items(self, key: str, config: Any, usual: Any, whole: bool) -> Iterator[Item]:
        """The fields of a config.

        Args:
            key: Where it stands.
            config: The config.
            usual: What stands there if nothing sets it.
            whole: Whether something else may.
        """
        for field in dataclasses.fields(config):
            at, value, default = f"{key}.{field.name}", getattr(config, field.name), getattr(usual, field.name)
            if _is_config(default) and type(value) is type(default):
                yield from self._field_items(at, value, default, whole)
            elif _is_config(default):
                raise UserError(f"{at}: {describe(value)} is not allowed; give a {type(default).__name__}(...).")
            elif _plain(value) != _plain(default):
                yield from self._value_items(at, value)
            elif whole:
                self._implied.add(at)
                yield from self._value_items(at, value)


def _item(key: str, value: str | None) -> Item:
    return Item(key, value, "set", f"{key}={as_text(value)}")


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _usual(key: str, config: Any) -> Any:
    """A config as it is by default."""
    try:
        return type(config)()
    except TypeError:
        raise UserError(f"{key}={config!r} is not allowed: the fields of a config have defaults.") from None


def _is_names(value: Any) -> bool:
    """True for options by name, or for none."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return value is None or all(isinstance(entry, str) for entry in entries)


def _plain(value: Any) -> Any:
    """A value with enums by name, and arrays as lists."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.name if isinstance(value, enum.Enum) else value


def _names_experiment(overrides: Overrides) -> bool:
    if isinstance(overrides, Mapping):
        return overrides.get(EXPERIMENT) is not None
    return any(item.key == EXPERIMENT and item.value is not None for item in override_items(overrides))


def _refuse_contradictions(arguments: Sequence[Item], named: Sequence[Item]) -> None:
    """Refuses values that are given in two forms, and are not the same.

    Raises:
        UserError: If there is one.
    """
    given = {key: (value, item) for item in arguments for key, value in _values(item)}
    for item in named:
        appends = item.operation == "add" and item.key in LIST_GROUPS
        for key, value in () if appends else _values(item):
            if key in given and given[key][0] != value:
                other = given[key][1]
                raise UserError(f"{key} is given twice: {other.text} as an argument, and {item.text} in overrides.")


def _values(item: Item) -> Iterator[tuple[str, Any]]:
    """What an override sets, as single values by dotted path."""
    group, _, package = item.key.partition("@")
    waiting = [(package or group, item.value)]
    for key, value in waiting:  # it grows meanwhile
        if isinstance(value, Mapping) and value:
            waiting += [(f"{key}.{name}", entry) for name, entry in value.items()]
        elif key in LIST_GROUPS and not isinstance(value, list):
            yield key, [] if value is None else [value]
        else:
            yield key, value


def override_items(overrides: Overrides) -> list[Item]:
    """Reads overrides in any of their forms."""
    if isinstance(overrides, Mapping):
        return items_of_mapping(overrides)
    texts = [overrides] if isinstance(overrides, str) else overrides
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"overrides={overrides!r} is not allowed: give a mapping, or texts such as 'algorithm.lr=0.1'.")
    return read_items(texts)
