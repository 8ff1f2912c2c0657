"""All weights of some networks as one vector, so that an optimiser takes one step for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from maze_core.errors import NonFiniteError, UserError
from maze_core.rl.critics import Critic


class FlatParameters:
    """The trainable weights of modules, moved into one vector that they then share memory with.

    Weights that are frozen (``requires_grad=False``) stay where they are.

    Args:
        modules: Modules on one device; a weight that two of them share is taken once.

    Raises:
        UserError: If there is nothing to train, or weights have different types.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        prefixes = ["critic" if isinstance(module, Critic) else "" for module in modules]
        named = {
            parameter: name
            for module, prefix in zip(modules, prefixes, strict=True)
            for name, parameter in module.named_parameters(prefix)
        }
        self._named = [(name, parameter) for parameter, name in named.items() if parameter.requires_grad]
        if not self._named:
            raise UserError("the model has no weights that could be trained.")
        kinds = {(parameter.dtype, parameter.device) for _, parameter in self._named}
        if len(kinds) > 1:
            raise UserError(f"all weights must have one type and device, and the model has {sorted(map(str, kinds))}.")
        self.values = torch.cat([parameter.detach().reshape(-1) for _, parameter in self._named])
        self.values.grad = torch.zeros_like(self.values)
        position = 0
        for _, parameter in self._named:
            part = slice(position, position + parameter.numel())
            parameter.data = self.values[part].view(parameter.shape)
            parameter.grad = self.gradients[part].view(parameter.shape)
            position = part.stop

    @property
    def gradients(self) -> torch.Tensor:
        """Gradients of all weights, [D]."""
        assert self.values.grad is not None
        return self.values.grad

    def clip_gradients(self, max_norm: float | None) -> float:
        """Scales the gradients down to `max_norm`, and returns the norm that they had.

        Raises:
            NonFiniteError: If a gradient is not finite; the weights are as they were.
        """
        norm = float(torch.linalg.vector_norm(self.gradients))
        if not math.isfinite(norm):
            self._raise_non_finite()
        if max_norm is not None and norm > max_norm:
            self.gradients.mul_(max_norm / (norm + 1e-6))
        return norm

    def _raise_non_finite(self) -> None:
        bad = [name for name, weight in self._named if weight.grad is not None and not weight.grad.isfinite().all()]
        what = f"gradient of the weights {bad[0]!r}" if bad else "norm of the gradient"
        raise NonFiniteError(f"the {what} is no longer finite. Try a smaller algorithm.lr.")
