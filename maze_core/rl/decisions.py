"""Decisions outside of a vector env: one observation or a batch of them, from wherever they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.errors import EnvRowError, UserError
from maze_core.rl.actors import ACTOR, AGENT, Actors, Turn
from maze_core.rl.spaces import unbatch

MAX_SHOWN = 100


class _Acts(Protocol):
    def act(self, turn: Turn) -> Any: ...


class Decisions:
    """Decides for observations that somebody brings.

    Args:
        actors: Whose they are.
    """

    def __init__(self, actors: Actors) -> None:
        self._actors = actors

    def decide(self, acting: _Acts, observation: Any, actor: str | None = None) -> Any:
        """What a policy does.

        Args:
            acting: The policy.
            observation: A member of the observation space or a batch of them, leaves [B, ...]; masks are honoured.
            actor: Step key of who sees it; None for an observation of the whole env, which says who acts.

        Returns:
            A member of the actor's action space; for a batch their leaves [B, ...], or for a structured env whose
            observations say who acts a list with one action for each.

        Raises:
            UserError: If the observation does not fit the space, or there is no such actor.
            EnvRowError: If a mask allows nothing, or a number is not finite or leaves its space.
        """
        if actor is None and not self._actors.structured:
            (actor,) = self._actors.step_keys
        space = self._actors.observation_space if actor is None else self._space_of(actor)
        try:
            batch, size = as_batch(space, observation)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise UserError(f"the observation does not fit the space {space}: {error}") from error
        try:
            decided = [(turn, _acted(acting, turn)) for turn in self._turns(batch, actor, np.ones(size or 1, bool))]
        except EnvRowError as error:
            where = "" if size is None else f" (row {error.env} of the batch)"
            raise EnvRowError(f"{error}{where}", error.env) from error
        if size is None:
            return unbatch(decided[0][1], 0)
        return decided[0][1] if actor is not None else _by_row(decided, size)

    def _turns(self, batch: Any, actor: str | None, live: NDArray[np.bool_]) -> list[Turn]:
        """Whose turn it is in each row, as a checked batch for each actor."""
        if actor is not None:
            return [self._actors.checked(Turn(actor, None, batch), live)]
        seen = self._actors.observation_space
        assert isinstance(seen, spaces.Dict)
        for key in (ACTOR, AGENT):
            n = int(seen[key].n)  # type: ignore[attr-defined]
            unknown = np.flatnonzero((batch[key] < 0) | (batch[key] >= n))
            if len(unknown):
                row = int(unknown[0])
                raise EnvRowError(f"there is no {key} {batch[key][row]}; they count from 0 to {n - 1}", row)
        return self._actors.turns(batch, None, live)

    def _space_of(self, actor: str) -> spaces.Space[Any]:
        if actor not in self._actors.by_key:
            raise UserError(
                f"actor={actor!r} is not allowed: the env's actors are {', '.join(self._actors.step_keys)}."
            )
        return self._actors.by_key[actor].observation_space


def _acted(acting: _Acts, turn: Turn) -> Any:
    """What a policy does; errors count the rows of the whole batch."""
    try:
        return acting.act(turn)
    except EnvRowError as error:
        row = error.env if turn.rows is None else int(turn.rows[error.env])
        raise EnvRowError(str(error), row) from error


def _by_row(decided: list[tuple[Turn, Any]], size: int) -> list[Any]:
    """Actions in the order of their observations."""
    actions: list[Any] = [None] * size
    for turn, chosen in decided:
        rows = range(size) if turn.rows is None else turn.rows.tolist()
        for position, row in enumerate(rows):
            actions[row] = unbatch(chosen, position)
    return actions


def as_batch(space: spaces.Space[Any], observation: Any) -> tuple[Any, int | None]:
    """An observation as a batch of one, or a batch as it is.

    Args:
        space: Of one observation.
        observation: One, or several with leaves [B, ...].

    Returns:
        Leaves [B, ...], and B; None in place of B for a single one.

    Raises:
        ValueError: If it is neither.
    """
    sizes: dict[int | None, str] = {}
    batch = _batched(space, observation, "observation", sizes)
    if len(sizes) != 1:
        (one, there), (other, here) = list(sizes.items())[:2]
        raise ValueError(f"{there} is {_counted(one)}, and {here} is {_counted(other)}")
    size = next(iter(sizes))
    if size == 0:
        raise ValueError("the batch is empty")
    return batch, size


def _counted(size: int | None) -> str:
    return "a single one" if size is None else f"a batch of {size}"


def _batched(space: spaces.Space[Any], value: Any, path: str, sizes: dict[int | None, str]) -> Any:
    if isinstance(space, spaces.Dict):
        keys = list(space.spaces)
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} is no mapping with the keys {', '.join(map(str, keys))}")
        for key in [*keys, *value]:
            if key not in value or key not in space.spaces:
                raise ValueError(f"{path} has {'no' if key in space.spaces else 'an unknown'} part {key!r}")
        return {key: _batched(sub, value[key], f"{path}.{key}", sizes) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise ValueError(f"{path} is no tuple of {len(space.spaces)} parts")
        parts = zip(space.spaces, value, strict=True)
        return tuple(_batched(sub, part, f"{path}.{index}", sizes) for index, (sub, part) in enumerate(parts))
    array, shape = _numbers(space, value, path), tuple(space.shape or ())
    if array.shape == shape:
        sizes.setdefault(None, path)
        return array[None]
    if array.shape[1:] == shape and array.ndim:
        sizes.setdefault(len(array), path)
        return array
    several = f"[{', '.join(['n', *map(str, shape)])}]"
    raise ValueError(f"{path} has the shape {list(array.shape)}; needed: {list(shape)}, or {several} for n of them")


def _numbers(space: spaces.Space[Any], value: Any, path: str) -> NDArray[Any]:
    """An array of numbers such as a space has; those of choices and flags are whole."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} is no array of numbers: {' '.join(repr(value).split())[:MAX_SHOWN]}")
    if isinstance(space, spaces.Box):
        return array
    if array.dtype.kind == "f":
        fractions = array != np.rint(array)  # NaN too
        if fractions.any():
            raise ValueError(f"{path} has {array[fractions][0]}, and its numbers must be whole")
        array = array.astype(np.int64)
    flags = isinstance(space, spaces.MultiBinary)
    if flags and ((array != 0) & (array != 1)).any():
        raise ValueError(f"{path} has numbers other than 0 and 1")
    return array
