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


class Schedule(Enum):
    """How a value changes over a run: not at all, or linearly to zero at the end of the budget."""

    constant = "constant"
    linear = "linear"


class KernelChoice(Enum):
    """What computes the networks: the fastest that fits them, or torch in any case."""

    auto = "auto"
    autograd = "autograd"


class OnEnvError(Enum):
    """What happens when an env raises: the run fails, or the episode is repeated in a new env."""

    fail = "fail"
    restart = "restart"


class OnCheckpointError(Enum):
    """What happens when a checkpoint cannot be written."""

    stop = "stop"
    warn = "warn"


class RenderForm(Enum):
    """How episodes are shown: GIF, which everything shows, WebP with all colours, MP4, which needs ffmpeg; or played
    in the terminal.
    """

    gif = "gif"
    webp = "webp"
    mp4 = "mp4"
    terminal = "terminal"


class ExportForm(Enum):
    """What a policy is written as: one file that Maze loads, or an ONNX model for each actor."""

    maze = "maze"
    onnx = "onnx"
