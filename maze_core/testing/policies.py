"""Checks of a policy for rollouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from maze_core.env_factory import EnvFactory
from maze_core.protocols import Acting, DrawsActions
from maze_core.rl.actors import Turn
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import copied
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.testing.candidates import InEnvs, actors_of
from maze_core.testing.conformance import other_randomness
from maze_core.testing.playing import Tick, VectorPlay, forms_difference, invalid_action
from maze_core.testing.toy_search import Linear
from maze_core.testing.toys import LinearConfig

N_ENVS, N_TICKS = 4, 60


class PolicyConformance(InEnvs):
    """Checks of a policy: ``name = "my_policy"``."""

    what = "policy"

    def makers(self) -> list[tuple[str, EnvFactory]]:
        """The envs that it acts in."""

        def acts(factory: EnvFactory) -> EnvFactory:
            self.made_for(factory)
            return factory

        return self.once("makers", lambda: self.tried(acts))

    def made_for(self, factory: EnvFactory) -> Acting:
        """The policy for an env; one that needs networks gets linear ones."""
        actors = actors_of(factory)
        if not self.spec.networks:
            return self._acting(self.make(self.config(), actors))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoders = Policy(actors, {}).encoders
            models = {
                key: Linear(LinearConfig(), encoders[key].space, actor.heads.output_sizes)
                for key, actor in actors.by_key.items()
            }
        kernel = make_kernel(Policy(actors, models, None, 0.0), torch.device("cpu"))
        return self._acting(self.make(self.config(), kernel))

    def _acting(self, policy: Any) -> Acting:
        self.expect(
            callable(getattr(policy, "act", None)),
            f"{type(policy).__name__} has no method act(turn); maze_core.Acting says what it returns.",
        )
        return policy  # type: ignore[no-any-return]

    def played(self, factory: EnvFactory, look: Callable[[VectorPlay], None] | None = None) -> list[Tick]:
        """Plays an env with it, from a generator of its own."""
        policy = self.made_for(factory)
        if isinstance(policy, DrawsActions):
            policy.begin(np.random.default_rng(5))
        with self.telling():
            play = VectorPlay(InProcessVectorEnv(factory, N_ENVS), act=lambda turn: copied(policy.act(turn)))
            ticks = []
            for tick in play.ticks(N_TICKS):
                ticks.append(tick)
                if look is not None:
                    look(play)
        return ticks

    def test_actions_are_valid(self) -> None:
        """Members of the action space that the mask allows, one for each row of the turn."""
        for name, factory in self.makers():
            policy = self.made_for(factory)
            play = VectorPlay(InProcessVectorEnv(factory, N_ENVS))
            if isinstance(policy, DrawsActions):
                policy.begin(np.random.default_rng(5))

            def checked(turn: Turn, play: VectorPlay = play, policy: Acting = policy, name: str = name) -> Any:
                actions = policy.act(turn)
                found = invalid_action(play.actors, turn, actions)
                self.expect(
                    found is None,
                    f"in env {name!r} {found}. Return members of the action space with leaves [n, ...], and read "
                    "turn.observation['action_mask'].",
                )
                return actions

            play.act = checked
            with self.telling(f"in env {name!r}"):
                list(play.ticks(N_TICKS))

    def test_its_generator_says_all(self) -> None:
        """Given the same generator, or none to draw from, it does the same again."""
        for name, factory in self.makers():
            plays = []
            for number in (1, 2):
                with other_randomness(number):
                    plays.append(self.played(factory))
            found = forms_difference(*plays)
            self.expect(
                found is None,
                f"in env {name!r} it acts another time otherwise, in {found}. Draw only from the generator that "
                "begin(generator) gives.",
            )
