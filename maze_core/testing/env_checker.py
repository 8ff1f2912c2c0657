"""Whether an env keeps the contract that training relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import Env
from gymnasium.utils.env_checker import data_equivalence

from maze_core.env_factory import refuse_counting_wrappers
from maze_core.errors import EnvFaultError, EnvRowError, MazeError
from maze_core.rl.actors import NEW_STEP, Actors, Turn
from maze_core.rl.policy import RandomPolicy
from maze_core.rl.spaces import ObservationEncoder, copied, misfit, repeat, unbatch

MOST_SUB_STEPS = 10_000
"""Sub-steps of an env step; one with more is taken for endless."""

Seen = tuple[str, str, Any]
"""Where, what, and the value itself."""


def check_env(env: Env[Any, Any], n_env_steps: int = 200, seed: int = 0) -> None:
    """Plays random valid actions and looks at all that comes back; then plays the same again.

    Checked are: spaces that can be learned in; observations that lie in them, those of idle actors too; masks that
    mirror the actions and allow something; finite rewards; of structured envs, that episodes begin with an env step
    and env steps end; and that a seed gives the same episode each time.

    Args:
        env: Flat or structured, wrapped or not; it is left in the middle of an episode.
        n_env_steps: How long to play, over several episodes where they are short.
        seed: Of the first episode, and of the actions.

    Raises:
        UserError: If its spaces or wrappers cannot be used.
        EnvFaultError: At the first thing that breaks the contract; the message names actor, env step and seed.
    """
    first, again = (seen_in(env, n_env_steps, seed) for _ in range(2))
    difference = first_difference(first, again)
    if difference:
        raise EnvFaultError(
            f"with the same seeds and actions there was {difference}. "
            "Draw everything random from self.np_random, and begin anew in reset."
        )


def seen_in(env: Env[Any, Any], n_env_steps: int = 200, seed: int = 0) -> list[Seen]:
    """Plays random valid actions, checks all that comes back, and returns copies of it.

    Args:
        env: Flat or structured, wrapped or not.
        n_env_steps: How long to play, over several episodes where they are short.
        seed: Of the first episode, and of the actions.

    Raises:
        UserError: If its spaces or wrappers cannot be used.
        EnvFaultError: At the first thing that breaks the contract.
    """
    refuse_counting_wrappers(env, type(env.unwrapped).__name__)
    actors = Actors(env.observation_space, env.action_space)
    return list(Play(env, actors, seed).values(n_env_steps))


def first_difference(first: Iterable[Seen], again: Iterable[Seen]) -> str | None:
    """The first thing that was another one the second time, as a phrase; None if all was the same."""
    for (where, what, value), (_, _, other) in zip(first, again, strict=False):
        if not data_equivalence(value, other, exact=True):
            return f"another {what} {where}: {other!r} instead of {value!r}"
    return None


class Play:
    """Plays an env.

    Args:
        env: The env.
        actors: Its actors.
        seed: Of the first episode; the next ones have the next seeds.
    """

    def __init__(self, env: Env[Any, Any], actors: Actors, seed: int) -> None:
        self.env, self.actors, self.seed = env, actors, seed
        self.policy = RandomPolicy(actors, np.random.default_rng(seed))
        self.encoders = {key: ObservationEncoder(actor.observation_space) for key, actor in actors.by_key.items()}
        self.n_steps = 0  # env steps of the episode that are over
        self.who = ""

    @property
    def where(self) -> str:
        """Which step of which episode, in words."""
        return f"{self.who}in env step {self.n_steps} of the episode with seed {self.seed}"

    def values(self, n_env_steps: int) -> Iterator[Seen]:
        """All that the env returns in so many env steps, copied and checked."""
        played = 0
        while played < n_env_steps:
            yield from self._episode(n_env_steps - played)
            played += self.n_steps
            self.seed += 1

    def _episode(self, most_env_steps: int) -> Iterator[Seen]:
        self.n_steps, self.who, n_sub_steps = 0, "", 0
        observation = self._checked_pair(self._called(self.env.reset, seed=self.seed))
        yield self.where, "observation", deepcopy(observation)
        if not self._begins(observation):
            raise self._fault("the first observation of an episode has new_step=0; an env step begins with it")
        while self.n_steps < most_env_steps:
            returned = self._called(self.env.step, self._action(observation))
            if not isinstance(returned, tuple) or len(returned) != 5:
                raise self._fault("step must return (observation, reward, terminated, truncated, info)")
            observation, reward, terminated, truncated, _ = returned
            self._check_numbers(reward, terminated, truncated)
            self._check_member(observation)
            for what, value in zip(("observation", "reward", "terminated", "truncated"), returned[:4], strict=True):
                yield self.where, what, deepcopy(value)
            n_sub_steps += 1
            if terminated or truncated or self._begins(observation):
                self.n_steps, n_sub_steps = self.n_steps + 1, 0
            if terminated or truncated:
                return
            if n_sub_steps >= MOST_SUB_STEPS:
                raise self._fault(f"no env step began within {n_sub_steps} sub-steps; begin one with new_step=True")

    def _action(self, observation: Any) -> Any:
        """A random valid action."""
        turn = self._turn(observation)
        self.who = f"before actor {turn.step_key!r} acts " if self.actors.structured else ""
        decided = self.actors.env_actions(1, [(turn, self.policy.act(turn))])
        self.who = f"after actor {turn.step_key!r} acted " if self.actors.structured else ""
        return copied(unbatch(decided, 0))

    def _turn(self, observation: Any) -> Turn:
        try:
            (turn,) = self.actors.turns(repeat(observation, 1), None, np.ones(1, bool))
            self.encoders[turn.step_key].encode(turn.observation)
        except EnvRowError as error:
            raise self._fault(str(error)) from None
        return turn

    def _called(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except MazeError:
            raise
        except Exception as error:
            raise self._fault(f"{method.__name__} raised {type(error).__name__}: {error}") from error

    def _begins(self, observation: Any) -> bool:
        return not self.actors.structured or bool(observation[NEW_STEP])

    def _checked_pair(self, returned: Any) -> Any:
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise self._fault("reset must return (observation, info)")
        self._check_member(returned[0])
        return returned[0]

    def _check_member(self, observation: Any) -> None:
        found = misfit(self.env.observation_space, observation, "observation")
        if found:
            raise self._fault(found)

    def _check_numbers(self, reward: Any, terminated: Any, truncated: Any) -> None:
        if not np.isscalar(reward) or not np.isreal(reward) or not np.isfinite(float(reward)):  # type: ignore[arg-type]
            raise self._fault(f"the reward is {reward!r}; it must be a finite number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, (bool, np.bool_)):
                raise self._fault(f"{name} is {flag!r}; it must be True or False")

    def _fault(self, message: str) -> EnvFaultError:
        return EnvFaultError(f"{message}, {self.where}.")
