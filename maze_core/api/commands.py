"""What was asked for in Python, as the command line that asks for the same."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maze_core.config import Configured, variables_in
from maze_core.field_docs import as_text


def text(value: Any) -> str:
    """A value as it is written on the command line."""
    return as_text(str(value) if isinstance(value, Path) else value)


def command(
    config_name: str,
    directories: Sequence[Path],
    plugins: Sequence[str],
    local_plugins: bool,
    overrides: Sequence[str],
    verb: str = "train",
) -> str:
    """A command line as text; see `words`."""
    return shlex.join(["maze", *words(config_name, directories, plugins, local_plugins, overrides, verb)])


def words(
    config_name: str,
    directories: Sequence[Path],
    plugins: Sequence[str],
    local_plugins: bool,
    overrides: Sequence[str],
    verb: str,
) -> list[str]:
    """What stands behind ``maze`` on a command line.

    Args:
        config_name: Root configuration.
        directories: The user's own config directories.
        plugins: As given with ``--plugin``.
        local_plugins: False adds ``--no-local``.
        overrides: What else stands there.
        verb: The command.
    """
    options = [] if config_name in ("conf_train", "conf_rollout") else ["--config-name", config_name]
    options += [word for directory in directories for word in ("--config-dir", str(directory))]
    options += [word for plugin in plugins for word in ("--plugin", plugin)]
    options += [] if local_plugins else ["--no-local"]
    return [verb, *options, *overrides]


def resume_command(configured: Configured, plugins: Sequence[str], local_plugins: bool, path: Path) -> str:
    """The command that goes on with the run in a directory."""
    named = [word for name in variables_in(configured.to_data()) for word in ("--env", name)]
    return command("conf_train", (), plugins, local_plugins, [str(path), *named], "resume")
