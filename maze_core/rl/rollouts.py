"""What was experienced between two updates, and what an update learns from it.

Storage is kept by actor, one row for each decision, in the order in which they were made; what
belongs to the env (rewards, ends of episodes) is kept by *tick* [S, B]: one call of the vector env's
`step`, in which every env takes one sub-step. In a flat env ticks, env steps and sub-steps are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import UserError
from maze_core.rl.actors import Rows
from maze_core.rl.episodes import EpisodeBatch
from maze_core.rl.kernels import Float32, Kernel, Samples
from maze_core.rl.policy import Policy
from maze_core.rl.returns import explained_variance, generalized_advantages
from maze_core.rl.spaces import Encoded, take_rows

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
CHUNK = 1024
"""Rows of one pass through the critic."""


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


@dataclass
class Rollout:
    """Consecutive ticks of all envs. Valid until the next one is collected.

    Args:
        decisions: By step key; only actors that acted.
        rewards: [S, B].
        terminated: Whether an episode ended by itself, [S, B].
        truncated: Whether it was cut off, [S, B].
        begins: Whether an env step begins with the tick, [S + 1, B]; None in a flat env.
        cut: Final observations of episodes that were truncated and not terminated.
        last: What is observed after the last tick.
        episodes: Episodes that ended.
    """

    decisions: Mapping[str, Decisions]
    rewards: Float64
    terminated: Bools
    truncated: Bools
    begins: Bools | None
    cut: Sequence[Seen]
    last: Sequence[Seen]
    episodes: EpisodeBatch

    @property
    def ended(self) -> Bools:
        """Whether an episode ended, [S, B]."""
        return self.terminated | self.truncated

    @property
    def closes(self) -> Bools:
        """Whether an env step ends with the tick, [S, B]."""
        return np.ones_like(self.terminated) if self.begins is None else self.ended | self.begins[1:]

    def experience(self, kernel: Kernel, gamma: float, gae_lambda: float) -> Experience:
        """What there is to learn: one pass of the critic, and advantages.

        Between env steps rewards are discounted, within one they are not. With a value for each env
        step all its sub-steps get the advantage of the whole.

        Args:
            kernel: Computes values.
            gamma: Discount per env step.
            gae_lambda: Weight of longer returns; without critic it is 1.

        Raises:
            UserError: If the critic has no value for an actor with which env steps begin.
        """
        values, next_values = self._values(kernel)
        rewards, closes = self.rewards, self.closes
        critic = kernel.critic
        if self.begins is not None and (critic is None or not critic.per_sub_step):
            rewards = _moved_to_end(rewards, closes)
        if critic is None:
            gae_lambda = 1.0
        flat = self.begins is None
        advantages = generalized_advantages(
            rewards, values, next_values, self.ended,
            gamma if flat else np.where(closes, gamma, 1.0), gae_lambda if flat else np.where(closes, gae_lambda, 1.0),
        )  # fmt: skip
        steps = self._env_steps()
        parts = [
            _learnable(key, decisions, kernel, self.begins, steps, values, advantages)
            for key, decisions in self.decisions.items()
        ]
        return Experience(parts, int(steps.max(initial=-1)) + 1)

    def _values(self, kernel: Kernel) -> tuple[Float64, Float64]:
        """Values of what is observed before and after each tick, [S, B] both."""
        n_ticks, n_envs = self.rewards.shape
        critic, values = kernel.critic, np.zeros((n_ticks + 1, n_envs))
        if critic is None:
            return values[:-1], values[1:]
        self._check_begins(kernel)
        for key, decisions in self.decisions.items():
            if critic.values_of(key):
                values[decisions.places()] = _in_chunks(kernel, key, decisions.rows()[0], decisions.count)
        for seen in self.last:
            if critic.values_of(seen.step_key):
                values[-1, seen.envs] = kernel.values(seen.step_key, seen.observation)
        if self.begins is not None and not critic.per_sub_step:
            for tick in range(1, n_ticks + 1):
                np.copyto(values[tick], values[tick - 1], where=~self.begins[tick])
        next_values = values[1:].copy()
        next_values[self.ended] = 0.0
        for seen in self.cut:
            if critic.values_of(seen.step_key):
                next_values[seen.tick, seen.envs] = kernel.values(seen.step_key, seen.observation)
            else:  # cut off within an env step, whose only value is that of its beginning
                next_values[seen.tick, seen.envs] = values[seen.tick, seen.envs]
        return values[:-1], next_values

    def _check_begins(self, kernel: Kernel) -> None:
        if self.begins is None or kernel.critic is None:
            return
        for key, decisions in self.decisions.items():
            if not kernel.critic.values_of(key) and self.begins[decisions.places()].any():
                first = next(iter(kernel.critic.models))
                raise UserError(
                    f"critic=shared needs env steps that all begin with the same actor, and here some begin with "
                    f"{key!r} instead of {first!r}. Use critic=per_sub_step."
                )

    def _env_steps(self) -> NDArray[np.intp]:
        """Number of the env step that each tick belongs to, [S, B]; -1 where it is not in here as a whole."""
        if self.begins is None:
            return np.arange(self.rewards.size).reshape(self.rewards.shape)
        begins = self.begins[:-1]
        finished = np.flip(np.flip(self.closes, 0).cumsum(0), 0) > 0
        numbers = np.where(begins & finished, (begins & finished).cumsum().reshape(begins.shape) - 1, -1)
        for tick in range(1, len(numbers)):
            np.copyto(numbers[tick], numbers[tick - 1], where=~begins[tick] & finished[tick])
        return numbers


@dataclass
class _Part:
    """What one actor learns from: all its samples, and which of them belong to which env step."""

    samples: Samples
    order: NDArray[np.intp] | None  # rows sorted by env step; None = they are
    starts: NDArray[np.intp] | None  # of each env step among them, [n + 1]; None = one row each

    def rows_of(self, env_steps: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows that belong to these env steps."""
        if self.starts is None:
            places = env_steps
        else:
            first, counts = self.starts[env_steps], np.diff(self.starts)[env_steps]
            ends = counts.cumsum()
            places = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
        return places if self.order is None else self.order[places]

    def chosen(self, rows: NDArray[np.intp]) -> Samples:
        """The samples in these rows."""
        all_samples = self.samples
        valued, by_value = None, rows
        if all_samples.valued is not None:
            place = np.full(len(all_samples.advantages), -1)
            place[all_samples.valued] = np.arange(len(all_samples.valued))
            by_value = place[rows]
            valued = np.flatnonzero(by_value >= 0)
            by_value = by_value[valued]
        elif len(all_samples.returns) == 0:
            by_value = rows[:0]
        return Samples(
            all_samples.step_key,
            take_rows(all_samples.observation, rows),
            None if all_samples.mask is None else take_rows(all_samples.mask, rows),
            all_samples.actions[rows],
            all_samples.log_probs[rows],
            all_samples.advantages[rows],
            valued,
            all_samples.values[by_value],
            all_samples.returns[by_value],
        )


@dataclass
class Experience:
    """What an update learns from.

    Args:
        parts: By actor.
        n_env_steps: Env steps that are in here as a whole.
    """

    parts: Sequence[_Part] = field(repr=False)
    n_env_steps: int

    def samples(self) -> list[Samples]:
        """All of it."""
        return [part.samples for part in self.parts]

    def minibatches(self, generator: np.random.Generator, batch_size: int) -> Iterator[list[Samples]]:
        """All of it once, in random order, in as few parts of nearly equal size as there must be.

        Args:
            generator: Where the order comes from.
            batch_size: Most env steps of a part; each brings all its sub-steps.
        """
        order = generator.permutation(self.n_env_steps)
        for env_steps in np.array_split(order, -(-self.n_env_steps // batch_size)):
            chosen = [(part, part.rows_of(env_steps)) for part in self.parts]
            yield [part.chosen(rows) for part, rows in chosen if len(rows)]

    def explained_variance(self) -> float:
        """Of the returns by the values of the rollout."""
        samples = self.samples()
        values = np.concatenate([part.values for part in samples])
        return explained_variance(values, np.concatenate([part.returns for part in samples]))


def _learnable(
    key: str, decisions: Decisions, kernel: Kernel, begins: Bools | None, steps: NDArray[np.intp],
    values: Float64, advantages: Float64,
) -> _Part:  # fmt: skip
    """What one actor learns from."""
    observation, mask, outputs, actions = decisions.rows()
    critic, order, starts, valued = kernel.critic, None, None, None
    if begins is None:
        value_rows, advantage_rows = values.ravel(), advantages.ravel()
    else:
        places = decisions.places()
        value_rows, advantage_rows, of_step = values[places], advantages[places], steps[places]
        order = np.argsort(of_step, kind="stable")
        starts = np.searchsorted(of_step[order], np.arange(steps.max(initial=-1) + 2))
        if critic is not None and not critic.per_sub_step:
            begun = begins[places]
            valued = None if begun.all() else np.flatnonzero(begun)
    has_values = critic is not None and critic.values_of(key)
    samples = Samples(
        key, observation, mask, actions, _log_probs(kernel.policy, key, outputs, actions, mask),
        advantage_rows.astype(np.float32),
        valued if has_values else None,
        _select(value_rows, valued, has_values), _select(value_rows + advantage_rows, valued, has_values),
    )  # fmt: skip
    return _whole(_Part(samples, order, starts))


def _whole(part: _Part) -> _Part:
    """Leaves out rows that belong to no whole env step."""
    if part.order is None or part.starts is None:
        return part
    if part.starts[0] > 0:
        kept = np.sort(part.order[part.starts[0] :])
        renumbered = np.full(len(part.order), -1)
        renumbered[kept] = np.arange(len(kept))
        order, starts = renumbered[part.order[part.starts[0] :]], part.starts - part.starts[0]
        part = _Part(part.chosen(kept), order, starts)
    assert part.order is not None
    starts = part.starts
    assert starts is not None
    return _Part(
        part.samples,
        None if (part.order == np.arange(len(part.order))).all() else part.order,
        None if len(starts) == len(part.order) + 1 and (np.diff(starts) == 1).all() else starts,
    )


def _select(rows: Float64, valued: NDArray[np.intp] | None, has_values: bool) -> Float32:
    if not has_values:
        return np.zeros(0, np.float32)
    return (rows if valued is None else rows[valued]).astype(np.float32)


def _log_probs(policy: Policy, key: str, outputs: Float32, actions: Float32, mask: Any) -> Float32:
    """How probable the actions were when they were sampled."""
    heads = policy.actors.by_key[key].heads
    return heads.evaluate(outputs, policy.log_std(key), actions, mask).log_probs


def _in_chunks(kernel: Kernel, key: str, observation: Encoded, n: int) -> Float32:
    chunks = [take_rows(observation, slice(first, first + CHUNK)) for first in range(0, n, CHUNK)]  # type: ignore[arg-type]
    return np.concatenate([kernel.values(key, chunk) for chunk in chunks])


def _moved_to_end(rewards: Float64, closes: Bools) -> Float64:
    """Rewards summed over each env step, and given with its last sub-step."""
    moved, sums = np.zeros_like(rewards), np.zeros(rewards.shape[1])
    for tick in range(len(rewards)):
        sums += rewards[tick]
        moved[tick] = np.where(closes[tick], sums, 0.0)
        sums[closes[tick]] = 0.0
    return moved


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
