"""Whole episodes, step by step, as they are recorded from any vector env.

Recording keeps batches as they come, in arrays that grow, and cuts an episode out when it ends: what it
costs per step does not depend on the number of envs, except for what they tell in their infos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError
from maze_core.rl.actors import ACTOR, AGENT, FLAT, NEW_STEP, is_structured
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.rl.space_data import space_data
from maze_core.rl.spaces import take_rows, unbatch
from maze_core.rl.vector_env import AnyVectorEnv, Step

ActorSpaces = Mapping[str, tuple[Space[Any], Space[Any]]]
"""Observation and action space of each actor, by step key."""

MAX_TEXT, MAX_LEVELS = 1000, 20
"""Most characters of a text that stands for a value, and how deep values may be nested."""

NO_EPISODE = -1


@dataclass(frozen=True)
class TrajectoryStep:
    """One sub-step of an episode.

    Args:
        step_key: Whose turn it was.
        agent: As which agent.
        observation: What the actor saw before it acted.
        action: What it did.
        reward: What the env paid for it.
        terminated: Whether the process ended with it.
        truncated: Whether it was cut off after it.
        info: What the env told after it, JSON values.
    """

    step_key: str
    agent: int
    observation: Any
    action: Any
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Trajectory:
    """One episode, step by step: S sub-steps, which are env steps where an env is flat.

    Args:
        seed: With which the env was reset; None if it was reset without.
        step_keys: The actors of the env by number; only `FLAT` of a flat env.
        actor: Number of the actor whose turn it is before each sub-step, [S + 1]; the last entry belongs to
            the final observation, as in what follows.
        agent: As which agent it acts, [S + 1].
        new_step: Whether an env step begins there, [S + 1].
        observations: By step key what its n turns saw, in order: leaves [n, ...], nested as its space. The
            final observation counts as a turn.
        actions: By step key what it did in these turns, leaves [m, ...]; m is n without the final observation.
        rewards: What the env paid for each sub-step, [S].
        terminated: Whether the process ended with the last sub-step.
        truncated: Whether it was cut off there.
        infos: By number of sub-steps that had been taken, 0 after the reset, what the env told besides, JSON
            values and floats that are not finite; without entries of which it told nothing.
        events: What it told of the episode (`EpisodeEvents`): by path a number, or an array.
        spaces: Observation and action space of each actor, by step key.
    """

    seed: int | None
    step_keys: tuple[str, ...]
    actor: NDArray[np.int64]
    agent: NDArray[np.int64]
    new_step: NDArray[np.bool_]
    observations: Mapping[str, Any]
    actions: Mapping[str, Any]
    rewards: NDArray[np.float64]
    terminated: bool
    truncated: bool
    infos: Mapping[int, Mapping[str, Any]]
    events: Mapping[str, Any]
    spaces: ActorSpaces

    def __repr__(self) -> str:
        """Which episode it is; arrays would fill the screen."""
        end = " and ".join(name for name in ("terminated", "truncated") if getattr(self, name))
        steps = f"{self.n_env_steps} env steps" if len(self.step_keys) == 1 else f"{self.n_sub_steps} sub-steps"
        return f"<Trajectory: seed {self.seed}, {steps}, return {self.episode_return:g}, {end}>"

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards, added in the order of the steps, so that all bits are those of statistics."""
        return float(np.cumsum(self.rewards)[-1])

    @property
    def n_sub_steps(self) -> int:
        """S."""
        return len(self.rewards)

    @property
    def n_env_steps(self) -> int:
        """Env steps; one that the end of the episode cut off counts."""
        return 1 + int(np.count_nonzero(self.new_step[1:-1]))

    def steps(self) -> Iterator[TrajectoryStep]:
        """Iterates over the sub-steps, in order."""
        turns = dict.fromkeys(self.step_keys, 0)
        for index, (actor, reward) in enumerate(zip(self.actor[:-1].tolist(), self.rewards.tolist(), strict=True)):
            key, last = self.step_keys[actor], index == self.n_sub_steps - 1
            turn, info = turns[key], self.infos.get(index + 1, {})
            observation, action = unbatch(self.observations[key], turn), unbatch(self.actions[key], turn)
            ends = last and self.terminated, last and self.truncated
            yield TrajectoryStep(key, int(self.agent[index]), observation, action, reward, *ends, info)
            turns[key] += 1


class RecordingVectorEnv(VectorWrapper[Any, Any, Any]):
    """Records the present episode of each env; goes outermost.

    Args:
        env: A vector env that keeps the contract of `maze_core.rl.vector_env`, flat or structured.

    Raises:
        UserError: If its spaces have a part that cannot be written down.

    Attributes:
        finished: Each env's episode that ended, by row, until that env is reset.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        seen, acted = env.single_observation_space, env.single_action_space
        check_recordable(seen, acted)  # now, before anything was recorded in vain
        self._structured, self._spaces = is_structured(seen, acted), actor_spaces(seen, acted)
        self._seen, self._taken, self._paid = _Tape(seen), _Tape(acted), _Tape(spaces.Box(-np.inf, np.inf, ()))
        self._now = self._first = 0  # steps so far, and before the first one that is kept
        self._starts = np.full(env.num_envs, NO_EPISODE)  # the step with which each episode began
        self._all_idle = True
        self._seeds: list[int | None] = [None] * env.num_envs
        self._told_first: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._told: dict[int, Mapping[str, Any]] = {}  # by step
        self.finished: dict[int, Trajectory] = {}

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the chosen envs, whose next episodes are recorded."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        observation, infos = self.env.reset(seed=seed, options=options)
        self._starts[mask] = self._now
        self._all_idle = bool((self._starts == NO_EPISODE).all())
        self._drop()
        self._seen.put(self._now - self._first, observation)
        told = _kept(infos)
        for row in np.flatnonzero(mask).tolist():
            given = None if seed is None else seed[row]
            self._seeds[row] = None if given is None else int(given)
            self._told_first[row] = _own(told, row, self.num_envs)
            self.finished.pop(row, None)
        return observation, infos

    def step(self, actions: Any) -> Step:
        """Steps the envs, and takes out the episodes that ended."""
        if self._all_idle:
            return self.env.step(actions)
        at = self._now - self._first
        self._taken.put(at, actions)
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        self._paid.put(at, rewards)
        self._seen.put(at + 1, observation)
        if told := _kept(infos):
            self._told[self._now] = told
        self._now += 1
        if (ended := terminated | truncated).any():
            self._finish(ended & (self._starts != NO_EPISODE), terminated, truncated, infos)
        return observation, rewards, terminated, truncated, infos

    def _finish(self, ended: NDArray[np.bool_], terminated: Any, truncated: Any, infos: Mapping[str, Any]) -> None:
        events = infos.get(EPISODE_EVENTS)
        for row in np.flatnonzero(ended).tolist():
            values = {} if events is None else event_values(events[row])
            self.finished[row] = self._cut(row, bool(terminated[row]), bool(truncated[row]), values)
        self._starts[ended] = NO_EPISODE
        self._all_idle = bool((self._starts == NO_EPISODE).all())
        self._drop()

    def _cut(self, row: int, terminated: bool, truncated: bool, events: Mapping[str, Any]) -> Trajectory:
        """The present episode of an env, as arrays of its own."""
        start, last = int(self._starts[row]), self._now - self._first
        first = start - self._first
        infos = {0: self._told_first[row]} if self._told_first[row] else {}
        for step, told in self._told.items():
            if step >= start and (own := _own(told, row, self.num_envs)):
                infos[step - start + 1] = own
        seen, taken = self._seen.of(row, first, last + 1), self._taken.of(row, first, last)
        return Trajectory(
            seed=self._seeds[row], step_keys=tuple(self._spaces), **self._by_actor(seen, taken, last - first),
            rewards=self._paid.of(row, first, last), terminated=terminated, truncated=truncated,
            infos=infos, events=events, spaces=self._spaces,
        )  # fmt: skip

    def _by_actor(self, seen: Any, taken: Any, n_steps: int) -> dict[str, Any]:
        """Who acts in an episode, and what belongs to each: of observations [S + 1, ...] and actions [S, ...]."""
        if not self._structured:
            nobody = np.zeros(n_steps + 1, np.int64)
            turn = {"actor": nobody, "agent": nobody.copy(), "new_step": np.ones(n_steps + 1, bool)}
            return {**turn, "observations": {FLAT: seen}, "actions": {FLAT: taken}}
        actor, agent = (np.asarray(seen[key], np.int64) for key in (ACTOR, AGENT))
        turns = {key: np.flatnonzero(actor == index) for index, key in enumerate(self._spaces)}
        return {
            "actor": actor, "agent": agent, "new_step": np.asarray(seen[NEW_STEP]).astype(bool),
            "observations": {key: take_rows(seen[key], rows) for key, rows in turns.items()},
            "actions": {key: take_rows(taken[key], rows[rows < n_steps]) for key, rows in turns.items()},
        }  # fmt: skip

    def _drop(self) -> None:
        """Gives back the memory of steps before the oldest present episode, once that is half of it."""
        oldest = int(self._starts[self._starts != NO_EPISODE].min(initial=self._now))
        unused = oldest - self._first
        if 2 * unused > self._now - self._first:
            for tape, behind in ((self._seen, 1), (self._taken, 0), (self._paid, 0)):
                tape.drop(unused, self._now - self._first + behind)
            self._told = {step: told for step, told in self._told.items() if step >= oldest}
            self._first = oldest


class _Tape:
    """Batches of members of a space, one after the other: [T, B, ...] of each leaf, with room for more.

    Args:
        space: Of one env.
    """

    def __init__(self, space: Space[Any]) -> None:
        self._space, self._paths = space, [path for path, _ in leaf_spaces(space)]
        self._leaves: list[NDArray[Any]] = []

    def put(self, at: int, batch: Any) -> None:
        """Copies a batch, leaves [B, ...], to a place: one that was used, or the next one."""
        parts = [np.asarray(_at(batch, path)) for path in self._paths]
        if not self._leaves:
            self._leaves = [np.empty((64, *part.shape), part.dtype) for part in parts]
        for index, part in enumerate(parts):
            before = leaf = self._leaves[index]
            if at >= len(leaf):
                leaf = self._leaves[index] = np.empty((2 * at, *part.shape), leaf.dtype)
                leaf[:at] = before
            if part.dtype != leaf.dtype:  # never to a type that holds less
                leaf = self._leaves[index] = leaf.astype(np.result_type(leaf, part))
            leaf[at] = part

    def of(self, row: int, first: int, last: int) -> Any:
        """What one env has from `first` to before `last`, leaves [last - first, ...], nested as the space."""
        return nested(self._space, iter([leaf[first:last, row].copy() for leaf in self._leaves]))

    def drop(self, unused: int, size: int) -> None:
        """Moves the places from `unused` to before `size` to the beginning."""
        for leaf in self._leaves:
            leaf[: size - unused] = leaf[unused:size]


def actor_spaces(observation_space: Space[Any], action_space: Space[Any]) -> ActorSpaces:
    """The spaces of each actor of an env, in the order of their numbers.

    Args:
        observation_space: Of one env.
        action_space: Of one env.
    """
    if not is_structured(observation_space, action_space):
        return {FLAT: (observation_space, action_space)}
    assert isinstance(observation_space, spaces.Dict) and isinstance(action_space, spaces.Dict)
    keys = [key for key in observation_space.spaces if key not in (ACTOR, AGENT, NEW_STEP)]
    return {key: (observation_space[key], action_space[key]) for key in keys}


def check_recordable(observation_space: Space[Any], action_space: Space[Any]) -> None:
    """Checks that episodes of an env can be recorded.

    Raises:
        UserError: If a part of a space cannot be written down.
    """
    space_data(packed_spaces(actor_spaces(observation_space, action_space)))


def packed_spaces(pairs: ActorSpaces) -> spaces.Dict:
    """The spaces of all actors as one: ``Dict{<step_key>: Tuple(observation space, action space)}``."""
    return spaces.Dict([(key, spaces.Tuple(pair)) for key, pair in pairs.items()])


def leaf_spaces(space: Space[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Space[Any]]]:
    """Iterates over the parts of a space that are arrays: the keys that lead to each, and its space."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        yield path, space
        return
    for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces):
        yield from leaf_spaces(part, (*path, key))


def nested(space: Space[Any], arrays: Iterator[NDArray[Any]]) -> Any:
    """Arrays in the order of `leaf_spaces`, nested as the space is."""
    if isinstance(space, spaces.Dict):
        return {key: nested(part, arrays) for key, part in space.spaces.items()}
    return tuple(nested(part, arrays) for part in space.spaces) if isinstance(space, spaces.Tuple) else next(arrays)


def _at(batch: Any, path: Sequence[Any]) -> Any:
    for key in path:
        batch = batch[key]
    return batch


def event_values(events: EpisodeEvents | None) -> dict[str, Any]:
    """What an env told of an episode, by path: Python numbers, or arrays.

    Raises:
        EnvFaultError: If it told something else.
    """
    values: dict[str, Any] = {}
    for path, value in {} if events is None else events.values.items():
        array = np.array(value)
        if array.dtype.kind not in "biuf":
            raise EnvFaultError(f"event {path} of an episode is {value!r}; it must be a number or an array of numbers.")
        values[path] = array if array.ndim else array.item()
    return values


def _kept(infos: Mapping[str, Any]) -> dict[str, Any]:
    """What envs told besides events, as later steps do not change it: arrays of numbers, and JSON values."""
    kept: dict[str, Any] = {}
    for key, value in infos.items():
        if key in (EPISODE_EVENTS, f"_{EPISODE_EVENTS}"):
            continue
        if isinstance(value, Mapping):
            kept[str(key)] = _kept(value)
        elif isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "biuf":
            kept[str(key)] = value.copy()
        else:
            kept[str(key)] = json_value(value)
    return kept


def _own(kept: Mapping[str, Any], row: int, num_envs: int) -> dict[str, Any]:
    """What one env told, JSON values; Gymnasium says in an array ``_<key>`` which envs told something."""
    own: dict[str, Any] = {}
    for key, value in kept.items():
        mask = kept.get(f"_{key}")
        if (key[:1] == "_" and key[1:] in kept) or (isinstance(mask, np.ndarray) and not mask[row]):
            continue
        if isinstance(value, dict):
            value = _own(value, row, num_envs)
        elif isinstance(value, (np.ndarray, list)) and len(value) == num_envs:
            value = json_value(value[row])
        if mask is not None or value not in (None, {}):
            own[key] = value
    return own


def json_value(value: Any, level: int = 0) -> Any:
    """A value as JSON has it, floats that are not finite included; what JSON does not have as a text.

    Args:
        value: Anything; arrays become lists.
        level: How deep it is nested.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 2**13):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping) and level < MAX_LEVELS:
        return {str(key): json_value(part, level + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)) and level < MAX_LEVELS:
        return [json_value(part, level + 1) for part in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        return repr(value)[:MAX_TEXT]
    except Exception:  # whatever a foreign class raises
        return f"<{type(value).__name__}>"
