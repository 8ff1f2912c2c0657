"""What models are composed of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maze_core.enums import Activation
from maze_core.rl.critics import VALUE
from maze_core.rl.spaces import Encoded, leaves


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


@runtime_checkable
class PaddedModel(Protocol):
    """The optional protocol by which a model that reads padded sets saves the time to compute the padding."""

    def without_padding(self, observation: Encoded) -> Encoded:
        """A batch without what is padding in all its rows.

        Args:
            observation: What the model is about to see, leaves [B, ...].

        Returns:
            The same mapping with shorter leaves, of which `forward` makes the same outputs.
        """
        ...


class Dense(nn.Module):
    """A chain of dense layers; of a single layer it is an embedding, and on a one-hot vector a look-up table.

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


class Attention(nn.Module):
    """Lets the elements of a set see each other: self-attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    What an element learns of the others is added to it, and the order of elements does not matter.

    Args:
        size: Numbers of each element, d.
        n_heads: Ways to look at the others, each in d / n_heads dimensions.
    """

    def __init__(self, size: int, n_heads: int = 1) -> None:
        super().__init__()
        if size % n_heads:
            raise ValueError(f"{n_heads} heads cannot share {size} dimensions evenly")
        self.n_heads = n_heads
        self.inputs, self.outputs = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, elements: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
        """Maps elements [B, n, d], those that are `filled` [B, n], to [B, n, d]; padding is not looked at."""
        n_rows, n, size = elements.shape
        parts = self.inputs(elements).reshape(n_rows, n, 3, self.n_heads, size // self.n_heads)
        queries, keys, values = parts.permute(2, 3, 0, 1, 4)  # [heads, B, n, d / heads]
        scores = queries @ keys.transpose(2, 3) / math.sqrt(size // self.n_heads)
        shares = scores.masked_fill(~filled[:, None], -1e9).softmax(dim=3)  # finite, also where all is padding
        seen = (shares @ values).permute(1, 2, 0, 3).reshape(n_rows, n, size)
        return elements + self.outputs(seen)  # type: ignore[no-any-return]


class SetScoring(nn.Module):
    """Scores the elements of a set, by the dot product of their embeddings with that of what is looked for.

    All padding gets the same score, which is learned.

    Args:
        size: Number of scores, n.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.of_padding = nn.Parameter(torch.zeros(1))

    def forward(self, elements: torch.Tensor, query: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
        """Maps elements [B, m, d], of which some are `filled` [B, m], and a query [B, d] to scores [B, n], m <= n."""
        scores = torch.where(filled, (elements * query[:, None]).sum(dim=2), self.of_padding)
        rest = self.of_padding.expand(len(scores), self.size - scores.shape[1])
        return torch.cat([scores, rest], dim=1)


def filled_elements(elements: torch.Tensor) -> torch.Tensor:
    """Which elements of padded sets [B, n, ...] are not all zeros, [B, n]."""
    return (elements != 0).flatten(2).any(dim=2)


def masked_mean(elements: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
    """Mean of the elements [B, n, d] that are `filled` [B, n], [B, d]; zeros where none is."""
    weights = filled[:, :, None].to(elements.dtype)
    return (elements * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def without_last_zeros(elements: NDArray[np.float32]) -> NDArray[np.float32]:
    """Padded sets [B, n, ...] cut after the last element that is not all zeros in all of them; at least one is left."""
    in_use = np.flatnonzero(elements.reshape(len(elements), elements.shape[1], -1).any(axis=(0, 2)))
    return elements[:, : int(in_use[-1]) + 1 if len(in_use) else 1]


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


class FlattenedModel(nn.Module):
    """A network from one vector to one vector as a model: observations flattened side by side, outputs cut into heads.

    Args:
        network: Maps [B, n] to [B, sum of sizes].
        output_sizes: Size of each head, in order.
    """

    def __init__(self, network: nn.Module, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.network, self.output_sizes = network, dict(output_sizes)

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps leaves [B, ...] to ``{head: [B, size]}``."""
        outputs = self.network(concat_leaves(observation))
        if outputs.shape[1:] != (sum(self.output_sizes.values()),):
            raise ValueError(
                f"it puts out {list(outputs.shape[1:])} numbers; needed: {sum(self.output_sizes.values())}"
            )
        return split_heads(outputs, self.output_sizes)
