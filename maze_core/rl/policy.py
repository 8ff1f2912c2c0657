"""A policy: for each actor a model, and heads that give its outputs a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maze_core.errors import NonFiniteError, UserError
from maze_core.rl.actors import Actors, Turn, action_mask
from maze_core.rl.critics import Critic
from maze_core.rl.episodes import EpisodeBatch
from maze_core.rl.normalization import MomentsRecorder, ObservationNormalization
from maze_core.rl.spaces import Encoded, ObservationEncoder, batch_size

CRITIC_PREFIX = "critic."


class Policy(nn.Module):
    """The networks of all actors of an env.

    Args:
        actors: The env's actors.
        models: For each step key a module from the encoded observation to ``{head: [B, size]}``.
        normalization: Shifts and scales what the models see; None leaves observations as they are.
        initial_log_std: Logarithm of the standard deviation of Gaussian actions, which are then weights
            that are learned; None if nobody samples from the policy.

    Raises:
        UserError: If an actor's observations cannot be fed to a network, or its step key is taken.
    """

    def __init__(
        self,
        actors: Actors,
        models: Mapping[str, nn.Module],
        normalization: ObservationNormalization | None = None,
        initial_log_std: float | None = None,
    ) -> None:
        super().__init__()
        self.actors = actors
        for key in actors.by_key:
            if hasattr(nn.ModuleDict(), key) or hasattr(nn.ParameterDict(), key):
                raise UserError(f"{key!r} cannot be a step key: torch uses the name itself.")
        self.models = nn.ModuleDict(models)
        self.log_stds = nn.ParameterDict()
        for key, actor in actors.by_key.items():
            if initial_log_std is not None and actor.heads.n_log_stds:
                self.log_stds[key] = nn.Parameter(torch.full((actor.heads.n_log_stds,), float(initial_log_std)))
        self.normalization = normalization
        self.encoders = {key: ObservationEncoder(actor.observation_space) for key, actor in actors.by_key.items()}

    def encode(self, turn: Turn) -> Encoded:
        """What the actor's model sees: its observations encoded and, where configured, normalised."""
        encoder = self.encoders[turn.step_key]
        if self.normalization is None:
            return encoder.encode(turn.observation)
        return self.normalization.apply_to(turn.step_key, encoder.encode(turn.observation, np.float64))

    def log_std(self, step_key: str) -> NDArray[np.float32]:
        """Logarithms of the standard deviations of an actor's Gaussians, [n_log_stds]."""
        if step_key not in self.log_stds:
            return np.zeros(self.actors.by_key[step_key].heads.n_log_stds, np.float32)
        return self.log_stds[step_key].detach().cpu().numpy()  # type: ignore[no-any-return]

    def recorder(self, num_envs: int) -> MomentsRecorder | None:
        """Collects what running statistics of observations have to learn; None if there are none."""
        if self.normalization is None or not self.normalization.running:
            return None
        return MomentsRecorder(self.normalization, self.encoders, num_envs)

    def learn_statistics(self, episodes: EpisodeBatch) -> None:
        """Adds what was observed in episodes of training to the running statistics, in their order."""
        for moments in episodes.observed:
            for step_key, of_actor in moments.items():
                if self.normalization is not None:
                    self.normalization.update(step_key, of_actor)

    @property
    def n_parameters(self) -> int:
        """Number of weights, D."""
        return sum(parameter.numel() for parameter in self.parameters())


def weights_of(policy: Policy, critic: Critic | None) -> dict[str, torch.Tensor]:
    """A copy of all weights and statistics, on the CPU; the names of the critic's begin with ``critic.``."""
    state = {**policy.state_dict(), **({} if critic is None else critic.state_dict(prefix=CRITIC_PREFIX))}
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def load_weights(policy: Policy, critic: Critic | None, weights: Mapping[str, torch.Tensor]) -> None:
    """Takes over, in place, all that `weights_of` returned.

    Raises:
        RuntimeError: If names or shapes are others.
        TypeError: If the type of a tensor is another one.
    """
    now = {**policy.state_dict(), **({} if critic is None else critic.state_dict(prefix=CRITIC_PREFIX))}
    for name, value in now.items():
        if name in weights and weights[name].dtype != value.dtype:
            raise TypeError(f"the weights {name!r} are {weights[name].dtype} and not {value.dtype}")
    own = {name: value for name, value in weights.items() if not name.startswith(CRITIC_PREFIX)}
    policy.load_state_dict(own)
    if critic is not None:
        critic.load_state_dict(
            {name.removeprefix(CRITIC_PREFIX): value for name, value in weights.items() if name not in own}
        )


class RandomPolicy:
    """Chooses among the valid actions with equal probability; the same seed, the same actions.

    Args:
        actors: The env's actors.
        generator: Where randomness comes from.
    """

    def __init__(self, actors: Actors, generator: np.random.Generator) -> None:
        self.actors, self._generator = actors, generator

    def begin(self, generator: np.random.Generator) -> None:
        """From now on randomness comes from here."""
        self._generator = generator

    def act(self, turn: Turn) -> Any:
        """Random actions of one actor, leaves [len(rows), ...]."""
        heads = self.actors.by_key[turn.step_key].heads
        return heads.random(self._generator, batch_size(turn.observation), action_mask(turn.observation))


def get_vector(module: nn.Module) -> torch.Tensor:
    """All parameters of a module in one vector [D] on the CPU, in the order of `named_parameters`; a copy."""
    return torch.cat([torch.zeros(0), *(parameter.detach().reshape(-1).cpu() for parameter in module.parameters())])


def parameter_starts(module: nn.Module) -> dict[torch.Tensor, int]:
    """Where each parameter begins in the vector of all."""
    starts: dict[torch.Tensor, int] = {}
    position = 0
    for parameter in module.parameters():
        starts[parameter] = position
        position += parameter.numel()
    return starts


def set_vector(module: nn.Module, vector: torch.Tensor) -> None:
    """Writes a vector [D] into the parameters of a module, in place (views of them stay valid)."""
    position = 0
    with torch.no_grad():
        for parameter in module.parameters():
            size = parameter.numel()
            parameter.copy_(vector[position : position + size].view_as(parameter))
            position += size


def take_weights(
    policy: nn.Module, weights: Mapping[str, torch.Tensor], critic: nn.Module | None = None
) -> tuple[list[str], list[str]]:
    """Takes over, in place, those weights whose name and shape match.

    Args:
        policy: What gets them.
        weights: A state dict.
        critic: What gets those whose names begin with ``critic.``, or None.

    Returns:
        Names taken over, and names of both for which there was nothing that fits.

    Raises:
        NonFiniteError: If weights that fit are not finite.
    """
    own = {**policy.state_dict(), **({} if critic is None else critic.state_dict(prefix=CRITIC_PREFIX))}
    taken = [name for name, value in own.items() if name in weights and weights[name].shape == value.shape]
    statistics = {name for name in own if name.startswith("normalization.")}
    for name in taken:  # statistics of what was never observed begin with infinite bounds
        if not torch.isfinite(weights[name]).all() and (name not in statistics or weights[name].isnan().any()):
            raise NonFiniteError(f"the weights {name!r} are not finite.")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(weights[name])
    return taken, [name for name in own if name not in taken]
