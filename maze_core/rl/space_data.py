"""Gymnasium spaces as plain JSON values, and back from those of a stranger.

A space is a mapping with its ``kind`` and

- Box: ``dtype``, ``shape``, ``low``, ``high``;
- Discrete: ``dtype``, ``n``, ``start``;
- MultiDiscrete: ``dtype``, ``shape``, ``nvec``, ``start``;
- MultiBinary: ``n``, a number or a shape;
- Dict: ``spaces``, a list of pairs of key and space, in the order of the space;
- Tuple: ``spaces``, a list of spaces.

Numbers that belong to a shape are one number if they are the same everywhere, else a list of all in C
order. Bounds of a Box that do not exist are ``"-inf"`` and ``"inf"``. A float is written with all its
digits, so that the same bits come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from maze_core.errors import UserError

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = {name: np.dtype(name) for name in ("bool", *INTEGERS, "float16", "float32", "float64")}

MAX_DEPTH, MAX_PARTS, MAX_ELEMENTS, MAX_DIMENSIONS, MAX_KEY = 20, 10_000, 2**25, 32, 1000
"""Most levels of nesting, spaces in all, numbers of which all members consist, axes, and characters of a key."""


def space_data(space: Space[Any]) -> dict[str, Any]:
    """A space as JSON values.

    Args:
        space: What is to be described.

    Raises:
        UserError: If a part of it has another kind than those that are known, or `space_from_data` would
            not take it.
    """
    data = _data(space)
    try:
        space_from_data(data)
    except ValueError as error:
        raise UserError(f"{_named(space)} cannot be written down: {error}.") from None
    return data


def _data(space: Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Box):
        low, high = _bounds(space.low, space.bounded_below, "-inf"), _bounds(space.high, space.bounded_above, "inf")
        return {"kind": "Box", "dtype": _dtype_name(space), "shape": list(space.shape), "low": low, "high": high}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "dtype": _dtype_name(space), "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        numbers = {"nvec": _compact(space.nvec), "start": _compact(space.start)}
        return {"kind": "MultiDiscrete", "dtype": _dtype_name(space), "shape": list(space.shape), **numbers}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": [[key, _data(part)] for key, part in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "spaces": [_data(part) for part in space.spaces]}
    raise UserError(f"{_named(space)} cannot be written down. Allowed: {', '.join(_KINDS)}.")


def _named(space: Space[Any]) -> str:
    return f"the space {' '.join(str(space).split())[:200]}"


def _dtype_name(space: Space[Any]) -> str:
    return str(space.dtype)  # in the byte order of another machine it is no name that is allowed


def _bounds(values: NDArray[Any], bounded: NDArray[np.bool_], endless: str) -> Any:
    """Where integers are not bounded, Gymnasium keeps the smallest or largest one, and remembers it beside."""
    if values.dtype.kind == "f" or bounded.all():
        return _compact(values)
    if not bounded.any():
        return endless
    return [value if kept else endless for value, kept in zip(values.ravel().tolist(), bounded.flat, strict=True)]


def _compact(values: NDArray[Any]) -> Any:
    flat = np.ascontiguousarray(values).ravel()
    same = flat.size > 0 and flat.tobytes() == flat[:1].tobytes() * flat.size  # 0.0 and -0.0 have other bits
    listed = [str(value) if value in (-math.inf, math.inf) else value for value in flat[: 1 if same else None].tolist()]
    return listed[0] if same else listed


def space_from_data(data: Any) -> Space[Any]:
    """The space that `space_data` described.

    Args:
        data: JSON values, perhaps a stranger's.

    Raises:
        ValueError: If they describe no space; says why in a few words.
    """
    return _Reader().read(data, 1)


class _Reader:
    """Counts what a description asks for while it is read, so that a short one cannot fill the memory."""

    def __init__(self) -> None:
        self._parts = self._elements = 0

    def read(self, data: Any, depth: int) -> Space[Any]:
        if not isinstance(data, Mapping):
            raise ValueError(f"{_shown(data)} is no space")
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"a space is of the unknown kind {_shown(kind)}")
        fields, build = _KINDS[kind]
        if set(data) != {"kind", *fields}:
            raise ValueError(f"a {kind} has {', '.join(fields)}, and this one others")
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise ValueError(f"there are more than {MAX_DEPTH} levels or {MAX_PARTS} parts")
        return build(self, data, depth)

    def read_box(self, data: Mapping[str, Any], _: int) -> Space[Any]:
        dtype, shape = _dtype(data, tuple(DTYPES)), self._shape(data["shape"])
        low = _numbers(data["low"], shape, dtype, _endless(dtype, "-inf"))
        high = _numbers(data["high"], shape, dtype, _endless(dtype, "inf"))
        if (low > high).any():
            raise ValueError("a Box has low > high")
        space = spaces.Box(low, high, shape, dtype.type)
        if dtype.kind == "i":
            space.bounded_below, space.bounded_above = _bounded(data["low"], shape), _bounded(data["high"], shape)
        return space

    def read_discrete(self, data: Mapping[str, Any], _: int) -> Space[Any]:
        dtype = _dtype(data, INTEGERS)
        n, start = (_numbers(data[name], (), dtype) for name in ("n", "start"))
        _check_choices(n, start)
        return spaces.Discrete(int(n), start=int(start), dtype=dtype.type)

    def read_multi_discrete(self, data: Mapping[str, Any], _: int) -> Space[Any]:
        dtype, shape = _dtype(data, INTEGERS), self._shape(data["shape"])
        nvec, start = (_numbers(data[name], shape, dtype) for name in ("nvec", "start"))
        _check_choices(nvec, start)
        return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)

    def read_multi_binary(self, data: Mapping[str, Any], _: int) -> Space[Any]:
        n = data["n"]
        shape = self._shape(n if isinstance(n, list) else [n])
        if 0 in shape:
            raise ValueError("a MultiBinary has the size 0")
        return spaces.MultiBinary(shape if isinstance(n, list) else n)

    def read_dict(self, data: Mapping[str, Any], depth: int) -> Space[Any]:
        items = _list(data["spaces"])
        if not all(isinstance(item, list) and len(item) == 2 for item in items):
            raise ValueError("the parts of a Dict are no pairs")
        keys = [_key(item[0]) for item in items]
        if len(set(keys)) < len(keys):
            raise ValueError("a Dict has a key twice")
        return spaces.Dict([(key, self.read(item[1], depth + 1)) for key, item in zip(keys, items, strict=True)])

    def read_tuple(self, data: Mapping[str, Any], depth: int) -> Space[Any]:
        return spaces.Tuple([self.read(part, depth + 1) for part in _list(data["spaces"])])

    def _shape(self, data: Any) -> tuple[int, ...]:
        sizes = _list(data)
        if len(sizes) > MAX_DIMENSIONS or not all(type(size) is int and 0 <= size <= MAX_ELEMENTS for size in sizes):
            raise ValueError(f"{_shown(data)} is no shape")
        self._elements += math.prod(max(size, 1) for size in sizes)
        if self._elements > MAX_ELEMENTS:
            raise ValueError(f"members would have more than {MAX_ELEMENTS} numbers")
        return tuple(sizes)


_Read = Callable[[_Reader, Mapping[str, Any], int], Space[Any]]
_KINDS: dict[str, tuple[Sequence[str], _Read]] = {
    "Box": (("dtype", "shape", "low", "high"), _Reader.read_box),
    "Discrete": (("dtype", "n", "start"), _Reader.read_discrete),
    "MultiDiscrete": (("dtype", "shape", "nvec", "start"), _Reader.read_multi_discrete),
    "MultiBinary": (("n",), _Reader.read_multi_binary),
    "Dict": (("spaces",), _Reader.read_dict),
    "Tuple": (("spaces",), _Reader.read_tuple),
}


def _dtype(data: Mapping[str, Any], allowed: Sequence[str]) -> np.dtype[Any]:
    name = data["dtype"]
    if not isinstance(name, str) or name not in allowed:
        raise ValueError(f"{_shown(name)} is no dtype of a {data['kind']}")
    return DTYPES[name]


def _endless(dtype: np.dtype[Any], end: str) -> Mapping[str, Any]:
    """What stands for bounds that do not exist, on one side."""
    if dtype.kind == "f":
        return {"-inf": -math.inf, "inf": math.inf}
    if dtype.kind == "i":
        return {end: np.iinfo(dtype).min if end == "-inf" else np.iinfo(dtype).max}
    return {}


def _bounded(data: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    flags = [not isinstance(value, str) for value in data] if isinstance(data, list) else not isinstance(data, str)
    return np.array(flags, bool).reshape(shape) if isinstance(data, list) else np.full(shape, flags)


def _numbers(
    data: Any, shape: tuple[int, ...], dtype: np.dtype[Any], endless: Mapping[str, Any] | None = None
) -> NDArray[Any]:
    if not isinstance(data, list):
        return np.full(shape, _number(data, dtype, endless or {}), dtype)
    if not shape or len(data) != math.prod(shape):
        raise ValueError(f"there are {len(data)} numbers for the shape {shape}")
    return np.array([_number(value, dtype, endless or {}) for value in data], dtype).reshape(shape)


def _number(value: Any, dtype: np.dtype[Any], endless: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value in endless:
        return endless[value]
    if dtype.kind == "b":
        fits = type(value) is bool
    elif dtype.kind == "f":
        fits = type(value) in (int, float) and abs(value) <= float(np.finfo(dtype).max)
    else:
        fits = type(value) is int and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if not fits:
        raise ValueError(f"{_shown(value)} is no {dtype}")
    return value


def _check_choices(n: NDArray[Any], start: NDArray[Any]) -> None:
    if (n < 1).any() or (start > np.iinfo(n.dtype).max - (n - 1)).any():
        raise ValueError(f"there are no choices, or more than {n.dtype} can count")


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"{_shown(data)} is no list")
    return data


def _key(key: Any) -> str:
    if not isinstance(key, str) or not key.isprintable() or len(key) > MAX_KEY:
        raise ValueError(f"{_shown(key)} is no key of a Dict")
    return key


def _shown(value: Any) -> str:
    """The beginning of what a value looks like, on one line; of what could take long to show only the type."""
    if isinstance(value, str):
        return repr(value[:50])
    short = value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**64)
    return repr(value) if short else f"a value of type {type(value).__name__}"
