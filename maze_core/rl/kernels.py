"""How a policy and its critic are computed: the one seam for speed.

Trainers and evaluation see a kernel and do not know which. `AutogradKernel` computes any model
with torch, on any device. `DenseKernel` computes chains of dense layers in NumPy on the CPU, where
at these sizes the cost of a torch call is many times the arithmetic.

Distributions and losses are NumPy for both, so they are written once: a kernel tells what the
networks put out, asks the loss for its derivatives with respect to that, and carries them on to the
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from maze_core.rl.actors import Turn
from maze_core.rl.critics import Critic
from maze_core.rl.parameters import FlatParameters
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import Encoded
from maze_core.rl.streams import Streams

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Decisions of one actor that an update learns from.

    Args:
        step_key: The actor.
        observation: What its networks saw, encoded, leaves [n, ...].
        mask: Masks of the decisions, leaves [n, ...], or None.
        actions: What was decided, raw, [n, n_actions].
        log_probs: How probable that was when it was decided, [n].
        advantages: How much better than expected it turned out, [n].
        valued: Of which decisions the critic learns the value, m of [n]; None = all.
        values: What the critic said about them during the rollout, [n].
        returns: What the critic should have said, [n].
    """

    step_key: str
    observation: Encoded
    mask: Any
    actions: Float32
    log_probs: Float32
    advantages: Float32
    valued: NDArray[np.bool_] | None
    values: Float32
    returns: Float32

    def of_values(self, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The rows [m] of arrays [n] whose value the critic learns."""
        return arrays if self.valued is None else tuple(array[self.valued] for array in arrays)


@dataclass(frozen=True)
class Derivatives:
    """Derivatives of a loss with respect to what the networks of one actor put out.

    Args:
        outputs: Of the policy, [n, size].
        log_std: Of the standard deviations, [n_log_stds], or None.
        values: Of the critic, [m], or None.
    """

    outputs: Float32
    log_std: Float32 | None
    values: Float32 | None


Loss = Callable[[Samples, Float32, Float32 | None], Derivatives]
"""From samples, the policy's outputs [n, size] and the critic's values [m] (None without critic)."""


class Population(Protocol):
    """Many copies of a policy, each with its own parameters; copy i acts in env i."""

    def act(self, turn: Turn) -> Any:
        """The most probable action of each row's own copy, leaves [len(rows), ...]."""
        ...


class Kernel(Protocol):
    """Computes the decisions of a policy and the values of a critic, and how they learn.

    Args:
        policy: Its networks. Changing its parameters in place changes the kernel's results.
        critic: The same for values; None if there is none.
        name: ``dense`` or ``autograd``.
    """

    policy: Policy
    critic: Critic | None
    name: str

    @property
    def parameters(self) -> FlatParameters:
        """All weights of policy and critic, and their gradients."""
        ...

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor, leaves [len(rows), ...]."""
        ...

    def outputs(self, step_key: str, observation: Encoded) -> Float32:
        """What the policy's network says about encoded observations, [n, size]."""
        ...

    def values(self, step_key: str, observation: Encoded) -> Float32:
        """What the critic says about encoded observations, [n]."""
        ...

    def gradients(self, samples: Sequence[Samples], loss: Loss) -> None:
        """Writes the gradients of a loss into `parameters`.

        Args:
            samples: At most one part for each actor; the loss is the sum over them.
            loss: Its derivatives with respect to what the networks put out.
        """
        ...

    def learning(self, streams: Streams, update: int) -> AbstractContextManager[None]:
        """Within it gradients are computed: networks are in training mode, their randomness is seeded."""
        ...

    def population(self, parameters: Float32) -> Population:
        """Copies of the policy with their own parameters, [P, D] as `policy.get_vector` orders them.

        The result for one member does not depend on which others are computed with it.
        """
        ...


def set_log_std_gradient(policy: Policy, step_key: str, gradient: Float32 | None) -> None:
    """Writes the derivative of a loss with respect to an actor's standard deviations."""
    if step_key in policy.log_stds and gradient is not None:
        target = policy.log_stds[step_key].grad
        if target is not None:  # None where it is frozen
            target.copy_(torch.from_numpy(np.asarray(gradient, np.float32)))
