"""Options that several commands share."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maze_core.cli.complete import complete_config_name, complete_directory, complete_file, complete_overrides
from maze_core.errors import masked, printable

if TYPE_CHECKING:
    from maze_core.registry import Registry

Function = Callable[..., Any]

MAX_MESSAGE = 2500
"""Characters of a message that are shown; more come from a file only."""


def plugin_options(function: Function) -> Function:
    """Adds --plugin, --no-local and --debug."""
    decorators = (
        click.option(
            "--plugin",
            "plugins",
            multiple=True,
            metavar="MODULE|FILE|DIR",
            shell_complete=complete_file,
            help="Load this plugin too.",
        ),
        click.option("--no-local", is_flag=True, help="Do not load maze_plugins.py of the current directory."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )
    return functools.reduce(lambda decorated, add: add(decorated), reversed(decorators), function)


def variable_option(function: Function) -> Function:
    """Adds --env."""
    return click.option(
        "--env",
        "variables",
        multiple=True,
        metavar="NAME",
        help="An environment variable that the run's configuration may use.",
    )(function)


def config_options(config_name: str) -> Callable[[Function], Function]:
    """Adds overrides, -cn with this default, -cd and those of `plugin_options`."""
    decorators = (
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_overrides),
        click.option(
            "-cn",
            "--config-name",
            default=config_name,
            show_default=True,
            shell_complete=complete_config_name,
            help="Root configuration.",
        ),
        click.option(
            "-cd",
            "--config-dir",
            type=click.Path(path_type=Path),
            shell_complete=complete_directory,
            help="Directory with configuration files of your own.",
        ),
    )
    return lambda function: functools.reduce(
        lambda decorated, add: add(decorated), reversed(decorators), plugin_options(function)
    )


def json_option(function: Function) -> Function:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(function)


def quiet_option(function: Function) -> Function:
    """Adds --quiet."""
    return click.option("--quiet", "-q", is_flag=True, help="Print only warnings, errors and where the results are.")(
        function
    )


def tell_nothing(text: str) -> None:
    """In place of `click.echo`, for a quiet command."""


def tell_results(directory: Path | None) -> None:
    """The only line of a quiet command: where its results are."""
    if directory is not None:
        click.echo(f"Results: {shlex.quote(str(directory))}")


def as_block(message: str) -> str:
    """A message of the program as one block: later lines are indented below the first.

    Control characters, which a name in a file could bring, are shown and not obeyed.
    """
    message = masked(message)
    message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]} ..."
    lines = [printable(line) for line in message.replace("\t", "    ").rstrip().split("\n")]
    first, *rest = lines if any(lines) else ["error"]
    return "\n".join([f"maze: {first}", *(f"      {line}" for line in rest)])


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def registry_of(plugins: tuple[str, ...], no_local: bool) -> Registry:
    """Loads plugins without building anything, and tells which are broken."""
    from maze_core.registry import load_registry

    registry = load_registry(plugins, not no_local)
    tell_problems(registry)
    return registry


def tell_problems(registry: Registry) -> None:
    """One line on stderr for each plugin that is broken or rude and each conflict; a local project is announced."""
    for plugin in registry.plugins:
        if plugin.origin == "local" and not plugin.error:
            click.echo(
                f"maze: using the local plugins of {printable(plugin.location)} (--no-local switches them off)",
                err=True,
            )
    for problem in registry.problems():
        click.echo(as_block(problem), err=True)
