"""A run directory seen from outside: whoever made it, nothing in it is executed.

Every command that opens a run directory does it here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium import Space

from maze_core.config import config_hash, parse_config
from maze_core.errors import NothingUsableError, printable
from maze_core.rl.space_data import space_data, space_from_data
from maze_core.runs.checkpointer import CHECKPOINTS
from maze_core.runs.checkpoints import MAX_TRIED, CheckpointStore, DamagedError, shortened
from maze_core.runs.files import read_file, read_json, reason_of
from maze_core.runs.lock import LOCK, Holder, holder, is_locked
from maze_core.runs.weights import BEST, FINAL, read_weights

LOG = logging.getLogger("maze")

CONFIG, METRICS, SPACES = "config.yaml", "metrics.jsonl", "spaces.json"
ROLLOUT = "rollout.yaml"
"""What a rollout has in place of `CONFIG`."""

MULTIRUN, SWEEP = "multirun.json", "sweep.json"
"""What directories of several runs have: which jobs there are, and what is searched."""

REPORT = "report.html"
"""A page about a run, written into its directory at any time afterwards."""

MAX_SPACES = 2**24
MAX_DEPTH, MAX_FOLDERS = 6, 100_000


class StoredRun:
    """A run directory that exists.

    Args:
        path: Where it is.

    Raises:
        NothingUsableError: If it is none, or has links, which could lead out of it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        links = [entry.name for entry in entries_of(self.path) if entry.is_symlink()]
        if not is_run_directory(self.path):
            raise NothingUsableError(f"{self.shown} {self._what_instead()}")
        if links:
            raise NothingUsableError(f"{self.shown} is not used: {printable(links[0])} in it is a link.")
        self.checkpoints = CheckpointStore(self.path / CHECKPOINTS)

    @property
    def shown(self) -> str:
        """Its path, to be printed."""
        return printable(str(self.path))

    def _what_instead(self) -> str:
        """What it is, if it is no run."""
        if (self.path / ROLLOUT).exists():
            return f"holds what a rollout brought, and no run: it has no {CONFIG}. See: maze runs"
        for name, made in ((MULTIRUN, "maze train --multirun"), (SWEEP, "maze sweep")):
            if (self.path / name).exists():
                return f"holds several runs. Name one of them, or repeat the {made} that made it, with its run_dir=."
        return f"is no run directory: it has no {CONFIG}. See: maze runs"

    def config(self) -> dict[str, Any]:
        """The configuration that the run began with, as plain data.

        Raises:
            NothingUsableError: If it cannot be read, or is more than data.
        """
        return parse_config(read_file(self.path / CONFIG, 2**20), printable(str(self.path / CONFIG)))

    def weights(self) -> dict[str, torch.Tensor]:
        """Its best weights so far.

        Raises:
            NothingUsableError: If there are none, or the file is no such thing.
        """
        if not os.path.lexists(self.path / BEST):
            raise NothingUsableError(
                f"run {self.shown} has no {BEST}: the best policy is written after the first evaluation. See: maze runs"
            )
        return read_weights(self.path)

    def spaces(self) -> tuple[Space[Any], Space[Any]]:
        """Observation and action space of its env, after its wrappers.

        Raises:
            NothingUsableError: If they cannot be read.
        """
        file = self.path / SPACES
        data = read_json(file, MAX_SPACES)
        try:
            observation_space, action_space = (space_from_data(data[key]) for key in ("observation", "action"))
        except (KeyError, TypeError, ValueError) as error:
            raise NothingUsableError(
                f"{printable(str(file))} holds no spaces: {printable(str(error))[:200]}."
            ) from None
        return observation_space, action_space

    def condition(self) -> Condition:
        """How the run is doing."""
        problems: list[str] = []
        found: dict[str, Any] | None = None
        numbers = self.checkpoints.numbers()
        for number in numbers[: -MAX_TRIED - 1 : -1]:
            try:
                found = self.checkpoints.verify(number)["summary"]
                break
            except DamagedError as damage:
                problems.append(f"checkpoint {number:06d}: {damage}")
        problems = shortened(problems)
        usable = found is not None or not numbers  # it may have been killed before its first checkpoint
        if not numbers and self.was_trained():
            usable, problems = False, [f"it was trained, and has no checkpoint in {CHECKPOINTS}"]
        try:
            now = config_hash(self.config())
            if found is not None and now != found.get("config"):
                raise NothingUsableError(f"{CONFIG} is not the one that the run began with")
        except NothingUsableError as error:
            usable, problems = False, [*problems, *shortened([str(error)])]
        running, summary = is_locked(self.path), _summary(found or {})
        status = "killed" if usable else "damaged"
        if running:
            status = "running"
        elif usable and summary["stop_reason"] is not None:
            status = "finished"
        return Condition(status, summary, problems, holder(self.path) if running else None, self._last_change())

    def was_trained(self) -> bool:
        """Whether anything shows that there was an update, and so a checkpoint: statistics of it, or weights."""
        files = (self.path / name for name in (METRICS, BEST, FINAL))
        return any(os.path.lexists(file) and file.lstat().st_size > 0 for file in files)

    def _last_change(self) -> float:
        newest = 0.0
        for folder in (self.path, self.checkpoints.directory):
            try:
                entries = [entry for entry in os.scandir(folder) if entry.name != REPORT]
                newest = max([newest, *(entry.stat(follow_symlinks=False).st_mtime for entry in entries)])
            except OSError:
                continue
        return max(time.time() - newest, 0.0)


@dataclass(frozen=True)
class Condition:
    """How a run is doing.

    Args:
        status: ``running``, ``finished``, ``killed`` or ``damaged``.
        summary: What its newest intact checkpoint says: epoch, updates, env_steps, best_reward, stop_reason.
        problems: What is damaged, in words.
        holder: Who is running it.
        age_s: Seconds since something in it changed.
    """

    status: str
    summary: dict[str, Any]
    problems: list[str]
    holder: Holder | None
    age_s: float


def spaces_text(observation_space: Space[Any], action_space: Space[Any]) -> str:
    """What `StoredRun.spaces` reads.

    Raises:
        UserError: If a space cannot be written down.
    """
    return (
        json.dumps({"observation": space_data(observation_space), "action": space_data(action_space)}, indent=2) + "\n"
    )


def _summary(content: dict[str, Any]) -> dict[str, Any]:
    """Only what is expected of a summary, and of the expected type and size."""
    found: dict[str, Any] = {}
    for name in ("epoch", "updates", "env_steps"):
        value = content.get(name)
        found[name] = value if type(value) is int and 0 <= value < 2**63 else None
    best, reason = content.get("best_reward"), content.get("stop_reason")
    found["best_reward"] = best if isinstance(best, float) and math.isfinite(best) else None
    found["stop_reason"] = printable(reason)[:200] if isinstance(reason, str) else None
    return found


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder.

    Raises:
        NothingUsableError: If it is none, or cannot be read.
    """
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        reason = "is no directory; name that of a run"
    except (OSError, ValueError) as error:  # ValueError: no path at all
        reason = f"cannot be read: {reason_of(error)}"
    raise NothingUsableError(f"{printable(str(folder))} {reason}.")


def is_run_directory(path: Path) -> bool:
    """Whether a directory is that of a run, intact or not; False if that cannot be seen."""
    try:
        return os.path.lexists(path / CONFIG) or (os.path.lexists(path / LOCK) and (path / CHECKPOINTS).is_dir())
    except OSError:
        return False


def stored_weights(directory: str | Path) -> dict[str, torch.Tensor]:
    """The best weights of a run, or of a directory that has nothing else of it.

    Raises:
        NothingUsableError: If there are none, or the file is no such thing.
    """
    path = Path(directory).expanduser()
    return StoredRun(path).weights() if is_run_directory(path) else read_weights(path)


def find_runs(folder: Path) -> Iterator[Path]:
    """All run directories below a folder, itself included; links are not followed.

    A folder that cannot be read is named in a warning.
    """
    waiting, seen = [(folder, 0)], 0
    while waiting:
        path, depth = waiting.pop()
        seen += 1
        if is_run_directory(path):
            yield path
        elif depth < MAX_DEPTH and seen < MAX_FOLDERS:
            try:
                inner = [entry.path for entry in entries_of(path) if entry.is_dir(follow_symlinks=False)]
            except NothingUsableError as error:
                LOG.warning("%s", error)
                continue
            waiting += [(Path(entry), depth + 1) for entry in sorted(inner, reverse=True)]
