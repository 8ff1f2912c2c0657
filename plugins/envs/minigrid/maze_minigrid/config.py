"""Options of the grid worlds, and of the network that reads them."""

from dataclasses import dataclass, field
from enum import Enum

from maze_core import Activation, require


class Observation(Enum):
    """What is seen of a grid world."""

    dict = "dict"
    image = "image"
    rgb = "rgb"


@dataclass(kw_only=True)
class MiniGridConfig:
    """A grid world of MiniGrid or BabyAI."""

    name: str = "MiniGrid-DoorKey-5x5-v0"
    """Id of the grid world, such as MiniGrid-Empty-5x5-v0 or BabyAI-GoToObj-v0."""

    observation: Observation = Observation.dict
    """dict shows the cells before the agent as symbols, and its direction; image shows the cells alone; rgb
    shows them drawn, 8 pixels a cell. The text of the mission is never seen."""

    def __post_init__(self) -> None:
        require(self, "name", bool(self.name.strip()), "the id of a grid world, such as MiniGrid-Empty-5x5-v0")


@dataclass(kw_only=True)
class GridCellsConfig:
    """Convolutions over the symbols of grid cells, one plane for each of their values, and then dense layers."""

    n_channels: list[int] = field(default_factory=lambda: [16, 32, 32])
    """Output channels of each convolution."""

    kernel_size: int = 2
    """Height and width of the window of each convolution, in cells; windows overlap, and grids are not padded."""

    hidden_sizes: list[int] = field(default_factory=lambda: [64])
    """Units of each dense layer between the convolutions and the outputs."""

    activation: Activation = Activation.relu
    """Non-linearity after each convolution and each hidden layer."""

    def __post_init__(self) -> None:
        n_channels, hidden_sizes = self.n_channels, self.hidden_sizes
        require(
            self, "n_channels", bool(n_channels) and min(n_channels) >= 1, "a list of at least one whole number >= 1"
        )
        require(self, "kernel_size", 1 <= self.kernel_size <= 64, "a whole number from 1 to 64")
        require(self, "hidden_sizes", all(size >= 1 for size in hidden_sizes), "a list of whole numbers >= 1")
