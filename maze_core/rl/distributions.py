"""Distributions of actions: what the numbers that a network puts out mean, and how they learn.

A *head* is the distribution of one part of an action space. It reads `size` outputs of each row
(logits, or the mean of a Gaussian) and works on *raw* actions: `n_actions` numbers a row that are
what was sampled, before they are shifted, squashed or clipped into the space.

Everything is NumPy and serves every kernel: log-probabilities, entropies, and their derivatives with
respect to the outputs are written here, once. Shapes: n rows, S outputs, K raw numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.errors import UserError

Array = NDArray[Any]
"""Floating, [n, S] or [n, K]; computed in the precision that the outputs have."""

Gradient = Callable[[Array, Array | float], tuple[Array, Array | None]]
"""From dL/d(log-probability) [n] and dL/d(entropy) [n] or one for all to dL/d(outputs) [n, S] and
dL/d(logarithm of the standard deviation) [K], None where a head has none."""

RAREST = 2.0**-24
"""Noise is cut off where it is rarer than this."""

QUADRATURE_POINTS = 32
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Evaluation:
    """How probable given actions are, and how that depends on the outputs.

    Args:
        log_probs: Logarithm of the probability or density of each row's action, [n].
        entropies: Entropy of each row's distribution, [n].
        gradient: Derivatives of a loss that depends on both.
    """

    log_probs: Array
    entropies: Array
    gradient: Gradient


class Head(Protocol):
    """The distribution of one part of an action.

    Attributes:
        size: Outputs that it reads, S.
        n_actions: Numbers of a raw action, K.
        n_noise: Random numbers that a sample takes.
        n_log_stds: Standard deviations that are learned besides the outputs.
    """

    size: int
    n_actions: int
    n_noise: int
    n_log_stds: int

    def mode(self, outputs: Array, mask: Array | None) -> Array:
        """The most probable raw action of each row: [n, S] -> [n, K]."""
        ...

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """What `sample` needs for a block of rows, [*shape, n_noise]."""
        ...

    def sample(self, outputs: Array, log_std: Array, noise: Array, mask: Array | None) -> Array:
        """A raw action of each row, [n, K], from noise [n, n_noise]."""
        ...

    def evaluate(self, outputs: Array, log_std: Array, actions: Array, mask: Array | None) -> Evaluation:
        """How probable raw actions [n, K] are."""
        ...

    def to_env(self, actions: Array) -> Array:
        """Raw actions [n, K] as members of the space, [n, ...]."""
        ...

    def random(self, generator: np.random.Generator, n: int, mask: Array | None) -> Array:
        """Uniform valid members of the space (of an unbounded Box: standard normal), [n, ...]."""
        ...

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Rows whose mask [n, S] leaves no choice, [n]."""
        ...


class CategoricalHead:
    """Independent choices, for Discrete (one choice) and MultiDiscrete (several).

    Outputs are logits, those of one choice after those of another; raw actions count from 0.

    Args:
        space: The action space; `start` is respected.
    """

    n_log_stds = 0

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        single = isinstance(space, spaces.Discrete)
        sizes = np.array([space.n]) if isinstance(space, spaces.Discrete) else space.nvec.ravel()
        self._starts = np.atleast_1d(np.asarray(space.start)).ravel()
        self._offsets = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        self._shape: tuple[int, ...] = () if single else tuple(space.shape or ())
        self._dtype = space.dtype
        self.size, self.n_actions = int(sizes.sum()), len(sizes)
        self.n_noise = self.size
        self._cell_shape = (len(sizes), int(sizes.max()))
        self._filled = np.arange(sizes.max()) < sizes[:, None]  # [K, largest]: which cells are values of a choice
        self._even = bool(self._filled.all())
        self._columns = np.arange(len(sizes))

    def _cells(self, outputs: Array, mask: Array | None) -> Array:
        """Logits by choice and value, [n, K, largest choice]; -inf where there is no such value."""
        if mask is not None:
            lowest = np.finfo(outputs.dtype).min  # an allowed choice is never below a forbidden one
            outputs = np.where(mask, np.maximum(outputs, lowest), -np.inf).astype(outputs.dtype, copy=False)
        if self._even:
            return outputs.reshape(len(outputs), *self._cell_shape)
        cells = np.full((len(outputs), *self._cell_shape), -np.inf, outputs.dtype)
        cells[:, self._filled] = outputs
        return cells

    def mode(self, outputs: Array, mask: Array | None) -> Array:
        """The value with the largest logit among those allowed."""
        if self.n_actions == 1 and mask is None:
            best: Array = outputs.argmax(axis=1)[:, None]
        else:
            best = self._cells(outputs, mask).argmax(axis=2)
        return best

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Standard Gumbel noise, cut off where it is rarer than one in 2**24."""
        noise = generator.standard_exponential((*shape, self.n_noise), np.float32)
        np.maximum(noise, RAREST, out=noise)
        np.log(noise, out=noise)
        return np.negative(noise, out=noise)

    def sample(self, outputs: Array, log_std: Array, noise: Array, mask: Array | None) -> Array:
        """The largest logit after Gumbel noise is a sample of the softmax."""
        return self.mode(outputs + noise, mask)

    def evaluate(self, outputs: Array, log_std: Array, actions: Array, mask: Array | None) -> Evaluation:
        """Softmax over the allowed values of each choice; the choices' log-probabilities add up."""
        cells = self._cells(outputs, mask)
        rows, choices = np.arange(len(outputs))[:, None], actions.astype(np.intp)
        log_p = cells - cells.max(axis=2, keepdims=True)
        p = np.exp(log_p)
        total = p.sum(axis=2, keepdims=True)
        p /= total
        log_p -= np.log(total)
        log_probs = log_p[rows, self._columns, choices].sum(axis=1)
        if mask is not None or not self._even:
            np.copyto(log_p, 0.0, where=np.isneginf(log_p))  # 0 * log(0) counts as 0
        entropies = -(p * log_p).sum(axis=2)  # [n, K]

        def gradient(d_log_probs: Array, d_entropies: Array | float) -> tuple[Array, None]:
            d_cells = p * -d_log_probs[:, None, None]
            d_cells[rows, self._columns, choices] += d_log_probs[:, None]
            if isinstance(d_entropies, np.ndarray):
                d_entropies = d_entropies[:, None, None]
            if not isinstance(d_entropies, float) or d_entropies != 0.0:
                d_cells -= d_entropies * p * (log_p + entropies[:, :, None])
            return (d_cells.reshape(outputs.shape) if self._even else d_cells[:, self._filled]), None

        return Evaluation(log_probs, entropies.sum(axis=1), gradient)

    def to_env(self, actions: Array) -> Array:
        """Counts from `start` and has the shape and type of the space."""
        values = actions.astype(self._dtype, copy=False) + self._starts
        return values.astype(self._dtype, copy=False).reshape(len(actions), *self._shape)

    def random(self, generator: np.random.Generator, n: int, mask: Array | None) -> Array:
        """Each allowed value with the same probability."""
        return self.to_env(self.mode(generator.random((n, self.size), np.float32), mask))

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Rows in which some choice has no allowed value."""
        allowed = np.logical_or.reduceat(np.asarray(mask, bool), self._offsets, axis=1)
        return np.asarray(~allowed.all(axis=1))


class BinaryHead:
    """Independent yes-or-no decisions, for MultiBinary; outputs are the logits of yes."""

    n_log_stds = 0

    def __init__(self, space: spaces.MultiBinary) -> None:
        self._shape, self._dtype = space.shape, space.dtype
        self.size = self.n_actions = self.n_noise = int(np.prod(space.shape))

    def mode(self, outputs: Array, mask: Array | None) -> Array:
        """One where the logit is positive."""
        return outputs > 0

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Standard logistic noise, cut off where it is rarer than one in 2**24."""
        uniform = generator.random((*shape, self.n_noise), np.float32)
        np.clip(uniform, RAREST, 1 - RAREST, out=uniform)
        noise: NDArray[np.float32] = np.log(uniform / (1 - uniform))
        return noise

    def sample(self, outputs: Array, log_std: Array, noise: Array, mask: Array | None) -> Array:
        """A logit plus logistic noise is positive with the logit's probability."""
        return outputs + noise > 0

    def evaluate(self, outputs: Array, log_std: Array, actions: Array, mask: Array | None) -> Evaluation:
        """Bernoulli distributions whose log-probabilities add up."""
        softplus = np.logaddexp(outputs, 0)  # -log P(0)
        p = np.exp(outputs - softplus)
        log_probs = (actions * outputs - softplus).sum(axis=1)
        entropies = (softplus - p * outputs).sum(axis=1)

        def gradient(d_log_probs: Array, d_entropies: Array | float) -> tuple[Array, None]:
            d_entropies = d_entropies[:, None] if isinstance(d_entropies, np.ndarray) else d_entropies
            return (actions - p) * d_log_probs[:, None] - d_entropies * outputs * p * (1 - p), None

        return Evaluation(log_probs, entropies, gradient)

    def to_env(self, actions: Array) -> Array:
        """Zeros and ones in the shape of the space."""
        return actions.astype(self._dtype).reshape(len(actions), *self._shape)

    def random(self, generator: np.random.Generator, n: int, mask: Array | None) -> Array:
        """Zero and one with the same probability."""
        return self.to_env(generator.random((n, self.size), np.float32) > 0.5)

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Never: MultiBinary has no mask."""
        return np.zeros(len(mask), bool)


class GaussianHead:
    """A diagonal Gaussian over a Box; outputs are its mean, raw actions what was drawn.

    The plain form is clipped to the bounds on its way to the env, and learns from what was drawn.
    `squashed` passes it through tanh into the bounds, and the density is that of the result.

    Raises:
        UserError: If `squashed` and a bound is infinite.
    """

    def __init__(self, space: spaces.Box, squashed: bool, path: str) -> None:
        if squashed and not space.is_bounded():
            raise UserError(
                f"a squashed Gaussian needs finite bounds, and the action space of {path!r} is {space}. "
                "Use algorithm.box_distribution=gaussian."
            )
        self._space, self.squashed = space, squashed
        self.size = self.n_actions = self.n_noise = self.n_log_stds = int(np.prod(space.shape))
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        with np.errstate(over="ignore"):
            half_range = (self._high - self._low) / 2
        self._log_range = float(np.log(np.where(half_range > 0, half_range, 1.0)).sum())
        points, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_POINTS)
        self._points, self._weights = points, weights / weights.sum()

    def mode(self, outputs: Array, mask: Array | None) -> Array:
        """The mean."""
        return outputs

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Standard normal noise."""
        return generator.standard_normal((*shape, self.n_noise), np.float32)

    def sample(self, outputs: Array, log_std: Array, noise: Array, mask: Array | None) -> Array:
        """Mean plus scaled noise."""
        drawn: Array = outputs + noise * np.exp(log_std)
        return drawn

    def evaluate(self, outputs: Array, log_std: Array, actions: Array, mask: Array | None) -> Evaluation:
        """Densities multiply over the dimensions."""
        std = np.exp(log_std)
        z = (actions - outputs) / std
        log_probs = -0.5 * (z**2).sum(axis=1) - (log_std + 0.5 * LOG_2PI).sum()
        entropies = np.full(len(outputs), (log_std + 0.5 * (LOG_2PI + 1)).sum(), log_probs.dtype)
        squashing = _Squashing(outputs, std, self._points, self._weights) if self.squashed else None
        if squashing is not None:
            log_probs = log_probs - (log_tanh_slope(actions).sum(axis=1) + self._log_range).astype(log_probs.dtype)
            entropies = entropies + (squashing.expected_log_slope + self._log_range).astype(log_probs.dtype)

        def gradient(d_log_probs: Array, d_entropies: Array | float) -> tuple[Array, Array]:
            weight = d_log_probs[:, None]
            d_outputs, d_log_std = z / std * weight, ((z**2 - 1) * weight).sum(axis=0)
            per_row = np.broadcast_to(np.asarray(d_entropies, outputs.dtype), len(outputs))
            d_log_std += per_row.sum()
            if squashing is not None:
                d_outputs += squashing.d_mean * per_row[:, None]
                d_log_std += (squashing.d_log_std * per_row[:, None]).sum(axis=0)
            return d_outputs, d_log_std

        return Evaluation(log_probs, entropies, gradient)

    def to_env(self, actions: Array) -> Array:
        """Within the bounds, in the shape and type of the space."""
        low, high = self._space.low, self._space.high
        values = actions.reshape(len(actions), *self._space.shape)
        if self.squashed:
            values = self._low + (np.tanh(values) + 1) / 2 * (self._high - self._low)
        if np.issubdtype(self._space.dtype, np.integer):
            values = np.rint(values)
        clipped: Array = np.clip(values, low, high)
        return clipped.astype(self._space.dtype, copy=False)

    def random(self, generator: np.random.Generator, n: int, mask: Array | None) -> Array:
        """Uniform between finite bounds, else standard normal, clipped."""
        low, high = self._low, self._high
        if np.issubdtype(self._space.dtype, np.integer):  # each integer owns an interval of length 1
            return np.floor(low + generator.random((n, *low.shape)) * (high - low + 1)).astype(self._space.dtype)
        bounded = np.isfinite(low) & np.isfinite(high)
        uniform = np.where(bounded, low, 0) + generator.random((n, *low.shape)) * np.where(bounded, high - low, 0)
        actions = np.where(bounded, uniform, np.clip(generator.standard_normal((n, *low.shape)), low, high))
        return actions.astype(self._space.dtype)

    def allows_nothing(self, mask: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Never: a Box has no mask."""
        return np.zeros(len(mask), bool)


def log_tanh_slope(values: Array) -> Array:
    """log(1 - tanh(x)**2), exact also where tanh is nearly 1."""
    slope: Array = 2 * (math.log(2) - values - np.logaddexp(-2 * values, 0))
    return slope


class _Squashing:
    """What tanh adds to the entropy of a Gaussian: E[log tanh'(x)], by Gauss-Hermite quadrature.

    Off by less than 0.002 up to a standard deviation of e, and by 0.1 at e**2, where almost every action
    lies at a bound.
    """

    def __init__(self, mean: Array, std: Array, points: Array, weights: Array) -> None:
        x = mean[:, :, None] + std[:, None] * points  # [n, K, points]
        self.expected_log_slope = (log_tanh_slope(x) @ weights).sum(axis=1)
        slope = -2 * np.tanh(x)
        self.d_mean = (slope @ weights).astype(mean.dtype)
        self.d_log_std = ((slope * (std[:, None] * points)) @ weights).astype(mean.dtype)
