"""Gradient steps: optimisers of all weights at once, and schedules.

Torch's own optimisers compute the same, but the first of a process imports torch's compiler, which
takes longer than many a training run here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from maze_core.enums import Schedule
from maze_core.errors import UserError
from maze_core.rl.parameters import FlatParameters
from maze_core.rl.saved import saved_count, saved_tensor


class FlatOptimizer(ABC):
    """What all optimisers have in common; a subclass says how weights move.

    Args:
        parameters: The weights and their gradients.
        moments: Names of the running means that it keeps, each [D].
        epsilon: Keeps it from dividing by zero.
    """

    def __init__(self, parameters: FlatParameters, moments: Iterable[str], epsilon: float) -> None:
        self.parameters, self.epsilon = parameters, epsilon
        self.moments = {name: torch.zeros_like(parameters.values) for name in moments}
        self.n_steps = 0

    def step(self, lr: float, max_grad_norm: float | None) -> float:
        """Takes one step, and returns the norm of the gradient.

        Args:
            lr: Its size.
            max_grad_norm: Largest norm that the gradient keeps; None for no limit.

        Raises:
            NonFiniteError: If a gradient is not finite; the weights are as they were.
        """
        norm = self.parameters.clip_gradients(max_grad_norm)
        self.n_steps += 1
        self._move(self.parameters.values, self.parameters.gradients, lr)
        return norm

    @abstractmethod
    def _move(self, weights: torch.Tensor, gradients: torch.Tensor, lr: float) -> None:
        """Changes the weights in place."""

    def state_dict(self) -> dict[str, Any]:
        """Weights, moments and counter, as tensors and JSON values."""
        tensors = {"weights": self.parameters.values, **self.moments}
        return {"n_steps": self.n_steps, **{name: value.detach().cpu().clone() for name, value in tensors.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, in place; raises ValueError if it is that of other weights."""
        self.n_steps = saved_count(state, "n_steps")
        for name, value in {"weights": self.parameters.values, **self.moments}.items():
            value.copy_(saved_tensor(state, name, value))


class Adam(FlatOptimizer):
    """Kingma and Ba 2015 (arXiv:1412.6980), with the usual decays of 0.9 and 0.999."""

    def __init__(self, parameters: FlatParameters, epsilon: float = 1e-5) -> None:
        super().__init__(parameters, ("first", "second"), epsilon)

    def _move(self, weights: torch.Tensor, gradients: torch.Tensor, lr: float) -> None:
        first, second = self.moments["first"], self.moments["second"]
        first.lerp_(gradients, 0.1)
        second.mul_(0.999).addcmul_(gradients, gradients, value=0.001)
        scale = (second.sqrt() / math.sqrt(1 - 0.999**self.n_steps)).add_(self.epsilon)
        weights.addcdiv_(first, scale, value=-lr / (1 - 0.9**self.n_steps))


class RMSProp(FlatOptimizer):
    """Tieleman and Hinton 2012, with a decay of 0.99."""

    def __init__(self, parameters: FlatParameters, epsilon: float = 1e-5) -> None:
        super().__init__(parameters, ("second",), epsilon)

    def _move(self, weights: torch.Tensor, gradients: torch.Tensor, lr: float) -> None:
        second = self.moments["second"]
        second.mul_(0.99).addcmul_(gradients, gradients, value=0.01)
        weights.addcdiv_(gradients, second.sqrt().add_(self.epsilon), value=-lr)


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
