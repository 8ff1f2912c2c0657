"""Options of the dense models."""

from dataclasses import dataclass, field

from maze_core import Activation, require


@dataclass(kw_only=True)
class DenseConfig:
    """A chain of dense layers over all observations, flattened side by side."""

    hidden_sizes: list[int] = field(default_factory=lambda: [64, 64])
    """Units of each hidden layer; an empty list gives a linear model."""

    activation: Activation = Activation.tanh
    """Non-linearity after each hidden layer."""

    def __post_init__(self) -> None:
        require(self, "hidden_sizes", all(n >= 1 for n in self.hidden_sizes), "a list of whole numbers >= 1")


@dataclass(kw_only=True)
class FlattenConcatConfig(DenseConfig):
    """Any observation space, flattened and concatenated, through dense layers."""


@dataclass(kw_only=True)
class VectorObsConfig(DenseConfig):
    """One vector of numbers as observation, through dense layers."""


@dataclass(kw_only=True)
class PixelObsConfig:
    """One image, or a stack of them, through convolutions and then dense layers."""

    n_channels: list[int] = field(default_factory=lambda: [16, 32, 32])
    """Output channels of each convolution."""

    kernel_sizes: list[int] = field(default_factory=lambda: [4, 3, 3])
    """Height and width of the window of each convolution, in pixels of its input."""

    strides: list[int] = field(default_factory=lambda: [4, 2, 2])
    """Pixels from one window to the next, for each convolution; images are not padded."""

    hidden_sizes: list[int] = field(default_factory=lambda: [64])
    """Units of each dense layer between the convolutions and the outputs."""

    activation: Activation = Activation.relu
    """Non-linearity after each convolution and each hidden layer."""

    def __post_init__(self) -> None:
        n = len(self.n_channels)
        require(self, "n_channels", n >= 1 and min(self.n_channels) >= 1, "a list of at least one whole number >= 1")
        sizes, strides = self.kernel_sizes, self.strides
        require(
            self,
            "kernel_sizes",
            len(sizes) == n and min(sizes) >= 1,
            "a list of whole numbers >= 1, as long as n_channels",
        )
        require(
            self,
            "strides",
            len(strides) == n and min(strides) >= 1,
            "a list of whole numbers >= 1, as long as n_channels",
        )
        require(self, "hidden_sizes", all(size >= 1 for size in self.hidden_sizes), "a list of whole numbers >= 1")
