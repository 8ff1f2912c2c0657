"""Plays vector envs, so that two forms of the same env can be compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from numpy.typing import NDArray

from maze_core.rl.actors import Actors, Turn, action_mask
from maze_core.rl.episodes import EPISODE_EVENTS
from maze_core.rl.policy import RandomPolicy
from maze_core.rl.spaces import arrays_of, copied, misfit, same_rows, unbatch
from maze_core.rl.vector_env import AnyVectorEnv, reset_envs

IDLE_TICKS = 3
"""Every so many ticks what idles is reset, so that envs idle for a while."""


@dataclass(frozen=True)
class Tick:
    """What a vector env returned of one call of `step`.

    Args:
        number: How many ticks came before.
        seeds: Episode seed of each env, [B].
        live: Which envs were in an episode before, [B].
        observation: Leaves [B, ...].
        rewards: [B].
        terminated: [B].
        truncated: [B].
        events: What was told of episodes that ended, [B].
    """

    number: int
    seeds: NDArray[np.int64]
    live: NDArray[np.bool_]
    observation: Any
    rewards: NDArray[Any]
    terminated: NDArray[Any]
    truncated: NDArray[Any]
    events: list[Any]


class VectorPlay:
    """Plays a vector env with random valid actions; an env whose episode ended idles for a while.

    The last of several envs begins later than the others, so that it idles before its first episode.

    Args:
        env: The vector env.
        seed: Of the actions, and with the number of env and episode of each episode.
        act: Who decides; None for random valid actions.

    Attributes:
        decisions: Turns and actions of the last tick.
    """

    def __init__(self, env: AnyVectorEnv, seed: int = 0, act: Callable[[Turn], Any] | None = None) -> None:
        self.env, self.seed, n = env, seed, env.num_envs
        self.actors = Actors(env.single_observation_space, env.single_action_space)
        self.act = RandomPolicy(self.actors, np.random.default_rng(seed)).act if act is None else act
        self.live, self.n_episodes, self.number = np.zeros(n, bool), np.zeros(n, np.int64), 0
        self.decisions: list[tuple[Turn, Any]] = []
        self.observation: Any = None
        self._reset(np.arange(max(n - 1, 1)))

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Episode seed of each env, [B]."""
        return self.seed + 1000 * np.arange(self.env.num_envs) + self.n_episodes

    def _reset(self, rows: NDArray[np.intp]) -> None:
        self.n_episodes[rows] += 1
        self.observation = reset_envs(self.env, rows, self.seeds[rows].tolist())
        self.live[rows] = True

    def ticks(self, count: int) -> Iterator[Tick]:
        """Plays on for so many ticks."""
        for _ in range(count):
            idle = np.flatnonzero(~self.live)
            if len(idle) and (self.number % IDLE_TICKS == 0 or not self.live.any()):
                self._reset(idle)
            yield self._tick()

    def _tick(self) -> Tick:
        rows, live, n = np.flatnonzero(self.live), self.live.copy(), self.env.num_envs
        turns = self.actors.turns(self.observation, None if live.all() else rows, live)
        self.decisions = [(turn, self.act(turn)) for turn in turns]
        returned = self.env.step(self.actors.env_actions(n, self.decisions))
        self.observation, rewards, terminated, truncated, info = returned
        self.live = self.live & ~(np.asarray(terminated, bool) | np.asarray(truncated, bool))
        events = list(info.get(EPISODE_EVENTS, [None] * n))
        shown, numbers = copied(self.observation), [np.array(array) for array in (rewards, terminated, truncated)]
        tick = Tick(self.number, self.seeds, live, shown, numbers[0], numbers[1], numbers[2], events)
        self.number += 1
        return tick


def tick_difference(one: Tick, other: Tick) -> str | None:
    """In what a tick of one form differs from that of another, as a phrase; None if bits are the same."""
    for name in ("rewards", "terminated", "truncated"):
        before, after = (np.asarray(getattr(tick, name)) for tick in (one, other))
        if before.shape != after.shape or not (before == after).all():
            row = 0 if before.shape != after.shape else int(np.flatnonzero(before != after)[0])
            return f"{_where(one, row)}: {name} {after[row]} instead of {before[row]}"
    for before, after in zip(arrays_of(one.observation), arrays_of(other.observation), strict=False):
        bad = np.flatnonzero(one.live & ~same_rows(before, after))
        if len(bad):
            row = int(bad[0])
            types = f" ({after.dtype} instead of {before.dtype})" if before.dtype != after.dtype else ""
            return f"{_where(one, row)}: observed {after[row]} instead of {before[row]}{types}"
    for row in np.flatnonzero(one.live).tolist():
        told = [None if tick.events[row] is None else dict(tick.events[row].values) for tick in (one, other)]
        if not data_equivalence(told[0], told[1]):
            return f"{_where(one, row)}: events {told[1]} instead of {told[0]}"
    return None


def _where(tick: Tick, row: int) -> str:
    idle = "" if tick.live[row] else ", which idles"
    return f"tick {tick.number}, env {row}{idle} (episode seed {tick.seeds[row]})"


def forms_difference(one: Iterable[Tick], other: Iterable[Tick]) -> str | None:
    """The first difference between two plays, as a phrase; None if there is none."""
    return next(
        (found for before, after in zip(one, other, strict=False) if (found := tick_difference(before, after))), None
    )


def same_leaves(one: Any, other: Any) -> bool:
    """Whether two members of a space have the same numbers."""
    leaves, others = arrays_of(one), arrays_of(other)
    return len(leaves) == len(others) and all(map(np.array_equal, leaves, others))


def invalid_action(actors: Actors, turn: Turn, actions: Any) -> str | None:
    """What is wrong with the actions of a turn, as a phrase; None if all are members of the space and allowed."""
    actor = actors.by_key[turn.step_key]
    n = len(arrays_of(turn.observation)[0])
    for row in range(n):
        try:
            action = unbatch(actions, row)
        except (IndexError, KeyError, TypeError) as error:
            return f"{actions!r} has no row {row} of {n} ({type(error).__name__}: {error})"
        found = misfit(actor.action_space, action, "the action")
        if found is None and not allowed(actor.action_space, unbatch_mask(action_mask(turn.observation), row), action):
            found = f"the action {action!r} is not allowed by its mask"
        if found:
            return f"{found}, of actor {turn.step_key!r}"
    return None


def unbatch_mask(mask: Any, row: int) -> Any:
    """The mask of one row, or None."""
    return None if mask is None else unbatch(mask, row)


def allowed(space: spaces.Space[Any], mask: Any, action: Any) -> bool:
    """Whether a single action respects a single mask of its space."""
    if mask is None:
        return True
    if isinstance(space, spaces.Discrete):
        return bool(mask[int(action) - int(space.start)])
    if isinstance(space, spaces.MultiDiscrete):
        offsets = np.concatenate(([0], np.cumsum(space.nvec.ravel())[:-1]))
        return bool(np.all(mask[np.ravel(action) - space.start.ravel() + offsets]))
    items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(getattr(space, "spaces", ()))
    return all(allowed(sub, mask.get(str(key)), action[key]) for key, sub in items)
