"""How a run begins, and how one that was stopped goes on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maze_core.build import BuiltRun, build_run
from maze_core.config import Configured, changed_keys, check_recordable, configure_stored
from maze_core.config.absent import absent_specs
from maze_core.config.overrides import Item
from maze_core.enums import Schedule
from maze_core.errors import NonFiniteError, NothingUsableError, UserError, masked, printable
from maze_core.live import LiveObjects
from maze_core.pictures import network_pictures
from maze_core.plugins import Plugin
from maze_core.protocols import RunInfo
from maze_core.registry import Registry, kind_of, live_arguments, unknown_live
from maze_core.rl.critics import Critic
from maze_core.rl.policy import Policy
from maze_core.rl.saved import saved_count
from maze_core.runs.checkpointer import CHECKPOINTS, Checkpointer
from maze_core.runs.checkpoints import Checkpoint, CheckpointStore
from maze_core.runs.fingerprint import differences, fingerprint
from maze_core.runs.lock import RunLock
from maze_core.runs.normalize import sample_statistics
from maze_core.runs.opened import use_stored_statistics
from maze_core.runs.run_directory import RunDirectory, environment
from maze_core.runs.stored_run import CONFIG, SPACES, StoredRun, spaces_text
from maze_core.runs.threads import limited_threads, one_thread_is_enough
from maze_core.runs.train import TrainingLoop
from maze_core.runs.watchdog import watching

LOG = logging.getLogger("maze")

MAX_TOLD = 8
"""Most entries of a list that are told."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for, to be recorded.

    Args:
        overrides: As they were written.
        command: The whole command line.
        next_command: From a run directory to the command that starts another run from its weights.
        resume_command: From a run directory to the command that goes on with it.
    """

    overrides: Sequence[str]
    command: str
    next_command: Callable[[Path], str]
    resume_command: Callable[[Path], str]


class Run:
    """A run with its directory, which it holds until it is closed.

    Args:
        built: The live objects.
        loop: Its training.
        lock: Keeps others out of its directory.
        begin: Is called before the first update in this process.
        resume_command: How to go on with it.
    """

    def __init__(
        self, built: BuiltRun, loop: TrainingLoop, lock: RunLock, begin: Callable[[], None], resume_command: str
    ) -> None:
        self.built, self.loop, self._lock, self._begin = built, loop, lock, begin
        self.resume_command = resume_command
        self.checkpoints = CheckpointStore(loop.directory.path / CHECKPOINTS)
        self.begun = False

    def begin(self) -> None:
        """Tells callbacks, and writes what belongs before the first update; once."""
        if not self.begun:
            with self.loop.unbroken():
                self._begin()
            self.begun = True

    def close(self) -> None:
        """Lets others have the directory."""
        self._lock.release()


def one_thread(built: BuiltRun) -> bool:
    """Whether one thread computes the networks of a run."""
    critic = built.kernel.critic
    return one_thread_is_enough([built.policy, *([] if critic is None else [critic])])


def start_run(registry: Registry, configured: Configured, built: BuiltRun, asked: Asked) -> Run:
    """Makes the directory of a new run and writes into it what the run is.

    Raises:
        UserError: If the directory exists.
        StorageError: If it cannot be made.
    """
    config, choices = configured.config, configured.choices
    try:
        check_recordable(configured.to_yaml())
    except NothingUsableError as error:
        raise UserError(f"this run could not be resumed: {error}") from None
    name = "-".join(str(choices[group]) for group in ("env", "model", "algorithm", "runner"))
    directory = RunDirectory.create(config.run_dir, name)
    lock = RunLock(directory.path)
    configured.set("run_dir", str(directory.path))
    directory.write_text(CONFIG, configured.to_yaml())
    directory.write_text("overrides.txt", "".join(f"{override}\n" for override in asked.overrides))
    directory.write_text("command.txt", asked.command + "\n")
    versions = {plugin.name: plugin.version for plugin in registry.plugins if not plugin.error}
    assert config.seed is not None
    directory.write_text("environment.json", environment(versions, config.seed))
    actors = built.workspace.actors
    directory.write_text(SPACES, spaces_text(actors.observation_space, actors.action_space))
    data = configured.to_data()
    loop = TrainingLoop(built, config.runner, directory, _checkpointer(registry, configured, built, directory, data))

    def begin() -> None:
        critic = built.kernel.critic
        pictures = draw_networks({"policy": built.policy, **({"critic": critic} if critic else {})}, directory)
        info = _info(directory, configured, asked, built.notes, pictures)
        for callback in built.callbacks.values():
            callback.on_run_start(info)
        _sample_statistics(built, directory)
        loop.save()

    return Run(built, loop, lock, begin, asked.resume_command(directory.path))


def resume_run(
    registry: Registry,
    path: str | Path,
    items: Sequence[Item],
    variables: Sequence[str],
    asked: Callable[[Configured], Asked],
) -> tuple[Configured, Run]:
    """Takes up a run that was stopped or killed at its newest intact checkpoint.

    Args:
        registry: All specs.
        path: The run directory.
        items: Overrides; only what may change when a run goes on.
        variables: Names of environment variables that its configuration may use.
        asked: From the configuration, which it may change where nothing is learned, to what is recorded
            of the request.

    Raises:
        NothingUsableError: If there is nothing to go on from.
        UserError: If another process has it, a plugin is missing, or an override would make it another run.
    """
    stored = StoredRun(path)
    with ExitStack() as opened:
        lock = RunLock(stored.path)
        opened.callback(lock.release)
        if not stored.checkpoints.numbers() and not stored.was_trained():
            raise NothingUsableError(
                f"{stored.shown} ended before its first checkpoint, as far as can be seen: it has no statistics, no "
                f"weights, and nothing in {printable(str(stored.checkpoints.directory))}.\n"
                "Start it again, in a new directory; its command.txt says how it was started."
            )
        checkpoint = stored.checkpoints.newest()
        configured = _configured(registry, stored, checkpoint, items, variables)
        request = asked(configured)
        with limited_threads(True):  # as when the run began
            built = build_run(registry, configured)
        opened.callback(built.close)
        directory, started = RunDirectory(stored.path), checkpoint.state["started"]
        checkpointer = _checkpointer(registry, configured, built, directory, started)
        loop = TrainingLoop(built, configured.config.runner, directory, checkpointer)
        horizon = _horizon(built, configured)
        with watching(built.workspace.in_process, configured.config.runner.step_timeout):
            _load(loop, checkpoint, stored)
        notes = [*built.notes, *_account(checkpoint, built, checkpointer, loop)]
        if _horizon(built, configured) != horizon:
            end = _horizon(built, configured)
            notes.append(f"Schedules end after {end} updates, as when the run began, and keep their last value then.")
        states = checkpoint.state["state"].get("callbacks")
        if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
            raise NothingUsableError(f"{stored.shown}: its checkpoint does not say where callbacks stand.")
        changed = configured.to_data() != checkpoint.state["config"]

        def begin() -> None:
            stored.checkpoints.set_aside(checkpoint.number)
            directory.append_line("command.txt", request.command)
            loop.take_up()
            loop.absent_callbacks = {key: state for key, state in states.items() if key not in built.callbacks}
            info = _info(directory, configured, request, notes, {})
            for key, callback in built.callbacks.items():
                try:
                    if states.get(key):
                        callback.on_run_resume(info, states[key])
                    else:
                        callback.on_run_start(info)
                except (KeyError, TypeError, ValueError) as error:
                    raise NothingUsableError(f"{stored.shown}: callback {key} cannot go on: {_shown(error)}.") from None
            if changed:
                loop.save()  # what the user changed holds from now on

        opened.pop_all()
        return configured, Run(built, loop, lock, begin, request.resume_command(stored.path))


def _configured(
    registry: Registry, stored: StoredRun, checkpoint: Checkpoint, items: Sequence[Item], variables: Sequence[str]
) -> Configured:
    """The configuration that a run goes on with."""
    started, now = checkpoint.state.get("started"), checkpoint.state.get("config")
    if not isinstance(started, dict) or not isinstance(now, dict):
        raise NothingUsableError(f"{stored.shown}: its checkpoints are not those of a run.")
    changed = changed_keys(started, stored.config())
    if changed:
        raise NothingUsableError(
            f"{stored.shown}: {CONFIG} is not the one that the run began with ({printable('; '.join(changed[:3]))}). "
            "What may change is named on the command line: maze resume <run> runner.n_epochs=200"
        )
    if any(item.key == "callbacks" and item.operation == "set" for item in items):  # those before are not needed
        registry = LiveObjects(registry).known_to(registry, absent_specs(registry, now, ("callbacks",)))
    _check_plugins(registry, checkpoint, now, stored)
    configured = configure_stored(registry, now, str(stored.path / CONFIG), items, variables)
    configured.set("run_dir", str(stored.path))
    configured.config.input_dir = None  # what was taken from there is part of the checkpoint
    use_stored_statistics(configured, stored)
    return configured


def _load(loop: TrainingLoop, checkpoint: Checkpoint, stored: StoredRun) -> None:
    try:
        loop.load_state_dict(checkpoint.state["state"])
        trainer = loop.built.trainer
        for name in ("updates", "env_steps"):
            if getattr(trainer, name) != saved_count(checkpoint.summary, name):
                raise ValueError(f"the algorithm did not take over its {name}")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        raise NothingUsableError(
            f"{stored.shown}: checkpoint {checkpoint.number:06d} does not fit the run: {_shown(error)}."
        ) from error
    except NonFiniteError as error:
        raise NothingUsableError(f"{stored.shown}: checkpoint {checkpoint.number:06d}: {error}") from None


def _shown(error: Exception) -> str:
    reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return printable(masked(" ".join(reason.split())))[:300]


def _account(checkpoint: Checkpoint, built: BuiltRun, checkpointer: Checkpointer, loop: TrainingLoop) -> list[str]:
    """What is to be expected of a run that goes on, in words."""
    inexact = []
    lost = built.workspace.n_not_repeated
    if lost:
        inexact.append(f"{lost} episodes under way cannot be repeated and are cut off")
    if loop.config.device != "cpu":
        inexact.append(f"on {loop.config.device} sums may be done in another order")
    inexact += differences(checkpoint.fingerprint, checkpointer.fingerprint)[:MAX_TOLD]
    where = f"update {built.trainer.updates}, {built.trainer.env_steps} env steps, epoch {loop.epoch}"
    if inexact:
        LOG.warning("%s", printable(f"the run does not go on exactly: {'; '.join(inexact)}"))
    how = "exact" if not inexact else f"NOT exact: {'; '.join(inexact)}"
    return [f"Resumed at {where} (checkpoint {checkpoint.number:06d}); {printable(how)}."]


def _horizon(built: BuiltRun, configured: Configured) -> int | None:
    """After how many updates the schedules of an algorithm end; None if it has none that do."""
    changes = any(value is Schedule.linear for value in vars(configured.config.algorithm).values())
    return getattr(built.trainer, "horizon", None) if changes else None


def _check_plugins(registry: Registry, checkpoint: Checkpoint, config: Mapping[str, Any], stored: StoredRun) -> None:
    """Tells which plugins a run needs, if something that it names is not registered."""
    named, plugins = config.get("components"), checkpoint.state.get("plugins")
    if not isinstance(named, dict) or not isinstance(plugins, list):
        return
    unknown = [name for path, name in named.items() if name not in registry.names(kind_of(str(path)) or "")]
    live = unknown_live(registry, config)
    if live:
        again = f"RunContext.resume({stored.shown!r}, {live_arguments(live)})"
        raise UserError(f"{stored.shown} was given objects by a Python program, and needs them again: {again}")
    here = {plugin.name for plugin in registry.plugins if not plugin.error}
    missing = [printable(str(name))[:50] for name in plugins if str(name) not in here]
    if unknown and missing:
        raise UserError(
            f"{stored.shown} was trained with the plugins {', '.join(missing[:MAX_TOLD])}, which are not here. "
            "Install them, or name the folder of a local one with --plugin."
        )


def _checkpointer(
    registry: Registry, configured: Configured, built: BuiltRun, directory: RunDirectory, started: Mapping[str, Any]
) -> Checkpointer:
    runner, plugins = configured.config.runner, used_plugins(registry, configured)
    records = {"started": started, "config": configured.to_data(), "plugins": [plugin.name for plugin in plugins]}
    return Checkpointer(directory.path, runner.checkpoint, records, run_fingerprint(registry, configured, built))


def run_fingerprint(registry: Registry, configured: Configured, built: BuiltRun) -> dict[str, str]:
    """What the bits of a run depend on here and now."""
    versions = plugin_versions(used_plugins(registry, configured))
    return fingerprint(versions, configured.config.runner.device, one_thread(built))


def used_plugins(registry: Registry, configured: Configured) -> list[Plugin]:
    """The plugins that a configuration uses; those without influence on results do not count."""
    without = ("callbacks", "runner")
    named = {path: name for path, name in configured.components.items() if path.split(".")[0] not in without}
    owners = [registry.owner(registry.get(kind_of(path) or "", name)) for path, name in named.items()]
    return list({plugin.name: plugin for plugin in owners}.values())


def plugin_versions(plugins: Sequence[Plugin]) -> dict[str, str]:
    """Version of each plugin by name; of all local ones together a hash of their files, wherever they are."""
    packaged = {f"plugin {plugin.name}": plugin.version for plugin in plugins if plugin.version}
    files = [Path(plugin.location) for plugin in plugins if not plugin.version]
    hashes = sorted(hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files if file.is_file())
    return {**packaged, **({"local plugins": ", ".join(hashes)} if hashes else {})}


def _info(
    directory: RunDirectory, configured: Configured, asked: Asked, notes: Sequence[str], pictures: Mapping[str, bytes]
) -> RunInfo:
    return RunInfo(
        directory.path, configured.to_yaml(), asked.command, notes, configured.config.runner.n_epochs,
        configured.to_data(), pictures, asked.next_command(directory.path), asked.resume_command(directory.path),
    )  # fmt: skip


def _sample_statistics(built: BuiltRun, directory: RunDirectory) -> None:
    """Normalisation needs statistics before the first update; they are recorded in readable form."""

    def tell(n: int, wanted: int) -> None:
        for callback in built.callbacks.values():
            callback.on_progress("sampling observations for their normalisation", n, wanted)

    sample_statistics(built.workspace, built.streams, tell)
    directory.write_normalization(built.policy)


def draw_networks(networks: Mapping[str, Policy | Critic], directory: RunDirectory) -> dict[str, bytes]:
    """Draws networks into ``networks/`` of a run directory.

    Args:
        networks: What has them, by role.
        directory: Where to.

    Returns:
        PNG files by name; none if a network cannot be drawn, which costs the run nothing.
    """
    try:
        pictures = network_pictures(networks)
    except Exception as error:  # whatever a foreign module raises when it is traced
        LOG.warning("the networks cannot be drawn: %s: %s", type(error).__name__, error)
        return {}
    for picture in pictures:
        directory.write_bytes(f"networks/{picture.name}.png", picture.png)
        directory.write_bytes(f"networks/{picture.name}.svg", picture.svg.encode())
    return {picture.name: picture.png for picture in pictures}
