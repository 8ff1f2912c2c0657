"""A policy: for each actor a model, and heads that give its outputs a meaning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from maze_core.errors import NonFiniteError, UserError
from maze_core.rl.actors import Actors
from maze_core.rl.spaces import ObservationEncoder


class Policy(nn.Module):
    """The networks of all actors of an env.

    Args:
        actors: The env's actors.
        models: For each step key a module from the encoded observation to ``{head: [B, size]}``.

    Raises:
        UserError: If an actor's observations cannot be fed to a network, or its step key is taken.
    """

    def __init__(self, actors: Actors, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.actors = actors
        for key in models:
            if hasattr(nn.ModuleDict, key):
                raise UserError(f"{key!r} cannot be a step key: torch uses the name itself.")
        self.models = nn.ModuleDict(models)
        self.encoders = {key: ObservationEncoder(actor.observation_space) for key, actor in actors.by_key.items()}

    @property
    def n_parameters(self) -> int:
        """Number of weights, D."""
        return sum(parameter.numel() for parameter in self.parameters())


def get_vector(module: nn.Module) -> torch.Tensor:
    """All parameters of a module in one vector [D] on the CPU, in the order of `named_parameters`; a copy."""
    return torch.cat([torch.zeros(0), *(parameter.detach().reshape(-1).cpu() for parameter in module.parameters())])


def set_vector(module: nn.Module, vector: torch.Tensor) -> None:
    """Writes a vector [D] into the parameters of a module, in place (views of them stay valid)."""
    position = 0
    with torch.no_grad():
        for parameter in module.parameters():
            size = parameter.numel()
            parameter.copy_(vector[position : position + size].view_as(parameter))
            position += size


def take_weights(policy: nn.Module, weights: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Takes over, in place, those weights whose name and shape match.

    Args:
        policy: What gets them.
        weights: A state dict.

    Returns:
        Names taken over, and names of the policy for which there was nothing that fits.

    Raises:
        NonFiniteError: If weights that fit are not finite.
    """
    own = policy.state_dict()
    taken = [name for name, value in own.items() if name in weights and weights[name].shape == value.shape]
    for name in taken:
        if not torch.isfinite(weights[name]).all():
            raise NonFiniteError(f"the weights {name!r} are not finite.")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(weights[name])
    return taken, [name for name in own if name not in taken]
