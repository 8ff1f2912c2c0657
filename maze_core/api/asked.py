"""From the arguments of a Python program to a configuration, and to what is recorded of the request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from maze_core.api import commands
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.absent import absent_specs
from maze_core.config.arguments import Arguments, Choice, Overrides, override_items
from maze_core.config.overrides import Item
from maze_core.errors import UserError, checked_path
from maze_core.live import LiveObjects
from maze_core.registry import GROUPS, LIVE, Registry, live_arguments, load_registry, unknown_live
from maze_core.rl.streams import draw_root_seed
from maze_core.run_config import TrainingConfig
from maze_core.runs.launch import Asked
from maze_core.runs.opened import OpenedRun, open_run
from maze_core.runs.stored_run import StoredRun, is_run_directory

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

    def check(self) -> None:
        """Checks that names and paths are some.

        Raises:
            UserError: If one is not.
        """
        if not isinstance(self.config_name, str):
            raise UserError(f"config_name={self.config_name!r} is not allowed: it must be the name of a configuration.")
        checked_path("config_dir", self.config_dir)

    @property
    def config_dirs(self) -> tuple[Path, ...]:
        """The directory, if there is one."""
        return () if self.config_dir is None else (Path(self.config_dir),)

    def command(self, overrides: Sequence[str], verb: str = "train") -> str:
        """A command line that has the same sources."""
        return commands.command(self.config_name, self.config_dirs, self.plugins, self.local_plugins, overrides, verb)

    def words(self, more: Sequence[str], verb: str) -> list[str]:
        """What stands behind ``maze`` on a command line that has the same sources, as far as the command takes them."""
        of_config = (self.config_name, self.config_dirs) if verb != "resume" else ("conf_train", ())
        return commands.words(*of_config, self.plugins, self.local_plugins, more, verb)


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
    for name in DIRECTORIES:
        checked_path(name, fields[name])
    sources.check()
    opened = fields["input_dir"] or fields["run_dir"] or named_input_dir(overrides)
    registry = load_registry(sources.plugins, sources.local_plugins, opened)
    fields, notes = _from_earlier_run(fields)
    live, given = LiveObjects(), {key: value for key, value in fields.items() if value is not None}
    items = Arguments(registry, live, sources.config_name, sources.config_dirs).items(groups, given, overrides)
    registry, named = choose_policy(live.known_to(registry), policy)
    configured = configure(registry, ConfigRequest(sources.config_name, items, sources.config_dirs))
    configured.notes += notes + live.notes()
    if configured.config.seed is None:
        configured.set("seed", draw_root_seed())
    texts = [item.text for item in items]
    repeated = [item.text for item in items if item.key not in DIRECTORIES]
    _silence(configured, silent)
    return registry, configured, _asked(configured, texts, sources.command(texts), repeated, sources, live), named


def choose_policy(registry: Registry, policy: Choice) -> tuple[Registry, list[Item]]:
    """Who acts in place of what a run trains: all specs with a live one among them, and overrides that choose it."""
    live = LiveObjects(registry)
    named = Arguments(registry, live).group_items("policy", policy)
    return live.known_to(registry), named


def _from_earlier_run(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A `run_dir` that is an earlier run stands for `input_dir`."""
    run_dir, input_dir = fields["run_dir"], fields["input_dir"]
    if run_dir is None or not is_run_directory(Path(run_dir).expanduser()):
        return dict(fields), []
    if input_dir is not None and Path(input_dir) != Path(run_dir):
        raise UserError(f"run_dir={run_dir} is an earlier run, and input_dir={input_dir} is another; name one.")
    note = f"{run_dir} is an earlier run: its weights are taken, and this run gets a directory of its own."
    return {**fields, "run_dir": None, "input_dir": run_dir}, [note]


def asked_again(
    sources: Sources, run_dir: str | Path, overrides: Overrides, live_objects: Mapping[str, Any]
) -> tuple[LiveObjects, Registry, list[Item], list[Item]]:
    """A run that is to go on, as it was asked for.

    Args:
        sources: Where names come from.
        run_dir: Its directory; nothing in it is executed.
        overrides: What changes.
        live_objects: Those of the run, by group; callbacks may be new ones, a policy acts in place of what is trained.

    Returns:
        The live objects of the run; all specs; overrides, with those that add callbacks; overrides that choose the
        policy.

    Raises:
        UserError: If something is unknown.
    """
    live = LiveObjects.again({group: value for group, value in live_objects.items() if group != "policy"})
    registry = live.known_to(load_registry(sources.plugins, sources.local_plugins, run_dir))
    items = Arguments(registry, live).override_items(overrides)
    names = [name for name in live.by_name if name.startswith(f"{LIVE}callback")]
    items += [Item("callbacks", names, "add", f"+callbacks={','.join(names)}")] if names else []
    registry, policy = choose_policy(registry, live_objects.get("policy"))
    return live, registry, items, policy


def opened_run(
    registry: Registry, live: LiveObjects, run_dir: str | Path, variables: Sequence[str], vouched: Mapping[str, Any],
    unneeded: Collection[str], call: str,
) -> tuple[Registry, OpenedRun]:  # fmt: skip
    """A run whose policy is to be used, with the live objects that this takes.

    Args:
        registry: All specs but those of live objects.
        live: The live objects that are given again.
        run_dir: Directory of the run, perhaps a stranger's; nothing in it is executed.
        variables: Names of environment variables that its configuration may use.
        vouched: Values of the configuration that the user sets, by key.
        unneeded: Groups whose live objects its policy does without here.
        call: What live objects are given to, to be shown.

    Returns:
        All specs, and the run.

    Raises:
        NothingUsableError: If it is no run directory, or has no weights.
        UserError: If objects are missing, or its configuration asks for what it may not.
    """
    stored = StoredRun(run_dir)
    data, registry = stored.config(), live.known_to(registry)
    known = live.known_to(registry, absent_specs(registry, data, unneeded))
    missing = unknown_live(known, data)
    if missing:
        again = f"{call}({stored.shown!r}, {live_arguments(missing)})"
        raise UserError(f"{stored.shown} was given objects by a Python program, and needs them again: {again}")
    return known, open_run(known, run_dir, variables, vouched)


def asked_to_resume(
    registry: Registry, run_dir: str, items: Sequence[Item], variables: Sequence[str], sources: Sources,
    live: LiveObjects, silent: bool, configured: Configured,
) -> Asked:  # fmt: skip
    """What is recorded of a request to go on with a run.

    Raises:
        UserError: If live objects are given that the run does not use, or options that are not its own.
    """
    live.refuse_unused(configured.components.values(), run_dir)
    refuse_others(registry, live.given, configured, run_dir)
    _silence(configured, silent, anew=not any(item.key.startswith("callbacks") for item in items))
    changed = configured.differences(configure(registry, ConfigRequest()))
    again = [f"{key}={commands.text(value)}" for key, _, value in changed if key not in DIRECTORIES]
    texts = [item.text for item in items]
    words = [run_dir, *(word for name in variables for word in ("--env", name)), *texts]
    return _asked(configured, texts, sources.command(words, "resume"), again, sources, live)


def refuse_others(registry: Registry, named: Mapping[str, Any], configured: Configured, shown: str) -> None:
    """Refuses options by name that are not those of a run. A preset's name is not recorded, so it is not known.

    Args:
        registry: All specs.
        named: What was given for each group.
        configured: The run.
        shown: What it is called.

    Raises:
        UserError: If there is one.
    """
    for group, name in named.items():
        own = configured.components.get(group)
        if isinstance(name, str) and own is not None and name != own and name in registry.names(GROUPS[group]):
            raise UserError(f"{shown} has {group}={own}, and cannot go on with {group}={name}. Leave it out.")


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


def checked_count(name: str, value: object) -> int:
    """A number of things, of Python or NumPy.

    Raises:
        UserError: If it is none.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}={value!r} is not allowed: it must be a whole number >= 1.")
    return int(value)


def _silence(configured: Configured, silent: bool, anew: bool = False) -> None:
    """Nothing is printed if `silent`; else what is recorded counts, or `anew` whatever was silent before."""
    config = configured.config
    if (silent or anew) and isinstance(config, TrainingConfig) and "console" in config.callbacks:
        config.callbacks["console"].terminal = not silent


def named_input_dir(overrides: Overrides) -> str | None:
    """The run directory that is about to be opened: no plugin is loaded from inside it."""
    if isinstance(overrides, Mapping):
        found = overrides.get("input_dir")
        return None if found is None else str(found)
    named = [item.value for item in override_items(overrides) if item.key == "input_dir"]
    return named[-1] if named and isinstance(named[-1], str) else None
