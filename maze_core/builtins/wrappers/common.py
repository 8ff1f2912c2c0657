"""What several wrappers need."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from maze_core.errors import UserError
from maze_core.rl.actors import is_structured


def reset_mask(env: VectorEnv[Any, Any, Any], options: dict[str, Any] | None) -> NDArray[np.bool_]:
    """The envs that a `reset` with these options resets, [B]."""
    mask: NDArray[np.bool_] = (options or {}).get("reset_mask", np.ones(env.num_envs, bool))
    return mask


def refuse_structured(
    name: str, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], reason: str
) -> None:
    """Refuses a structured env.

    Args:
        name: Of the wrapper.
        observation_space: Of the env.
        action_space: Of the env.
        reason: What the wrapper would do there.

    Raises:
        UserError: If it is one.
    """
    if is_structured(observation_space, action_space):
        raise UserError(f"wrapper {name} {reason} of a structured env; do this inside the env.")
