"""Checkpoints: written whole or not at all, verified before they are used, and never more than data.

A checkpoint is a directory ``checkpoints/000123`` with

- ``tensors.safetensors``: all tensors and arrays of the state,
- ``state.json``: everything else; where one of them belongs it has ``{"$tensor": <name>}`` or ``{"$array": <name>}``,
- ``manifest.json``, written last: format version, size and SHA-256 of the other files, summary, fingerprint.

It is made beside its final place, flushed to the disk, and given its name in one step. So a
directory that has a name is complete, whenever the process was killed; what the disk did to it later
shows in its hashes, and the one before it is used instead. Names count checkpoints, so that none is
ever written twice.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from maze_core.errors import NothingUsableError, PluginError, StorageError, printable
from maze_core.runs.files import UnreadableError, flush_directory, parse_json, read_file, reason_of

LOG = logging.getLogger("maze")

FORMAT = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
LIMITS = {TENSORS: 2**34, STATE: 2**26, MANIFEST: 2**20}
"""Most bytes that are written to and read of each file."""

MAX_HEADER, MAX_PARTS, MAX_DEPTH = 2**24, 2**20, 100
"""Most bytes of the list of tensors, and most dicts and lists of a state: each takes a hundred times its text."""

MAX_NUMBER, MAX_TRIED = 10**17, 30
"""Largest number, and how many checkpoints are looked at for one that is intact."""

TEMPORARY, DAMAGED = ".tmp-", "damaged-"
TENSOR, ARRAY = "$tensor", "$array"


@dataclass(frozen=True)
class Checkpoint:
    """A state that was read.

    Args:
        number: How many were written before it.
        state: As it was written.
        summary: What it says about itself, to be shown without reading the state.
        fingerprint: What its bits depend on besides the configuration.
    """

    number: int
    state: dict[str, Any]
    summary: dict[str, Any]
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
        self.directory, self.keep = directory.absolute(), max(keep, 2)

    def write(self, state: Mapping[str, Any], summary: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
        """Writes a checkpoint, then deletes those that are older than the last few.

        Args:
            state: Nested dicts and lists of tensors, arrays and JSON values.
            summary: JSON values.
            fingerprint: JSON values.

        Raises:
            PluginError: If the state has something else.
            StorageError: If the disk does not take it; earlier checkpoints are as they were.
        """
        number = max((number for number, _ in self._numbered()), default=-1) + 1  # whatever has the name of the last
        final = self._path(number)
        tensors: dict[str, torch.Tensor] = {}
        try:
            tree = _without_tensors(state, "state", tensors)
        except TypeError as error:
            raise PluginError(f"the run cannot be saved: {error}.") from None
        contents = {TENSORS: safetensors.torch.save(tensors), STATE: _json(tree)}
        files = {name: {"size": len(data), "sha256": _hash(data)} for name, data in contents.items()}
        manifest = {"format": FORMAT, "number": number, "files": files}
        contents[MANIFEST] = _signed({**manifest, "summary": summary, "fingerprint": fingerprint})
        temporary = self.directory / f"{TEMPORARY}{final.name}"
        try:
            _check_limits(number, contents)
            self._remove_temporary()
            temporary.mkdir(parents=True)
            for name, data in contents.items():
                _write(temporary / name, data)
            flush_directory(temporary)
            temporary.rename(final)
            flush_directory(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise StorageError(f"the checkpoint {final} cannot be written: {reason_of(error)}.") from None
        self._prune()

    def numbers(self) -> list[int]:
        """Numbers of all complete checkpoints, ascending; whether they are intact shows when they are read."""
        return sorted(number for number, entry in self._numbered() if entry.is_dir(follow_symlinks=False))

    def _numbered(self) -> list[tuple[int, os.DirEntry[str]]]:
        """Whatever is named as checkpoints are, with its number."""
        try:
            entries = {entry.name: entry for entry in os.scandir(self.directory)}
        except OSError:
            return []
        plain = (name for name in entries if name.isascii() and name.isdecimal() and len(name) < len(str(MAX_NUMBER)))
        return [(int(name), entries[name]) for name in plain if name == _name(int(name))]

    def newest(self) -> Checkpoint:
        """Reads the newest checkpoint that is intact; damaged ones are named in a warning.

        Raises:
            NothingUsableError: If there is none.
        """
        damaged: dict[int, str] = {}
        for number in self.numbers()[: -MAX_TRIED - 1 : -1]:
            try:
                found = self.read(number)
            except DamagedError as damage:
                damaged[number] = f"{self._path(number)}: {damage}"
                continue
            for reason in shortened(damaged.values()):
                LOG.warning("a checkpoint is damaged and left out: %s", reason)
            return found
        raise NothingUsableError("\n".join([f"there is no usable checkpoint in {printable(str(self.directory))}.",
                                            *shortened(damaged.values())]))  # fmt: skip

    def read(self, number: int) -> Checkpoint:
        """Reads one checkpoint.

        Raises:
            DamagedError: If it is not what was written.
        """
        manifest = self.manifest(number)
        contents = {name: self._content(number, name, manifest) for name in (TENSORS, STATE)}
        state = _state(contents[STATE], contents[TENSORS])
        return Checkpoint(number, state, manifest["summary"], manifest["fingerprint"])

    def manifest(self, number: int) -> dict[str, Any]:
        """Reads only what a checkpoint says about itself.

        Raises:
            DamagedError: If it is not what was written.
        """
        try:
            return _manifest(read_file(self._path(number) / MANIFEST, LIMITS[MANIFEST]), number)
        except UnreadableError as error:
            raise DamagedError(str(error)) from None

    def verify(self, number: int) -> dict[str, Any]:
        """Checks the hashes of one checkpoint, and returns its manifest.

        Raises:
            DamagedError: If it is not what was written.
        """
        manifest = self.manifest(number)
        for name in (TENSORS, STATE):
            self._content(number, name, manifest)
        return manifest

    def _content(self, number: int, name: str, manifest: Mapping[str, Any]) -> bytes:
        try:
            data = read_file(self._path(number) / name, LIMITS[name])
        except UnreadableError as error:
            raise DamagedError(str(error)) from None
        size, digest = manifest["files"][name]["size"], manifest["files"][name]["sha256"]
        if len(data) != size or _hash(data) != digest:
            raise DamagedError(f"{name} is not what was written")
        return data

    def set_aside(self, after: int) -> None:
        """Renames the checkpoints after a number, which are damaged, so that they do not count any more."""
        for number in self.numbers():
            if number > after:
                place = self.directory / f"{DAMAGED}{_name(number)}"
                try:
                    _delete(place)  # an earlier one of this number
                    self._path(number).rename(place)
                except OSError as error:
                    raise StorageError(f"{self._path(number)} cannot be renamed: {reason_of(error)}.") from None

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
                LOG.warning("the old checkpoint %s cannot be deleted: %s", self._path(number), reason_of(error))

    def _remove_temporary(self) -> None:
        """Deletes what a killed process left."""
        for path in self.directory.glob(f"{TEMPORARY}*"):
            _delete(path)


def shortened(reasons: Collection[str]) -> list[str]:
    """The first two, as lines to be printed, and how many more there are."""
    first = [printable(reason)[:500] for reason in itertools.islice(reasons, 2)]
    return first if len(reasons) <= len(first) else [*first[:-1], f"{first[-1]} (and {len(reasons) - 2} more)"]


def _delete(path: Path) -> None:
    """Deletes a folder, or whatever else has its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_limits(number: int, contents: Mapping[str, bytes]) -> None:
    """Raises OSError for what could not be read again."""
    if number >= MAX_NUMBER:
        raise OSError("there are no higher numbers")
    for name, data in contents.items():
        if len(data) > LIMITS[name]:
            raise OSError(f"{name} would have more than {LIMITS[name]} bytes")
    if _n_parts(contents[STATE]) > MAX_PARTS or _header_size(contents[TENSORS]) > MAX_HEADER:
        raise OSError("the state has too many parts")


def _n_parts(tree: bytes) -> int:
    return tree.count(b"{") + tree.count(b"[")


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


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


def _manifest(data: bytes, number: int) -> dict[str, Any]:
    manifest = parse_json(data, MANIFEST)
    try:
        if not isinstance(manifest, dict) or _signed({k: v for k, v in manifest.items() if k != "sha256"}) != data:
            raise DamagedError(f"{MANIFEST} is not what was written")
    except RecursionError:
        raise DamagedError(f"{MANIFEST} is nested too deep") from None
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"{MANIFEST} is not of format {FORMAT}")
    files = manifest.get("files")
    whole = isinstance(files, dict) and all(
        isinstance(files.get(name), dict) and {"size", "sha256"} <= set(files[name]) for name in (TENSORS, STATE)
    )
    parts = all(isinstance(manifest.get(name), dict) for name in ("summary", "fingerprint"))
    if not whole or not parts or manifest.get("number") != number:
        raise DamagedError(f"{MANIFEST} is not that of checkpoint {number}")
    return manifest


def _without_tensors(value: Any, path: str, tensors: dict[str, torch.Tensor], depth: int = 0) -> Any:
    """The same tree with a reference in place of each tensor and array, which go into `tensors`.

    Raises:
        TypeError: If something in it is neither, and no JSON value.
    """
    if depth > MAX_DEPTH:
        raise TypeError(f"{path[:100]} is nested too deep")
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        kind, name = (TENSOR if isinstance(value, torch.Tensor) else ARRAY), str(len(tensors))
        try:
            tensor = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
            tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise TypeError(f"{path} cannot be saved: {str(error).partition(chr(10))[0]}") from None
        return {kind: name}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key in (TENSOR, ARRAY):
                raise TypeError(f"{path} has the key {key!r}; keys must be text, so write it as a list of pairs")
        return {key: _without_tensors(part, f"{path}.{key}", tensors, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(part, f"{path}.{index}", tensors, depth + 1) for index, part in enumerate(value)]
    if not isinstance(value, (str, int, float, type(None))) or (type(value) is int and abs(value) >= 2**64):
        raise TypeError(f"{path} is a {type(value).__name__}; a state holds tensors, arrays and JSON values")
    return value


def _state(tree: bytes, data: bytes) -> dict[str, Any]:
    if _n_parts(tree) > MAX_PARTS or _header_size(data) > MAX_HEADER:
        raise DamagedError(f"{STATE} or {TENSORS} has too many parts")
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise DamagedError(f"{TENSORS} holds no tensors: {printable(str(error))[:100]}") from None
    if any(tensor.is_complex() for tensor in tensors.values()):
        raise DamagedError(f"{TENSORS} holds complex numbers")
    try:
        state = _with_tensors(parse_json(tree, STATE), tensors)
    except (KeyError, TypeError, RecursionError, UnreadableError):
        raise DamagedError(f"{STATE} and {TENSORS} do not fit each other") from None
    if not isinstance(state, dict) or tensors:
        raise DamagedError(f"{STATE} and {TENSORS} do not fit each other")
    return state


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor], depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        if set(value) == {TENSOR}:
            return tensors.pop(value[TENSOR])
        if set(value) == {ARRAY}:
            return tensors.pop(value[ARRAY]).numpy()
        return {key: _with_tensors(part, tensors, depth + 1) for key, part in value.items()}
    return [_with_tensors(part, tensors, depth + 1) for part in value] if isinstance(value, list) else value
