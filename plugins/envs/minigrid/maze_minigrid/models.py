"""A network for the symbols of grid cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from maze_core import Activation, UserError
from maze_core.rl import Dense, concat_leaves, flat_size, output_gains, split_heads
from maze_minigrid.config import GridCellsConfig

MAX_SYMBOLS = 64
"""Most values that a symbol may have."""


class GridCells(nn.Module):
    """Planes of symbols, convolutions over them, dense layers, and one output per head.

    A symbol is a name and no quantity: each of its values becomes a plane of zeros and ones. What else is
    observed, such as the direction, joins in before the dense layers.

    Args:
        config: Sizes and activation.
        observation_space: Encoded observation space with one image [H, W, C] of whole numbers, whose bound says
            how many values each of the C symbols may have.
        output_sizes: Size of each head.

    Raises:
        UserError: If there is no such image, or it is too small for the windows.
    """

    values: torch.Tensor  # that a symbol may have

    def __init__(
        self, config: GridCellsConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        self.key, image = _cells(observation_space)
        values = torch.arange(float(image.high.max()) + 1)
        self.register_buffer("values", values, persistent=False)
        height, width = _size_after(config, *image.shape[:2])
        layers: list[nn.Module] = []
        inputs = image.shape[2] * len(values)
        for outputs in config.n_channels:
            activation = nn.Tanh() if config.activation is Activation.tanh else nn.ReLU()
            layers += [WindowedDense(inputs, outputs, config.kernel_size), activation]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers)
        rest = flat_size(observation_space) - math.prod(image.shape)
        sizes = [inputs * height * width + rest, *config.hidden_sizes, sum(self.output_sizes.values())]
        self.dense = Dense(sizes, config.activation, output_gains(output_sizes))

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps symbols [B, H, W, C], and other leaves [B, ...], to ``{head: [B, size]}``."""
        cells = observation[self.key]
        planes = (cells[..., None] == self.values).to(cells.dtype).flatten(3)  # [B, H, W, C * values]
        features = self.convolutions(planes).flatten(1)
        rest = {key: value for key, value in observation.items() if key != self.key}
        joined = torch.cat([features, concat_leaves(rest)], dim=1) if rest else features
        return split_heads(self.dense(joined), self.output_sizes)


class WindowedDense(nn.Module):
    """A convolution, as one dense layer over all windows of cells: what a cell gives depends on its window only.

    Args:
        inputs: Channels of each cell.
        outputs: Channels of what is put out.
        size: Height and width of a window, in cells.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.dense = Dense([inputs * size * size, outputs], Activation.relu, math.sqrt(2))

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Maps [B, H, W, inputs] to [B, H - size + 1, W - size + 1, outputs]."""
        height, width = (n - self.size + 1 for n in cells.shape[1:3])
        places = [(row, column) for row in range(self.size) for column in range(self.size)]
        windows = [cells[:, row : row + height, column : column + width] for row, column in places]
        return self.dense(torch.cat(windows, dim=3))  # type: ignore[no-any-return]


def _cells(space: spaces.Dict) -> tuple[str, spaces.Box]:
    """Key and space of the only image."""
    images = [
        (key, part) for key, part in space.spaces.items() if isinstance(part, spaces.Box) and len(part.shape) == 3
    ]
    if len(images) != 1 or not _is_symbolic(images[0][1]):
        raise UserError(
            f"model minigrid_cells reads one image (H, W, C) of symbols, whole numbers below {MAX_SYMBOLS}, and the "
            f"observation space is {space}. Use model=flatten_concat, or model=pixel_obs for what is drawn."
        )
    return images[0]


def _is_symbolic(image: spaces.Box) -> bool:
    return bool((image.low == 0).all() and (image.high < MAX_SYMBOLS).all() and (image.high % 1 == 0).all())


def _size_after(config: GridCellsConfig, height: int, width: int) -> tuple[int, int]:
    """Height and width of what the last convolution puts out."""
    lost = len(config.n_channels) * (config.kernel_size - 1)
    if min(height, width) <= lost:
        raise UserError(
            f"model minigrid_cells: {len(config.n_channels)} convolutions with kernel_size={config.kernel_size} need "
            f"more than {lost} cells each way, and there are {height}x{width}. Use fewer n_channels or a smaller "
            "kernel_size."
        )
    return height - lost, width - lost
