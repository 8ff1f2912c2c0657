"""A network that reads images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional

from maze_core import Activation, UserError
from maze_core.rl import Dense, output_gains, split_heads
from maze_perception.config import PixelObsConfig


class PixelModel(nn.Module):
    """Convolutions over an image, dense layers, and one output per head.

    Images are (H, W, C) or (C, H, W): the shorter of the first and the last axis holds the channels,
    the last one if both are equal. The images of a stack, (n, H, W, C) or (n, C, H, W), lie side by
    side as n * C channels. Values should lie between 0 and 1, as wrapper pixel_preparation makes them.

    Args:
        config: Sizes and activation.
        observation_space: Encoded observation space.
        output_sizes: Size of each head.

    Raises:
        UserError: If the space is no image, or the image is too small for the kernels.
    """

    def __init__(self, config: PixelObsConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        self.key, shape = _image(observation_space)
        self.channels_first = shape[-3] < shape[-1]
        height, width, channels = (*shape[-2:], shape[-3]) if self.channels_first else shape[-3:]
        left_height, left_width = _size_after(config, height, width)
        layers: list[nn.Module] = []
        inputs = math.prod(shape[:-3]) * channels
        for outputs, kernel_size, stride in zip(config.n_channels, config.kernel_sizes, config.strides, strict=True):
            layers += [Convolution(inputs, outputs, kernel_size, stride), _activation(config.activation)]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        sizes = [inputs * left_height * left_width, *config.hidden_sizes, sum(self.output_sizes.values())]
        self.dense = Dense(sizes, config.activation, output_gains(output_sizes))

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps images [B, H, W, C], in the layout of the space, to ``{head: [B, size]}``."""
        images = observation[self.key]
        if not self.channels_first:
            images = images.movedim(-1, -3)
        images = images.reshape(len(images), -1, *images.shape[-2:])
        return split_heads(self.dense(self.convolutions(images)), self.output_sizes)


class Convolution(nn.Conv2d):
    """A convolution whose result for one member of a population does not depend on the other members.

    torch computes one member, which is a batch of one image, by another algorithm than several. So a
    single image goes through one matrix product, which differs from the convolution in rounding only.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        size: Height and width of the window.
        step: Pixels from one window to the next.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, step: int) -> None:
        super().__init__(in_channels, out_channels, size, step)
        nn.init.orthogonal_(self.weight, math.sqrt(2))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps [B, C, H, W] to [B, out_channels, H', W']."""
        if len(images) > 1:
            return super().forward(images)
        assert self.bias is not None
        size, step = self.kernel_size[0], self.stride[0]
        windows = functional.unfold(images, size, stride=step)  # [B, C * size * size, H' * W']
        outputs = self.weight.flatten(1) @ windows + self.bias[:, None]
        height, width = ((pixels - size) // step + 1 for pixels in images.shape[-2:])
        return outputs.reshape(1, self.out_channels, height, width)


def _activation(activation: Activation) -> nn.Module:
    return nn.Tanh() if activation is Activation.tanh else nn.ReLU()


def _image(space: spaces.Dict) -> tuple[str, tuple[int, ...]]:
    """Key and shape of the only observation."""
    (key, part), *others = space.spaces.items()
    shape = part.shape or ()
    if others or len(shape) not in (3, 4):
        raise UserError(
            f"model pixel_obs reads one image (H, W, C) or (C, H, W), or a stack of them, and the observation space "
            f"is {space}. Use model=flatten_concat, or wrappers=render_observation,pixel_obs to observe what is drawn."
        )
    return key, shape


def _size_after(config: PixelObsConfig, height: int, width: int) -> tuple[int, int]:
    """Height and width of what the last convolution puts out."""
    left = (height, width)
    for index, (kernel_size, stride) in enumerate(zip(config.kernel_sizes, config.strides, strict=True)):
        if min(left) < kernel_size:
            raise UserError(
                f"model pixel_obs: images of {height}x{width} pixels are too small: "
                f"kernel_sizes[{index}]={kernel_size} does not fit into the {left[0]}x{left[1]} that is left there. "
                "Use smaller kernel_sizes or strides, fewer convolutions, or larger images "
                "(height and width of wrapper pixel_preparation)."
            )
        left = ((left[0] - kernel_size) // stride + 1, (left[1] - kernel_size) // stride + 1)
    return left
