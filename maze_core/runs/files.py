"""Files of run directories: written whole or not at all, and read as what they are, data of a stranger.

Whatever is read is a plain file of bounded size: links, pipes and devices are refused, because who made
the directory could let them point anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from maze_core.errors import NothingUsableError, StorageError, printable

T = TypeVar("T")
LOG = logging.getLogger("maze")

MAX_KEPT = 2**36
LARGE = 2**28
"""A file of this size that is mostly holes is refused: reading would fill the memory with zeros."""


class UnreadableError(NothingUsableError):
    """A file is not what it should be; says which and why."""


def read_file(path: Path, limit: int) -> bytes:
    """The content of a plain file.

    Args:
        path: Where it is; the last part must be no link.
        limit: Most bytes that it may have.

    Raises:
        UnreadableError: If it is no plain file, larger, or cannot be read.
    """
    with open_file(path, limit) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)  # more is never asked for: memory is set aside for it
        except OSError as error:
            raise UnreadableError(f"{printable(str(path))} cannot be read: {reason_of(error)}.") from None


def open_file(path: Path, limit: int) -> IO[bytes]:
    """Opens a plain file to be read.

    Args:
        path: Where it is; the last part must be no link.
        limit: Most bytes that it may have.

    Raises:
        UnreadableError: If it is no plain file, larger, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else reason_of(error)
        raise UnreadableError(f"{printable(str(path))} cannot be read: {reason}.") from None
    status = os.fstat(descriptor)
    bad = None
    if not stat.S_ISREG(status.st_mode):
        bad = "it is no file"
    elif status.st_size > limit:
        bad = f"it is larger than {limit} bytes"
    elif status.st_size > LARGE and status.st_blocks * 512 < status.st_size // 16:
        bad = "it is large and mostly empty"
    if bad:
        os.close(descriptor)
        raise UnreadableError(f"{printable(str(path))} cannot be read: {bad}.")
    return os.fdopen(descriptor, "rb")


def open_log(path: Path) -> IO[bytes]:
    """Opens a plain file to append to it; it is made if it is not there.

    Raises:
        StorageError: If it is a link or anything else, has another name elsewhere, or cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if path.parent.is_symlink():
            raise OSError(f"{path.parent.name} is a link")
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else reason_of(error)
        raise StorageError(f"{printable(str(path))} cannot be written: {reason}.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise StorageError(f"{printable(str(path))} cannot be written: it is no file, or has another name elsewhere.")
    return os.fdopen(descriptor, "ab", buffering=0)


def read_json(path: Path, limit: int) -> Any:
    """The content of a JSON file.

    Raises:
        UnreadableError: If it is no such file.
    """
    return parse_json(read_file(path, limit), printable(str(path)))


def parse_json(data: bytes, name: str) -> Any:
    """Parses JSON.

    Args:
        data: The text.
        name: What an error calls it.

    Raises:
        UnreadableError: If it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{name} is no JSON: {printable(str(error))[:100]}.") from None


def write_file(target: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file beside its place, flushes it to the disk, and puts it in place in one step.

    Args:
        target: Its place; a file there is replaced.
        write: Is given the open file.

    Raises:
        StorageError: If that fails; the file is then as it was.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # x: never through a link
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:  # an interrupt too must leave nothing half written
        with contextlib.suppress(OSError):  # what is above it may be no folder
            temporary.unlink(missing_ok=True)
        if not isinstance(error, (OSError, RuntimeError)):  # torch reports a full disk as RuntimeError
            raise
        raise StorageError(f"{target} cannot be written: {reason_of(error)}.") from None


def flush_directory(directory: Path) -> None:
    """Makes the names in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: BaseException) -> str:
    """What an operating system error says, in words."""
    return str(getattr(error, "strerror", None) or error)


class GrowingFile:
    """A file that a run appends to, and that a resumed run goes on with where its checkpoint was.

    Args:
        path: Where it is.
        size: How many bytes of a file that is there are kept; None keeps all. They are copied, so that
            another name of the same file, or what a link points to, does not change.

    Raises:
        ValueError: If the size is no whole number >= 0.
        StorageError: If it cannot be written.

    Attributes:
        complete: Whether there were so many bytes.
    """

    @staticmethod
    def taken_up(path: Path, position: Mapping[str, Any]) -> GrowingFile:
        """Goes on with a file where `position` was; warns if what is before that is not what was written.

        Raises:
            KeyError, ValueError: If it is no position.
            StorageError: If it cannot be written.
        """
        file, written = GrowingFile(path, position["size"]), position["sha256"]
        if not file.complete:
            LOG.warning("%s has lost what was written before the checkpoint", printable(str(file.path)))
        elif position["size"] is not None and file._hash.hexdigest() != written:
            LOG.warning("%s is not what was written before the checkpoint", printable(str(file.path)))
        return file

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path, self.complete, self._hash = path.absolute(), True, hashlib.sha256()
        path = self.path
        if size is not None and (type(size) is not int or size < 0):
            raise ValueError(f"{size!r} is no size of {path.name}")
        if size is not None or os.path.lexists(path):
            write_file(path, lambda file: self._keep(file, size))
        self._file: IO[bytes] = self._guarded(lambda: path.open("ab"))

    def _keep(self, copy: IO[bytes], size: int | None) -> None:
        left = MAX_KEPT if size is None else size
        try:
            with open_file(self.path, MAX_KEPT) as file:
                while left and (chunk := file.read(min(left, 2**20))):
                    copy.write(chunk)
                    self._hash.update(chunk)
                    left -= len(chunk)
        except UnreadableError:
            pass
        self.complete = size is None or left == 0

    def write(self, data: bytes) -> None:
        """Appends, and hands it to the operating system.

        Raises:
            StorageError: If the disk does not take it.
        """

        def append() -> None:
            self._file.write(data)
            self._file.flush()
            self._hash.update(data)

        self._guarded(append)

    def saved_size(self) -> int:
        """Its size, all of it on the disk.

        Raises:
            StorageError: If the disk does not take it.
        """

        def save() -> int:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

        return self._guarded(save)

    def position(self) -> dict[str, Any]:
        """Where it is, for `taken_up`: its size, all of it on the disk, and the SHA-256 of what was written.

        Raises:
            StorageError: If the disk does not take it.
        """
        return {"size": self.saved_size(), "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        """Closes it."""
        self._guarded(self._file.close)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {reason_of(error)}.") from None
