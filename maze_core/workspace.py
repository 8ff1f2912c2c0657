"""Where a policy acts: envs by size, and what decides in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from maze_core.env_factory import EnvFactory
from maze_core.protocols import Acting, Runner
from maze_core.rl.actors import Actors
from maze_core.rl.kernels import Kernel
from maze_core.rl.policy import load_weights, weights_of
from maze_core.rl.replay import KeepsState, ReplayedVectorEnv, layers, learned_state, load_learned_state
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv


class EnvWorkspace:
    """Envs by size, and a policy that acts in them; see `maze_core.protocols.Workspace`.

    Args:
        factory: Makes envs.
        actors: Their actors.
        acting: Who decides in evaluations and rollouts.
    """

    kernel: Kernel  # of a policy that has networks

    def __init__(self, factory: EnvFactory, actors: Actors, acting: Acting) -> None:
        self.factory, self.actors, self.acting = factory, actors, acting
        self.runner: Runner | None = None  # steps envs elsewhere, perhaps
        self._vector_envs: dict[tuple[int, bool], AnyVectorEnv] = {}

    def vector_env(self, num_envs: int, training: bool) -> AnyVectorEnv:
        """A vector env of this size; the same one each time, but never one for both."""
        key = (num_envs, training)
        if key not in self._vector_envs:
            self._vector_envs[key] = self._vector(num_envs, training)
        return self._vector_envs[key]

    def learns(self, training: bool) -> bool:
        """Whether a wrapper learns from all envs together."""
        return any(spec.shares_state and (training or not spec.training_only) for spec, _ in self.factory.wrappers)

    def _vector(self, num_envs: int, training: bool) -> AnyVectorEnv:
        inner = None if self.runner is None else self.runner.vector_env(num_envs, training)
        return self.factory.vector(num_envs, training, inner)

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights and statistics that decisions depend on, on the CPU; empty where nothing is trained."""
        return {}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes over what `weights` returned elsewhere."""

    def in_process(self) -> list[InProcessVectorEnv]:
        """The vector envs that step scalar envs in this process."""
        return [layer for env in self._envs() for layer in layers(env) if isinstance(layer, InProcessVectorEnv)]

    def _envs(self) -> list[AnyVectorEnv]:
        return list(self._vector_envs.values())

    def close(self) -> None:
        """Closes all envs."""
        for env in self._envs():
            env.close()
        self._vector_envs.clear()


class RunWorkspace(EnvWorkspace):
    """The same with a policy that has networks, for training and for what was trained.

    Args:
        factory: Makes envs.
        kernel: Computes the policy.
        max_replay_steps: Up to how many steps an episode of training can be repeated; None if none ever is.
        acting: Who decides in evaluations and rollouts; None for the policy's most probable actions.
    """

    def __init__(
        self, factory: EnvFactory, kernel: Kernel, max_replay_steps: int | None = None, acting: Acting | None = None
    ) -> None:
        super().__init__(factory, kernel.policy.actors, kernel if acting is None else acting)
        self.kernel, self._max_replay_steps = kernel, max_replay_steps
        self._critic = None if acting is None else kernel.critic  # who acts in a rollout may ask for values
        self._trained_in: list[AnyVectorEnv] = []

    def weights(self) -> dict[str, torch.Tensor]:
        """Those of the policy, and of the critic if decisions may depend on it."""
        return weights_of(self.kernel.policy, self._critic)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes over what `weights` returned elsewhere."""
        load_weights(self.kernel.policy, self._critic, weights)

    def new_vector_env(self, num_envs: int) -> AnyVectorEnv:
        """A vector env for training that nobody else gets."""
        env = self._vector(num_envs, training=True)
        if self._max_replay_steps is not None and not isinstance(env, KeepsState):
            env = ReplayedVectorEnv(env, self._max_replay_steps)
        self._trained_in.append(env)
        return env

    def state_dict(self) -> dict[str, Any]:
        """What wrappers learned over all episodes, as arrays and JSON values."""
        kept = [{"num_envs": n, "training": training, "learned": learned_state(env)}
                for (n, training), env in self._vector_envs.items()]  # fmt: skip
        return {
            "trained_in": [learned_state(env) for env in self._trained_in],
            "kept": [entry for entry in kept if entry["learned"]],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; the same envs for training must have been made."""
        for env, learned in zip(self._trained_in, state["trained_in"], strict=True):
            load_learned_state(env, learned)
        for entry in state["kept"]:
            load_learned_state(self.vector_env(entry["num_envs"], entry["training"]), entry["learned"])

    def _envs(self) -> list[AnyVectorEnv]:
        return [*self._vector_envs.values(), *self._trained_in]

    @property
    def n_not_repeated(self) -> int:
        """How many episodes under way could not go on when the run did."""
        return sum(getattr(env, "n_not_repeated", 0) for env in self._trained_in)

    def close(self) -> None:
        """Closes all envs."""
        super().close()
        self._trained_in.clear()
