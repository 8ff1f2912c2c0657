"""Checks of an env."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env
from gymnasium.error import DependencyNotInstalled
from gymnasium.utils.env_checker import data_equivalence

from maze_core.env_factory import EnvFactory
from maze_core.rl.actors import Actors
from maze_core.rl.replay import KeepsState
from maze_core.rl.spaces import copied
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv, check_vector_env
from maze_core.testing.conformance import Conformance, other_randomness
from maze_core.testing.env_checker import Play, first_difference, seen_in
from maze_core.testing.leftovers import at_work, left_since
from maze_core.testing.playing import VectorPlay, forms_difference, same_leaves

SEED = 3


class EnvConformance(Conformance):
    """Checks of an env: ``name = "my_env"``.

    Attributes:
        n_env_steps: How long it is played in each check; make episodes short enough to end within.
        n_envs: Copies in its vector form.
    """

    what = "env"
    n_env_steps: int = 200
    n_envs: int = 3

    def factory(self) -> EnvFactory:
        """What makes the env."""
        return EnvFactory(self.spec, self.config(), [])

    def fresh(self) -> Env[Any, Any]:
        """A new env."""
        with self.telling():
            return self.factory()()

    def seen(self, env: Env[Any, Any], seed: int = SEED) -> list[Any]:
        """All that an env shows from this seed on."""
        with self.telling():
            return seen_in(env, self.n_env_steps, seed)

    def test_keeps_the_contract(self) -> None:
        """Spaces, masks, rewards, flags, and env steps that end; see `check_env`."""
        env = self.fresh()
        self.seen(env)
        env.close()

    def test_a_seed_says_all(self) -> None:
        """Two envs show the same, whatever the state of global generators."""
        seen = []
        for number in (1, 2):
            with other_randomness(number):
                seen.append(self.seen(self.fresh()))
        found = first_difference(*seen)
        self.expect(
            found is None,
            f"with seed {SEED} two fresh envs differ: {found}. Draw everything random from self.np_random, after "
            "super().reset(seed=seed).",
        )
        others = (self.seen(self.fresh(), seed)[0][2] for seed in (SEED + 1, SEED + 2))
        if all(data_equivalence(seen[0][0][2], other) for other in others):
            self.note("episodes of different seeds begin alike")

    def test_a_used_env_is_like_a_fresh_one(self) -> None:
        """What happened before a reset, also in the middle of an episode, leaves no trace."""
        used = self.fresh()
        with self.telling():
            seen_in(used, max(self.n_env_steps // 2, 1), SEED + 100)
        found = first_difference(self.seen(self.fresh()), self.seen(used))
        self.expect(
            found is None,
            f"with seed {SEED} a used env gave {found}, which a fresh one shows. Begin anew in reset(seed=), "
            "or construct what cannot be reset there.",
        )

    def test_episodes_end_and_say_how(self) -> None:
        """`terminated` is not `truncated`; episodes that do not end are noted."""
        env, n_ended = self.fresh(), 0
        episode: dict[str, Any] = {}
        original = env.step

        def step(action: Any) -> Any:
            nonlocal n_ended
            returned = original(action)
            _, _, terminated, truncated, info = returned
            n_ended += bool(terminated or truncated)
            episode.update(both=episode.get("both") or (terminated and truncated))
            if terminated and not truncated and info.get("TimeLimit.truncated"):
                self.fail(
                    "an episode that a time limit cut off says terminated; return truncated, so that the value of "
                    "what would have followed is learned."
                )
            return returned

        env.step = step  # type: ignore[method-assign]
        self.seen(env)
        if not n_ended:
            self.note(f"no episode ended within {self.n_env_steps} env steps; wrappers=time_limit ends them")
        if episode["both"]:
            self.note("an episode said that it terminated and was truncated: it counts as terminated")

    def test_observations_stay_as_they_were(self) -> None:
        """What was returned is not written to later."""
        env = self.fresh()
        kept: list[tuple[Any, Any]] = []

        def keep(returned: Any) -> Any:
            if isinstance(returned, tuple):
                kept.append((returned[0], copied(returned[0])))
            return returned

        reset, step = env.reset, env.step
        env.reset = lambda **arguments: keep(reset(**arguments))  # type: ignore[method-assign]
        env.step = lambda action: keep(step(action))  # type: ignore[method-assign]
        self.seen(env)
        for number, (returned, before) in enumerate(kept):
            self.expect(
                same_leaves(returned, before),
                f"observation {number} was changed after it was returned, from {before!r} to {returned!r}. Return a "
                "copy.",
            )

    def test_vector_form_is_like_the_scalar_one(self) -> None:
        """Same seeds and actions, same bits; each env is reset when it is told to, and idles until then."""
        vector = self._vector_form(self.n_envs)
        with self.telling("in its vector form"):
            check_vector_env(vector, self.name)
            scalar = InProcessVectorEnv(self.factory(), self.n_envs)
            n_ticks = 2 * self.n_env_steps // self.n_envs
            found = forms_difference(VectorPlay(scalar, SEED).ticks(n_ticks), VectorPlay(vector, SEED).ticks(n_ticks))
        self.expect(
            found is None,
            f"its vector form is not like {self.n_envs} scalar envs, in {found}. An env is reset by reset_mask only, "
            "with its own seed, and idles with reward 0 until then.",
        )
        vector.close()

    def test_vector_form_keeps_its_state(self) -> None:
        """What `get_state` returned leads another vector env to the same place."""
        vector = self._vector_form(self.n_envs)
        if not isinstance(vector, KeepsState):
            self.skip("its vector form offers no state")
        play = VectorPlay(vector, SEED)
        list(play.ticks(self.n_env_steps // (2 * self.n_envs)))
        state, observation = vector.get_state(), copied(play.observation)
        other: Any = self._vector_form(self.n_envs)
        list(play.ticks(5))
        shown, kept = other.set_state(state)
        same = data_equivalence(copied(shown), observation, exact=True) and bool(np.all(kept))
        self.expect(
            same, f"set_state shows {shown!r} where get_state was taken at {observation!r}. Copy all arrays of a state."
        )

    def test_rendered_form_plays_the_same(self) -> None:
        """What rollouts draw is what happened."""
        if self.spec.build_rendering is None:
            self.skip("it has no form of its own for rendering")
        with self.telling("in the form that is rendered"):
            rendered, plain = self.factory().rendering(1), InProcessVectorEnv(self.factory(), 1)
            n = min(self.n_env_steps, 50)
            found = forms_difference(VectorPlay(plain, SEED).ticks(n), VectorPlay(rendered, SEED).ticks(n))
        self.expect(found is None, f"build_rendering makes an env that plays another episode, in {found}.")
        try:
            frame = rendered.unwrapped.envs[0].render()  # type: ignore[attr-defined]
        except DependencyNotInstalled as error:
            self.note(f"it cannot be rendered here: {error}")
        else:
            self._expect_frame(frame)
        rendered.close()

    def _expect_frame(self, frame: Any) -> None:
        image = isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8
        shown = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        self.expect(image or isinstance(frame, str), f"render() gave {shown}; give uint8 [H, W, 3] or text.")

    def test_close_leaves_nothing(self) -> None:
        """No process or thread; closing twice does no harm."""
        before, env = at_work(), self.fresh()
        with self.telling():
            Play(env, Actors(env.observation_space, env.action_space), SEED)
            env.reset(seed=SEED)
        for time in ("", " a second time"):
            try:
                env.close()
            except Exception as error:  # whatever an env raises
                self.fail(f"close(){time} raised {type(error).__name__}: {error}. It must always work.")
        left = left_since(before)
        self.expect(not left, f"after close() there is still {', '.join(left)}. End it there.")

    def _vector_form(self, num_envs: int) -> AnyVectorEnv:
        if self.spec.build_vector is None:
            self.skip("it has no vector form")
        vector: AnyVectorEnv | None = self.make(self.config(), num_envs, build="build_vector")
        if vector is None:
            self.skip("it has no vector form with these options")
        return vector
