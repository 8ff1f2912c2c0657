"""A policy with networks as what acts: its most probable actions, or drawn ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from maze_core.errors import UserError
from maze_core.rl.actors import Turn, action_mask
from maze_core.rl.kernels import Kernel
from maze_core.rl.spaces import batch_size


class KernelPolicy:
    """Acts as a kernel's policy says.

    Args:
        kernel: Computes the policy.
        deterministic: Whether it takes the most probable actions; else they are drawn.
        generator: Where randomness comes from; `begin` may change it.

    Raises:
        UserError: If actions are to be drawn, and the deviations of some were never learned.
    """

    def __init__(
        self, kernel: Kernel, deterministic: bool = True, generator: np.random.Generator | None = None
    ) -> None:
        self.actors = kernel.policy.actors
        self._kernel, self._deterministic = kernel, deterministic
        self._generator = generator or np.random.default_rng(0)
        for key, actor in self.actors.by_key.items():
            if not deterministic and actor.heads.n_log_stds and key not in kernel.policy.log_stds:
                raise UserError(
                    f"the actions of actor {key!r} cannot be drawn: the algorithm that trained the policy learned no "
                    "deviations of them. Use its most probable actions (deterministic)."
                )

    def begin(self, generator: np.random.Generator) -> None:
        """From now on randomness comes from here."""
        self._generator = generator

    def act(self, turn: Turn) -> Any:
        """The actions of one actor, leaves [len(rows), ...]."""
        if self._deterministic:
            return self._kernel.act(turn)
        policy, heads = self._kernel.policy, self.actors.by_key[turn.step_key].heads
        outputs = self._kernel.outputs(turn.step_key, policy.encode(turn))
        noise = heads.noise(self._generator, (batch_size(turn.observation),))
        drawn = heads.sample(outputs, policy.log_std(turn.step_key), noise, action_mask(turn.observation))
        return heads.to_env(drawn)
