"""The commands that plugins bring: found when no command of Maze has the name, imported when they are used."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from maze_core.cli.options import as_block, tell_problems
from maze_core.errors import PluginError
from maze_core.plugins import PluginSources, load_plugins
from maze_core.registry import Registry, load_registry
from maze_core.specs import CommandSpec, resolve_build

META = "maze_core.plugin_commands"


def summaries(tell: bool) -> dict[str, str]:
    """Names of all commands of plugins with their summaries; none where plugins cannot be loaded.

    Args:
        tell: Whether problems are told on stderr.
    """
    environ = {name: value for name, value in os.environ.items() if name != "MAZE_STRICT"}
    try:
        registry = Registry(load_plugins(PluginSources(local_dir=Path.cwd(), environ=environ)))
    except (PluginError, OSError) as error:
        if tell:
            click.echo(as_block(str(error)), err=True)
        return {}
    if tell:
        tell_problems(registry)
    return {offer.name: offer.summary for offer in registry.offers(CommandSpec.kind)}


def known(ctx: click.Context, name: str, core: Iterable[str]) -> CommandSpec:
    """The command of a plugin.

    Args:
        ctx: Where plugins are kept, so that they are loaded once.
        name: What the user wrote.
        core: Names of Maze's own commands.

    Raises:
        UsageError: If there is none; the message says why as far as it can be known.
    """
    registry = ctx.meta.get(META)
    if registry is None:
        registry = ctx.meta[META] = load_registry()
        tell_problems(registry)
    assert isinstance(registry, Registry)
    spec = registry.command(name)
    if spec is None:
        names = [*core, *registry.names(CommandSpec.kind)]
        raise click.UsageError(registry.explain_missing(CommandSpec.kind, name, names))
    return spec


def imported(spec: CommandSpec) -> click.Command:
    """Imports a command.

    Raises:
        PluginError: If that fails, or it is no command.
    """
    try:
        command = resolve_build(spec.build)
    except PluginError as error:
        raise PluginError(
            f"command {spec.name!r}: {error}\nNext: see what offers it with: maze list commands"
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command {spec.name!r}: {spec.build!r} is {type(command).__name__} and no command of click. "
            "Its plugin has to name what @click.command() returned."
        )
    return command
