"""Gradient steps: all weights of some networks as one vector, an optimiser for it, and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from maze_core.enums import Schedule
from maze_core.errors import NonFiniteError, UserError


class FlatParameters:
    """The trainable weights of modules, moved into one vector that they then share memory with.

    Weights that are frozen (``requires_grad=False``) stay where they are.

    Args:
        modules: Modules on one device; a weight that two of them share is taken once.

    Raises:
        UserError: If there is nothing to train, or weights have different types.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        named = {parameter: name for module in modules for name, parameter in module.named_parameters()}
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


class FlatOptimizer:
    """An optimiser of torch on all weights at once.

    Args:
        parameters: The weights and their gradients.
        make: From a list of tensors to the optimiser.
    """

    def __init__(self, parameters: FlatParameters, make: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> None:
        self.parameters = parameters
        self._optimizer = make([parameters.values])

    def step(self, lr: float, max_grad_norm: float | None) -> float:
        """Takes one step, and returns the norm of the gradient.

        Args:
            lr: Its size.
            max_grad_norm: Largest norm that the gradient keeps; None for no limit.

        Raises:
            NonFiniteError: If a gradient is not finite; the weights are as they were.
        """
        norm = self.parameters.clip_gradients(max_grad_norm)
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Weights and the optimiser's state, as tensors and JSON values."""
        state = deepcopy(self._optimizer.state_dict()["state"].get(0, {}))
        return {"weights": self.parameters.values.detach().cpu().clone(), "optimizer": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; weights are written in place."""
        with torch.no_grad():
            self.parameters.values.copy_(state["weights"])
        own = {0: deepcopy(state["optimizer"])} if state["optimizer"] else {}
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": own})


def scheduled(value: float, schedule: Schedule, update: int, horizon: int | None) -> float:
    """The value of an update.

    Args:
        value: Of the first update.
        schedule: constant, or linear: zero would be reached by the update after the last.
        update: Number of the update, from 0.
        horizon: Updates of the whole run; needed for linear. Beyond it the last value stays.
    """
    if schedule is Schedule.constant:
        return value
    assert horizon is not None
    return value * (1 - min(update, horizon - 1) / horizon)


def check_horizon(schedules: Iterable[Schedule], horizon: int | None) -> None:
    """Checks that schedules know when they end.

    Raises:
        UserError: If one is linear and there is no horizon.
    """
    if horizon is None and Schedule.linear in schedules:
        raise UserError(
            "a linear schedule needs to know when it ends. Set runner.n_epochs or runner.total_env_steps, "
            "or use the schedule constant."
        )
