"""Checks of a critic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from maze_core.env_factory import EnvFactory
from maze_core.rl.actors import Actors
from maze_core.rl.critics import VALUE, Critic
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.policy import Policy
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.testing.candidates import InEnvs, actors_of
from maze_core.testing.conformance import kept_randomness
from maze_core.testing.playing import VectorPlay
from maze_core.testing.toy_search import Linear
from maze_core.testing.toys import LinearConfig

CPU = torch.device("cpu")
N_ENVS = 5


class CriticConformance(InEnvs):
    """Checks of a critic: ``name = "my_critic"``; its networks are linear ones."""

    what = "critic"

    def built(self) -> list[tuple[str, EnvFactory, Policy, Any]]:
        """Policy and critic in each env: its name, what makes it, and both."""
        with kept_randomness():
            made = self.tried(lambda factory: (factory, *self._networks(factory)))
        for _, (factory, _, critic) in made:
            self._expect_critic(critic, actors_of(factory))
        return [(name, factory, policy, critic) for name, (factory, policy, critic) in made]

    def _networks(self, factory: EnvFactory) -> tuple[Policy, Any]:
        actors = actors_of(factory)
        encoders = Policy(actors, {}).encoders
        extra = {VALUE: 1} if self.spec.in_policy else {}

        def network(step_key: str, sizes: Mapping[str, int] = MappingProxyType({VALUE: 1})) -> nn.Module:
            return Linear(LinearConfig(), encoders[step_key].space, sizes)

        models = {key: network(key, {**actor.heads.output_sizes, **extra}) for key, actor in actors.by_key.items()}
        return Policy(actors, models, None, 0.0), self.make(self.config(), actors.step_keys, network)

    def _expect_critic(self, critic: Any, actors: Actors) -> None:
        self.expect(
            critic is None or isinstance(critic, Critic),
            f"build returned a {type(critic).__name__}; it must be a maze_core.rl.Critic, or None for no values.",
        )
        if critic is None:
            return
        self.expect(
            critic.in_policy == self.spec.in_policy,
            f"its Critic has in_policy={critic.in_policy}, and its CriticSpec in_policy={self.spec.in_policy}.",
        )
        needed = set() if critic.in_policy else set(actors.step_keys if critic.per_sub_step else actors.step_keys[:1])
        self.expect(
            set(critic.models) == needed,
            f"it has networks for {', '.join(critic.models) or 'no actor'}; with per_sub_step={critic.per_sub_step} "
            f"they must be for {', '.join(sorted(needed)) or 'none, those of the policy'}.",
        )

    def test_has_a_network_for_all_that_has_a_value(self) -> None:
        """All actors with values of sub-steps, the first one with values of env steps, none inside the policy."""
        self.built()

    def test_values_are_finite_numbers(self) -> None:
        """One for each observation that has a value."""
        for name, factory, policy, critic in self.built():
            if critic is None:
                continue
            kernel, play = make_kernel(policy, CPU, critic), VectorPlay(InProcessVectorEnv(factory, N_ENVS))
            for _ in play.ticks(10):
                for turn, _ in play.decisions:
                    if critic.values_of(turn.step_key):
                        with self.telling(f"env {name!r}, actor {turn.step_key!r}"):
                            values = kernel.values(turn.step_key, policy.encode(turn))
                        n = N_ENVS if turn.rows is None else len(turn.rows)
                        sound = values.shape == (n,) and bool(np.isfinite(values).all())
                        self.expect(
                            sound, f"env {name!r}, actor {turn.step_key!r}: {values} must be {n} finite values."
                        )
