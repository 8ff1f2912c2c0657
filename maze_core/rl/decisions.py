"""Decisions outside of a vector env: one observation or a batch of them, from wherever they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from maze_core.errors import EnvRowError, UserError
from maze_core.rl.actors import Actors, Turn
from maze_core.rl.spaces import unbatch


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
            if actor is None:
                turns = self._actors.turns(batch, None, np.ones(size or 1, bool))
            else:
                turns = [self._actors.checked(Turn(actor, None, batch), np.ones(size or 1, bool))]
            decided = [(turn, acting.act(turn)) for turn in turns]
        except EnvRowError as error:
            where = f" (row {error.env} of the batch)" if error.env else ""
            raise EnvRowError(f"{error}{where}", error.env) from error
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise UserError(f"the observation does not fit the space {space}: {error}") from error
        if size is None:
            return unbatch(decided[0][1], 0)
        return decided[0][1] if actor is not None else _by_row(decided, size)

    def _space_of(self, actor: str) -> spaces.Space[Any]:
        if actor not in self._actors.by_key:
            raise UserError(
                f"actor={actor!r} is not allowed: the env's actors are {', '.join(self._actors.step_keys)}."
            )
        return self._actors.by_key[actor].observation_space


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
        KeyError: If a part is missing.
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
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} is no mapping with the keys {', '.join(map(str, space.spaces))}")
        return {key: _batched(sub, value[key], f"{path}.{key}", sizes) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise ValueError(f"{path} is no tuple of {len(space.spaces)} parts")
        parts = zip(space.spaces, value, strict=True)
        return tuple(_batched(sub, part, f"{path}.{index}", sizes) for index, (sub, part) in enumerate(parts))
    array = np.asarray(value)
    shape = tuple(space.shape or ())
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} is no array of numbers: {value!r}")
    if array.shape == shape:
        sizes.setdefault(None, path)
        return array[None]
    if array.shape[1:] == shape:
        sizes.setdefault(len(array), path)
        return array
    raise ValueError(f"{path} has the shape {array.shape}; needed: {shape}, or (n, ...) for n of them")
