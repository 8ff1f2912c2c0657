"""From rewards to advantages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def generalized_advantages(
    rewards: Float64,
    values: Float64,
    next_values: Float64,
    ended: NDArray[np.bool_],
    gamma: float | Float64,
    gae_lambda: float | Float64,
) -> Float64:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438).

    Nothing crosses the end of an episode. Whether an end is a termination or a truncation is said by
    `next_values` alone: 0 after a termination, the value of the final observation after a truncation.

    Args:
        rewards: [T, B].
        values: Value of what was observed before each step, [T, B].
        next_values: Value of what was observed after it, [T, B].
        ended: Whether an episode ended with the step, [T, B].
        gamma: Discount from a step to the next, a number or [T, B].
        gae_lambda: Weight of longer returns, a number or [T, B].

    Returns:
        Advantages [T, B]; added to `values` they are the returns that a critic learns.
    """
    advantages = rewards + gamma * next_values - values
    decay: Any = np.where(ended, 0.0, np.asarray(gamma) * gae_lambda)
    for step in range(len(advantages) - 2, -1, -1):
        advantages[step] += decay[step] * advantages[step + 1]
    return advantages


def explained_variance(values: NDArray[Any], returns: NDArray[Any]) -> float:
    """Share of the variance of returns [n] that values [n] explain: 1 is all, 0 or less is nothing."""
    variance = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / variance if variance > 0 else 0.0
