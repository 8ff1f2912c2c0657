"""Going on with episodes that were under way when a run was killed.

A vector env that offers `get_state` and `set_state` (`KeepsState`) says itself what its episodes depend
on. Every other one is wrapped in `ReplayedVectorEnv`, which remembers the seed and the actions of each
present episode and repeats them; whether that led to the same place is checked. What wrappers learn
from one episode to the next is no part of that: they offer `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Wrapper
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from maze_core.errors import MazeError
from maze_core.rl.spaces import any_member, arrays_of, copied, repeat, same_rows, with_arrays
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


class EpisodeLog:
    """Seeds and actions of the present episodes of a vector env.

    Args:
        num_envs: How many envs, B.
        max_steps: An episode of more steps (sub-steps of a structured env) is not remembered.
    """

    def __init__(self, num_envs: int, max_steps: int) -> None:
        self._max_steps = max_steps
        self._actions: list[list[NDArray[Any]]] = []  # arrays of a batch for each step since the step `_first`
        self._rewards: list[NDArray[np.float64]] = []
        self._first = 0
        self._starts = np.full(num_envs, UNKNOWN, np.int64)  # the step with which each episode began
        self.seeds = np.zeros(num_envs, np.int64)

    @property
    def _now(self) -> int:
        return self._first + len(self._actions)

    @property
    def ages(self) -> NDArray[np.int64]:
        """Steps of each present episode so far, [B]; -1 where there is none, or none that can be repeated."""
        return np.where(self._starts >= 0, self._now - self._starts, UNKNOWN)

    def begin(self, mask: NDArray[np.bool_], seeds: NDArray[np.int64] | None) -> None:
        """New episodes begin in the chosen envs; without seeds they cannot be repeated."""
        self._starts[mask] = UNKNOWN if seeds is None else self._now
        self.seeds[mask] = 0 if seeds is None else seeds[mask]
        self._drop()

    def end(self, mask: NDArray[np.bool_]) -> None:
        """The episodes of the chosen envs are over."""
        self._starts[mask] = UNKNOWN

    def add(self, actions: Any, rewards: NDArray[np.float64]) -> None:
        """All envs took a step."""
        self._actions.append(arrays_of(actions))
        self._rewards.append(rewards)

    def forget_long(self) -> bool:
        """Gives up episodes that have become too long; says whether there were any."""
        if len(self._actions) <= self._max_steps:
            return False
        long = (self._starts >= 0) & (self._now - self._starts > self._max_steps)
        self._starts[long] = UNKNOWN
        self._drop()
        return bool(long.any())

    def _drop(self) -> None:
        """Gives back the memory of steps before the oldest present episode, once that is half of it."""
        oldest = int(self._starts[self._starts >= 0].min(initial=self._now))
        unused = oldest - self._first
        if 2 * unused > len(self._actions):
            del self._actions[:unused], self._rewards[:unused]
            self._first = oldest

    def taken(self, rows: slice = slice(None)) -> tuple[list[NDArray[Any]], list[NDArray[np.float64]]]:
        """What the chosen envs did since the oldest of their episodes began.

        Returns:
            Their actions, each array of the batch for all steps, [S, n, ...], and rewards of each step, S x [n].
        """
        first = len(self._actions) - int(self.ages[rows].max(initial=0))
        columns = zip(*self._actions[first:], strict=True)
        return [np.stack([leaf[rows] for leaf in column]) for column in columns], [
            r[rows] for r in self._rewards[first:]
        ]


def repeat_episodes(
    env: AnyVectorEnv, ages: NDArray[np.int64], seeds: NDArray[np.int64], actions: Sequence[Any]
) -> tuple[Any, NDArray[np.bool_], list[NDArray[np.float64]]]:
    """Repeats episodes so that all reach the present step together.

    Args:
        env: The vector env.
        ages: Steps of each episode, [B]; -1 for envs that have none.
        seeds: Of the episodes, [B].
        actions: Of all steps of the oldest one, S batches.

    Returns:
        The last observation; which episodes were repeated and have not ended, [B]; rewards of each step, S x [B].

    Raises:
        MazeError: If an env fails.
    """
    going, rewards, observation = ages >= 0, [], None
    for step in range(len(actions) + 1):
        begin = np.flatnonzero(ages == len(actions) - step)
        if len(begin):
            observation = reset_envs(env, begin, seeds[begin].tolist())
        if step < len(actions):
            observation, reward, terminated, truncated, _ = env.step(actions[step])
            going &= ~(terminated | truncated)
            rewards.append(reward)
    return observation, going, rewards


class ReplayedVectorEnv(VectorWrapper[Any, Any, Any]):
    """Remembers the actions of present episodes, so that they can be repeated.

    Args:
        env: A vector env that keeps the contract of `maze_core.rl.vector_env`.
        max_steps: An episode of more steps (sub-steps of a structured env) is not remembered.
    """

    def __init__(self, env: AnyVectorEnv, max_steps: int) -> None:
        super().__init__(env)
        self._idle_actions = repeat(any_member(env.single_action_space), env.num_envs)
        size = sum(leaf.nbytes for leaf in arrays_of(self._idle_actions))
        self._max_steps = min(max_steps, MAX_LOG_BYTES // max(size, 1))
        self._log = EpisodeLog(env.num_envs, self._max_steps)
        self._traces = np.zeros(env.num_envs, np.uint64)  # checksum of what each episode showed first, and of rewards
        self._observation: Any = None
        self._told = False  # that an episode is too long
        # Rewards that depend on what was learned are others the second time.
        self._traces_rewards = not any(hasattr(layer, "state_dict") for layer in layers(env))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._observation, info = self.env.reset(seed=seed, options=options)
        self._log.begin(mask, None if seed is None else np.asarray(seed))
        self._traces[mask] = _checksums(self._observation, self.num_envs)[mask]
        return self._observation, info

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        actions = copied(actions)
        self._observation, rewards, terminated, truncated, info = self.env.step(actions)
        self._log.add(actions, rewards)
        if self._traces_rewards:
            self._traces = self._traces * np.uint64(31) + np.asarray(rewards, np.float64).view(np.uint64)
        if self._log.forget_long() and not self._told:
            self._told = True
            LOG.warning(
                "an episode is longer than %d steps; a resumed run would begin the next one instead of such a one "
                "(runner.checkpoint.max_replay_steps)",
                self._max_steps,
            )
        return self._observation, rewards, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Seeds and actions of all present episodes, and what they led to."""
        return {
            "ages": self._log.ages.tolist(),
            "seeds": self._log.seeds.tolist(),
            "actions": self._log.taken()[0],
            "observation": [np.array(leaf) for leaf in arrays_of(self._observation)],
            "traces": self._traces.tolist(),
        }

    def set_state(self, state: Mapping[str, Any]) -> tuple[Any, NDArray[np.bool_]]:
        """Repeats the episodes; those that do not lead to the same place are not restored.

        Raises:
            ValueError: If the state is not that of as many envs with these actions.
        """
        ages, seeds, actions = self._checked(state)
        batches = [
            with_arrays(self._idle_actions, iter([leaf[step] for leaf in actions]))
            for step in range(int(ages.max(initial=0)))
        ]
        try:
            observation, same, _ = repeat_episodes(self, ages, seeds, batches)
        except MazeError as error:
            LOG.warning("episodes could not be repeated: %s", error)
            return None, np.zeros(self.num_envs, bool)
        if same.any():
            for now, before in zip(arrays_of(observation), state["observation"], strict=True):
                same &= same_rows(now, before)
            same &= self._traces == np.array(state["traces"], np.uint64)
        return observation, same

    def _checked(self, state: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[Any]]]:
        ages, seeds = (np.array(state[name], np.int64) for name in ("ages", "seeds"))
        actions = list(state["actions"])
        steps = int(ages.max(initial=0))
        expected = [(steps, *leaf.shape) for leaf in arrays_of(self._idle_actions)] if steps > 0 else []
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


def _checksums(observation: Any, num_envs: int) -> NDArray[np.uint64]:
    """A number for what each env shows, [B]; exact, so that the same bits give the same number."""
    total = np.zeros(num_envs, np.uint64)
    for leaf in arrays_of(observation):
        total += np.ascontiguousarray(leaf).reshape(num_envs, -1).view(np.uint8).sum(axis=1, dtype=np.uint64)
    return total
