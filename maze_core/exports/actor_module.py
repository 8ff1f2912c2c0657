"""One actor of a policy as a single torch module, from its raw observations to its actions.

What NumPy does around a network (encoding, normalisation, masks, the most probable action) is here once more in
torch, because a model that runs without Maze is made of such operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from maze_core.errors import UserError
from maze_core.rl.actors import Actor
from maze_core.rl.distributions import GaussianHead, Head
from maze_core.rl.heads import ACTION
from maze_core.rl.normalization import ObservationNormalization
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import ACTION_MASK, OBSERVATION


@dataclass(frozen=True)
class Leaf:
    """One input or output of an ONNX model.

    Args:
        name: Its name.
        path: Keys that lead to it: of an observation in the encoded space, of masks and actions to its head.
        space: Its space, neither Dict nor Tuple.
    """

    name: str
    path: tuple[str, ...]
    space: spaces.Space[Any]

    @property
    def head(self) -> str:
        """The head of a mask or an action."""
        return "/".join(self.path) or ACTION


def _leaves(
    space: spaces.Space[Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], spaces.Space[Any]]]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, sub in items:
            yield from _leaves(sub, (*path, str(key)))
    else:
        yield path, space


def _named(space: spaces.Space[Any], *prefix: str) -> list[Leaf]:
    return [Leaf("/".join((*prefix, *path)), path, leaf) for path, leaf in _leaves(space)]


@dataclass(frozen=True)
class ActorLeaves:
    """What goes into the model of one actor and what comes out.

    Args:
        observed: What its network sees.
        masks: Masks of its heads.
        decided: Its actions, by head.
    """

    observed: list[Leaf]
    masks: list[Leaf]
    decided: list[Leaf]

    @staticmethod
    def of(actor: Actor) -> ActorLeaves:
        """Those of an actor.

        Raises:
            UserError: If they cannot have names of their own.
        """
        space, masks = actor.observation_space, list[Leaf]()
        if isinstance(space, spaces.Dict):
            masks = [leaf for key, mask in space.spaces.items() if key == ACTION_MASK for leaf in _named(mask, key)]
            space = spaces.Dict([(key, sub) for key, sub in space.spaces.items() if key != ACTION_MASK])
        else:
            space = spaces.Dict({OBSERVATION: space})
        leaves = ActorLeaves(_named(space), masks, _named(actor.action_space, ACTION))
        leaves._check_names(actor.step_key)
        return leaves

    def _check_names(self, step_key: str) -> None:
        names = [leaf.name for leaf in (*self.inputs, *self.decided)]
        for name in names:
            if not name or names.count(name) > 1:
                raise UserError(
                    f"actor {step_key!r} cannot be written as ONNX: the name {name!r} would stand for "
                    f"{names.count(name)} of its observations, masks and actions. Rename keys of its spaces."
                )

    @property
    def inputs(self) -> list[Leaf]:
        """Observations, then masks."""
        return [*self.observed, *self.masks]


class ActorModule(nn.Module):
    """Everything between raw observations and actions of one actor, in torch and on the CPU.

    Args:
        policy: Whose actor it is; its network is copied.
        step_key: Which actor.

    Raises:
        UserError: If inputs and outputs cannot have names of their own, or torch does not know the type of one.
    """

    def __init__(self, policy: Policy, step_key: str) -> None:
        super().__init__()
        actor = policy.actors.by_key[step_key]
        self.leaves = ActorLeaves.of(actor)
        statistics = statistics_of(policy.normalization, step_key)
        clip = None if policy.normalization is None else policy.normalization.clip
        self.encodings = nn.ModuleList(
            _encoding(leaf.space, statistics.get(leaf.name), clip) for leaf in self.leaves.observed
        )
        self.model = deepcopy(policy.models[step_key]).cpu().eval()
        self.modes = nn.ModuleList(_mode(actor.heads.heads[leaf.head], leaf.space) for leaf in self.leaves.decided)

    def forward(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Maps observations and then masks, all [B, ...], to the action of each head, [B, ...]."""
        n_observed = len(self.encodings)
        outputs = self.model(self._encoded(inputs[:n_observed]))
        masks = {leaf.head: mask for leaf, mask in zip(self.leaves.masks, inputs[n_observed:], strict=True)}
        heads = [leaf.head for leaf in self.leaves.decided]
        return tuple(mode(outputs[head], masks.get(head)) for head, mode in zip(heads, self.modes, strict=True))

    def _encoded(self, observed: Sequence[torch.Tensor]) -> dict[str, Any]:
        """What the network sees, nested as its space is."""
        encoded: dict[str, Any] = {}
        for leaf, encode, values in zip(self.leaves.observed, self.encodings, observed, strict=True):
            *keys, last = leaf.path
            part = encoded
            for key in keys:
                part = part.setdefault(key, {})
            part[last] = encode(values)
        return encoded

    def examples(self) -> tuple[torch.Tensor, ...]:
        """Inputs of a batch of three, all zeros."""
        dtypes = [*(_dtype(leaf.space) for leaf in self.leaves.observed), *[torch.int8] * len(self.leaves.masks)]
        shapes = [(3, *(leaf.space.shape or ())) for leaf in self.leaves.inputs]
        return tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))


def _dtype(space: spaces.Space[Any]) -> torch.dtype:
    try:
        return torch.from_numpy(np.zeros(1, space.dtype)).dtype
    except TypeError:
        raise UserError(f"the space {space} cannot be written as ONNX: torch has no {space.dtype}.") from None


def statistics_of(normalization: ObservationNormalization | None, step_key: str) -> dict[str, tuple[Any, Any]]:
    """What is subtracted from each normalised part, and what it is divided by, by path."""
    if normalization is None:
        return {}
    return {path: part.offset_and_scale(normalization.method) for path, part in normalization.parts(step_key)}


def choices_of(space: spaces.Discrete | spaces.MultiDiscrete) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of values and first value of each choice, [K] each."""
    sizes = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return tuple(np.atleast_1d(array).ravel().astype(np.int64) for array in (sizes, space.start))  # type: ignore[return-value]


def _encoding(space: spaces.Space[Any], statistics: tuple[Any, Any] | None, clip: float | None) -> nn.Module:
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return _OneHot(*choices_of(space))
    return _Numbers() if statistics is None else _Normalised(*statistics, clip)


class _OneHot(nn.Module):
    """Compares each choice with all its values: [B, ...] -> float32 [B, sum of sizes]."""

    def __init__(self, sizes: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)))
        values = [np.arange(size) + start for size, start in zip(sizes, starts, strict=True)]
        self.register_buffer("values", torch.from_numpy(np.concatenate(values)))

    def forward(self, choices: torch.Tensor) -> torch.Tensor:
        choices = choices.to(torch.int64).reshape(len(choices), -1)
        return (choices.index_select(1, self.get_buffer("columns")) == self.get_buffer("values")).to(torch.float32)


class _Numbers(nn.Module):
    """Casts to float32."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(torch.float32)


class _Normalised(nn.Module):
    """Shifts, scales and clips in float64, then casts to float32."""

    def __init__(self, offset: Any, scale: Any, clip: float | None) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(offset))
        self.register_buffer("scale", torch.tensor(scale))
        self.clip = clip

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = (values.to(torch.float64) - self.get_buffer("offset")) / self.get_buffer("scale")
        return (values if self.clip is None else values.clamp(-self.clip, self.clip)).to(torch.float32)


def _mode(head: Head, space: spaces.Space[Any]) -> nn.Module:
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return _Categorical(space)
    if isinstance(space, spaces.Box):
        assert isinstance(head, GaussianHead)
        return _Gaussian(space, head.squashed)
    return _Binary(space)


class _Categorical(nn.Module):
    """`CategoricalHead`: the allowed value with the largest logit, of each choice."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        super().__init__()
        sizes, starts = choices_of(space)
        self.shape, self.dtype, self.n_cells = space.shape or (), _dtype(space), int(sizes.max())
        filled = np.arange(self.n_cells) < sizes[:, None]  # [K, largest]
        cells = np.full(filled.shape, sizes.sum())  # where there is no such value, a column that is added
        cells[filled] = np.arange(sizes.sum())
        self.register_buffer("cells", torch.from_numpy(cells.ravel()))
        self.register_buffer("starts", torch.from_numpy(starts))
        self.even = bool(filled.all())

    def forward(self, logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is not None:
            lowest = torch.finfo(logits.dtype).min  # an allowed choice is never below a forbidden one
            logits = torch.where(mask.to(torch.bool), logits.clamp(min=lowest), -torch.inf)
        if not self.even:
            padded = nn.functional.pad(logits, (0, 1), value=-torch.inf)
            logits = padded.index_select(1, self.get_buffer("cells"))
        starts = self.get_buffer("starts")
        best = logits.reshape(-1, len(starts), self.n_cells).argmax(dim=2)
        return (best + starts).reshape(-1, *self.shape).to(self.dtype)


class _Binary(nn.Module):
    """`BinaryHead`: one where the logit is positive."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        super().__init__()
        self.shape, self.dtype = space.shape or (), _dtype(space)

    def forward(self, logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return (logits > 0).reshape(-1, *self.shape).to(self.dtype)


class _Gaussian(nn.Module):
    """`GaussianHead`: the mean, brought into the bounds, in float64."""

    def __init__(self, space: spaces.Box, squashed: bool) -> None:
        super().__init__()
        self.shape, self.dtype, self.squashed = space.shape, _dtype(space), squashed
        self.whole = np.issubdtype(space.dtype, np.integer)
        self.register_buffer("low", torch.tensor(space.low.astype(np.float64)))
        self.register_buffer("high", torch.tensor(space.high.astype(np.float64)))

    def forward(self, mean: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        low, high = self.get_buffer("low"), self.get_buffer("high")
        values = mean.to(torch.float64).reshape(-1, *self.shape)
        if self.squashed:
            values = low + (values.tanh() + 1) / 2 * (high - low)
        if self.whole:
            values = values.round()
        return torch.minimum(torch.maximum(values, low), high).to(self.dtype)
