"""What the outputs of a network mean: one head for each part of an action space.

A head reads one row of numbers per env (logits, or the mean of a Gaussian) and turns them into
actions. Masks mirror the action space: an int8 array [B, n] for Discrete(n), [B, sum(nvec)] for
MultiDiscrete, a Dict of them for Dict (for a Tuple a Dict keyed "0", "1", ...); heads that have
none are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.enums import BoxDistribution
from maze_core.errors import UserError

ACTION = "action"
"""Name of the head of an action space that is neither Dict nor Tuple."""

Outputs = Mapping[str, NDArray[np.float32]]
"""What a model returns: ``{head: [B, size]}``."""


class Head(Protocol):
    """One part of an action: how many network outputs it reads, and what they mean."""

    size: int

    def mode(self, outputs: NDArray[np.float32], mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """The most probable action of each row: outputs [B, size] -> actions [B, ...]."""
        ...

    def random(self, generator: np.random.Generator, n: int, mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """Uniform valid actions of n rows (of an unbounded Box: standard normal), [n, ...]."""
        ...

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Rows whose mask [B, size] leaves no choice, [B]."""
        ...


class CategoricalHead:
    """Independent choices, for Discrete (one choice) and MultiDiscrete (several).

    Args:
        space: The action space; `start` is respected.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        single = isinstance(space, spaces.Discrete)
        self._sizes = np.array([space.n]) if isinstance(space, spaces.Discrete) else space.nvec.ravel()
        self._starts = np.atleast_1d(np.asarray(space.start)).ravel()
        self._ends = np.cumsum(self._sizes)
        self._shape: tuple[int, ...] = () if single else tuple(space.shape or ())
        self._dtype = space.dtype
        self.size = int(self._ends[-1])

    def mode(self, outputs: NDArray[np.float32], mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """The choice with the largest logit among those allowed."""
        if mask is not None:
            lowest = np.finfo(np.float32).min  # an allowed choice is never below a forbidden one
            outputs = np.where(mask, np.maximum(outputs, lowest), -np.inf)
        if len(self._sizes) == 1:
            choices = outputs.argmax(axis=1)[:, None]
        else:
            parts = np.split(outputs, self._ends[:-1], axis=1)
            choices = np.stack([part.argmax(axis=1) for part in parts], axis=1)
        actions: NDArray[Any] = (choices + self._starts).astype(self._dtype, copy=False)
        return actions.reshape(len(outputs), *self._shape)

    def random(self, generator: np.random.Generator, n: int, mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """Each allowed value with the same probability."""
        return self.mode(generator.random((n, self.size), np.float32), mask)

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Rows in which some choice has no allowed value."""
        offsets = np.concatenate(([0], self._ends[:-1]))
        allowed = np.logical_or.reduceat(np.asarray(mask, bool), offsets, axis=1)
        return np.asarray(~allowed.all(axis=1))


class BinaryHead:
    """Independent yes-or-no decisions, for MultiBinary."""

    def __init__(self, space: spaces.MultiBinary) -> None:
        self._shape, self._dtype = space.shape, space.dtype
        self.size = int(np.prod(space.shape))

    def mode(self, outputs: NDArray[np.float32], mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """One where the logit is positive."""
        return (outputs > 0).astype(self._dtype).reshape(len(outputs), *self._shape)

    def random(self, generator: np.random.Generator, n: int, mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """Zero and one with the same probability."""
        return self.mode(generator.random((n, self.size), np.float32) - np.float32(0.5), mask)

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Never: MultiBinary has no mask."""
        return np.zeros(len(mask), bool)


class GaussianHead:
    """A Gaussian over a Box; `squashed` passes it through tanh into the bounds, else it is clipped.

    Raises:
        UserError: If `squashed` and a bound is infinite.
    """

    def __init__(self, space: spaces.Box, squashed: bool, path: str) -> None:
        if squashed and not space.is_bounded():
            raise UserError(
                f"a squashed Gaussian needs finite bounds, and the action space of {path!r} is {space}. "
                "Use algorithm.box_distribution=gaussian."
            )
        self._space, self._squashed = space, squashed
        self.size = int(np.prod(space.shape))

    def mode(self, outputs: NDArray[np.float32], mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """The mean, within the bounds."""
        low, high = self._space.low, self._space.high
        actions: NDArray[Any] = outputs.reshape(len(outputs), *self._space.shape)
        if self._squashed:
            actions = low + (np.tanh(actions) + 1) / 2 * (high - low)
        if np.issubdtype(self._space.dtype, np.integer):
            actions = np.rint(actions)
        clipped: NDArray[Any] = np.clip(actions, low, high)
        return clipped.astype(self._space.dtype, copy=False)

    def random(self, generator: np.random.Generator, n: int, mask: NDArray[np.int8] | None) -> NDArray[Any]:
        """Uniform between finite bounds, else standard normal, clipped."""
        low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        uniform = np.where(bounded, low, 0) + generator.random((n, *low.shape)) * np.where(bounded, high - low, 0)
        actions = np.where(bounded, uniform, np.clip(generator.standard_normal((n, *low.shape)), low, high))
        return (np.rint(actions) if np.issubdtype(self._space.dtype, np.integer) else actions).astype(self._space.dtype)

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Never: a Box has no mask."""
        return np.zeros(len(mask), bool)


class ActionHeads:
    """All heads of one actor's action space.

    Args:
        space: The action space, possibly nested.
        box_distribution: Which distribution a Box gets.

    Raises:
        UserError: If no head exists for a part of the space.
    """

    def __init__(self, space: spaces.Space[Any], box_distribution: BoxDistribution = BoxDistribution.gaussian) -> None:
        self._space = space
        squashed = box_distribution is BoxDistribution.squashed_gaussian
        self.heads: dict[str, Head] = {path: _head(leaf, squashed, path) for path, leaf in _action_leaves(space, "")}
        if not self.heads or 0 in [head.size for head in self.heads.values()]:
            raise UserError(f"there is nothing to decide in the action space {space}.")
        self.output_sizes: dict[str, int] = {path: head.size for path, head in self.heads.items()}

    def mode(self, outputs: Outputs, mask: Any = None) -> Any:
        """The most probable actions.

        Args:
            outputs: ``{head: [B, size]}``.
            mask: Mask of the batch, or None.

        Returns:
            Actions with leaves [B, ...], nested as the space is.
        """
        actions = {path: head.mode(outputs[path], mask_of(mask, path)) for path, head in self.heads.items()}
        return _nest(self._space, "", actions)

    def random(self, generator: np.random.Generator, n: int, mask: Any = None) -> Any:
        """Random valid actions.

        Args:
            generator: Where randomness comes from.
            n: Number of rows, B.
            mask: Mask of the batch, or None.

        Returns:
            Actions with leaves [B, ...], nested as the space is.
        """
        actions = {path: head.random(generator, n, mask_of(mask, path)) for path, head in self.heads.items()}
        return _nest(self._space, "", actions)

    def blocked(self, mask: Any) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """For each masked head, the rows [B] whose mask allows nothing."""
        for path, head in self.heads.items():
            leaf = mask_of(mask, path)
            if leaf is not None:
                if leaf.shape[-1] != head.size:
                    raise UserError(f"the action mask of {path!r} has {leaf.shape[-1]} entries instead of {head.size}.")
                yield path, head.allows_nothing(leaf)


def mask_of(mask: Any, path: str) -> NDArray[np.int8] | None:
    """The part of a mask that belongs to a head, or None."""
    if mask is None or not isinstance(mask, Mapping):
        return mask if path == ACTION else None
    part: Any = mask
    for key in path.split("/"):
        if not isinstance(part, Mapping) or key not in part:
            return None
        part = part[key]
    return np.asarray(part)


def _action_leaves(space: spaces.Space[Any], path: str) -> Iterator[tuple[str, spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            if "/" in str(key):
                raise UserError(f"the action key {key!r} contains '/', which separates the keys of nested actions.")
            yield from _action_leaves(sub, f"{path}/{key}" if path else str(key))
    elif isinstance(space, spaces.Tuple):
        for index, sub in enumerate(space.spaces):
            yield from _action_leaves(sub, f"{path}/{index}" if path else str(index))
    else:
        yield path or ACTION, space


def _nest(space: spaces.Space[Any], path: str, actions: Mapping[str, Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _nest(sub, f"{path}/{key}" if path else str(key), actions) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        items = enumerate(space.spaces)
        return tuple(_nest(sub, f"{path}/{index}" if path else str(index), actions) for index, sub in items)
    return actions[path or ACTION]


def _head(space: spaces.Space[Any], squashed: bool, path: str) -> Head:
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return CategoricalHead(space)
    if isinstance(space, spaces.MultiBinary):
        return BinaryHead(space)
    if isinstance(space, spaces.Box):
        return GaussianHead(space, squashed, path)
    raise UserError(
        f"there is no action distribution for {path!r} with the space {space}. "
        "Allowed: Discrete, MultiDiscrete, MultiBinary, Box, and Dict or Tuple of them."
    )
