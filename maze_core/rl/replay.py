"""Going on with episodes that were under way when a run was killed.

A vector env that offers `get_state` and `set_state` (`KeepsState`) says itself what its episodes depend
on. Every other one is wrapped in `ReplayedVectorEnv`, which remembers the seed and the actions of each
present episode and repeats them; whether that led to the same place is checked. What wrappers learn
from one episode to the next is no part of that: they offer `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Wrapper
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from maze_core.errors import MazeError
from maze_core.rl.spaces import any_member, copied, repeat
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv, reset_envs

LOG = logging.getLogger("maze")

MAX_LOG_BYTES = 2**26
"""Most memory of the actions that are remembered."""

UNKNOWN = -1


@runtime_checkable
class KeepsState(Protocol):
    """A vector env that can write down all that its present episodes depend on."""

    def get_state(self) -> Mapping[str, Any]:
        """The state of all episodes: arrays and JSON values; later steps must not change them."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> tuple[Any, NDArray[np.bool_]]:
        """Takes over what `get_state` returned, also in another process.

        Returns:
            What all envs observe, leaves [B, ...], and which of them are as they were, [B]; the others
            must be reset.

        Raises:
            ValueError: If it is no such state.
        """
        ...


class ReplayedVectorEnv(VectorWrapper[Any, Any, Any]):
    """Remembers the actions of present episodes, so that they can be repeated.

    Args:
        env: A vector env that keeps the contract of `maze_core.rl.vector_env`.
        max_steps: An episode of more steps (sub-steps of a structured env) is not remembered.

    """

    def __init__(self, env: AnyVectorEnv, max_steps: int) -> None:
        super().__init__(env)
        self._idle_actions = repeat(any_member(env.single_action_space), env.num_envs)
        size = sum(leaf.nbytes for leaf in _leaves(self._idle_actions))
        self._max_steps = min(max_steps, MAX_LOG_BYTES // max(size, 1))
        self._actions: list[Any] = []  # one batch for each step since the step `_first`
        self._first = 0
        self._starts = np.full(env.num_envs, UNKNOWN, np.int64)  # the step with which each episode began
        self._seeds = np.zeros(env.num_envs, np.int64)
        self._traces = np.zeros(
            env.num_envs, np.uint64
        )  # checksum of what each episode showed first, and of its rewards
        self._observation: Any = None
        self._told = False  # that an episode is too long
        # Rewards that depend on what was learned are others the second time.
        self._traces_rewards = not any(hasattr(layer, "state_dict") for layer in layers(env))

    @property
    def _now(self) -> int:
        return self._first + len(self._actions)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._observation, info = self.env.reset(seed=seed, options=options)
        self._starts[mask] = UNKNOWN if seed is None else self._now
        self._seeds[mask] = 0 if seed is None else np.asarray(seed)[mask]
        self._traces[mask] = _checksums(self._observation, self.num_envs)[mask]
        self._drop(int(self._starts[self._starts >= 0].min(initial=self._now)))
        return self._observation, info

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        self._actions.append(copied(actions))
        self._observation, rewards, terminated, truncated, info = self.env.step(actions)
        if self._traces_rewards:
            self._traces = self._traces * np.uint64(31) + np.asarray(rewards, np.float64).view(np.uint64)
        if len(self._actions) > self._max_steps:
            self._forget_long_episodes()
        return self._observation, rewards, terminated, truncated, info

    def _drop(self, oldest: int) -> None:
        """Gives back the memory of actions before the oldest present episode, once that is half of it."""
        unused = oldest - self._first
        if 2 * unused > len(self._actions):
            del self._actions[:unused]
            self._first = oldest

    def _forget_long_episodes(self) -> None:
        long = (self._starts >= 0) & (self._now - self._starts > self._max_steps)
        if long.any() and not self._told:
            self._told = True
            LOG.warning(
                "an episode is longer than %d steps; a resumed run would begin the next one instead of such a one "
                "(runner.checkpoint.max_replay_steps)",
                self._max_steps,
            )
        self._starts[long] = UNKNOWN
        self._drop(int(self._starts[self._starts >= 0].min(initial=self._now)))

    def get_state(self) -> dict[str, Any]:
        """Seeds and actions of all present episodes, and what they led to."""
        known = self._starts >= 0
        ages = np.where(known, self._now - self._starts, UNKNOWN)
        taken = self._actions[len(self._actions) - int(ages.max(initial=0)) :]
        columns = zip(*(_leaves(actions) for actions in taken), strict=True)
        return {
            "ages": ages.tolist(),
            "seeds": self._seeds.tolist(),
            "actions": [np.stack(column) for column in columns],
            "observation": [np.array(leaf) for leaf in _leaves(self._observation)],
            "traces": self._traces.tolist(),
        }

    def set_state(self, state: Mapping[str, Any]) -> tuple[Any, NDArray[np.bool_]]:
        """Repeats the episodes; those that do not lead to the same place are not restored.

        Raises:
            ValueError: If the state is not that of as many envs with these actions.
        """
        ages, seeds, actions = self._checked(state)
        same = ages >= 0
        longest = int(ages.max(initial=0))
        observation: Any = None
        try:
            for step in range(longest + 1):
                begin = np.flatnonzero(ages == longest - step)
                if len(begin):
                    observation = reset_envs(self, begin, seeds[begin].tolist())
                if step < longest:
                    batch = _with_leaves(self._idle_actions, iter([leaf[step] for leaf in actions]))
                    observation, _, terminated, truncated, _ = self.step(batch)
                    same &= ~(terminated | truncated)
        except MazeError as error:
            LOG.warning("episodes could not be repeated: %s", error)
            same[:] = False
        if same.any():
            for now, before in zip(_leaves(observation), state["observation"], strict=True):
                same &= _same_rows(now, before)
            same &= self._traces == np.array(state["traces"], np.uint64)
        return observation, same

    def _checked(self, state: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[Any]]]:
        ages, seeds = (np.array(state[name], np.int64) for name in ("ages", "seeds"))
        actions = list(state["actions"])
        steps = int(ages.max(initial=0))
        expected = [(steps, *leaf.shape) for leaf in _leaves(self._idle_actions)] if steps > 0 else []
        given = [leaf.shape for leaf in actions]
        possible = ages.min(initial=0) >= UNKNOWN and seeds.min(initial=0) >= 0
        if not ages.shape == seeds.shape == (self.num_envs,) or given != expected or not possible:
            raise ValueError(f"it is not that of {self.num_envs} envs with actions {self.single_action_space}")
        return ages, seeds, actions


def restore(env: Any, state: Mapping[str, Any]) -> tuple[Any, NDArray[np.bool_]]:
    """Gives a vector env that keeps its state what `get_state` returned, and notes on it what was lost.

    Returns:
        As `KeepsState.set_state`.
    """
    observation, kept = env.set_state(state)
    env.n_not_repeated = int(np.count_nonzero(~kept))
    return observation, kept


def layers(env: Any) -> Iterator[Any]:
    """A vector env, what it wraps, and so on to the innermost; scalar envs and their wrappers too."""
    while True:
        yield env
        if isinstance(env, InProcessVectorEnv):
            for scalar in env.envs:
                yield from layers(scalar)
        if not isinstance(env, (VectorWrapper, Wrapper)):
            return
        env = env.env


def learned_state(env: AnyVectorEnv) -> dict[str, Any]:
    """What the layers of a vector env learned over episodes, by place and class of the layer."""
    return {
        f"{place}:{type(layer).__name__}": layer.state_dict()
        for place, layer in enumerate(layers(env))
        if hasattr(layer, "state_dict")
    }


def load_learned_state(env: AnyVectorEnv, state: Mapping[str, Any]) -> None:
    """Takes over what `learned_state` returned.

    Raises:
        KeyError: If it is that of other wrappers.
    """
    for place, layer in enumerate(layers(env)):
        if hasattr(layer, "load_state_dict"):
            layer.load_state_dict(state[f"{place}:{type(layer).__name__}"])


def _leaves(batch: Any) -> list[NDArray[Any]]:
    """The arrays of a batch; those of a Dict in the order of its keys' names."""
    if isinstance(batch, Mapping):
        return [leaf for key in sorted(batch) for leaf in _leaves(batch[key])]
    if isinstance(batch, tuple):
        return [leaf for part in batch for leaf in _leaves(part)]
    return [] if batch is None else [np.asarray(batch)]


def _with_leaves(like: Any, arrays: Iterator[NDArray[Any]]) -> Any:
    """A batch of the nesting of another one, with these arrays in the order of `_leaves`."""
    if isinstance(like, Mapping):
        filled = {key: _with_leaves(like[key], arrays) for key in sorted(like)}
        return {key: filled[key] for key in like}
    return tuple(_with_leaves(part, arrays) for part in like) if isinstance(like, tuple) else next(arrays)


def _checksums(observation: Any, num_envs: int) -> NDArray[np.uint64]:
    """A number for what each env shows, [B]; exact, so that the same bits give the same number."""
    total = np.zeros(num_envs, np.uint64)
    for leaf in _leaves(observation):
        total += np.ascontiguousarray(leaf).reshape(num_envs, -1).view(np.uint8).sum(axis=1, dtype=np.uint64)
    return total


def _same_rows(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of two arrays [B, ...] have the same bits, [B]."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.zeros(len(one), bool)
    first, second = (np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8) for array in (one, other))
    same: NDArray[np.bool_] = (first == second).all(axis=1)
    return same
