"""What was experienced between two updates, and what an update learns from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import UserError
from maze_core.rl.episodes import EpisodeBatch
from maze_core.rl.kernels import Float32, Kernel, Samples
from maze_core.rl.spaces import Encoded, batch_size, concatenated, take_rows
from maze_core.rl.storage import Bools, Decisions, Seen

Float64 = NDArray[np.float64]
CHUNK = 1024
"""Rows of one pass through the critic."""


def generalized_advantages(
    rewards: Float64,
    values: Float64,
    next_values: Float64,
    ended: NDArray[np.bool_],
    gamma: float | Float64,
    gae_lambda: float | Float64,
) -> Float64:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438).

    Nothing crosses the end of an episode. Whether an end is a termination or a truncation is said by
    `next_values` alone: 0 after a termination, the value of the final observation after a truncation.

    Args:
        rewards: [T, B].
        values: Value of what was observed before each step, [T, B].
        next_values: Value of what was observed after it, [T, B].
        ended: Whether an episode ended with the step, [T, B].
        gamma: Discount from a step to the next, a number or [T, B].
        gae_lambda: Weight of longer returns, a number or [T, B].

    Returns:
        Advantages [T, B]; added to `values` they are the returns that a critic learns.
    """
    advantages = rewards + gamma * next_values - values
    decay: Any = np.where(ended, 0.0, np.asarray(gamma) * gae_lambda)
    for step in range(len(advantages) - 2, -1, -1):
        advantages[step] += decay[step] * advantages[step + 1]
    return advantages


def explained_variance(values: NDArray[Any], returns: NDArray[Any]) -> float:
    """Share of the variance of returns [n] that values [n] explain: 1 is all, 0 or less is nothing."""
    deviations, errors = returns - returns.mean(), returns - values
    errors = errors - errors.mean()
    variance = float(deviations @ deviations)
    return 1.0 - float(errors @ errors) / variance if variance > 0 else 0.0


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

    def experience(self, kernel: Kernel, gamma: float, gae_lambda: float, log_probs: bool = True) -> Experience:
        """What there is to learn: one pass of the critic, and advantages.

        Between env steps rewards are discounted, within one they are not. With a value for each env
        step all its sub-steps get the advantage of the whole.

        Args:
            kernel: Computes values.
            gamma: Discount per env step.
            gae_lambda: Weight of longer returns; without critic it is 1.
            log_probs: Whether the update needs to know how probable the actions were.

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
            _learnable(key, decisions, kernel, self.begins, steps, values, advantages, log_probs)
            for key, decisions in self.decisions.items()
            if (steps[decisions.places()] >= 0).any()
        ]
        return Experience(parts, int(steps.max(initial=-1)) + 1)

    def _values(self, kernel: Kernel) -> tuple[Float64, Float64]:
        """Values of what is observed before and after each tick, [S, B] both."""
        n_ticks, n_envs = self.rewards.shape
        critic, values = kernel.critic, np.zeros((n_ticks + 1, n_envs))
        if critic is None:
            return values[:-1], values[1:]
        self._check_begins(kernel)
        of_cut = np.zeros((n_ticks, n_envs))
        seen: dict[str, list[tuple[Float64, Any, Encoded]]] = {}
        for key, decisions in self.decisions.items():
            seen.setdefault(key, []).append((values, decisions.places(), decisions.rows()[0]))
        for last in self.last:
            seen.setdefault(last.step_key, []).append((values, (n_ticks, last.envs), last.observation))
        for cut in self.cut:
            seen.setdefault(cut.step_key, []).append((of_cut, (cut.tick, cut.envs), cut.observation))
        for key, parts in seen.items():
            if critic.values_of(key):
                estimates = _estimates(kernel, key, [observation for _, _, observation in parts])
                for (target, places, _), estimate in zip(parts, estimates, strict=True):
                    target[places] = estimate
        if self.begins is not None and not critic.per_sub_step:
            for tick in range(1, n_ticks + 1):
                np.copyto(values[tick], values[tick - 1], where=~self.begins[tick])
        next_values = values[1:].copy()
        next_values[self.ended] = 0.0
        for cut in self.cut:  # within an env step whose only value is that of its beginning, that one
            source = of_cut if critic.values_of(cut.step_key) else values
            next_values[cut.tick, cut.envs] = source[cut.tick, cut.envs]
        return values[:-1], next_values

    def _check_begins(self, kernel: Kernel) -> None:
        if self.begins is None or kernel.critic is None:
            return
        begun = [(key, self.begins[decisions.places()]) for key, decisions in self.decisions.items()]
        begun += [(seen.step_key, self.begins[-1, seen.envs]) for seen in self.last]
        for key, begins in begun:
            if not kernel.critic.values_of(key) and begins.any():
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
    """What one actor learns from: all its samples by env step, and where each begins, [n + 1]; None = one each."""

    samples: Samples
    starts: NDArray[np.intp] | None

    def rows_of(self, env_steps: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows that belong to these env steps."""
        if self.starts is None:
            return env_steps
        first, counts = self.starts[env_steps], np.diff(self.starts)[env_steps]
        rows: NDArray[np.intp] = np.arange(counts.sum()) + np.repeat(first - counts.cumsum() + counts, counts)
        return rows

    def chosen(self, rows: NDArray[np.intp]) -> Samples:
        """The samples in these rows."""
        parts = {field.name: getattr(self.samples, field.name) for field in fields(Samples) if field.name != "step_key"}
        return Samples(self.samples.step_key, **{name: take_rows(part, rows) for name, part in parts.items()})


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
        pairs = [part.of_values(part.values, part.returns) for part in self.samples()]
        values, returns = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        return explained_variance(values, returns)


def _learnable(
    key: str, decisions: Decisions, kernel: Kernel, begins: Bools | None, steps: NDArray[np.intp],
    values: Float64, advantages: Float64, log_probs: bool,
) -> _Part:  # fmt: skip
    """What one actor learns from; decisions of env steps that are not in here as a whole are left out."""
    rows, places, starts = decisions.rows(), decisions.places(), None
    if begins is not None:
        of_step = steps[places]
        order = np.argsort(of_step, kind="stable")[np.count_nonzero(of_step < 0) :]
        starts = np.searchsorted(of_step[order], np.arange(steps.max(initial=-1) + 2))
        if not np.array_equal(order, np.arange(decisions.count)):
            rows, places = take_rows((rows, places), order)
        starts = None if len(starts) == len(order) + 1 and (np.diff(starts) == 1).all() else starts
    observation, mask, outputs, actions = rows
    critic, valued = kernel.critic, None
    if critic is None or not critic.values_of(key):
        valued = np.zeros(len(actions), bool)
    elif begins is not None and not critic.per_sub_step and not begins[places].all():
        valued = begins[places]
    heads, old = kernel.policy.actors.by_key[key].heads, np.zeros(len(actions), np.float32)
    if log_probs:
        old = heads.evaluate(outputs, kernel.policy.log_std(key), actions, mask).log_probs
    return _Part(
        Samples(
            key, observation, mask, actions, old, advantages[places].astype(np.float32), valued,
            values[places].astype(np.float32), (values + advantages)[places].astype(np.float32),
        ),
        starts,
    )  # fmt: skip


def _estimates(kernel: Kernel, key: str, observations: Sequence[Encoded]) -> list[Float32]:
    """Values of several batches: in one pass if they are small, and in passes of bounded size if they are not."""
    sizes = [batch_size(observation) for observation in observations]
    if sum(sizes) <= CHUNK:
        together = kernel.values(key, concatenated(observations))
        return np.split(together, np.cumsum(sizes)[:-1])
    return [
        np.concatenate([kernel.values(key, take_rows(observation, slice(first, first + CHUNK)))
                        for first in range(0, size, CHUNK)])
        for observation, size in zip(observations, sizes, strict=True)
    ]  # fmt: skip


def _moved_to_end(rewards: Float64, closes: Bools) -> Float64:
    """Rewards summed over each env step, and given with its last sub-step."""
    moved, sums = np.zeros_like(rewards), np.zeros(rewards.shape[1])
    for tick in range(len(rewards)):
        sums += rewards[tick]
        moved[tick] = np.where(closes[tick], sums, 0.0)
        sums[closes[tick]] = 0.0
    return moved
