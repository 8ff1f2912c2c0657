"""Who plays against the agent that learns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from maze_core import ExportedPolicy, UserError, load_policy
from maze_core.rl import FLAT, Actors, RandomPolicy, Turn
from maze_pettingzoo.config import RANDOM, PettingZooConfig
from maze_pettingzoo.policy_files import hash_of, path_of
from maze_pettingzoo.seats import Seat
from maze_pettingzoo.sight import Sight


class Opponent(Protocol):
    """Plays one agent."""

    def begin(self, generator: np.random.Generator) -> None:
        """A new episode begins, with this randomness."""
        ...

    def act(self, observation: Any) -> Any:
        """What it does."""
        ...


class RandomOpponent:
    """Chooses among the valid actions with equal probability.

    Args:
        sight: Of the agent that it plays.
    """

    def __init__(self, sight: Sight) -> None:
        actors = Actors(sight.observation_space, sight.action_space)
        self._policy = RandomPolicy(actors, np.random.default_rng(0))

    def begin(self, generator: np.random.Generator) -> None:
        """From now on randomness comes from here."""
        self._policy.begin(generator)

    def act(self, observation: Any) -> Any:
        """A random valid action."""
        return _first(self._policy.act(Turn(FLAT, None, _batch_of_one(observation))))


class ExportedOpponent:
    """Does what an exported policy holds for best.

    Args:
        policy: The policy.
        step_key: As which of its actors; None for the policy of a flat env.
    """

    def __init__(self, policy: ExportedPolicy, step_key: str | None) -> None:
        self._policy, self._step_key = policy, step_key

    def begin(self, generator: np.random.Generator) -> None:
        """It draws nothing."""

    def act(self, observation: Any) -> Any:
        """Its most probable action."""
        return self._policy.compute_action(observation, actor=self._step_key)


def make_opponent(config: PettingZooConfig, agent: str, seat: Seat, sight: Sight) -> Opponent:
    """Makes who plays an agent.

    Args:
        config: Says who.
        agent: The agent.
        seat: Its place among all.
        sight: What it sees and decides.

    Raises:
        UserError: If the policy is none for this game, or its file is another one than recorded.
        NothingUsableError: If the file holds no policy.
    """
    if config.opponent == RANDOM:
        return RandomOpponent(sight)
    path = path_of(config.opponent)
    digest = hash_of(path)
    if config.opponent_sha256 not in (None, digest):
        raise UserError(
            f"the opponent {path} is not the file that the run began with: its SHA-256 is {digest[:12]}... and not "
            f"{str(config.opponent_sha256)[:12]}... Put that one back, or start a new run."
        )
    policy = _loaded(str(path), digest)
    return ExportedOpponent(policy, _actor_for(policy, str(path), agent, seat, sight))


@lru_cache(maxsize=8)
def _loaded(path: str, digest: str) -> ExportedPolicy:
    """A policy of which all copies of the env take decisions; they take turns."""
    return load_policy(path, local_plugins=False)


def _actor_for(policy: ExportedPolicy, path: str, agent: str, seat: Seat, sight: Sight) -> str | None:
    """As which of its actors a policy plays an agent.

    Raises:
        UserError: If it cannot.
    """
    wrappers = policy.about.get("wrappers")
    if wrappers:
        raise UserError(
            f"env.opponent={path} cannot play: it was trained behind the wrappers {wrappers}, and an opponent sees the "
            "game without any."
        )
    names = (FLAT, seat.step_key, f"{seat.step_key}-{seat.index}")
    key = next((name for name in names if name in policy.actors), None)
    actor = None if key is None else policy.policy.actors.by_key[key]
    if actor is None or (actor.observation_space, actor.action_space) != (sight.observation_space, sight.action_space):
        raise UserError(
            f"env.opponent={path} cannot play {agent} of this game: it was trained in an env with other observations "
            "or actions."
        )
    return None if key == FLAT else key


def _batch_of_one(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _batch_of_one(part) for key, part in value.items()}
    return tuple(map(_batch_of_one, value)) if isinstance(value, tuple) else np.asarray(value)[None]


def _first(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: _first(part) for key, part in batch.items()}
    return tuple(map(_first, batch)) if isinstance(batch, tuple) else batch[0]
