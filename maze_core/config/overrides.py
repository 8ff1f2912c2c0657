"""Reads overrides, and lets users type what they mean.

Hydra's grammar is kept. On top of it: ``+experiment=x`` and ``experiment=x`` are the same;
``wrappers=a,b`` is a list, ``+wrappers=x`` appends to it, and a wrapper may be named twice (the
second gets the key ``x_2``); ``model.actors.<key>=<name>`` chooses a model; a path below a free-form
mapping needs no ``+``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException

from maze_core.errors import UserError
from maze_core.field_docs import as_text
from maze_core.registry import GROUPS, LIST_GROUPS

EXPERIMENT = "experiment"
MAX_JOBS = 10_000
"""Most runs that can be asked for at once."""

NESTED_MODEL = re.compile(r"(critic\.)?model\.(actors\.\w+|default)|critic\.model")
"""Keys below a config that choose a model themselves."""


@dataclass(frozen=True)
class Item:
    """One override.

    Args:
        key: Group or dotted path, with Hydra's ``@package`` where given.
        value: Its value; None when something is deleted.
        operation: ``set``, ``add`` (written with +) or ``delete`` (written with ~).
        text: As the user wrote it.
    """

    key: str
    value: Any
    operation: str
    text: str


@dataclass
class Normalised:
    """Overrides sorted by what they do.

    Args:
        choices: Options chosen by group.
        appended: Options appended to a list group.
        nested: Config that chooses an option of a group below another: (group, path, option).
        values: What is set or deleted after composition, in order.
    """

    choices: dict[str, list[str]]
    appended: dict[str, list[str]]
    nested: list[tuple[str, str, str]]
    values: list[Item]


def read_items(texts: Iterable[str]) -> list[Item]:
    """Reads overrides as users type them.

    Raises:
        UserError: If one cannot be read, or names several values (a sweep).
    """
    return [_item(_parse(text)) for text in texts]


def items_of_mapping(overrides: Mapping[str, Any]) -> list[Item]:
    """Takes overrides as Python values by dotted path."""
    items = []
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise UserError(f"{key!r} is no key of an override; write for example 'algorithm.lr'.")
        plain = _plain(value)
        items.append(Item(key, plain, "set", f"{key}={as_text(plain)}"))
    return items


def _plain(value: Any) -> Any:
    """A Python value as configurations hold it: no tuples, paths or NumPy scalars."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def _parse(text: str) -> Override:
    try:
        override: Override = OverridesParser.create().parse_override(text)
    except HydraException:
        if text.startswith("=") or ("=" not in text and not text.startswith("~")):
            raise UserError(f"{text!r} is no override: write <key>=<value>, such as env.name=CartPole-v1.") from None
        key = text.partition("=")[0]
        raise UserError(f"{text!r} cannot be read. Quote special characters: \"{key}='value'\".") from None
    return override


def _item(override: Override) -> Item:
    key = str(override.get_key_element()).lstrip("+~")
    operation = "delete" if override.is_delete() else "add" if override.is_add() or override.is_force_add() else "set"
    value = override.value()
    if _is_list_choice(override):
        assert isinstance(value, ChoiceSweep)
        value = [str(option) for option in value.list]
    elif override.is_sweep_override():
        raise UserError(
            f"{override.input_line} names several values. maze train --multirun makes a run of each"
            f"{'.' if key in GROUPS else f', or write a list as {key}=[...].'}"
        )
    return Item(key, value, operation, str(override.input_line))


def _is_list_choice(override: Override) -> bool:
    """``wrappers=a,b`` is one list; ``wrappers=choice(a,b)`` is a sweep."""
    value = override.value()
    return override.key_or_group in LIST_GROUPS and isinstance(value, ChoiceSweep) and value.simple_form


def expand_sweeps(texts: Sequence[str], zipped: bool = False) -> list[list[str]]:
    """All combinations of the values that overrides name, in the order of ``itertools.product``.

    Args:
        texts: Overrides; those that name one value are the same in every job.
        zipped: Whether the n-th values of all of them belong together, instead of every combination.

    Raises:
        UserError: If one cannot be read, or values that belong together are not equally many.
    """
    alternatives = []
    for text in texts:
        override = _parse(text)
        if override.is_sweep_override() and not _is_list_choice(override):
            alternatives.append(_alternatives(override, text))
        else:
            alternatives.append([text])
    if not zipped:
        n_jobs = math.prod(map(len, alternatives))
        if n_jobs > MAX_JOBS:
            raise UserError(f"these are {n_jobs:,} jobs; at most {MAX_JOBS:,} can be run as one.")
        return [list(job) for job in product(*alternatives)]
    counts = {len(values) for values in alternatives if len(values) > 1}
    if len(counts) > 1:
        shown = ", ".join(f"{text} ({len(a)})" for text, a in zip(texts, alternatives, strict=True) if len(a) > 1)
        raise UserError(f"values that belong together must be equally many: {shown}.")
    n_jobs = max(counts, default=1)
    return [[values[number % len(values)] for values in alternatives] for number in range(n_jobs)]


def _alternatives(override: Override, text: str) -> list[str]:
    """An override for each value that one names."""
    key = override.get_key_element()
    try:
        found = [f"{key}={value}" for value in islice(override.sweep_string_iterator(), MAX_JOBS + 1)]
    except HydraException:
        raise UserError(f"{text}: only lists, choice(...) and range(...) can be run one by one.") from None
    if not 0 < len(found) <= MAX_JOBS:
        raise UserError(f"{text} names {'no value' if not found else f'more than {MAX_JOBS:,} values'}.")
    return found


def split_space(texts: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Separates overrides that name one value from those that name what a sweep varies.

    Args:
        texts: ``key=interval(low,high)``, ``key=tag(log,interval(low,high))``, ``key=range(low,high)``, ``key=a,b`` and
            ``key=choice(a,b)`` vary.

    Returns:
        The others; and for each key that varies what `maze_core.sweeps.read_space` reads.

    Raises:
        UserError: If one cannot be read.
    """
    fixed: list[str] = []
    space: dict[str, Any] = {}
    for text in texts:
        override = _parse(text)
        if not override.is_sweep_override() or _is_list_choice(override):
            fixed.append(text)
            continue
        if override.is_add() or override.is_force_add():
            raise UserError(f"{text}: what varies is written without +.")
        space[override.get_key_element()] = _varied(override.value(), text)
    return fixed, space


def _varied(value: Any, text: str) -> Any:
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        return {"low": value.start, "high": value.end, **({"log": True} if log else {})}
    if isinstance(value, RangeSweep):
        return list(islice(value.range(), MAX_JOBS))
    if not isinstance(value, ChoiceSweep):
        raise UserError(f"{text}: only lists, choice(...), range(...) and interval(...) can vary.")
    return [entry.text if isinstance(entry, QuotedString) else entry for entry in value.list]


def normalise(items: Iterable[Item]) -> Normalised:
    """Sorts overrides by what they do.

    Raises:
        UserError: If a group is given something that is no name of an option.
    """
    result = Normalised({}, {}, [], [])
    for item in _by_actor(items):
        group, _, package = item.key.partition("@")
        if package and (group != "model" or not NESTED_MODEL.fullmatch(package)):
            raise UserError(f"{item.text}: '@' can only choose a model for an actor. Write {group}=<name>.")
        if package:
            result.nested.append((group, package, str(item.value)))
        elif NESTED_MODEL.fullmatch(item.key) and item.value is not None:
            if not isinstance(item.value, str):
                raise UserError(f"{item.text}: {item.key}= takes the name of a model. See: maze list models")
            result.nested.append(("model", item.key, item.value))
        elif group not in GROUPS and group != EXPERIMENT:
            result.values.append(item)
        elif item.operation == "delete":
            if group not in (*LIST_GROUPS, EXPERIMENT):
                raise UserError(f"{item.text}: a run needs one {GROUPS[group]}; choose another with {group}=<name>.")
            if item.value is None:
                result.choices[group] = []
            else:
                result.values.append(replace(item, key=f"{group}.{item.value}"))
        elif item.operation == "add" and group in LIST_GROUPS:
            result.appended.setdefault(group, []).extend(_names(item))
        else:
            names = _names(item)
            if group == EXPERIMENT and result.choices.get(group, names) != names:
                raise UserError(
                    f"{item.text}: a run takes one experiment, and {result.choices[group][0]!r} is named too."
                )
            result.choices[group] = names
            result.appended.pop(group, None)
    return result


def _by_actor(items: Iterable[Item]) -> Iterator[Item]:
    """Takes ``model.actors={a: x, b: y}`` apart into one choice for each actor."""
    for item in items:
        if item.key == "model.actors" and isinstance(item.value, Mapping):
            for key, name in item.value.items():
                yield replace(item, key=f"model.actors.{key}", value=name, text=f"model.actors.{key}={as_text(name)}")
        else:
            yield item


def _names(item: Item) -> list[str]:
    names = item.value if isinstance(item.value, (list, tuple)) else [] if item.value is None else [item.value]
    if "" in names:
        raise UserError(f"{item.text} is empty: write {item.key}=<name>. See: maze list")
    several = item.key in LIST_GROUPS or (item.key == EXPERIMENT and not names)
    if not all(isinstance(name, str) for name in names) or (len(names) != 1 and not several):
        kind = GROUPS.get(item.key, EXPERIMENT)
        raise UserError(
            f"{item.text}: {item.key}= takes the name of one {kind}; its options are set with "
            f"{item.key}.<option>=<value>. See: maze list"
        )
    return [str(name) for name in names]


def group_overrides(group: str, names: Sequence[str]) -> Iterator[str]:
    """Hydra's overrides that choose these options of a group, in order.

    A list names each option once; a repeated one is added under the key ``<name>_2``, ``<name>_3``.
    """
    if group not in LIST_GROUPS:
        yield f"{group}={names[0] if names else 'null'}"
        return
    yield f"{group}=[{','.join(dict.fromkeys(names))}]"
    for name, key in zip(names, keys_of(names), strict=True):
        if key != name:
            yield f"+{group}@{group}.{key}={name}"


def keys_of(names: Sequence[str]) -> list[str]:
    """The key of each option of a list group: its name, or ``<name>_<n>`` from the second time on."""
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return keys
