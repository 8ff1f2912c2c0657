"""Configurations of what is checked: composed as a run would compose them, written down, and read back."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from types import MappingProxyType
from typing import Any

from maze_core.config import ConfigRequest, Configured, configure, configure_stored, parse_config, variables_in
from maze_core.config.arguments import Choice
from maze_core.config.overrides import items_of_mapping
from maze_core.errors import ConfigError, ConfigFieldError, MazeError
from maze_core.registry import LIST_GROUPS, Registry
from maze_core.run_config import RolloutConfig, SweepConfig, TrainingConfig
from maze_core.specs import PolicySpec, Spec
from maze_core.testing import toys

OF_ROLLOUTS = ("env", "wrappers", "runner", "policy")
"""Groups that a rollout has too: its configuration needs neither model nor algorithm."""

CANDIDATES: dict[type, tuple[Any, ...]] = {
    float: (math.nan, -math.inf, math.inf, -1e30, 1e30),
    int: (-(10**12), -1, 0, 10**12),
}
"""Values of which at least one should be refused."""


def node_of(spec: Spec) -> str:
    """Where the config of a spec stands in a configuration."""
    return f"{spec.group}.{spec.name}" if spec.group in LIST_GROUPS else spec.group


def config_at(configured: Configured, spec: Spec) -> Any:
    """A copy of the config of a spec, which was selected."""
    value = getattr(configured.config, spec.group)
    return deepcopy(value[spec.name] if spec.group in LIST_GROUPS else value)


def configured_with(registry: Registry, spec: Spec, overrides: Mapping[str, Any]) -> Configured:
    """A configuration that selects a spec, with toys for all else that has to be there.

    Args:
        registry: All specs, those of the toys too.
        spec: What is selected.
        overrides: Fields of its config by dotted path.

    Raises:
        UserError: If it cannot be selected, or a value is not allowed.
    """
    values = {f"{node_of(spec)}.{key}": value for key, value in overrides.items()}
    based = isinstance(spec, PolicySpec) and spec.networks
    return composed(registry, {spec.group: spec.name}, values, based)


def composed(
    registry: Registry,
    choices: Mapping[str, Choice],
    values: Mapping[str, Any] = MappingProxyType({}),
    based: bool = False,
) -> Configured:
    """Composes a configuration in which toys stand for what is not chosen; the same one once only.

    Args:
        registry: All specs, those of the toys too.
        choices: Options by group.
        values: Values by dotted path.
        based: Whether it is that of a rollout with the policy of a run.

    Returns:
        What nobody may change.
    """
    return _composed(registry, json.dumps(dict(choices)), json.dumps(dict(values)), based)


@cache
def _composed(registry: Registry, choices_text: str, values_text: str, based: bool) -> Configured:
    choices, values = json.loads(choices_text), json.loads(values_text)
    of_rollout = based or set(choices) <= set(OF_ROLLOUTS)
    networks = {} if of_rollout else {"model": toys.MODEL, "algorithm": toys.ALGORITHM}
    chosen = {**({} if based else {"env": toys.FLAT, **networks}), **choices}
    lists = {group: [name] for group, name in chosen.items() if group in LIST_GROUPS and isinstance(name, str)}
    items = items_of_mapping({**chosen, **lists, **values})
    if of_rollout:
        base = composed(registry, {"model": toys.MODEL}) if based else None
        return configure(registry, ConfigRequest("conf_rollout", items, (), RolloutConfig), base)
    root = SweepConfig if "sweeper" in choices else TrainingConfig
    return configure(registry, ConfigRequest(root.config_name, items, (), root))


def lost_in_record(registry: Registry, configured: Configured, spec: Spec, overrides: Mapping[str, Any]) -> str | None:
    """How a config changes when it is recorded and read back, as a phrase; None if it stays as it is."""
    text = configured.to_yaml()
    vouched = {f"{node_of(spec)}.{key}": value for key, value in overrides.items()}
    try:
        data = parse_config(text.encode(), "its record")
        stored = configure_stored(
            registry, data, "its record", (), variables_in(data), vouched, type(configured.config)
        )
    except MazeError as error:
        return f"cannot be read back: {error}"
    before, after = (repr(config_at(each, spec)) for each in (configured, stored))
    return None if before == after else f"comes back as {after}"


def numeric_fields(config_type: type, prefix: str = "") -> Iterator[tuple[str, type, str, type]]:
    """Options that are numbers: dotted name, class that has it, field there, and int or float."""
    hints = typing.get_type_hints(config_type)
    for field in dataclasses.fields(config_type):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from numeric_fields(hint, f"{prefix}{field.name}.")
            continue
        kinds = (hint, *typing.get_args(hint))
        number = next((kind for kind in (float, int) if kind in kinds), None)
        if number is not None and typing.get_origin(hint) not in (list, dict):
            yield f"{prefix}{field.name}", config_type, field.name, number


def refusal(config_type: type, field: str, number: type) -> str | None:
    """What is wrong with the range of a number, as a phrase; None if some value is refused, and by its name."""
    for value in CANDIDATES[number]:
        try:
            config_type(**{field: value})
        except ConfigFieldError as error:
            if error.field == field:
                return None
        except ConfigError as error:
            if field in str(error):
                return None
        except Exception as error:  # whatever a plugin's own check raises
            return f"{value} is refused with {type(error).__name__}: {error}"
    return f"every number is taken, {CANDIDATES[number][0]} too"
