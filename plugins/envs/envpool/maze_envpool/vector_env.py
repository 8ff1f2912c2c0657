"""Envs of EnvPool with a seed and a reset of their own for each episode.

EnvPool seeds an env when it is made and never again, and an env whose episode ended begins the next one by itself when
it is stepped. So every episode gets an env of its own here, made with the episode's seed, which is stepped until the
episode ends and no further. That costs little, because a pool makes many envs at once: those of the episodes to come
too, whose seeds whoever trains tells in advance. An episode then depends on its seed and actions only, as anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from numpy.typing import NDArray

EPISODES_AHEAD = 8
"""For how many episodes of each env a pool is made, as far as their seeds are known."""

N_SEEDS = 2**31
"""EnvPool's seeds are smaller; a larger one counts from 0 again."""

MakePool = Callable[[Sequence[int]], Any]
"""From one seed for each env to a pool of them."""


class Place(NamedTuple):
    """Where an episode is, or will be.

    Args:
        seed: Of the episode.
        pool: Of which its env is a part.
        number: Of the env there.
    """

    seed: int
    pool: Any
    number: int


class Group(NamedTuple):
    """Running episodes that one pool steps.

    Args:
        pool: The pool.
        rows: Which envs of the vector env they are, [n].
        numbers: Of their envs in the pool, [n] int32.
    """

    pool: Any
    rows: NDArray[np.intp]
    numbers: NDArray[np.int32]


class PoolVectorEnv(VectorEnv[Any, Any, Any]):
    """Copies of an env of EnvPool under the contract of Maze's vector envs.

    Args:
        make_pool: Makes envs.
        num_envs: Number of copies, B.
        observation_space: Of one env.
        action_space: Of one env.
        spec: Its id, and the return at which it counts as solved.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(
        self, make_pool: MakePool, num_envs: int, observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any], spec: EnvSpec | None = None,
    ) -> None:  # fmt: skip
        self.num_envs, self.spec, self._make_pool = num_envs, spec, make_pool
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._observation = create_empty_array(observation_space, num_envs, fn=np.zeros)
        self._upcoming: list[deque[int]] = [deque() for _ in range(num_envs)]
        self._prepared: list[deque[Place]] = [deque() for _ in range(num_envs)]
        self._places: dict[int, Place] = {}  # of the last episodes, by row
        self._live = np.zeros(num_envs, bool)  # whether they run
        self._groups: list[Group] = []

    def prepare_episodes(self, env: int, seeds: Sequence[int]) -> None:
        """Is told the seeds of the next episodes of an env, in order; a pool is made for several of them at once."""
        self._upcoming[env] = deque(int(seed) for seed in seeds)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the envs in ``options["reset_mask"]`` (all without it), each with its own seed."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        rows = np.flatnonzero(mask).tolist()
        drawn = self.np_random.integers(N_SEEDS, size=self.num_envs).tolist() if seed is None else seed
        seeds = {row: int(drawn[row]) for row in rows}
        begun = {row: place for row in rows if (place := self._prepared_place(row, seeds[row])) is not None}
        missing = {row: seeds[row] for row in rows if row not in begun}
        if missing:
            self._prepare(missing)
            begun |= {row: self._prepared[row].popleft() for row in missing}
        for group in _grouped(begun):
            self._show(group.rows, group.pool.reset(group.numbers)[0])
        self._places.update(begun)
        self._live[rows] = True
        self._regroup()
        return self._observation, {}

    def _prepared_place(self, row: int, seed: int) -> Place | None:
        """The env that was made for this episode, or None; forgets what was known of episodes up to it."""
        upcoming, prepared = self._upcoming[row], self._prepared[row]
        if seed in upcoming:
            while upcoming.popleft() != seed:
                pass
        else:
            upcoming.clear()
        return prepared.popleft() if prepared and prepared[0].seed == seed else None

    def _prepare(self, missing: Mapping[int, int]) -> None:
        """Makes a pool for the episodes that begin now, and for those of all envs that are known to follow."""
        plan: list[tuple[int, int]] = []
        for row, upcoming in enumerate(self._upcoming):
            seeds = [missing[row], *upcoming] if row in missing else list(upcoming)
            plan += [(row, seed) for seed in seeds[:EPISODES_AHEAD]]
            if seeds:
                self._prepared[row].clear()
        pool = self._make_pool([seed % N_SEEDS for _, seed in plan])
        for number, (row, seed) in enumerate(plan):
            self._prepared[row].append(Place(seed, pool, number))

    def step(self, actions: Any) -> tuple[Any, ...]:
        """Steps every env that is not idle."""
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        for group in self._groups:  # pools have threads of their own, which work meanwhile
            group.pool.send(actions[group.rows], group.numbers)
        for pool, rows, _ in self._groups:
            observation, rewards[rows], terminated[rows], truncated[rows], _ = pool.recv()
            self._show(rows, observation)
        ended = terminated | truncated
        if ended.any():
            self._live &= ~ended
            self._regroup()
        return self._observation, rewards, terminated, truncated, {}

    def _regroup(self) -> None:
        self._groups = _grouped({row: self._places[row] for row in np.flatnonzero(self._live).tolist()})

    def _show(self, rows: NDArray[np.intp], observation: Any) -> None:
        for shown, new in zip(leaves(self._observation), leaves(observation), strict=True):
            shown[rows] = new

    def render_row(self, row: int) -> NDArray[np.uint8]:
        """An image [H, W, 3] of the last episode of an env, also after its end."""
        place = self._places[row]
        return np.asarray(place.pool.render([place.number])[0], np.uint8)

    def close_extras(self, **_: Any) -> None:
        """Ends the threads of all pools."""
        self._live[:] = False
        self._places.clear()
        self._groups.clear()
        for prepared in self._prepared:
            prepared.clear()


def _grouped(places: Mapping[int, Place]) -> list[Group]:
    """Episodes by pool, in the order of their envs."""
    by_pool: dict[int, list[int]] = {}
    for row in sorted(places):
        by_pool.setdefault(id(places[row].pool), []).append(row)
    return [
        Group(places[rows[0]].pool, np.array(rows), np.array([places[row].number for row in rows], np.int32))
        for rows in by_pool.values()
    ]


def leaves(observation: Any) -> Iterable[Any]:
    """The arrays of an observation, which may be nested."""
    if not isinstance(observation, Mapping):
        yield observation
        return
    for key in sorted(observation):
        yield from leaves(observation[key])


class PoolEnv(gymnasium.Env[Any, Any]):
    """One env of EnvPool.

    Args:
        vector: A vector env of one.
        render_mode: ``rgb_array`` if its pools draw.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, vector: PoolVectorEnv, render_mode: str | None = None) -> None:
        self._vector, self.render_mode, self.spec = vector, render_mode, vector.spec
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space
        self._last: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        own = int(self.np_random.integers(N_SEEDS)) if seed is None else seed
        observation, _ = self._vector.reset(seed=[own])
        return _first(observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        observation, rewards, terminated, truncated, _ = self._vector.step(np.asarray(action)[None])
        return _first(observation), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> NDArray[np.uint8] | None:
        """An image [H, W, 3], if it was made to be rendered."""
        return None if self.render_mode is None else self._vector.render_row(0)

    def close(self) -> None:
        """Ends its threads."""
        self._vector.close()


def _first(observation: Any) -> Any:
    """The first row of each array, as a copy."""
    if isinstance(observation, Mapping):
        return {key: _first(value) for key, value in observation.items()}
    return observation[0].copy()
