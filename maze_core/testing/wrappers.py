"""Checks of a wrapper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper

from maze_core.env_factory import EnvFactory
from maze_core.errors import UserError
from maze_core.rl.actors import NEW_STEP, Actors, is_structured
from maze_core.rl.normalization import ObservationNormalization
from maze_core.rl.policy import RandomPolicy
from maze_core.rl.spaces import ObservationEncoder, copied, repeat, unbatch
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.testing.candidates import InEnvs, actors_of
from maze_core.testing.conformance import other_randomness
from maze_core.testing.env_checker import first_difference, seen_in
from maze_core.testing.plain import not_plain
from maze_core.testing.playing import VectorPlay, forms_difference, same_leaves

SEED, N_ENV_STEPS, N_TICKS = 3, 100, 120


class Inner(Wrapper[Any, Any, Any, Any]):
    """Remembers what the wrapped env returned last, and how many episodes and env steps there were.

    Args:
        env: What the checked wrapper goes around.
    """

    def __init__(self, env: Env[Any, Any]) -> None:
        super().__init__(env)
        self.structured = is_structured(env.observation_space, env.action_space)
        self.observation: Any = None
        self.mid_step = self.ended = False
        self.returned: tuple[Any, ...] = ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the env."""
        self.observation, info = self.env.reset(seed=seed, options=options)
        self.observation, self.mid_step, self.ended = copied(self.observation), False, False
        return self.observation, info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, *rest = self.env.step(action)
        self.observation = copied(observation)
        self.ended = bool(rest[1] or rest[2])
        self.mid_step = self.structured and not self.ended and not observation[NEW_STEP]
        self.returned = tuple(rest[:3])
        return observation, *rest


class WrapperConformance(InEnvs):
    """Checks of a wrapper: ``name = "my_wrapper"``.

    It is put around the toys that it takes, flat and structured, or around `env`.
    """

    what = "wrapper"

    @property
    def cases(self) -> list[tuple[str, EnvFactory]]:
        """The envs that it goes around."""
        if self.spec.in_policy:
            self.skip("it acts inside the policy")

        def fits(factory: EnvFactory) -> EnvFactory:
            self.wrapped(factory).close()
            return factory

        return self.once("cases", lambda: self.tried(fits))

    def wrapped(self, factory: EnvFactory) -> Any:
        """An env with the wrapper around it."""
        return self.make(factory(), self.config())

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Around what happens in a wrapped env: a failure says what to do if the wrapper is not made for it."""
        try:
            with self.telling(f"around env {name!r}"):
                yield
        except AssertionError as error:
            if self.env is not None:
                raise
            advice = "If it is not made for such envs, let its constructor raise UserError."
            raise AssertionError(f"{error}\n{advice}") from error

    def seen(self, name: str, env: Env[Any, Any]) -> list[Any]:
        """All that a wrapped env shows, checked."""
        with self.around(name):
            return seen_in(env, N_ENV_STEPS, SEED)

    def test_what_comes_out_lies_in_its_spaces(self) -> None:
        """The contract of envs holds outside of it too; see `check_env`."""
        for name, factory in self.cases:
            env = self.wrapped(factory)
            self.expect(isinstance(env, Env), f"build returned a {type(env).__name__}; it must be a gymnasium.Env.")
            self.seen(name, env)

    def test_a_seed_says_all(self) -> None:
        """Two wrapped envs show the same; a used one too, unless the wrapper learns."""
        for name, factory in self.cases:
            seen = []
            for number in (1, 2):
                with other_randomness(number):
                    env = self.wrapped(factory)
                    seen.append(self.seen(name, env))
            self._expect_same(name, "two fresh ones differ", first_difference(seen[0], seen[1]))
            if not hasattr(env, "state_dict"):
                self._expect_same(name, "a used one differs", first_difference(seen[0], self.seen(name, env)))

    def _expect_same(self, name: str, what: str, found: str | None) -> None:
        self.expect(
            found is None,
            f"around env {name!r} {what} with seed {SEED}: {found}. Begin anew in reset; what is learned over episodes "
            "needs state_dict() and load_state_dict(state).",
        )

    def test_structure_is_kept(self) -> None:
        """Who acts, and when an env step begins, is still to be seen; actors keep their order."""
        for name, factory in self.cases:
            with self.around(name):
                env, wrapped = factory(), self.wrapped(factory)
                before, after = (actors_of_env(each) for each in (env, wrapped))
                self.expect(
                    before == after,
                    f"around env {name!r} the actors are {', '.join(after)} instead of {', '.join(before)}. Build its "
                    "Dict from pairs, spaces.Dict([(key, space), ...]), which keeps their order.",
                )

    def test_env_steps_are_counted(self) -> None:
        """An episode is cut off between env steps, never between the sub-steps of one."""
        for name, factory in self.cases:
            with self.around(name):
                inner = Inner(factory())
                env = self.make(inner, self.config())
                for _ in self._steps(env, 300):
                    if inner.mid_step and self._over:
                        self.fail(
                            f"around env {name!r} it ends an episode in the middle of an env step. Count env steps, "
                            "which begin where maze_core.rl.Actors.step_begins(observation) says."
                        )

    def test_does_what_its_spec_says(self) -> None:
        """`changes_observation` and `training_only` are true."""
        for name, factory in self.cases:
            with self.around(name):
                inner, changes_reward = Inner(factory()), False
                for observation, returned in self._steps(self.make(inner, self.config()), 100):
                    self._expect_as_said(name, inner, observation, returned)
                    changes_reward |= bool(returned) and returned[0] != inner.returned[0]
                if changes_reward and not self.spec.training_only:
                    self.note(f"around env {name!r} it changes rewards in evaluations too (training_only=False)")

    def _expect_as_said(self, name: str, inner: Inner, observation: Any, returned: tuple[Any, ...]) -> None:
        """Fails if a step is changed in a way that the spec rules out."""
        same = same_leaves(observation, inner.observation)
        self.expect(
            same or self.spec.changes_observation,
            f"around env {name!r} it shows {observation!r} instead of {inner.observation!r}, and its WrapperSpec says "
            "changes_observation=False.",
        )
        ends_alike = not returned or returned[1:] == inner.returned[1:]
        self.expect(
            (same and ends_alike) or not self.spec.training_only,
            f"around env {name!r} it changes observations or ends of episodes, and its WrapperSpec says "
            "training_only=True: policies would be evaluated in another env. Change rewards only.",
        )

    def _steps(self, env: Env[Any, Any], n: int) -> Any:
        """Observations of random valid play, with reward and flags; nothing of them after a reset."""
        actors = Actors(env.observation_space, env.action_space)
        policy, episode = RandomPolicy(actors, np.random.default_rng(SEED)), SEED
        observation, _ = env.reset(seed=episode)
        self._over = False
        yield observation, ()
        for _ in range(n):
            if self._over:
                episode += 1
                observation, _ = env.reset(seed=episode)
            (turn,) = actors.turns(repeat(observation, 1), None, np.ones(1, bool))
            action = copied(unbatch(actors.env_actions(1, [(turn, policy.act(turn))]), 0))
            observation, reward, terminated, truncated, _ = env.step(action)
            self._over = bool(terminated or truncated)
            yield observation, (reward, terminated, truncated)

    def test_vector_form_is_like_the_scalar_one(self) -> None:
        """Around many envs at once it gives the numbers that it gives around each."""
        if self.spec.build_vector is None or self.spec.in_policy:
            self.skip("it has no vector form")
        for name, factory in self.cases:
            sizes = (1,) if hasattr(self.wrapped(factory), "state_dict") else (1, 3)  # many are learned from together
            for n in sizes:
                scalar = InProcessVectorEnv(partial(self.wrapped, factory), n)
                vector = self.make(InProcessVectorEnv(factory, n), self.config(), build="build_vector")
                with self.around(name):
                    plays = [VectorPlay(form, SEED).ticks(N_TICKS) for form in (scalar, vector)]
                    found = forms_difference(plays[0], plays[1])
                self.expect(
                    found is None,
                    f"around {n} of env {name!r} its vector form is not like its scalar one, in {found}. Let both give "
                    "the same; what idles gets reward 0, and reset_mask says which envs begin anew.",
                )

    def test_what_it_learns_can_be_saved(self) -> None:
        """A fresh one with the state of a used one goes on like that."""
        for name, factory in self.cases:
            used = self.wrapped(factory)
            if not hasattr(used, "state_dict"):
                self.skip("it says of nothing that it learns it")
            self.seen(name, used)
            state, fresh = used.state_dict(), self.wrapped(factory)
            problem = not_plain(state)
            self.expect(problem is None, f"its state_dict {problem}.")
            fresh.load_state_dict(state)
            found = first_difference(self.seen(name, used), self.seen(name, fresh))
            self.expect(
                found is None,
                f"around env {name!r} a fresh one with the state of a used one shows {found}. Put all that is learned "
                "over episodes into state_dict.",
            )

    def test_acts_inside_the_policy(self) -> None:
        """It normalises encoded observations, and its statistics are part of a state dict."""
        if not self.spec.in_policy:
            self.skip("it goes around the env")
        for name, (actors, built) in self.tried(self._in_policy):
            if not isinstance(built, ObservationNormalization):
                self.fail(f"build returned a {type(built).__name__}; it must be an ObservationNormalization.")
            built.load_state_dict(built.state_dict())
            for key, actor in actors.by_key.items():
                encoder = ObservationEncoder(actor.observation_space)
                encoded = encoder.encode(repeat(actor.observation_space.sample(), 2), np.float64)
                shown = built.apply_to(key, encoded)
                finite = all(bool(np.isfinite(part).all()) for part in shown.values() if isinstance(part, np.ndarray))
                self.expect(finite, f"in env {name!r} actor {key!r} sees {shown!r}, which is not finite.")

    def _in_policy(self, factory: EnvFactory) -> tuple[Actors, Any]:
        actors = actors_of(factory)
        return actors, self.make(self.config(), actors)


def actors_of_env(env: Env[Any, Any]) -> tuple[str, ...]:
    """The step keys of an env."""
    try:
        return Actors(env.observation_space, env.action_space).step_keys
    except UserError as error:
        return (f"none ({error})",)
