"""Reads the configuration of a run directory: data of a stranger, of which nothing is executed.

It is parsed with limits and without aliases and tags; what it names must be registered, and every key
must be a field of what it names. Interpolations are refused, but for variables of the environment that
the user allowed by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maze_core.config.compose import Composition
from maze_core.config.configured import Configured, apply_item, is_typed, typed
from maze_core.config.hidden import hide_variables
from maze_core.config.overrides import Item
from maze_core.errors import ConfigError, NothingUsableError, UserError, masked
from maze_core.registry import GROUPS, LIST_GROUPS, Registry, kind_of
from maze_core.run_config import CHANGEABLE, RunConfig, RunnerConfig, TrainingConfig
from maze_core.specs import Spec, resolve_build

MAX_BYTES, MAX_EVENTS, MAX_DEPTH, MAX_TEXT = 2**18, 20_000, 30, 5000
VARIABLE = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(,[^${}]*)?\}")
COMPONENTS = "components"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

PATHS = ("run_dir", "input_dir")
"""What may have any name that a folder has: nothing is read from there when a run goes on."""

COMMON_OPTIONS = [field.name for field in dataclasses.fields(RunnerConfig)]
"""What all runners have."""


class ForeignConfigError(NothingUsableError):
    """A configuration that was read is none, or asks for what such a file may not."""


def parse_config(content: bytes, name: str) -> dict[str, Any]:
    """Parses YAML that holds nothing but mappings, lists and plain values.

    Args:
        content: The text.
        name: What an error calls it.

    Raises:
        ForeignConfigError: If it is too large or too deep, has aliases or tags, or is no mapping.
    """
    if len(content) > MAX_BYTES:
        raise _refused(name, f"it has more than {MAX_BYTES} bytes")
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(content, yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _refused(name, "it has an alias")
            if tag := getattr(event, "tag", None):
                raise _refused(name, f"it has the tag {tag!r}")
            if depth > MAX_DEPTH or number > MAX_EVENTS:
                raise _refused(name, "it is nested too deep" if depth > MAX_DEPTH else "it has too many values")
        data = yaml.load(content, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        raise _refused(name, f"it is no YAML: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise _refused(name, "it holds no configuration")
    _check_plain(data, name)
    return data


def _refused(name: str, reason: str) -> ForeignConfigError:
    return ForeignConfigError(f"{name} is not used: {masked(' '.join(reason.split()))[:500]}.")


def _check_plain(data: Mapping[str, Any], name: str) -> None:
    """Checks that a configuration has mappings, lists and plain values only, of bounded depth and number."""
    waiting: list[tuple[str, Any, int]] = [("the configuration", data, 0)]
    for number, (path, value, depth) in enumerate(waiting):  # it grows meanwhile
        if depth > MAX_DEPTH or number > MAX_EVENTS:
            raise _refused(name, "it is nested too deep" if depth > MAX_DEPTH else "it has too many values")
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
        if not isinstance(value, (dict, list, str, int, float, bool, type(None))):
            raise _refused(name, f"{path} is a {type(value).__name__}")
        if not all(isinstance(text, str) for text in texts):
            raise _refused(name, f"{path} has a key that is no text")
        if any(len(text) > MAX_TEXT for text in texts):
            raise _refused(name, f"{path[:100]} is too long")
        if any(CONTROL.search(text) for text in texts) and path not in PATHS:
            raise _refused(name, f"{path} has control characters")
        if isinstance(value, int) and abs(value) >= 2**64:
            raise _refused(name, f"{path} is too large")
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [(str(key) if number == 0 else f"{path}.{key}", part, depth + 1) for key, part in parts]


def _flat(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values of nested mappings and lists, by dotted path; an empty one has none."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _flat(value, f"{path}.{index}")
    else:
        yield path, data


def config_hash(data: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration: that of another one is the same if `changed_keys` finds nothing."""
    lines = sorted(f"{key}: {value!r}" for key, value in _flat(dict(data)))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ, with both values as far as they can be shown."""
    old, new = ({key: repr(value) for key, value in _flat(dict(data))} for data in (before, now))  # NaN equals NaN
    return [
        f"{key[:100]}: {old.get(key, 'absent')[:100]} -> {new.get(key, 'absent')[:100]}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def configure_stored(
    registry: Registry,
    data: Mapping[str, Any],
    name: str,
    items: Sequence[Item] = (),
    variables: Sequence[str] = (),
    vouched: Mapping[str, Any] | None = None,
    root: Any = TrainingConfig,
) -> Configured:
    """Makes typed objects of a recorded configuration.

    Args:
        registry: All specs.
        data: What `parse_config` read.
        name: What an error calls it.
        items: Overrides of the user; only what may change when a run goes on.
        variables: Names of environment variables that it may use.
        vouched: Values of the user by key, which are set over what stands here; what a mapping has is added.
        root: What it describes.

    Raises:
        ForeignConfigError: If it names what is not registered, or asks for what such a file may not.
        UserError: If an override would make it another run.
        ConfigError: If a value is not allowed.
    """
    hide_variables({item.key: item.value for item in items})
    _check_plain(data, name)
    _check_values(data, name, variables)
    hide_variables(data)
    named = data.get(COMPONENTS)
    if not isinstance(named, dict) or not all(isinstance(spec, str) for spec in named.values()):
        raise _refused(name, f"it does not say what it configures ({COMPONENTS})")
    reader = _Reader(registry, named, name)
    cfg = OmegaConf.structured(root)
    known = {field.name for field in dataclasses.fields(root)}
    for key, value in data.items():
        if key not in (*known, COMPONENTS):
            raise _refused(name, f"a configuration has no {key!r}")
        if key in known:
            reader.set(cfg, key, key, value)
    reader.check_all_used()
    composition = Composition(cfg, reader.choices(), root=root)
    for item in items:
        if item.key == "runner" and item.operation == "set" and item.value != composition.choices["runner"]:
            reader.specs["runner"] = _choose_runner(registry, composition, str(item.value))
    own = {**_apply_items(registry, composition, items, data), **(vouched or {})}
    config, components = typed(registry, composition)
    for path, spec in reader.specs.items():
        _check_foreign(spec, config, path, own)
    return Configured(config, composition.cfg, composition.choices, components, [])


def _check_values(data: Mapping[str, Any], name: str, variables: Sequence[str]) -> None:
    missing: dict[str, None] = {}
    for path, value in _flat(dict(data)):
        if "_target_" in path.split("."):
            raise _refused(name, f"{path} names code, which a configuration cannot")
        if isinstance(value, str) and "${" in value:
            if "${" in VARIABLE.sub("", value):
                raise _refused(name, f"{path} has the interpolation {value!r}")
            missing.update(dict.fromkeys(n for n, _ in VARIABLE.findall(value) if n not in variables))
    if missing:
        options = " ".join(f"--env {variable}" for variable in missing)
        raise UserError(
            f"{name} uses the environment variables {', '.join(missing)}. If this run may see them, add {options}."
        )


def check_recordable(text: str) -> None:
    """Checks that a configuration could be read back.

    Args:
        text: As it is recorded.

    Raises:
        ForeignConfigError: If it could not.
    """
    data = parse_config(text.encode(), "its configuration")
    _check_values(data, "its configuration", variables_in(data))


def variables_in(data: Mapping[str, Any]) -> list[str]:
    """Names of the environment variables that a configuration uses."""
    texts = [value for _, value in _flat(dict(data)) if isinstance(value, str)]
    return list(dict.fromkeys(name for text in texts for name, _ in VARIABLE.findall(text)))


class _Reader:
    """Puts recorded values into nodes of their own types.

    Args:
        registry: All specs.
        named: Name of the spec behind each node, by path.
        name: What an error calls the file.
    """

    def __init__(self, registry: Registry, named: Mapping[str, str], name: str) -> None:
        self._registry, self._named, self._name = registry, named, name
        self.specs: dict[str, Spec] = {}

    def set(self, parent: DictConfig, key: str, path: str, value: Any) -> None:
        """Sets one field: a component if its path names one, else a value of the field's type."""
        try:
            if path in self._named:
                parent[key] = self._component(path, value)
            elif isinstance(value, dict) and any(f"{path}.{sub}" in self._named for sub in value):
                parent[key] = {}
                for sub, content in value.items():
                    self.set(parent[key], sub, f"{path}.{sub}", content)
            elif isinstance(value, dict) and is_typed(parent._get_node(key)):
                self._set_all(parent._get_node(key), path, value)
            else:
                OmegaConf.update(parent, key, value, merge=False)
        except OmegaConfBaseException as error:
            reason = str(error.msg or error).splitlines()[0]
            raise _refused(self._name, f"{path}: {reason}") from None

    def _component(self, path: str, content: Any) -> DictConfig:
        kind = kind_of(path)
        if kind is None:
            raise _refused(self._name, f"{path} is no component of a configuration")
        if not isinstance(content, dict):
            raise _refused(self._name, f"{path} has no options")
        spec = self.specs[path] = self._registry.get(kind, self._named[path])
        node: DictConfig = OmegaConf.structured(spec.config)
        self._set_all(node, path, content)
        return node

    def _set_all(self, node: Any, path: str, content: Mapping[str, Any]) -> None:
        """Sets fields of a node with a type."""
        for key, value in content.items():
            if key not in node:
                known = ", ".join(str(field) for field in node)
                raise _refused(self._name, f"{path} has no {key!r}. Known: {known}")
            self.set(node, key, f"{path}.{key}", value)

    def check_all_used(self) -> None:
        """Every component that is named must have its place."""
        unused = [path for path in self._named if path not in self.specs]
        if unused:
            raise _refused(self._name, f"there is no {unused[0]!r} that is configured")

    def choices(self) -> dict[str, Any]:
        """The option of each group."""
        chosen: dict[str, Any] = {group: [] if group in LIST_GROUPS else None for group in GROUPS}
        for path, spec in self.specs.items():
            group, *rest = path.split(".")
            if group in LIST_GROUPS:
                chosen[group].append(spec.name)
            elif not rest:
                chosen[group] = spec.name
        return chosen


def _apply_items(
    registry: Registry, composition: Composition, items: Sequence[Item], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Applies what may change, refuses what may not, and returns what the user named, by key."""
    refused = []
    for item in items:
        if item.key == "callbacks":
            _choose_callbacks(registry, composition, item)
        elif any(item.key == key or item.key.startswith(f"{key}.") for key in CHANGEABLE) or is_runners_own(item.key):
            apply_item(composition, item)
        elif item.operation == "delete" or not _is_as_recorded(composition, item, data):
            refused.append(item.text)
    if refused:
        raise UserError(
            f"a run that goes on cannot change {', '.join(refused)}: it would be another run.\n"
            f"What may change: {', '.join(CHANGEABLE)}; runner, and what a runner adds to these options.\n"
            "To start another run from these weights: maze train input_dir=<run> and what is to differ."
        )
    return {item.key: item.value for item in items}


def is_runners_own(key: str) -> bool:
    """Whether it is an option that a runner adds to those that all have: it changes no result."""
    group, _, name = key.partition(".")
    return group == "runner" and name != "" and name.split(".")[0] not in COMMON_OPTIONS


def _choose_runner(registry: Registry, composition: Composition, name: str) -> Spec:
    """Puts another runner in place of the recorded one: the result does not depend on it."""
    spec = registry.get("runner", name)
    before, node = composition.cfg["runner"], OmegaConf.structured(spec.config)
    for key in COMMON_OPTIONS:
        node[key] = before._get_node(key)
    composition.cfg["runner"] = node
    composition.choices["runner"] = name
    return spec


def _choose_callbacks(registry: Registry, composition: Composition, item: Item) -> None:
    names = item.value if isinstance(item.value, list) else [] if item.value is None else [item.value]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{item.text}: callbacks= takes names of callbacks. See: maze list callbacks")
    node = composition.cfg["callbacks"]
    kept = dict(node.items_ex(resolve=False))
    chosen = [*kept, *names] if item.operation == "add" else names
    if item.operation == "delete":
        if missing := [name for name in names if name not in kept]:
            raise ConfigError(f"{item.text}: {missing[0]} is not there to be removed.")
        chosen = [name for name in kept if names and name not in names]
    composition.cfg["callbacks"] = {}
    for name in dict.fromkeys(chosen):
        new = name not in kept
        node = OmegaConf.structured(registry.get("callback", name).config) if new else kept[name]
        composition.cfg["callbacks"][name] = node
    composition.choices["callbacks"] = list(composition.cfg["callbacks"])


def _is_as_recorded(composition: Composition, item: Item, data: Mapping[str, Any]) -> bool:
    if item.key in GROUPS:
        chosen = composition.choices[item.key]
        return bool(item.value == chosen or [item.value] == chosen)
    if item.key == "run_dir":
        return False
    value: Any = data
    for part in item.key.split("."):
        if not isinstance(value, (dict, list)):
            return False
        try:
            value = value[part] if isinstance(value, dict) else value[int(part)]
        except (KeyError, IndexError, ValueError):
            raise ConfigError(f"{item.text}: the configuration of this run has no {item.key!r}.") from None
    return bool(value == item.value)


def _check_foreign(spec: Spec, config: RunConfig, path: str, own: Mapping[str, Any]) -> None:
    """Lets a component refuse values that would import or execute something, unless the user named them."""
    if spec.check_foreign is None:
        return
    value: Any = config
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    defaults = spec.config()
    given = {f.name: own[f"{path}.{f.name}"] for f in dataclasses.fields(value) if f"{path}.{f.name}" in own}
    trusted = {name: getattr(defaults, name) for name, of in given.items() if _names_all(of, getattr(value, name))}
    resolve_build(spec.check_foreign)(dataclasses.replace(value, **trusted))


def _names_all(given: Any, value: Any) -> bool:
    """Whether nothing of a value is left that the user did not name: what they give for a mapping is added to it."""
    if not isinstance(value, dict):
        return True
    return isinstance(given, dict) and all(key in given and _names_all(given[key], part) for key, part in value.items())
