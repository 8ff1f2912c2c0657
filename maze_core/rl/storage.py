"""Where a rollout is written while it is collected.

Storage is kept by actor, one row for each decision, in the order in which they were made; what
belongs to the env (rewards, ends of episodes) is kept by *tick*: one call of the vector env's `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.rl.actors import Actor, Rows, Turn
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeBatch, EpisodeEvents
from maze_core.rl.kernels import Float32
from maze_core.rl.normalization import Moments, ObservationNormalization, part_of
from maze_core.rl.spaces import Encoded
from maze_core.rl.streams import Streams

Bools = NDArray[np.bool_]
NOISE_BLOCK = 64
"""Times that an actor acts with one block of noise."""


class Decisions:
    """Storage of one actor's decisions; it grows when it must, and is used again for the next rollout.

    Args:
        capacity: Rows that are expected.

    Attributes:
        observation: What the networks saw, leaves [capacity, ...].
        mask: Masks, leaves [capacity, ...], or None.
        outputs: What the policy's network put out, [capacity, size].
        actions: Raw actions, [capacity, n_actions].
        count: Rows in use.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self.count = capacity, 0
        self._rows: Any = None
        self._places: list[tuple[int, Rows, int]] = []

    def append(self, tick: int, rows: Rows, parts: tuple[Encoded, Any, Float32, Float32]) -> None:
        """Takes the decisions of one turn: observation, mask, outputs, actions, leaves [len(rows), ...]."""
        n = len(parts[2])
        end = self.count + n
        if self._rows is None:
            self._rows = tuple(_storage(part, self._capacity) for part in parts[:3])
            self._rows += (np.empty((self._capacity, parts[3].shape[1]), np.float32),)
        if end > self._capacity:
            self._capacity = max(end, 2 * self._capacity)
            self._rows = tuple(_grown(part, self.count, self._capacity) for part in self._rows)
        _put(self._rows, slice(self.count, end), parts)
        self._places.append((tick, rows, n))
        self.count = end

    def clear(self) -> None:
        """Forgets all rows."""
        self.count = 0
        self._places.clear()

    def rows(self) -> tuple[Encoded, Any, Float32, Float32]:
        """Observation, mask, outputs, actions of all rows in use; views of the storage."""
        return _first(self._rows, self.count)  # type: ignore[no-any-return]

    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Tick and env of each row in use."""
        ticks = np.repeat([tick for tick, _, _ in self._places], [n for _, _, n in self._places])
        return ticks, np.concatenate([np.arange(n) if rows is None else rows for _, rows, n in self._places])


@dataclass
class Seen:
    """Observations that were seen but not acted upon: at the end of an episode, or of the rollout.

    Args:
        tick: After which tick.
        envs: In which envs, [n].
        step_key: By which actor.
        observation: Encoded, leaves [n, ...].
    """

    tick: int
    envs: NDArray[np.intp]
    step_key: str
    observation: Encoded


class Ticks:
    """What belongs to the env; it grows when it must.

    Args:
        n_ticks: Ticks that are expected.
        n_envs: Envs, B.
        begins: Whether an env step begins with the first tick, [B]; None in a flat env.

    Attributes:
        n: Ticks so far, S.
        rewards, terminated, truncated: [at least S, B].
        cut: Final observations of episodes that were truncated and not terminated.
    """

    def __init__(self, n_ticks: int, n_envs: int, begins: NDArray[np.bool_] | None) -> None:
        self.n = 0
        self.cut: list[Seen] = []
        self.rewards = np.zeros((n_ticks, n_envs))
        self.terminated, self.truncated = np.zeros((n_ticks, n_envs), bool), np.zeros((n_ticks, n_envs), bool)
        self._begins = None if begins is None else [begins.copy()]
        self._in_here = None if begins is None else begins.copy()  # whether the present env step began in here
        self._finished = np.zeros(n_envs, np.int64)

    def has(self, n_steps: int) -> bool:
        """True if every env began and finished as many env steps."""
        return self.n >= n_steps and (self._begins is None or int(self._finished.min()) >= n_steps)

    def add(self, rewards: Any, terminated: Any, truncated: Any, begins: NDArray[np.bool_] | None) -> int:
        """Takes one tick, and returns its number."""
        if self.n == len(self.rewards):
            self.rewards, self.terminated, self.truncated = (
                np.concatenate((part, np.zeros_like(part))) for part in (self.rewards, self.terminated, self.truncated)
            )
        tick = self.n
        self.rewards[tick], self.terminated[tick], self.truncated[tick] = rewards, terminated, truncated
        self.n += 1
        if self._begins is not None and self._in_here is not None and begins is not None:
            self._begins.append(begins.copy())
            closes = begins | self.terminated[tick] | self.truncated[tick]
            self._finished += closes & self._in_here
            self._in_here |= closes
        return tick

    def begin(self, envs: NDArray[np.bool_]) -> None:
        """An env step begins with the first observation of an episode."""
        if self._begins is not None:
            self._begins[-1] |= envs

    @property
    def begins(self) -> Bools | None:
        """Whether an env step begins with each tick and with what is observed last, [S + 1, B]; None in a flat env."""
        return None if self._begins is None else np.stack(self._begins)


class ActionNoise:
    """The randomness of actions: for each actor a block for the next times that it acts, then another.

    A block is a function of root seed, actor and number; nothing depends on where rollouts end.

    Args:
        streams: Random streams of the run.
        n_envs: Envs, B.

    Attributes:
        used: How often each actor has acted.
    """

    def __init__(self, streams: Streams, n_envs: int) -> None:
        self._streams, self._n_envs = streams, n_envs
        self._blocks: dict[str, Float32] = {}
        self.used: dict[str, int] = {}

    def rows(self, actor: Actor, turn: Turn) -> Float32:
        """Noise for the rows of a turn, [len(rows), n_noise]."""
        key, used = actor.step_key, self.used.get(actor.step_key, 0)
        number, place = divmod(used, NOISE_BLOCK)
        if place == 0 or key not in self._blocks:
            generator = self._streams.generator(f"actions/{key}", number)
            self._blocks[key] = actor.heads.noise(generator, (NOISE_BLOCK, self._n_envs))
        self.used[key] = used + 1
        rows: Float32 = self._blocks[key][place]
        return rows if turn.rows is None else rows[turn.rows]


class RawObservations:
    """Observations of a rollout before normalisation, for its running statistics."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], list[NDArray[np.float64]]] = {}

    def add(self, step_key: str, encoded: Encoded, normalization: ObservationNormalization) -> None:
        """Takes a batch of one actor, leaves [n, ...]."""
        for path, _ in normalization.parts(step_key):
            self._parts.setdefault((step_key, path), []).append(part_of(encoded, path).astype(np.float64))

    def learn(self, normalization: ObservationNormalization) -> None:
        """Adds all of them to the statistics."""
        for (step_key, path), values in self._parts.items():
            normalization.update(step_key, {path: Moments.of(np.concatenate(values))})


class EndedEpisodes:
    """Episodes that ended."""

    def __init__(self) -> None:
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._events: list[EpisodeEvents | None] = []

    def add(
        self, envs: NDArray[np.intp], returns: NDArray[np.float64], lengths: NDArray[np.int64], infos: Mapping[str, Any]
    ) -> None:
        """Takes the episodes that ended in some envs; returns and lengths are those of all envs, [B]."""
        self._returns += returns[envs].tolist()
        self._lengths += lengths[envs].tolist()
        told = infos.get(EPISODE_EVENTS)
        self._events += [None] * len(envs) if told is None else [told[env] for env in envs]

    def batch(self) -> EpisodeBatch:
        """All of them."""
        return EpisodeBatch(
            np.array(self._returns, np.float64),
            np.array(self._lengths, np.int64),
            self._events if any(event is not None for event in self._events) else (),
        )


def _storage(part: Any, capacity: int) -> Any:
    if isinstance(part, dict):
        return {key: _storage(value, capacity) for key, value in part.items()}
    return None if part is None else np.empty((capacity, *part.shape[1:]), part.dtype)


def _grown(part: Any, count: int, capacity: int) -> Any:
    if isinstance(part, dict):
        return {key: _grown(value, count, capacity) for key, value in part.items()}
    if part is None:
        return None
    grown = np.empty((capacity, *part.shape[1:]), part.dtype)
    grown[:count] = part[:count]
    return grown


def _put(target: Any, rows: slice, part: Any) -> None:
    if isinstance(target, dict):
        for key, value in part.items():
            _put(target[key], rows, value)
    elif isinstance(target, tuple):
        for to, value in zip(target, part, strict=True):
            _put(to, rows, value)
    elif target is not None:
        target[rows] = part


def _first(part: Any, count: int) -> Any:
    if isinstance(part, dict):
        return {key: _first(value, count) for key, value in part.items()}
    if isinstance(part, tuple):
        return tuple(_first(value, count) for value in part)
    return None if part is None else part[:count]
