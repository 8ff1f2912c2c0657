"""Checkpoints: written whole or not at all, verified before they are used, and never more than data.

A checkpoint is a directory ``checkpoints/000123`` with

- ``tensors.safetensors``: all tensors of the state,
- ``state.json``: everything else; where a tensor belongs it has ``{"tensor": <name>}``,
- ``manifest.json``, written last: format version, size and SHA-256 of the other files, fingerprint.

It is made beside its final place, flushed to the disk, and given its name in one step. So a
directory that has a name is complete, whenever the process was killed; what the disk did to it later
shows in its hashes, and the one before it is used instead.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from maze_core.errors import NothingUsableError, StorageError

LOG = logging.getLogger("maze")

FORMAT = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
LIMITS = {TENSORS: 2**34, STATE: 2**28, MANIFEST: 2**20}
"""Most bytes that are read of each file."""

TEMPORARY = ".tmp-"
TENSOR = "tensor"


@dataclass(frozen=True)
class Checkpoint:
    """A state that was read.

    Args:
        number: Updates of training that lie behind it.
        state: As it was written.
        fingerprint: What its bits depend on besides the configuration.
    """

    number: int
    state: dict[str, Any]
    fingerprint: dict[str, Any]


class DamagedError(Exception):
    """A checkpoint cannot be used; says why."""


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        directory: Where they are; made when the first one is written.
        keep: How many of the newest are kept, at least 2.
    """

    def __init__(self, directory: Path, keep: int = 3) -> None:
        self.directory, self.keep = directory, max(keep, 2)

    def write(self, number: int, state: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
        """Writes a checkpoint, then deletes those that are older than the last few.

        Args:
            number: Updates of training so far; larger than that of every other checkpoint.
            state: Nested dicts and lists of tensors and JSON values.
            fingerprint: JSON values.

        Raises:
            StorageError: If the disk does not take it; earlier checkpoints are as they were.
        """
        tensors: dict[str, torch.Tensor] = {}
        tree = _without_tensors(state, "", tensors)
        contents = {TENSORS: safetensors.torch.save(tensors), STATE: _json(tree)}
        files = {name: {"size": len(data), "sha256": _hash(data)} for name, data in contents.items()}
        contents[MANIFEST] = _signed({"format": FORMAT, "number": number, "files": files, "fingerprint": fingerprint})
        final = self._path(number)
        temporary = self.directory / f"{TEMPORARY}{final.name}"
        try:
            self._remove_temporary()
            temporary.mkdir(parents=True)
            for name, data in contents.items():
                _write(temporary / name, data)
            _flush(temporary)
            temporary.rename(final)
            _flush(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise StorageError(f"the checkpoint {final} cannot be written: {error.strerror}.") from None
        self._prune()

    def numbers(self) -> list[int]:
        """Numbers of all complete checkpoints, ascending; whether they are intact shows when they are read."""
        try:
            names = [entry.name for entry in os.scandir(self.directory) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and name == _name(int(name)))

    def newest(self) -> Checkpoint:
        """Reads the newest checkpoint that is intact; damaged ones are named in a warning.

        Raises:
            NothingUsableError: If there is none.
        """
        reasons = []
        for number in reversed(self.numbers()):
            try:
                return self.read(number)
            except DamagedError as damage:
                reasons.append(f"{self._path(number)}: {damage}")
                LOG.warning("checkpoint %s is damaged and left out: %s", self._path(number), damage)
        raise NothingUsableError("\n".join([f"there is no usable checkpoint in {self.directory}.", *reasons]))

    def read(self, number: int) -> Checkpoint:
        """Reads one checkpoint.

        Raises:
            DamagedError: If it is not what was written.
        """
        path = self._path(number)
        manifest = _manifest(_read(path / MANIFEST, LIMITS[MANIFEST]), number)
        contents = {}
        for name in (TENSORS, STATE):
            data = _read(path / name, LIMITS[name])
            size, digest = manifest["files"][name]["size"], manifest["files"][name]["sha256"]
            if len(data) != size or _hash(data) != digest:
                raise DamagedError(f"{name} is not what was written")
            contents[name] = data
        return Checkpoint(number, _state(contents[STATE], contents[TENSORS]), manifest["fingerprint"])

    def _path(self, number: int) -> Path:
        return self.directory / _name(number)

    def _prune(self) -> None:
        """Deletes old checkpoints, each by another name first, so that none is ever half there."""
        for number in self.numbers()[: -self.keep]:
            doomed = self.directory / f"{TEMPORARY}{_name(number)}-old"
            try:
                self._path(number).rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                LOG.warning("the old checkpoint %s cannot be deleted: %s", self._path(number), error.strerror)

    def _remove_temporary(self) -> None:
        """Deletes what a killed process left."""
        for path in self.directory.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path)


def _name(number: int) -> str:
    return f"{number:06d}"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=True) + "\n").encode()


def _signed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest with its own hash, so that a changed bit in it shows too."""
    return _json({**manifest, "sha256": _hash(_json(manifest))})


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    """Makes names in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, limit: int) -> bytes:
    """The content of a plain file of bounded size; neither links nor pipes are followed.

    Raises:
        DamagedError: If it is no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{path.name} is no file")
        if status.st_size > limit:
            raise DamagedError(f"{path.name} is larger than {limit} bytes")
        try:
            return file.read(limit)
        except OSError as error:
            raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is no JSON: {str(error)[:100]}") from None


def _manifest(data: bytes, number: int) -> dict[str, Any]:
    manifest = _parsed(data, MANIFEST)
    if not isinstance(manifest, dict) or _signed({k: v for k, v in manifest.items() if k != "sha256"}) != data:
        raise DamagedError(f"{MANIFEST} is not what was written")
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"{MANIFEST} is not of format {FORMAT}")
    files = manifest.get("files")
    whole = isinstance(files, dict) and all(
        isinstance(files.get(name), dict) and {"size", "sha256"} <= set(files[name]) for name in (TENSORS, STATE)
    )
    if not whole or manifest.get("number") != number or not isinstance(manifest.get("fingerprint"), dict):
        raise DamagedError(f"{MANIFEST} is not that of checkpoint {number}")
    return manifest


def _without_tensors(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The same tree with a reference in place of each tensor, which goes into `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return {TENSOR: path}
    if isinstance(value, Mapping):
        assert TENSOR not in value, f"{path} has the key that marks tensors"
        return {str(key): _without_tensors(part, f"{path}/{key}", tensors) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(part, f"{path}/{index}", tensors) for index, part in enumerate(value)]
    return value


def _state(tree: bytes, data: bytes) -> dict[str, Any]:
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedError(f"{TENSORS} holds no tensors: {str(error)[:100]}") from None
    try:
        state = _with_tensors(_parsed(tree, STATE), tensors)
    except (KeyError, TypeError, RecursionError):
        raise DamagedError(f"{STATE} and {TENSORS} do not fit each other") from None
    if not isinstance(state, dict) or tensors:
        raise DamagedError(f"{STATE} and {TENSORS} do not fit each other")
    return state


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {TENSOR}:
            return tensors.pop(value[TENSOR])
        return {key: _with_tensors(part, tensors) for key, part in value.items()}
    return [_with_tensors(part, tensors) for part in value] if isinstance(value, list) else value
