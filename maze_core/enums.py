"""Choices that both configs and the code they select need; light, so that configs may import it."""

from __future__ import annotations

from enum import Enum


class Activation(Enum):
    """Non-linearity between layers."""

    tanh = "tanh"
    relu = "relu"


class BoxDistribution(Enum):
    """Which distribution a Box action gets: a clipped Gaussian, or one squashed into the bounds."""

    gaussian = "gaussian"
    squashed_gaussian = "squashed_gaussian"


class NormalizationMethod(Enum):
    """How observations are normalised: to zero mean and unit deviation, or their range to [-1, 1]."""

    mean_std = "mean_std"
    range = "range"
