"""The policies that come with the core."""

from __future__ import annotations

import numpy as np

from maze_core.builtins.config import MaskedRandomConfig, RandomConfig, TrainedConfig
from maze_core.errors import UserError
from maze_core.rl.acting import KernelPolicy
from maze_core.rl.actors import Actors, has_mask
from maze_core.rl.kernels import Kernel
from maze_core.rl.policy import RandomPolicy


def random(config: RandomConfig, actors: Actors) -> RandomPolicy:
    """Valid actions with equal probability."""
    return RandomPolicy(actors, np.random.default_rng(0))  # `begin` says where randomness comes from


def masked_random(config: MaskedRandomConfig, actors: Actors) -> RandomPolicy:
    """The same, where there are masks.

    Raises:
        UserError: If the env has none.
    """
    if not any(has_mask(actor.observation_space) for actor in actors.by_key.values()):
        raise UserError("policy masked_random: no actor of the env has an action_mask. Use policy=random.")
    return RandomPolicy(actors, np.random.default_rng(0))


def trained(config: TrainedConfig, kernel: Kernel) -> KernelPolicy:
    """What a run trained."""
    return KernelPolicy(kernel, config.deterministic)
