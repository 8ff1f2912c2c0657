"""From the observation space of an env to the float32 mapping that every model receives.

The encoded space is always a Dict: it mirrors the original without `action_mask`; an observation
that is no Dict becomes the single entry ``observation``. Box becomes float32, Discrete and
MultiDiscrete become one-hot vectors, MultiBinary becomes zeros and ones, a Tuple becomes a Dict
with the keys ``"0"``, ``"1"``, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.errors import EnvRowError, UserError

ACTION_MASK = "action_mask"
"""Observation key of the mask of valid actions; never an input of a network."""

OBSERVATION = "observation"
"""Key of an observation that is not a Dict."""

Encoded = dict[str, Any]
"""``{key: float32 [B, ...]}``, nested where the space is."""

_Encoder = Callable[[Any, Any], Any]


class ObservationEncoder:
    """Turns batches of raw observations of one actor into what its model receives.

    Args:
        space: The actor's observation space.

    Raises:
        UserError: If the space has a part that no encoding exists for.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Dict):
            space = spaces.Dict({OBSERVATION: space})
            self._plain = True
        else:
            space = spaces.Dict([(k, s) for k, s in space.spaces.items() if k != ACTION_MASK])
            self._plain = False
        self.space, self._encode = _encoding(space, "observation")
        if flat_size(self.space) == 0:
            raise UserError(f"there is nothing to observe in the space {space}.")

    def encode(self, observation: Any, dtype: Any = np.float32) -> Encoded:
        """Encodes a batch.

        Args:
            observation: As a vector env returns it, leaves ``[B, ...]``.
            dtype: Of what comes from a Box; float64 for who normalises it first.

        Raises:
            EnvRowError: If it is not finite, or leaves its space; counted within the batch.
        """
        return self._encode({OBSERVATION: observation} if self._plain else observation, dtype)  # type: ignore[no-any-return]


def _encoding(space: spaces.Space[Any], path: str) -> tuple[Any, _Encoder]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return _container_encoding(space, path)
    if isinstance(space, spaces.Box):
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return spaces.Box(low, high, dtype=np.float32), lambda x, dtype: _finite(np.asarray(x, dtype), path)
    if isinstance(space, spaces.Discrete):
        start, n = int(space.start), int(space.n)
        return _unit_box((n,)), lambda x, _: _one_hot(np.asarray(x)[:, None] - start, np.array([n]), path)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = space.nvec.ravel(), space.start.ravel()
        return _unit_box((int(sizes.sum()),)), lambda x, _: _one_hot(
            np.asarray(x).reshape(len(x), -1) - starts, sizes, path
        )
    if isinstance(space, spaces.MultiBinary):
        return _unit_box(space.shape), lambda x, _: np.asarray(x, np.float32)
    raise UserError(
        f"{path} has the space {space}, which cannot be fed to a network. "
        "Allowed: Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of them."
    )


def _container_encoding(space: spaces.Dict | spaces.Tuple[Any], path: str) -> tuple[spaces.Dict, _Encoder]:
    items: list[tuple[Any, spaces.Space[Any]]]
    items = list(space.spaces.items()) if isinstance(space, spaces.Dict) else list(enumerate(space.spaces))
    parts = {key: _encoding(sub, f"{path}.{key}") for key, sub in items}
    encoders = [(str(key), key, encode) for key, (_, encode) in parts.items()]
    encoded = spaces.Dict([(str(key), sub) for key, (sub, _) in parts.items()])
    return encoded, lambda x, dtype: {name: encode(x[key], dtype) for name, key, encode in encoders}


def _unit_box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(0.0, 1.0, shape, np.float32)


def _finite(values: NDArray[Any], path: str) -> NDArray[Any]:
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise EnvRowError(f"{path} is not finite: {values[row]}", row)
    return values


def _one_hot(values: NDArray[Any], sizes: NDArray[Any], path: str) -> NDArray[np.float32]:
    """One-hot of each column, side by side: values [B, K] with sizes [K] -> [B, sum(sizes)]."""
    outside = ((values < 0) | (values >= sizes)).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise EnvRowError(f"{path} leaves its space: counted from its start it is {values[row]}", row)
    encoded = np.zeros((len(values), int(sizes.sum())), np.float32)
    offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    encoded[np.arange(len(values))[:, None], values.astype(np.int64) + offsets] = 1.0
    return encoded


def leaves(observation: Mapping[str, Any]) -> Iterator[Any]:
    """Iterates over the leaves of an encoded observation (or space), in the order of the space."""
    for value in observation.values():
        if isinstance(value, (Mapping, spaces.Dict)):
            yield from leaves(value)
        else:
            yield value


def flat_size(space: spaces.Dict) -> int:
    """Number of inputs when all leaves of an encoded space are flattened side by side."""
    return sum(int(np.prod(leaf.shape)) for leaf in leaves(space))


def flatten(observation: Mapping[str, Any]) -> NDArray[np.float32]:
    """All leaves of an encoded batch side by side, [B, flat_size]; no copy if there is just one."""
    if len(observation) == 1:
        (leaf,) = observation.values()
        if isinstance(leaf, np.ndarray):
            return leaf if leaf.ndim == 2 else leaf.reshape(len(leaf), -1)
    parts = [leaf.reshape(len(leaf), -1) for leaf in leaves(observation)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def take_rows(batch: Any, rows: NDArray[Any] | slice) -> Any:
    """The chosen rows of a batch with leaves [B, ...], of whatever nesting; None stays None."""
    if isinstance(batch, np.ndarray):
        return batch[rows]
    if isinstance(batch, Mapping):
        return {key: take_rows(value, rows) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(take_rows(value, rows) for value in batch)
    return None if batch is None else batch[rows]


def copied(batch: Any) -> Any:
    """A copy of a batch or of a member of a space, of whatever nesting."""
    if isinstance(batch, Mapping):
        return {key: copied(value) for key, value in batch.items()}
    return tuple(copied(value) for value in batch) if isinstance(batch, tuple) else np.array(batch)


def misfit(space: spaces.Space[Any], value: Any, path: str) -> str | None:
    """Which part of a value does not lie in its part of a space, as a phrase; None if all does.

    Args:
        space: Where it should lie.
        value: What is given.
        path: What to call it.
    """
    if isinstance(space, spaces.Dict) and isinstance(value, dict):
        if set(value) != set(space.spaces):
            return f"{path} has the keys {', '.join(map(str, value))} and needs {', '.join(space.spaces)}"
        parts = [(sub, value[key], f"{path}.{key}") for key, sub in space.spaces.items()]
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple) and len(value) == len(space):
        parts = [(sub, value[index], f"{path}.{index}") for index, sub in enumerate(space.spaces)]
    elif space.contains(value) and np.can_cast(np.asarray(value).dtype, space.dtype or object, "same_kind"):
        return None
    else:
        kind = f"of shape {np.shape(value)} and type {getattr(value, 'dtype', type(value).__name__)}"
        return f"{path} does not lie in its space {space}: it is {value!r} {kind}"
    return next((found for part in parts if (found := misfit(*part))), None)


def concatenated(batches: Sequence[Any]) -> Any:
    """Several batches of the same nesting as one, [sum of B, ...]."""
    if len(batches) == 1:
        return batches[0]
    if isinstance(batches[0], Mapping):
        return {key: concatenated([batch[key] for batch in batches]) for key in batches[0]}
    return np.concatenate(batches)


def put_rows(target: Any, rows: NDArray[Any], batch: Any) -> None:
    """Writes a batch of the same nesting into the chosen rows of `target`, in place."""
    if isinstance(target, Mapping):
        for key, value in batch.items():
            put_rows(target[key], rows, value)
    elif isinstance(target, tuple):
        for part, value in zip(target, batch, strict=True):
            put_rows(part, rows, value)
    else:
        target[rows] = batch


def batch_size(batch: Any) -> int:
    """Number of rows of a batch, of whatever nesting."""
    while isinstance(batch, (Mapping, tuple)):
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return len(batch)


def any_member(space: spaces.Space[Any]) -> Any:
    """Some fixed member of an action space; stands in where an action is never used."""
    if isinstance(space, spaces.Dict):
        return {key: any_member(sub) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(any_member(sub) for sub in space.spaces)
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype)
    raise UserError(
        f"the action space {space} is not supported. "
        "Allowed: Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of them."
    )


def repeat(member: Any, count: int) -> Any:
    """A batch of `count` copies of one member, leaves [count, ...]."""
    if isinstance(member, Mapping):
        return {key: repeat(value, count) for key, value in member.items()}
    if isinstance(member, tuple):
        return tuple(repeat(value, count) for value in member)
    return np.repeat(np.asarray(member)[None], count, axis=0)


def unbatch(batch: Any, row: int) -> Any:
    """One row of a batch as a single action or observation."""
    if isinstance(batch, Mapping):
        return {key: unbatch(value, row) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(unbatch(value, row) for value in batch)
    return batch[row]


def arrays_of(batch: Any) -> list[NDArray[Any]]:
    """The arrays of a batch; those of a Dict in the order of its keys' names."""
    if isinstance(batch, Mapping):
        return [leaf for key in sorted(batch) for leaf in arrays_of(batch[key])]
    if isinstance(batch, tuple):
        return [leaf for part in batch for leaf in arrays_of(part)]
    return [] if batch is None else [np.asarray(batch)]


def with_arrays(like: Any, arrays: Iterator[NDArray[Any]]) -> Any:
    """A batch of the nesting of another one, with these arrays in the order of `arrays_of`."""
    if isinstance(like, Mapping):
        filled = {key: with_arrays(like[key], arrays) for key in sorted(like)}
        return {key: filled[key] for key in like}
    return tuple(with_arrays(part, arrays) for part in like) if isinstance(like, tuple) else next(arrays)


def same_rows(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of two arrays [B, ...] have the same bits, [B]."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.zeros(len(one), bool)
    first, second = (np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8) for array in (one, other))
    same: NDArray[np.bool_] = (first == second).all(axis=1)
    return same
