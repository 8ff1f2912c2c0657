"""What a new thing may be called."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Iterable

from maze_core.errors import UserError
from maze_core.presets import group_options
from maze_core.registry import GROUPS, Registry

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
MAX_LENGTH = 30
EXPERIMENT = "experiment"


def check_name(name: str) -> None:
    """Whether a name can be that of an option, a package, and classes.

    Raises:
        UserError: If it cannot.
    """
    allowed = f"small letters, digits and single '_' between them, a letter first, at most {MAX_LENGTH} characters"
    if not NAME.fullmatch(name) or len(name) > MAX_LENGTH:
        raise UserError(f"the name {name!r} is not allowed: use {allowed}, such as my_env.")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"the name {name!r} is not allowed: it is a word of Python. Choose another, such as my_{name}.")


def check_free(name: str, kind: str, registry: Registry, commands: Iterable[str] = ()) -> None:
    """Whether nothing that is installed or registered has this name already.

    Args:
        name: What is to be registered.
        kind: As what: that of a spec, ``experiment`` or ``command``.
        registry: All plugins.
        commands: Names of all commands.

    Raises:
        UserError: If something has it.
    """
    groups = {spec_kind: group for group, spec_kind in GROUPS.items()}
    group = groups.get(kind, kind)
    for source in group_options(registry, (), group) if kind != "command" else ():
        if source.name == name:
            raise UserError(f"there is {kind} {name!r} already, of {source.provider}. Choose another name.")
    if kind == "command" and name in commands:
        raise UserError(f"there is a command {name!r} already: maze {name} --help. Choose another name.")


def check_package(name: str, registry: Registry) -> None:
    """Whether a distribution ``maze-<name>`` would be the only one of its name.

    Raises:
        UserError: If it would not.
    """
    for plugin in registry.plugins:
        if plugin.name == name:
            raise UserError(f"there is a plugin {name!r} already, {plugin.label}. Choose another name.")
    if importlib.util.find_spec(f"maze_{name}") is not None:
        raise UserError(f"there is a package maze_{name} already. Choose another name.")
