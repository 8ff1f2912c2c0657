"""Who acts: the view of an env as a sequence of sub-steps, each taken by one actor.

A flat env is the case with one actor, `FLAT`. A *structured* env is a `gymnasium.Env` whose env
step consists of several sub-steps. Its Gymnasium form, which every vector env can run, is

- observation ``Dict{actor: Discrete, agent: Discrete, new_step: Discrete(2), <step_key>: ...}``:
  whose turn it is (index into the step keys), as which agent, whether an env step begins, and the
  observation of each step key (zeros for those whose turn it is not);
- action ``Dict{<step_key>: ...}``, of which the entry of the acting step key is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from numpy.typing import NDArray

from maze_core.enums import BoxDistribution
from maze_core.errors import EnvRowError, UserError
from maze_core.rl.heads import ActionHeads
from maze_core.rl.spaces import ACTION_MASK, any_member, put_rows, repeat, take_rows

FLAT = "substep_0"
"""Step key of the only actor of a flat env."""

ACTOR, AGENT, NEW_STEP = "actor", "agent", "new_step"

Rows = NDArray[np.intp] | None
"""Which envs of a batch; None = all of them, in order."""


@dataclass(frozen=True)
class Actor:
    """One actor's part of an env.

    Args:
        step_key: Its name; it selects the network.
        part: Key of its observations and actions in the env's spaces: the step key, but for agents with
            networks of their own, where several actors share one part.
        observation_space: What it sees, an `action_mask` included where it has one.
        action_space: What it decides.
        heads: What the outputs of its network mean.
    """

    step_key: str
    part: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    heads: ActionHeads


@dataclass(frozen=True)
class Turn:
    """The envs of a batch in which the same actor acts now.

    Args:
        step_key: The actor.
        rows: Which envs of the vector env.
        observation: The actor's observations of these envs, leaves [len(rows), ...].
    """

    step_key: str
    rows: Rows
    observation: Any


class Actors:
    """The actors of an env, and the way from batched observations to batched actions.

    Args:
        observation_space: Observation space of a single env.
        action_space: Action space of a single env.
        box_distribution: Which distribution a Box action gets.
        separate_agents: Whether each agent of an actor becomes an actor of its own, with the step key
            ``<step_key>-<agent>``.

    Raises:
        UserError: If there is no action distribution for a part of an action space, or an action mask
            does not mirror it.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        box_distribution: BoxDistribution = BoxDistribution.gaussian,
        separate_agents: bool = False,
    ) -> None:
        self.structured = is_structured(observation_space, action_space)
        self.observation_space, self.action_space = observation_space, action_space
        self._n_agents = 1  # of those that are told apart
        if self.structured:
            assert isinstance(observation_space, spaces.Dict) and isinstance(action_space, spaces.Dict)
            keys = [key for key in observation_space if key not in (ACTOR, AGENT, NEW_STEP)]
            parts = [(key, observation_space[key], action_space[key]) for key in keys]
            self._n_agents = int(observation_space[AGENT].n) if separate_agents else 1  # type: ignore[attr-defined]
        else:
            parts = [(FLAT, observation_space, action_space)]
        self.by_key: dict[str, Actor] = {}
        for part, seen, decided in parts:
            heads = ActionHeads(decided, box_distribution)
            mask = seen.spaces.get(ACTION_MASK) if isinstance(seen, spaces.Dict) else None
            if mask is not None:
                heads.check_mask_space(mask, f"actor {part!r}")
            for agent in range(self._n_agents):
                key = part if self._n_agents == 1 else f"{part}-{agent}"
                self.by_key[key] = Actor(key, part, seen, decided, heads)
        self.step_keys = tuple(self.by_key)
        self._idle_action = any_member(action_space)
        self._buffers: dict[int, Any] = {}

    def turns(self, observation: Any, rows: Rows, live: NDArray[np.bool_]) -> list[Turn]:
        """Splits a batch by whose turn it is.

        Args:
            observation: As the vector env returned it.
            rows: The envs that count; None for all.
            live: Which envs are in the middle of an episode, [B]; only their masks are checked.

        Raises:
            EnvRowError: If a mask of a live env allows nothing.
        """
        if not self.structured:
            turns = [Turn(FLAT, rows, observation if rows is None else take_rows(observation, rows))]
        else:
            turns = self._structured_turns(observation, rows)
        return [self.checked(turn, live) for turn in turns]

    def checked(self, turn: Turn, live: NDArray[np.bool_]) -> Turn:
        """A turn whose masks, in envs that are `live` [B], all allow something.

        Raises:
            EnvRowError: If one does not.
        """
        _check_masks(turn, self.by_key[turn.step_key].heads, live)
        return turn

    def _structured_turns(self, observation: Any, rows: Rows) -> list[Turn]:
        acting = observation[ACTOR]
        if self._n_agents > 1:
            unknown = np.flatnonzero(observation[AGENT] >= self._n_agents)
            if len(unknown):
                raise EnvRowError(f"there is no agent {observation[AGENT][unknown[0]]}", int(unknown[0]))
            acting = acting * self._n_agents + observation[AGENT]
        acting = acting if rows is None else acting[rows]
        if (acting == acting[0]).all():
            actor = self.by_key[self.step_keys[acting[0]]]
            seen = observation[actor.part]
            return [Turn(actor.step_key, rows, seen if rows is None else take_rows(seen, rows))]
        turns = []
        for index in np.unique(acting):
            here = np.flatnonzero(acting == index)
            chosen = here if rows is None else rows[here]
            actor = self.by_key[self.step_keys[index]]
            turns.append(Turn(actor.step_key, chosen, take_rows(observation[actor.part], chosen)))
        return turns

    def env_actions(self, num_envs: int, decisions: Sequence[tuple[Turn, Any]]) -> Any:
        """Puts the actions of all turns together into what the vector env's `step` takes.

        Args:
            num_envs: Size B of the vector env.
            decisions: For each turn its actions, leaves [len(rows), ...].

        Returns:
            Batched actions; where nobody acted, some member of the space. Valid until the next call.
        """
        turn, actions = decisions[0]
        if not self.structured and turn.rows is None:
            return actions
        buffer = self._buffers.get(num_envs)
        if buffer is None:
            buffer = self._buffers[num_envs] = repeat(self._idle_action, num_envs)
        for turn, actions in decisions:
            rows = np.arange(num_envs) if turn.rows is None else turn.rows
            put_rows(buffer[self.by_key[turn.step_key].part] if self.structured else buffer, rows, actions)
        return buffer

    def step_begins(self, observation: Any) -> NDArray[np.bool_] | None:
        """Which envs are at the first sub-step of an env step, [B]; None = all (a flat env)."""
        return np.asarray(observation[NEW_STEP]).astype(bool) if self.structured else None


def is_structured(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> bool:
    """True if the spaces are those of a structured env in its Gymnasium form.

    Raises:
        UserError: If they say who acts, but step keys have observations without actions, or the reverse.
    """
    if not isinstance(observation_space, spaces.Dict) or not isinstance(action_space, spaces.Dict):
        return False
    if not all(isinstance(observation_space.spaces.get(key), spaces.Discrete) for key in (ACTOR, AGENT, NEW_STEP)):
        return False
    observed, decided = set(observation_space) - {ACTOR, AGENT, NEW_STEP}, set(action_space)
    if observed != decided:
        key = sorted(observed ^ decided)[0]
        lacks = "an action space" if key in observed else "an observation space"
        raise UserError(f"actor {key!r} of a structured env has no spaces to act with: it lacks {lacks}.")
    return True


def has_mask(observation_space: spaces.Space[Any]) -> bool:
    """Whether an actor's observations have a mask of its actions."""
    return isinstance(observation_space, spaces.Dict) and ACTION_MASK in observation_space.spaces


def action_mask(observation: Any) -> Any:
    """The mask in an actor's observation, or None where it has none."""
    return observation.get(ACTION_MASK) if isinstance(observation, Mapping) else None


def _check_masks(turn: Turn, heads: ActionHeads, live: NDArray[np.bool_]) -> None:
    mask = action_mask(turn.observation)
    if mask is None:
        return
    alive = live if turn.rows is None else live[turn.rows]
    for head, blocked in heads.blocked(mask):
        empty = np.flatnonzero(alive & blocked)
        if len(empty):
            env = int(empty[0]) if turn.rows is None else int(turn.rows[empty[0]])
            raise EnvRowError(f"the action mask of actor {turn.step_key!r} for {head!r} allows nothing", env)


class StructuredEnv(Env[dict[str, Any], dict[str, Any]]):
    """Base of structured envs: it builds the Gymnasium form from the spaces of the step keys.

    A subclass calls ``super().__init__`` with its spaces, and in `reset` and `step` returns
    ``self.turn_of(step_key, observation, new_step=...)`` as observation. In `step` it reads its
    decision from ``action[step_key]`` of the actor whose turn it is.

    Args:
        actors: Observation and action space of each step key, in the order of their indices.
        n_agents: How many agents take part.

    Raises:
        UserError: If there is no actor, or a step key cannot be a name.
    """

    def __init__(self, actors: Mapping[str, tuple[spaces.Space[Any], spaces.Space[Any]]], n_agents: int = 1) -> None:
        if not actors:
            raise UserError("a structured env needs at least one actor with its spaces.")
        for key in actors:
            if not key.isidentifier() or key in (ACTOR, AGENT, NEW_STEP):
                raise UserError(f"{key!r} cannot be a step key: use letters, digits and '_'.")
            pair = actors[key]
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(s, spaces.Space) for s in pair)):
                needed = "a pair of spaces, (observation_space, action_space)"
                raise UserError(f"actor {key!r} of {type(self).__name__} has no spaces: give {needed}, not {pair!r}.")
        if n_agents < 1:
            raise UserError(f"n_agents={n_agents} of {type(self).__name__} is not allowed: it must be at least 1.")
        self._n_agents = n_agents
        turn = [(ACTOR, len(actors)), (AGENT, n_agents), (NEW_STEP, 2)]
        self.observation_space = spaces.Dict(
            [(key, spaces.Discrete(n)) for key, n in turn] + [(key, pair[0]) for key, pair in actors.items()]
        )
        self.action_space = spaces.Dict([(key, pair[1]) for key, pair in actors.items()])
        self._index = {key: index for index, key in enumerate(actors)}
        self._idle = {key: _zeros(pair[0]) for key, pair in actors.items()}

    def turn_of(self, step_key: str, observation: Any, *, new_step: bool, agent: int = 0) -> dict[str, Any]:
        """The env's observation when `step_key` acts next.

        Args:
            step_key: Whose turn it is.
            observation: What this actor sees, a member of its observation space.
            new_step: True if an env step begins with this turn.
            agent: As which agent it acts.

        Raises:
            UserError: If there is no such step key or agent.
        """
        if step_key not in self._index:
            known = ", ".join(self._index)
            raise UserError(f"{type(self).__name__} has no step key {step_key!r}; it has {known}.")
        if not 0 <= agent < self._n_agents:
            raise UserError(f"{type(self).__name__} has no agent {agent}; they count from 0 to {self._n_agents - 1}.")
        turn = {ACTOR: np.int64(self._index[step_key]), AGENT: np.int64(agent), NEW_STEP: np.int64(new_step)}
        idle = {key: deepcopy(zeros) for key, zeros in self._idle.items() if key != step_key}
        return {**turn, **idle, step_key: observation}


def _zeros(space: spaces.Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(sub) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_zeros(sub) for sub in space.spaces)
    return any_member(space)
