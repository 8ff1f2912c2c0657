"""Whether what a plugin offers can be used and shown: names, texts, configs, and what leads to the thing itself."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from maze_core.errors import PluginError, one_line
from maze_core.run_config import RunnerConfig
from maze_core.specs import LIVE, Offer, RunnerSpec, Spec

MAX_NAME = 64
MAX_SUMMARY = 200
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Of presets and distributions."""

COMMANDS = Path(__file__).parent / "cli"


def check_name(what: str, name: object, pattern: re.Pattern[str] = NAME) -> None:
    """Refuses names that could be mistaken, misread or taken for something else on a command line.

    Args:
        what: What an error calls it.
        name: The name.
        pattern: What is allowed.

    Raises:
        PluginError: If it is not allowed.
    """
    if type(name) is not str or len(name) > MAX_NAME or not pattern.fullmatch(name):
        shown = one_line(repr(name), MAX_NAME + 8) if type(name) is str else f"of type {type(name).__name__}"
        also = ", '.'" if pattern is FILE_NAME else ""
        raise PluginError(
            f"{what} {shown} is not allowed: letters a to z, digits, '_'{also} and '-' "
            f"only, at most {MAX_NAME}, and the first is a letter, a digit or '_'"
        )


def check_presets(folder: Path) -> None:
    """Refuses names of presets that nobody could write.

    Raises:
        PluginError: If one is not allowed.
    """
    for file in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml")):
        check_name("the name of preset", file.stem, FILE_NAME)


def checked(offer: Offer) -> Offer:
    """What a plugin offers, with a summary that can be shown.

    Raises:
        PluginError: If it cannot be used.
    """
    check_name("the name", offer.name)
    label = f"{offer.kind} {offer.name!r}"
    if offer.name.startswith(LIVE):
        raise PluginError(f"{label}: names that begin with {LIVE!r} are reserved for live objects of Python programs")
    if offer.kind == "command" and (COMMANDS / f"{offer.name}_command.py").is_file():
        raise PluginError(f"{label} is a command of Maze itself, which no plugin replaces; choose another name")
    if type(offer.summary) is not str:
        raise PluginError(f"the summary of {label} is no text")
    _check_fields(offer, label)
    if isinstance(offer, Spec):
        _check_config(offer, label)
    return dataclasses.replace(offer, summary=one_line(offer.summary, MAX_SUMMARY))


def _check_fields(offer: Offer, label: str) -> None:
    for part in dataclasses.fields(offer):
        value = getattr(offer, part.name)
        if part.type == "bool" and type(value) is not bool:
            raise PluginError(f"{part.name} of {label} is neither True nor False")
        optional = part.type == "Build | None" and value is None
        if str(part.type).startswith("Build") and not optional and not _leads_somewhere(value):
            raise PluginError(f"{part.name} of {label} is neither callable nor 'module:attribute'")


def _leads_somewhere(build: object) -> bool:
    return callable(build) or (type(build) is str and ":" in build)


def _check_config(spec: Spec, label: str) -> None:
    config = spec.config
    if not isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise PluginError(f"the config of {label} is not a dataclass type")
    if type(config).__hash__ is not type.__hash__ or type(config).__eq__ is not type.__eq__:
        raise PluginError(f"the config of {label} has a metaclass that compares classes in its own way")
    if type(config.__module__) is not str:
        raise PluginError(f"the config of {label} does not say in which module it is defined")
    if config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError(f"the config of {label} is frozen, so that no option could be set")
    for option in dataclasses.fields(config):
        if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
            raise PluginError(f"the option {option.name!r} of {label} has no default")
    if isinstance(spec, RunnerSpec) and not issubclass(config, RunnerConfig):
        raise PluginError(f"the config of runner {spec.name!r} does not derive from maze_core.RunnerConfig")
