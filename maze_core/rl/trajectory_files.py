"""Trajectories as bytes: NumPy's ``.npz`` without pickles, which every NumPy reads with ``np.load``.

It is a zip file of arrays, stored or deflated, in which an episode of S sub-steps has what its
`maze_core.rl.trajectories.Trajectory` has:

- ``rewards`` float64 [S]; ``actor`` and ``agent`` int64 [S + 1]; ``new_step`` bool [S + 1];
- ``observations/<step_key>/<key>/...`` [n, ...] and ``actions/<step_key>/<key>/...`` [m, ...], one for each leaf of
  the actor's spaces: by the keys of a Dict and the positions in a Tuple; without keys if the space is neither;
- ``events/<path>`` of each event that is an array;
- ``meta`` uint8: the UTF-8 bytes of a JSON object with ``format`` (1), ``seed`` (a number >= 0, or null),
  ``step_keys``, ``terminated``, ``truncated``, ``infos`` (by sub-step), ``events`` (by path; null for an array)
  and ``spaces`` (that of ``Dict{<step_key>: Tuple(observation, action)}``, see `maze_core.rl.space_data`).

In names all but letters, digits and ``_.-~ :,=+()[]`` is written as ``%`` and two hexadecimal digits for each UTF-8
byte, a ``/`` in a key too. Among infos and events a float that is not finite is ``{"$float": "nan"}``, ``"inf"`` or
``"-inf"``, and a key that begins with ``$`` has another ``$`` before it.

Reading takes a stranger's file: nothing of it is unpickled or executed, and its size is bounded.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from maze_core.errors import NothingUsableError, UserError
from maze_core.rl.space_data import DTYPES, space_data, space_from_data
from maze_core.rl.trajectories import ActorSpaces, Trajectory, json_value, leaf_spaces, nested, packed_spaces

FORMAT = 1
MAX_SIZE, MAX_ENTRIES, MAX_META, MAX_NAME = 2**32, 10_000, 2**26, 2**15
"""Most bytes of all arrays, most arrays, most bytes of `META`, and most characters of a name."""

MAX_FILE = MAX_SIZE + MAX_SIZE // 16
"""Most bytes of a file: what cannot be compressed becomes a little larger."""

META, FLOAT = "meta", "$float"
FIELDS = {"format", "seed", "step_keys", "terminated", "truncated", "infos", "events", "spaces"}
PLAIN = {"rewards": np.float64, "actor": np.int64, "agent": np.int64, "new_step": np.bool_}

_SAFE = " :,=+()[]"
_MAGIC, _ENTRY = b"\x93NUMPY\x01\x00", b"PK\x01\x02"
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf]\d)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,12}, ?)*(?:\d{1,12})?)\),? ?\} *\n"
)
"""What NumPy writes before an array; it would read it as Python."""


def trajectory_bytes(trajectory: Trajectory) -> bytes:
    """The content of a trajectory's file.

    Args:
        trajectory: What is to be written.

    Raises:
        UserError: If it is none that `trajectory_from_bytes` would take.
    """
    try:
        _check(trajectory)
        arrays = _named(trajectory)
    except ValueError as error:
        raise UserError(f"the trajectory cannot be written: {error}.") from None
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # always of the same date, so that the bytes are the same
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(file, little, (1, 0), allow_pickle=False)
    return content.getvalue()


def _named(trajectory: Trajectory) -> dict[str, NDArray[Any]]:
    """All arrays of a file, by name."""
    arrays = {name: getattr(trajectory, name) for name in PLAIN}
    arrays |= {name: leaf for name, leaf, _, _ in _leaves(trajectory)}
    listed = {path: value for path, value in trajectory.events.items() if isinstance(value, np.ndarray)}
    arrays |= {_event_name(path): value for path, value in listed.items()}
    numbers = {path: None if path in listed else _strict(value) for path, value in trajectory.events.items()}
    meta = {
        "format": FORMAT, "seed": trajectory.seed, "step_keys": list(trajectory.step_keys),
        "terminated": trajectory.terminated, "truncated": trajectory.truncated,
        "infos": {str(step): _strict(json_value(info)) for step, info in trajectory.infos.items()},
        "events": numbers, "spaces": space_data(packed_spaces(trajectory.spaces)),
    }  # fmt: skip
    arrays[META] = np.frombuffer(json.dumps(meta, allow_nan=False).encode(), np.uint8)
    if arrays[META].size > MAX_META or sum(array.nbytes + 1000 for array in arrays.values()) > MAX_SIZE:
        raise ValueError("it is too large")
    if len(arrays) > MAX_ENTRIES or max(map(len, arrays)) > MAX_NAME:
        raise ValueError("it has too many arrays, or too long names")
    return arrays


def _leaves(trajectory: Trajectory) -> Iterator[tuple[str, NDArray[Any], Space[Any], int]]:
    """Name, array, space and number of rows of all that was seen and done.

    Raises:
        ValueError: If something is missing.
    """
    acting = {"observations": trajectory.actor, "actions": trajectory.actor[:-1]}
    rows = {what: np.bincount(actors, minlength=len(trajectory.spaces)).tolist() for what, actors in acting.items()}
    for what, number, path, name, space in _places(trajectory.spaces):
        leaf: Any = getattr(trajectory, what)
        try:
            for key in (trajectory.step_keys[number], *path):
                leaf = leaf[key]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"{name[:100]!r} is missing") from None
        yield name, leaf, space, rows[what][number]


def _places(pairs: ActorSpaces) -> Iterator[tuple[str, int, tuple[Any, ...], str, Space[Any]]]:
    """Where each leaf is: in what, number of the actor, keys that lead to it, name in a file, and its space."""
    for which, what in enumerate(("observations", "actions")):
        for number, (step_key, pair) in enumerate(pairs.items()):
            for path, space in leaf_spaces(pair[which]):
                yield what, number, path, "/".join((what, *(quote(str(k), _SAFE) for k in (step_key, *path)))), space


def _event_name(path: str) -> str:
    return f"events/{quote(path, _SAFE + '/')}"


def _check(trajectory: Trajectory) -> None:
    """Whether its parts fit together.

    Raises:
        ValueError: If they do not; says which in a few words.
    """
    seed, n = trajectory.seed, np.size(trajectory.rewards)
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ValueError("its seed is no number >= 0")
    if type(trajectory.terminated) is not bool or type(trajectory.truncated) is not bool:
        raise ValueError("terminated or truncated is neither true nor false")
    if n < 1 or trajectory.step_keys != tuple(trajectory.spaces):
        raise ValueError("it has no steps, or other actors than spaces")
    for name, dtype in PLAIN.items():
        _check_array(name, getattr(trajectory, name), np.dtype(dtype), (n if name == "rewards" else n + 1,))
    if trajectory.actor.min() < 0 or trajectory.actor.max() >= len(trajectory.spaces) or trajectory.agent.min() < 0:
        raise ValueError("there are no such actors or agents")
    for name, leaf, space, rows in _leaves(trajectory):
        _check_leaf(name, leaf, space, rows)
    if not all(type(step) is int and 0 <= step <= n and isinstance(i, Mapping) for step, i in trajectory.infos.items()):
        raise ValueError("its infos are not those of its steps")
    for path, value in trajectory.events.items():
        if not (type(value) in (bool, int, float) or _is_array(value)):
            raise ValueError(f"the event {path[:100]!r} is neither a number nor an array")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in DTYPES.values()


def _check_array(name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name!r} is no array {dtype} {list(shape)}")


def _check_leaf(name: str, leaf: Any, space: Space[Any], rows: int) -> None:
    """Its dtype may be another one than that of the space, since actions are kept as the env got them."""
    shape, whole = (rows, *(space.shape or ())), space.dtype is not None and space.dtype.kind != "f"
    if not _is_array(leaf) or leaf.shape != shape or (whole and leaf.dtype.kind == "f"):
        raise ValueError(f"{name[:100]!r} is no array {list(shape)} of the space {' '.join(str(space).split())[:50]}")


def _strict(value: Any) -> Any:
    """A value of `json_value` as JSON in the narrow sense."""
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: str(value)}
    if isinstance(value, dict):
        return {f"${key}" if key.startswith("$") else key: _strict(part) for key, part in value.items()}
    return [_strict(part) for part in value] if isinstance(value, list) else value


def _loose(value: Any) -> Any:
    """What `_strict` was given."""
    if isinstance(value, list):
        return [_loose(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {FLOAT} and value[FLOAT] in ("nan", "inf", "-inf"):
        return float(value[FLOAT])
    if any(key.startswith("$") and not key.startswith("$$") for key in value):
        raise ValueError("there is a key with one '$'")
    return {key[1:] if key.startswith("$") else key: _loose(part) for key, part in value.items()}


def trajectory_from_bytes(content: bytes, name: str) -> Trajectory:
    """The trajectory that `trajectory_bytes` wrote.

    Args:
        content: Of the file, perhaps a stranger's.
        name: What an error calls it.

    Raises:
        NothingUsableError: If it is none.
    """
    try:
        return _trajectory(_read_arrays(content))
    except Exception as error:  # zipfile and zlib raise many types for a damaged file
        text = str(error).partition("\n")[0] or type(error).__name__
        reason = "".join(c if c.isprintable() else "?" for c in text)[:200].rstrip(".")
        raise NothingUsableError(f"{name} is no trajectory: {reason}.") from None


def _trajectory(arrays: dict[str, NDArray[Any]]) -> Trajectory:
    def take(name: str) -> NDArray[Any]:
        if name not in arrays:
            raise ValueError(f"the array {name[:100]!r} is missing")
        return arrays.pop(name)

    meta = _meta(take(META))
    pairs = _pairs(space_from_data(meta["spaces"]))
    leaves: dict[str, list[NDArray[Any]]] = {"observations": [], "actions": []}
    for what, _, _, name, _ in _places(pairs):
        leaves[what].append(take(name))
    packed = [spaces.Dict([(key, pair[which]) for key, pair in pairs.items()]) for which in (0, 1)]
    trajectory = Trajectory(
        seed=meta["seed"], step_keys=tuple(_typed(meta, "step_keys", list)), spaces=pairs,
        **{name: take(name) for name in PLAIN},
        observations=nested(packed[0], iter(leaves["observations"])),
        actions=nested(packed[1], iter(leaves["actions"])),
        terminated=meta["terminated"], truncated=meta["truncated"],
        infos={_step(step): _loose(info) for step, info in _typed(meta, "infos", dict).items()},
        events={
            path: take(_event_name(path)) if value is None else _loose(value)
            for path, value in _typed(meta, "events", dict).items()
        },
    )  # fmt: skip
    if arrays:
        raise ValueError(f"there is an array {next(iter(arrays))[:100]!r}, which does not belong to it")
    _check(trajectory)
    return trajectory


def _meta(array: NDArray[Any]) -> dict[str, Any]:
    if array.dtype != np.uint8 or array.ndim != 1 or array.size > MAX_META:
        raise ValueError(f"{META!r} holds no text")
    meta = json.loads(array.tobytes().decode(), parse_constant=_no_number)
    if not isinstance(meta, dict) or type(meta.get("format")) is not int:
        raise ValueError(f"{META!r} says no format")
    if meta["format"] != FORMAT:
        raise ValueError(f"it has format {meta['format']}, and this version of Maze reads {FORMAT}")
    if set(meta) != FIELDS:
        raise ValueError(f"{META!r} has other fields than {', '.join(sorted(FIELDS))}")
    return meta


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _typed(meta: Mapping[str, Any], name: str, kind: type) -> Any:
    if type(meta[name]) is not kind:
        raise ValueError(f"{name!r} is no {kind.__name__}")
    return meta[name]


def _step(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        raise ValueError("its infos are not those of its steps")
    return int(text)


def _pairs(packed: Space[Any]) -> ActorSpaces:
    parts = packed.spaces if isinstance(packed, spaces.Dict) else {}
    pairs = {key: part.spaces for key, part in parts.items() if isinstance(part, spaces.Tuple) and len(part) == 2}
    if not pairs or len(pairs) < len(parts):
        raise ValueError("its spaces are not those of actors")
    return {key: (pair[0], pair[1]) for key, pair in pairs.items()}


def _read_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """All arrays of an archive, by name; how much memory that takes is known before any is read."""
    if content.count(_ENTRY) > MAX_ENTRIES:  # zipfile would list them all
        raise ValueError(f"it has more than {MAX_ENTRIES} arrays")
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > MAX_SIZE:
            raise ValueError(f"it holds more than {MAX_SIZE} bytes")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays or name == entry.filename:
                raise ValueError(f"it holds {entry.filename[:100]!r}, which is no array or there twice")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name[:100]!r} is compressed in an unknown way")
            with archive.open(entry) as file:
                arrays[name] = _array(file.read(entry.file_size), name[:100])  # more is never unpacked
    return arrays


def _array(data: bytes, name: str) -> NDArray[Any]:
    """One array in NumPy's format, of numbers only."""
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(data[start:end])
    if not data.startswith(_MAGIC) or header is None:
        raise ValueError(f"{name!r} is no array of numbers")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in re.findall(rb"\d+", header[3]))
    if dtype.newbyteorder("=") not in DTYPES.values() or len(data) - end != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} holds other bytes than it claims")
    stored = np.frombuffer(data, np.uint8, offset=end).view(dtype)
    if dtype.kind == "b" and (stored.view(np.uint8) > 1).any():
        raise ValueError(f"{name!r} is neither true nor false")
    array = stored.reshape(shape, order="F" if header[2] == b"True" else "C")
    return array.astype(dtype.newbyteorder("="), order="C")
