"""From the arguments of a Python program to a configuration, and to what is recorded of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from maze_core.api import commands
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.arguments import Arguments, Choice, Overrides, override_items
from maze_core.config.overrides import Item
from maze_core.errors import UserError
from maze_core.live import LiveObjects
from maze_core.registry import Registry, load_registry
from maze_core.rl.streams import draw_root_seed
from maze_core.run_config import TrainingConfig
from maze_core.runs.launch import Asked
from maze_core.runs.stored_run import is_run_directory

DIRECTORIES = ("run_dir", "input_dir")


@dataclass(frozen=True)
class Sources:
    """Where names come from.

    Args:
        config_name: Root configuration.
        config_dir: Directory with configuration files of the user.
        plugins: As given with ``--plugin``.
        local_plugins: Whether local plugins are loaded.
    """

    config_name: str
    config_dir: str | Path | None
    plugins: list[str]
    local_plugins: bool

    @property
    def config_dirs(self) -> tuple[Path, ...]:
        """The directory, if there is one."""
        return () if self.config_dir is None else (Path(self.config_dir),)

    def command(self, overrides: Sequence[str], verb: str = "train") -> str:
        """A command line that has the same sources."""
        return commands.command(self.config_name, self.config_dirs, self.plugins, self.local_plugins, overrides, verb)


def asked_for(
    groups: Mapping[str, Choice], policy: Choice, fields: Mapping[str, Any], overrides: Overrides, sources: Sources,
    silent: bool,
) -> tuple[Registry, Configured, Asked, list[Item]]:  # fmt: skip
    """A new run as it was asked for.

    Args:
        groups: Options by group.
        policy: Who acts in place of what is trained.
        fields: Fields of the root.
        overrides: Further values.
        sources: Where names come from.
        silent: Whether nothing is printed.

    Returns:
        All specs; the configuration, whose seed is set; what is recorded; overrides that choose the policy.

    Raises:
        UserError: If something is unknown or contradictory.
        ConfigError: If a value is not allowed.
    """
    opened = fields["input_dir"] or fields["run_dir"] or named_input_dir(overrides)
    registry = load_registry(sources.plugins, sources.local_plugins, opened)
    fields, notes = _from_earlier_run(fields)
    live, whole = LiveObjects(), groups["experiment"] is not None or sources.config_name != "conf_train"
    arguments = Arguments(registry, live, whole)
    items = arguments.items(groups, {key: value for key, value in fields.items() if value is not None}, overrides)
    named = arguments.group_items("policy", policy)
    registry = live.known_to(registry)
    configured = configure(registry, ConfigRequest(sources.config_name, items, sources.config_dirs))
    configured.notes += notes + ([live.note()] if live.by_name else [])
    if configured.config.seed is None:
        configured.set("seed", draw_root_seed())
    texts = [item.text for item in items]
    repeated = [item.text for item in items if item.key not in DIRECTORIES]
    _silence(configured, silent)
    return registry, configured, _asked(configured, texts, sources.command(texts), repeated, sources, live), named


def _from_earlier_run(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A `run_dir` that is an earlier run stands for `input_dir`."""
    run_dir, input_dir = fields["run_dir"], fields["input_dir"]
    if run_dir is None or not is_run_directory(Path(run_dir).expanduser()):
        return dict(fields), []
    if input_dir is not None and Path(input_dir) != Path(run_dir):
        raise UserError(f"run_dir={run_dir} is an earlier run, and input_dir={input_dir} is another; name one.")
    note = f"{run_dir} is an earlier run: its weights are taken, and this run gets a directory of its own."
    return {**fields, "run_dir": None, "input_dir": run_dir}, [note]


def asked_to_resume(
    registry: Registry, run_dir: str, items: Sequence[Item], variables: Sequence[str], sources: Sources,
    live: LiveObjects, silent: bool, configured: Configured,
) -> Asked:  # fmt: skip
    """What is recorded of a request to go on with a run."""
    _silence(configured, silent)
    changed = configured.differences(configure(registry, ConfigRequest()))
    again = [f"{key}={commands.text(value)}" for key, _, value in changed if key not in DIRECTORIES]
    texts = [item.text for item in items]
    words = [run_dir, *(word for name in variables for word in ("--env", name)), *texts]
    return _asked(configured, texts, sources.command(words, "resume"), again, sources, live)


def _asked(
    configured: Configured, texts: Sequence[str], command: str, repeated: Sequence[str], sources: Sources,
    live: LiveObjects,
) -> Asked:  # fmt: skip
    return Asked(
        texts,
        live.commented(command),
        lambda path: live.commented(sources.command([*repeated, f"input_dir={commands.text(path)}"])),
        live.resume_command or partial(commands.resume_command, configured, sources.plugins, sources.local_plugins),
    )


def as_list(value: Sequence[str] | str) -> list[str]:
    """One text or several as a list."""
    return [value] if isinstance(value, str) else list(value)


def _silence(configured: Configured, silent: bool) -> None:
    config = configured.config
    if silent and isinstance(config, TrainingConfig) and "console" in config.callbacks:
        config.callbacks["console"].terminal = False


def named_input_dir(overrides: Overrides) -> str | None:
    """The run directory that is about to be opened: no plugin is loaded from inside it."""
    if isinstance(overrides, Mapping):
        found = overrides.get("input_dir")
        return None if found is None else str(found)
    named = [item.value for item in override_items(overrides) if item.key == "input_dir"]
    return named[-1] if named and isinstance(named[-1], str) else None
