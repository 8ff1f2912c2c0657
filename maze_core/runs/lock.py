"""One process at a time writes to a run directory."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maze_core.errors import StorageError, UserError, printable
from maze_core.runs.files import UnreadableError, read_json, reason_of

LOCK = "run.lock"


@dataclass(frozen=True)
class Holder:
    """Who writes to a run directory.

    Args:
        host: Name of the machine.
        pid: Process there.
        since: When it began, as text.
    """

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        """In words."""
        return f"process {self.pid} on {self.host} (since {self.since})"


class RunLock:
    """The lock of a run directory, held until it is released or the process ends, however it ends.

    Args:
        directory: The run directory.

    Raises:
        UserError: If another process holds it.
        StorageError: If it cannot be taken.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        self._file: IO[bytes] | None = None
        try:
            file = _opened(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StorageError(f"{path} cannot be locked: {reason_of(error)}.") from None
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            _lock(file)
            file.truncate(0)
            file.write((json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}) + "\n").encode())
        except OSError as error:
            file.close()
            if not isinstance(error, BlockingIOError):
                raise StorageError(f"{path} cannot be locked: {reason_of(error)}.") from None
            raise UserError(_in_use(directory, holder(directory))) from None
        self._file = file

    def release(self) -> None:
        """Lets others have it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _in_use(directory: Path, who: Holder | None) -> str:
    if who is not None and (who.host, who.pid) == (socket.gethostname(), os.getpid()):
        return f"{directory} is in use by another RunContext of this process; close() that one first."
    return f"{directory} is in use by {who or 'another process'}; one process at a time can go on with a run."


def _lock(file: IO[bytes]) -> None:
    """Locks a file; another try or two, because a command that looks whether it is locked has it for a moment."""
    for wait_s in (0.01, 0.05, 0.1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(wait_s)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(directory: Path) -> bool:
    """Whether a process is writing to a run directory; what a killed one left does not count."""
    try:
        with _opened(directory / LOCK, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(directory: Path) -> Holder | None:
    """Who wrote to a run directory last, or is doing so; None if that is not known."""
    try:
        content = read_json(directory / LOCK, 4096)
        return Holder(printable(str(content["host"])), int(content["pid"]), printable(str(content["since"])))
    except (UnreadableError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _opened(path: Path, flags: int) -> IO[bytes]:
    """A plain file, never what a link points to, and not one that has another name elsewhere."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    status = os.fstat(descriptor)
    plain = stat.S_ISREG(status.st_mode)
    if not plain or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError("the file has another name elsewhere" if plain else "it is no file")
    return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb", buffering=0)
