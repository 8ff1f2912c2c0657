"""From a composed tree to typed, checked config objects, and to the text that records them."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from maze_core.config.adopt import ADOPTED, adopt, refuse_networks
from maze_core.config.compose import Composition, ConfigRequest, compose
from maze_core.config.hidden import hide_variables
from maze_core.config.hydra_loader import LOCK
from maze_core.config.overrides import Item
from maze_core.errors import ConfigError, ConfigFieldError, did_you_mean
from maze_core.field_docs import describe_type
from maze_core.registry import GROUPS, LIST_GROUPS, Registry
from maze_core.run_config import RunConfig
from maze_core.specs import EnvSpec, resolve_build


@dataclass
class Configured:
    """A complete, valid configuration.

    Args:
        config: As typed objects.
        cfg: The same as a tree, interpolations unresolved; what is recorded.
        choices: Option chosen by group, presets by their own name.
        components: Name of the spec behind each node, by path.
        notes: Lines that the user should read.
    """

    config: RunConfig
    cfg: DictConfig
    choices: dict[str, Any]
    components: dict[str, str]
    notes: list[str]

    def set(self, field: str, value: Any) -> None:
        """Sets a field of the root, in both forms."""
        setattr(self.config, field, value)
        self.cfg[field] = value

    def to_yaml(self) -> str:
        """The whole configuration as text.

        ``${oc.env:...}`` stays text, so that no secret of the environment is written; every other
        interpolation is resolved.
        """
        return yaml.safe_dump(self.to_data(), sort_keys=False, allow_unicode=True, width=120)

    def to_data(self) -> dict[str, Any]:
        """The same as plain data."""
        with LOCK:
            return {"components": self.components, **_plain(self.cfg)}

    def differences(self, defaults: Configured) -> list[tuple[str, Any, Any]]:
        """What differs from the defaults: chosen options, then fields, as (key, default, value).

        A field is compared with the default of the option that is chosen.

        Args:
            defaults: The configuration without overrides.
        """
        found = [
            (group, defaults.choices.get(group), choice)
            for group, choice in self.choices.items()
            if choice != defaults.choices.get(group)
        ]
        data = self.to_data()
        for path, value in _config_nodes(self.config):
            for key, default in _changed_fields(value, type(value)(), path):
                found.append((key, default, _at(data, key)))
        return found


def configure(
    registry: Registry, request: ConfigRequest, base: Configured | None = None, adopted: Sequence[str] = ADOPTED
) -> Configured:
    """Composes, applies overrides, and checks everything that can be checked without building it.

    Args:
        registry: All specs.
        request: What to compose.
        base: The run whose policy a rollout is about; None for all other configurations.
        adopted: Groups that are those of the run, unless an option of them is asked for.

    Raises:
        UserError: If a name is unknown, or the env cannot exist.
        ConfigError: If a value is not allowed; the message has its full key.
    """
    hide_variables({item.key: item.value for item in request.items})
    composition = compose(registry, request)
    hide_variables(OmegaConf.to_container(composition.cfg, resolve=False))
    if base is not None:
        adopt(registry, composition, base.cfg, base.choices, adopted)
    else:
        refuse_networks(composition)
    for item in composition.values:
        apply_item(composition, item)
    config, components = typed(registry, composition)
    configured = Configured(config, composition.cfg, composition.choices, components, [])
    _resolve_env(registry, configured)
    return configured


def apply_item(composition: Composition, item: Item) -> None:
    """Sets or deletes one value.

    Raises:
        ConfigError: If there is no such key, or the value is not allowed.
    """
    parent, last = _parent(composition, item)
    target = _child(parent, last)
    if item.operation != "delete" and is_typed(target) and not isinstance(item.value, dict):
        options = ", ".join(str(key) for key in target) or "none"
        raise ConfigError(
            f"{item.text}: {item.key} has options of its own ({options}); set one with {item.key}.<option>=."
        )
    try:
        if item.operation == "delete":
            if last not in parent:
                raise ConfigError(f"{item.text}: {item.key} is not there to be removed.")
            if is_typed(parent):
                raise ConfigError(f"{item.text}: an option cannot be removed; set it with {item.key}=<value>.")
            with open_dict(composition.cfg):
                parent.pop(last)
        else:
            free = not is_typed(parent) or _is_free(parent, last)
            OmegaConf.update(composition.cfg, item.key, item.value, merge=True, force_add=free)
    except OmegaConfBaseException as error:
        raise ConfigError(_not_allowed(parent, last, item, error)) from None  # it shows values of the environment


def _parent(composition: Composition, item: Item) -> tuple[Any, str]:
    """The node that holds an override's last key; every key on the way must be known."""
    *path, last = item.key.split(".")
    node: Any = composition.cfg
    for depth, part in enumerate(path):
        _check_key(composition, node, part, ".".join(path[:depth]), item)
        if isinstance(node, DictConfig) and part not in node:  # the rest is new in a free-form mapping
            return node, last
        node = node._get_node(int(part) if isinstance(node, ListConfig) and part.isdigit() else part)
        if isinstance(node, DictConfig) and node._is_interpolation():
            node = node._maybe_dereference_node()
    _check_key(composition, node, last, ".".join(path), item)
    return node, last


def _check_key(composition: Composition, node: Any, part: str, path: str, item: Item) -> None:
    if isinstance(node, DictConfig) and not node._is_none():
        if part in node or (not is_typed(node) and path.split(".")[0] not in ("", *LIST_GROUPS)):
            return
        if not is_typed(node) and path.count(".") == 0 and path in LIST_GROUPS:
            kind, known = GROUPS[path], ", ".join(node) or "none"
            raise ConfigError(
                f"{item.text}: no {kind} {part!r} is selected (selected: {known}). Select it with +{path}={part}."
            )
        known_keys = [str(key) for key in node]
        where, known = path or "the configuration", ", ".join(known_keys) or "none"
        raise ConfigError(f"{item.text}: {where} has no {part!r}.{did_you_mean(part, known_keys)}\nKnown: {known}.")
    if not (isinstance(node, ListConfig) and part.isdigit() and int(part) < len(node)):
        raise ConfigError(f"{item.text}: {path} is a single value, so there is no {item.key!r}.")


def is_typed(node: Any) -> bool:
    """True for a node whose fields a config class says."""
    return isinstance(node, DictConfig) and dataclasses.is_dataclass(_type(node))


def _is_free(parent: Any, key: str) -> bool:
    """True for a mapping that takes any key."""
    node = _child(parent, key)
    return isinstance(node, DictConfig) and not is_typed(node)


def _child(parent: Any, key: str) -> Any:
    """The node below a mapping, or None."""
    return parent._get_node(key, validate_access=False) if isinstance(parent, DictConfig) else None


def _type(node: Any) -> Any:
    """The config class of a node; dict for a plain mapping."""
    return OmegaConf.get_type(node)


def _not_allowed(parent: Any, last: str, item: Item, error: OmegaConfBaseException) -> str:
    if is_typed(parent):
        hints = typing.get_type_hints(_type(parent))
        if last in hints and not dataclasses.is_dataclass(hints[last]):
            value = repr(item.value) if item.value == "" else item.value
            value = "null" if value is None else value
            return f"{item.key}={value} is not allowed: it must be {describe_type(hints[last])}."
    return f"{item.text}: {str(error.msg or error).splitlines()[0]}"


def typed(registry: Registry, composition: Composition) -> tuple[RunConfig, dict[str, str]]:
    """The typed objects of all nodes, and the spec behind each.

    Raises:
        ConfigError: If a value is not allowed; the message has its full key.
    """
    components: dict[str, str] = {}
    values: dict[str, Any] = {}
    root = composition.root
    missing = [field.name for field in dataclasses.fields(root) if field.name not in composition.cfg]
    if missing:
        raise ConfigError(
            f"the configuration has no {missing[0]!r}; let it start with 'defaults: [{root.config_name}, _self_]'."
        )
    for field in dataclasses.fields(root):
        node: Any = composition.cfg._get_node(field.name)
        if field.name in LIST_GROUPS:
            values[field.name] = {
                str(key): _component(registry, composition, node._get_node(key), f"{field.name}.{key!s}", components)
                for key in node
            }
        elif field.name in root.optional_groups and (node is None or node._is_none()):
            values[field.name] = None
        elif field.name in GROUPS:
            values[field.name] = _component(registry, composition, node, field.name, components)
        else:
            values[field.name] = _checked(lambda name=field.name: _plain_value(composition.cfg[name]), field.name)
    unknown = [key for key in composition.cfg if key not in values]
    if unknown:
        raise ConfigError(f"the configuration has no {unknown[0]!r}.{did_you_mean(str(unknown[0]), values)}")
    return _checked(lambda: root(**values), ""), components


def _plain_value(value: Any) -> Any:
    """A field of the root: lists as Python's own."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _component(
    registry: Registry,
    composition: Composition,
    node: Any,
    path: str,
    components: dict[str, str],
    kind: str | None = None,
) -> Any:
    group = path.split(".")[0]
    kind = kind or GROUPS[group]
    spec = registry.of_config(_type(node)) if is_typed(node) else None
    if spec is None or spec.kind != kind:
        choice = composition.choices.get(group)
        raise ConfigError(
            f"{path}: {choice!r} does not say which {kind} it configures. "
            f"Choose one with {group}=<name>, or add 'defaults: [<name>]' to the preset."
        )
    components[path] = spec.name
    for name in node:
        child = node._get_node(name)
        _check_container(node, name, f"{path}.{name!s}")
        if is_typed(child):
            _nested(registry, composition, child, f"{path}.{name!s}", components)
        elif isinstance(child, DictConfig) and not child._is_none():
            for key in child:
                if is_typed(child._get_node(key)):
                    _nested(registry, composition, child._get_node(key), f"{path}.{name!s}.{key!s}", components)
    return _checked(lambda: OmegaConf.to_object(node), path)


def _check_container(node: Any, name: Any, path: str) -> None:
    """What stands for a list or mapping must be one: OmegaConf lets a text pass."""
    child = node._get_node(name)
    if not isinstance(child, BaseContainer) or not child._is_interpolation():
        return
    value = _checked(lambda: node[name], path)
    if value is not None and not isinstance(value, (BaseContainer, list, tuple, dict)):
        kind = describe_type(typing.get_type_hints(_type(node))[name])
        raise ConfigError(f"{path}={value} is not allowed: it must be {kind}.")


def _nested(registry: Registry, composition: Composition, node: Any, path: str, components: dict[str, str]) -> None:
    """Checks a config below another one, so that an error names its full key."""
    spec = registry.of_config(_type(node))
    if spec is not None:
        _component(registry, composition, node, path, components, spec.kind)
    else:
        _checked(lambda: OmegaConf.to_object(node), path)


def _checked(convert: Any, path: str) -> Any:
    try:
        return convert()
    except ConfigFieldError as error:
        raise error.under(path) from None
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key or path} has no default and must be given.") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or path}: {str(error.msg or error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:  # raised by a plugin's own check
        raise ConfigError(f"{path or 'the configuration'}: {error}") from None


def _resolve_env(registry: Registry, configured: Configured) -> None:
    """Lets the env replace values that stand for others, and records what it chose."""
    config = configured.config.env
    spec = registry.of_config(type(config))
    assert isinstance(spec, EnvSpec)
    if spec.resolve is None:
        return
    before = dataclasses.asdict(config)
    configured.notes += resolve_build(spec.resolve)(config)
    for field, value in dataclasses.asdict(config).items():
        if value != before[field]:
            OmegaConf.update(configured.cfg, f"env.{field}", value)


def _config_nodes(config: RunConfig) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in LIST_GROUPS:
            yield from ((f"{field.name}.{key}", entry) for key, entry in value.items())
        elif field.name in GROUPS and value is not None:
            yield field.name, value
    yield "", config


def _at(data: Any, path: str) -> Any:
    """What the recorded configuration has at a path; a secret is not resolved there."""
    for key in path.split("."):
        data = data[key]
    return data


def _changed_fields(value: Any, default: Any, path: str) -> list[tuple[str, Any]]:
    """Fields that differ from their default, as (key, default)."""
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(value):
        new, old = getattr(value, field.name), getattr(default, field.name)
        key = f"{path}.{field.name}" if path else field.name
        if not path and field.name in GROUPS:
            continue
        if dataclasses.is_dataclass(new) and type(new) is type(old):
            found += _changed_fields(new, old, key)
        elif new != old:
            found.append((key, old))
    return found


def _plain(node: Any) -> Any:
    """A tree as plain data, environment variables unresolved."""
    if isinstance(node, DictConfig):
        return None if node._is_none() else {str(key): _plain_child(node, key) for key in node}
    if isinstance(node, ListConfig):
        return None if node._is_none() else [_plain_child(node, index) for index in range(len(node))]
    value = node._value()
    return value.name if isinstance(value, enum.Enum) else str(value) if isinstance(value, PurePath) else value


def _plain_child(parent: Any, key: Any) -> Any:
    node = parent._get_node(key)
    if not node._is_interpolation():
        return _plain(node)
    text = str(node._value())
    resolvers = BaseContainer._resolvers
    saved = resolvers["oc.env"]
    OmegaConf.register_new_resolver("oc.env", lambda name, default=None: f"${{oc.env:{name}}}", replace=True)
    try:
        resolved = parent[key]
    except OmegaConfBaseException:  # a typed field cannot hold the text of a variable
        return text
    finally:
        resolvers["oc.env"] = saved  # perhaps not OmegaConf's own: another program may have replaced it
    if OmegaConf.is_config(resolved):
        return _plain(resolved)
    return text if "${oc.env:" in text else resolved
