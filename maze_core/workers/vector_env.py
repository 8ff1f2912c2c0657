"""A vector env whose envs step in worker processes."""

from __future__ import annotations

import itertools
import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from numpy.typing import NDArray

from maze_core.rl.replay import EpisodeLog
from maze_core.rl.spaces import any_member, arrays_of, copied, repeat, with_arrays
from maze_core.rl.vector_env import Step
from maze_core.workers.host import Request
from maze_core.workers.pool import Lost, WorkerPool
from maze_core.workers.shared import layout_of, new_memory, shared_arrays

LOG = logging.getLogger("maze")

MAX_LOGGED_STEPS, MAX_LOGGED_BYTES = 1_000_000, 2**28
"""Most steps, and most memory of their actions, that are remembered for a worker that dies."""

MAX_OVERHEAD = 200
"""Bytes that an array takes besides its content, and a reward."""
NUMBERS = itertools.count()


class WorkerVectorEnv(VectorEnv[Any, Any, Any]):
    """Copies of an env, spread over workers; each steps its own one after the other.

    Actions, observations, rewards and flags lie in memory that all processes see, or are sent. What an env did
    depends on its seeds and actions only, so the number of workers changes nothing; and when a worker dies
    or hangs, another one repeats the episodes that it had.

    Args:
        pool: The workers.
        num_envs: How many envs, B.
        training: Whether the envs are wrapped for training.
        observation_space: Of one env.
        action_space: Of one env.
    """

    def __init__(
        self, pool: WorkerPool, num_envs: int, training: bool, observation_space: Space[Any], action_space: Space[Any]
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs, self._pool, self._training = num_envs, pool, training
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._number = next(NUMBERS)
        ends = np.linspace(0, num_envs, min(len(pool), num_envs) + 1).astype(int).tolist()
        self._slices = [slice(first, last) for first, last in itertools.pairwise(ends)]  # of worker 0, 1, ...
        self._generations: list[int | None] = [None] * len(self._slices)
        size = sum(leaf.nbytes + MAX_OVERHEAD for leaf in arrays_of(repeat(any_member(action_space), num_envs)))
        self._log = EpisodeLog(num_envs, min(MAX_LOGGED_STEPS, MAX_LOGGED_BYTES // size))
        self._live = np.zeros(num_envs, bool)  # in an episode
        self._cut = np.zeros(num_envs, bool)  # whose episode was lost with a worker
        self._buffer = 0
        self._make_arrays()

    def _make_arrays(self) -> None:
        """The arrays that workers see or have copies of: rewards, flags, actions, and observations twice.

        Each step writes into the other observations than the one before. So those before it are still
        there when a worker dies in between.
        """
        actions = repeat(any_member(self.single_action_space), self.num_envs)
        observation = create_empty_array(self.single_observation_space, self.num_envs, fn=np.zeros)
        flags = np.zeros(self.num_envs, bool)
        leaves = arrays_of(observation)
        arrays = [np.zeros(self.num_envs), flags, flags.copy(), *arrays_of(actions), *leaves, *copied(tuple(leaves))]
        self._layout, self._memory = layout_of(arrays), -1
        if self._pool.shares_memory:
            self._memory = new_memory(self._layout)
            self._close_memory = weakref.finalize(self, os.close, self._memory)
            arrays = shared_arrays(self._memory, self._layout)
        self._arrays = arrays
        self._rewards, self._terminated, self._truncated = arrays[:3]
        self._actions = arrays[3 : len(arrays) - 2 * len(leaves)]
        shown = arrays[len(arrays) - 2 * len(leaves) :]
        halves = shown[: len(leaves)], shown[len(leaves) :]
        self._observations = [with_arrays(observation, iter(half)) for half in halves]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the envs in ``options["reset_mask"]`` (all without it), each with its own seed."""
        remaining = dict(options or {})
        mask = remaining.pop("reset_mask", np.ones(self.num_envs, bool))
        seeds = [None] * self.num_envs if seed is None else list(seed)
        self._log.end(mask)
        self._live &= ~mask
        self._cut &= ~mask
        requests = {
            part: Request("reset", (self._number, self._buffer, seeds[rows], {**remaining, "reset_mask": mask[rows]}))
            for part, rows in enumerate(self._slices)
            if mask[rows].any()
        }
        infos = self._ask(requests, self._buffer)
        self._live |= mask
        self._log.begin(mask, None if seed is None else np.asarray(seed))
        return self._observations[self._buffer], infos

    def step(self, actions: Any) -> Step:
        """Steps every env that is not idle."""
        leaves = arrays_of(actions)
        for shared, leaf in zip(self._actions, leaves, strict=True):
            shared[...] = leaf
        before, self._buffer = self._buffer, 1 - self._buffer
        infos = self._ask({part: self._stepping(rows) for part, rows in enumerate(self._slices)}, before)
        rewards, terminated, truncated = (a.copy() for a in (self._rewards, self._terminated, self._truncated))
        if self._cut.any():
            rewards[self._cut], terminated[self._cut], truncated[self._cut] = 0.0, False, True
            pair = (arrays_of(self._observations[buffer]) for buffer in (before, self._buffer))
            for old, new in zip(*pair, strict=True):
                new[self._cut] = old[self._cut]
        self._log.add(copied(actions), rewards)
        self._live &= ~(terminated | truncated)
        self._log.end(~self._live)
        self._log.forget_long()
        return self._observations[self._buffer], rewards, terminated, truncated, infos

    def _ask(self, requests: Mapping[int, Request], buffer: int) -> dict[str, Any]:
        """Asks workers for their part of the envs, until all have answered.

        Args:
            requests: By worker.
            buffer: Which observations are those before.

        Returns:
            Infos of all envs.
        """
        waiting, answers = dict(requests), dict[int, Any]()
        while waiting:
            while new := [part for part in waiting if self._generations[part] != self._pool.generation(part)]:
                self._hand_over(new, buffer)
            for part, answer in self._pool.ask(waiting).items():
                if not isinstance(answer, Lost):
                    answers[part], told = answer
                    self._take_over(self._slices[part], told)
                    del waiting[part]
        return merged([(self._slices[part], answers[part]) for part in sorted(answers)], self.num_envs)

    def _hand_over(self, parts: Sequence[int], buffer: int) -> None:
        """Lets the processes that have these places now make their envs, and repeat the episodes of those before."""
        opened = self._pool.ask({part: self._opening(self._slices[part]) for part in parts})
        generations = {part: self._pool.generation(part) for part in parts if not isinstance(opened[part], Lost)}
        repeating = {part: self._repeating(self._slices[part], buffer) for part in generations}
        repeated = self._pool.ask({part: request for part, request in repeating.items() if request is not None})
        for part, generation in generations.items():
            rows, same = self._slices[part], repeated.get(part, False)
            if isinstance(same, Lost):
                continue
            lost = self._live[rows] & ~np.asarray(same)
            if lost.any():
                self._cut[rows] |= lost
                LOG.warning(
                    "%d episodes cannot be repeated by the new worker and are cut off: the run is not exact.",
                    lost.sum(),
                )
            self._generations[part] = generation

    def _take_over(self, rows: slice, told: Any) -> None:
        """Rewards, flags and observations of a part that were sent."""
        if told is not None:
            shown = arrays_of(self._observations[self._buffer])
            for own, array in zip((*self._arrays[:3], *shown), told, strict=True):
                own[rows] = array

    def _opening(self, rows: slice) -> Request:
        arguments = (self._number, self._training, rows.start, rows.stop - rows.start, self.num_envs)
        if self._pool.shares_memory:
            return Request("open", (*arguments, self._layout), (self._memory,))
        return Request("open", (*arguments, [array[rows] for array in self._arrays]))

    def _stepping(self, rows: slice) -> Request:
        actions = () if self._pool.shares_memory else tuple(array[rows] for array in self._actions)
        return Request("step", (self._number, self._buffer, *actions))

    def _repeating(self, rows: slice, buffer: int) -> Request | None:
        """Asks for the episodes under way in some envs; None if there is none that can be repeated."""
        ages = self._log.ages[rows]
        if not (ages >= 0).any():
            return None
        return Request("repeat", (self._number, buffer, ages, self._log.seeds[rows], *self._log.taken(rows)))

    def close_extras(self, **_: Any) -> None:
        """Closes the envs."""
        if self._pool.shares_memory:
            self._close_memory()
        for part, generation in enumerate(self._generations):
            if generation == self._pool.generation(part):
                self._pool.tell(part, Request("close", (self._number,)))


def merged(parts: Sequence[tuple[slice, Mapping[str, Any]]], num_envs: int) -> dict[str, Any]:
    """Infos of parts of a vector env as those of all of it: arrays [B, ...], also within mappings."""
    found: dict[str, Any] = {}
    nested: dict[str, list[tuple[slice, Mapping[str, Any]]]] = {}
    for rows, infos in parts:
        for key, value in infos.items():
            if isinstance(value, Mapping):
                nested.setdefault(key, []).append((rows, value))
                continue
            array = np.asarray(value)
            whole = found.get(key)
            if whole is None:
                whole = np.full((num_envs, *array.shape[1:]), None if array.dtype == object else 0, array.dtype)
            elif whole.dtype != array.dtype or whole.shape[1:] != array.shape[1:]:
                whole, array = _objects(whole), _objects(array)
            whole[rows] = array
            found[key] = whole
    return found | {key: merged(values, num_envs) for key, values in nested.items()}


def _objects(array: NDArray[Any]) -> NDArray[Any]:
    """Rows of an array as objects, [n]."""
    objects = np.empty(len(array), object)
    for row, value in enumerate(array):
        objects[row] = value
    return objects
