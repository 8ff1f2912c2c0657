"""What actor-critic algorithms minimise, with the derivatives written out.

Every loss is a mean: of the policy over the sub-steps of a minibatch, of the critic over the values
in it. Shapes: n sub-steps, m values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import NonFiniteError
from maze_core.rl.heads import ActionHeads
from maze_core.rl.kernels import Derivatives, Float32, Samples
from maze_core.rl.policy import Policy

Array = NDArray[Any]
SMALLEST_STD = 1e-8


def policy_gradient(log_probs: Array, old_log_probs: Array, advantages: Array) -> tuple[Array, Array]:
    """Loss of each decision, and its derivative with respect to the log-probability: [n], [n]."""
    return -advantages * log_probs, -advantages


def clipped_surrogate(
    log_probs: Array, old_log_probs: Array, advantages: Array, clip_range: float
) -> tuple[Array, Array]:
    """The same for PPO (Schulman et al. 2017, eq. 7): no gradient where clipping makes the loss larger."""
    ratio = np.exp(log_probs - old_log_probs)
    plain = ratio * advantages
    clipped = np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantages
    return -np.minimum(plain, clipped), np.where(plain <= clipped, -plain, 0.0)


def squared_error(values: Array, returns: Array, old_values: Array, clip_range: float | None) -> tuple[Array, Array]:
    """Loss of each value, and its derivative with respect to it: [m], [m].

    Args:
        values: What the critic says.
        returns: What it should say.
        old_values: What it said during the rollout.
        clip_range: How far it may move from that before the gradient is cut; None never cuts.
    """
    error = values - returns
    if clip_range is None:
        return error**2, 2 * error
    moved = values - old_values
    clipped_error = old_values + np.clip(moved, -clip_range, clip_range) - returns
    free = (np.abs(moved) <= clip_range) | (error**2 >= clipped_error**2)  # the larger of both counts
    return np.where(free, error**2, clipped_error**2), np.where(free, 2 * error, 0.0)


class ActorCriticLoss:
    """Loss of one minibatch: of the policy, minus a bonus for entropy, plus that of the critic.

    Args:
        policy: Its heads say what outputs mean.
        samples: The minibatch; its advantages are normalised over all actors together.
        policy_loss: `policy_gradient`, `clipped_surrogate` with its range, or None to leave the policy
            as it is.
        entropy_coef: Weight of the entropy.
        value_loss_coef: Weight of the critic's loss.
        value_clip_range: See `squared_error`.
        normalize_advantages: Whether advantages get mean 0 and standard deviation 1; a minibatch of
            one decision is left alone.
    """

    def __init__(
        self,
        policy: Policy,
        samples: Sequence[Samples],
        policy_loss: Callable[[Array, Array, Array], tuple[Array, Array]] | None,
        entropy_coef: float,
        value_loss_coef: float,
        value_clip_range: float | None = None,
        normalize_advantages: bool = False,
    ) -> None:
        self._policy, self._policy_loss = policy, policy_loss
        self._entropy_coef, self._value_loss_coef = entropy_coef, value_loss_coef
        self._value_clip_range = value_clip_range
        self._n = sum(len(part.advantages) for part in samples)
        self._m = sum(len(part.of_values(part.returns)[0]) for part in samples)
        self._mean, self._std = 0.0, 1.0
        if normalize_advantages and self._n > 1:
            advantages = _joined([part.advantages for part in samples])
            self._mean, std = float(advantages.mean()), float(advantages.std(ddof=1))
            self._std = std + SMALLEST_STD
        self._sums = dict.fromkeys(("policy_loss", "value_loss", "entropy"), 0.0)
        self._log_ratios: list[Array] = []

    def __call__(self, samples: Samples, outputs: Float32, values: Float32 | None) -> Derivatives:
        """Derivatives with respect to what one actor's networks put out."""
        heads: ActionHeads = self._policy.actors.by_key[samples.step_key].heads
        log_std = self._policy.log_std(samples.step_key)
        found = heads.evaluate(outputs, log_std, samples.actions, samples.mask)
        d_values = None if values is None else self._value_derivatives(samples, values)
        self._log_ratios.append(found.log_probs - samples.log_probs)
        self._sums["entropy"] += _sum(found.entropies)
        if self._policy_loss is None:
            no_log_std = None if heads.n_log_stds == 0 else np.zeros_like(log_std)
            return Derivatives(np.zeros_like(outputs), no_log_std, d_values)
        advantages = (samples.advantages - self._mean) / self._std
        losses, d_log_probs = self._policy_loss(found.log_probs, samples.log_probs, advantages)
        self._sums["policy_loss"] += _sum(losses)
        d_outputs, d_log_std = found.gradient(d_log_probs / self._n, -self._entropy_coef / self._n)
        return Derivatives(d_outputs, d_log_std, d_values)

    def _value_derivatives(self, samples: Samples, values: Float32) -> Float32:
        returns, old_values = samples.of_values(samples.returns, samples.values)
        losses, d_values = squared_error(values, returns, old_values, self._value_clip_range)
        self._sums["value_loss"] += _sum(losses)
        return d_values * np.float32(self._value_loss_coef / max(self._m, 1))

    def measured(self, clip_range: float | None = None) -> Mapping[str, float]:
        """Means over the minibatch, after the gradients were computed.

        Args:
            clip_range: With it, how far the policy has moved from that of the rollout is measured too.

        Raises:
            NonFiniteError: If a loss is not finite.
        """
        found = {name: total / max(self._m if name == "value_loss" else self._n, 1)
                 for name, total in self._sums.items()}  # fmt: skip
        for name, value in found.items():
            if not np.isfinite(value):
                raise NonFiniteError(f"the {name} is no longer finite: {value}. Try a smaller algorithm.lr.")
        if self._m == 0:
            del found["value_loss"]
        if clip_range is not None:
            log_ratios = _joined(self._log_ratios)
            ratios_less_one = np.expm1(log_ratios)
            found["approx_kl"] = _sum(ratios_less_one - log_ratios) / self._n
            found["clip_fraction"] = np.count_nonzero(np.abs(ratios_less_one) > clip_range) / self._n
        return found


def _sum(values: Array) -> float:
    return float(np.add.reduce(values))


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
