"""What models are composed of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from maze_core.enums import Activation
from maze_core.rl.critics import VALUE
from maze_core.rl.spaces import leaves


@dataclass(frozen=True)
class DenseSpec:
    """A model that is a plain chain of dense layers, as the dense kernel computes it.

    Its input are the leaves of the encoded observation, flattened side by side.

    Args:
        layers: From input to output, each with a bias; the activation stands between them, not after the last.
        activation: The non-linearity.
        output_sizes: How the output of the last layer is cut into heads, in order.
    """

    layers: Sequence[nn.Linear]
    activation: Activation
    output_sizes: Mapping[str, int]


@runtime_checkable
class DenseModel(Protocol):
    """The optional protocol by which a model opts in to the dense kernel."""

    def dense_layers(self) -> DenseSpec:
        """Describes the model, whose `forward` computes the same."""
        ...


class Dense(nn.Module):
    """A chain of dense layers.

    Args:
        sizes: Input size, hidden sizes, output size.
        activation: Non-linearity between the layers.
        output_gains: Scale of the orthogonal initialisation of the last layer, one for all outputs or one for
            each; see `output_gains`.
    """

    def __init__(
        self, sizes: Sequence[int], activation: Activation, output_gains: float | Sequence[float] = 0.01
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.activation = activation
        for layer in self.linear_layers():
            nn.init.orthogonal_(layer.weight, math.sqrt(2) if layer is not self.layers[-1] else 1.0)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.linear_layers()[-1].weight.mul_(torch.as_tensor(output_gains).reshape(-1, 1))

    def linear_layers(self) -> list[nn.Linear]:
        """The layers from input to output."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Maps [B, sizes[0]] to [B, sizes[-1]]."""
        function = torch.tanh if self.activation is Activation.tanh else torch.relu
        *hidden, last = self.layers  # a slice would build another ModuleList
        for layer in hidden:
            inputs = function(layer(inputs))
        return last(inputs)  # type: ignore[no-any-return]


def output_gains(output_sizes: Mapping[str, int]) -> list[float]:
    """How large each output of a new network is to be: 0.01 for actions, 1 for a value.

    Small gains make the first policy nearly uniform (Andrychowicz et al. 2021, arXiv:2006.05990).
    """
    return [1.0 if head == VALUE else 0.01 for head, size in output_sizes.items() for _ in range(size)]


def concat_leaves(observation: Mapping[str, Any]) -> torch.Tensor:
    """All leaves of an encoded observation flattened side by side, [B, n]."""
    parts = [leaf.reshape(len(leaf), -1) for leaf in leaves(observation)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def split_heads(outputs: torch.Tensor, output_sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Cuts [B, sum of sizes] into ``{head: [B, size]}``."""
    if len(output_sizes) == 1:
        return dict.fromkeys(output_sizes, outputs)
    parts = torch.split(outputs, list(output_sizes.values()), dim=1)
    return dict(zip(output_sizes, parts, strict=True))
