"""Files of a run that executes where the disk of the process that started it is not seen."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path, PurePosixPath

CHECKPOINTS = "checkpoints"
LOCK = "run.lock"
"""Belongs to the process that trains, wherever it is."""

State = dict[str, tuple[int, int]]
Files = dict[str, bytes]


class Source:
    """A directory whose changes are told, so that they can be repeated elsewhere.

    Args:
        directory: Which; it need not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._told: State = {}

    def changes(self) -> tuple[Files, list[str]]:
        """Contents of files that are new or different since the last time, and names of those that are gone.

        Checkpoints are read first: what they refer to in files that grow is then among what is read later.
        """
        found: Files = {}
        now: State = {}
        for path in sorted(paths_in(self._directory), key=lambda path: not is_checkpoint(path)):
            with contextlib.suppress(OSError):  # it was replaced meanwhile
                status = (self._directory / path).stat()
                now[path] = status.st_size, status.st_mtime_ns
                if self._told.get(path) != now[path]:
                    found[path] = (self._directory / path).read_bytes()
        gone = [path for path in self._told if path not in now]
        self._told = now
        return found, gone


def paths_in(directory: Path) -> list[str]:
    """Regular files below a directory, by their path in it."""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if name != LOCK and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(directory).as_posix())
    return found


def is_checkpoint(path: str) -> bool:
    """Whether a file belongs to a checkpoint."""
    return PurePosixPath(path).parts[0] == CHECKPOINTS


def repeat(directory: Path, files: Files, gone: list[str]) -> None:
    """Makes a directory like the one whose changes these are.

    Checkpoints come last: one that is whole never refers to what is not here. Each file is replaced as a whole.

    Raises:
        OSError: If something cannot be written.
        ValueError: If a path leads out of the directory.
    """
    for path in [*files, *gone]:
        if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
            raise ValueError(f"{path!r} leads out of {directory}")
    for path in sorted(files, key=is_checkpoint):
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        part.write_bytes(files[path])
        part.replace(target)
    for path in gone:
        (directory / path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty yet
            (directory / path).parent.rmdir()
