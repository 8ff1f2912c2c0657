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
