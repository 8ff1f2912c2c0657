"""How far a model that was written agrees with its policy, on random observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.exports.actor_module import ActorLeaves, Leaf, choices_of, statistics_of
from maze_core.rl.actors import Turn, action_mask
from maze_core.rl.distributions import CategoricalHead, Head
from maze_core.rl.heads import mask_of
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import OBSERVATION

TOLERANCE = 1e-5
"""Outputs and actions that differ less, absolutely or relatively, differ by rounding."""

BATCH_SIZES = (1, 1, 1, 2, 7)
"""Many of one, which networks may compute otherwise."""

WIDE = 1e6
"""Bounds farther apart than this say nothing about what is observed."""

Arrays = Mapping[str, NDArray[Any]]

Run = Callable[[Arrays], Arrays]
"""From the inputs of a model to its actions, both by name."""


def agreement(policy: Policy, step_key: str, run: Run, n_observations: int = 1000, seed: int = 0) -> float:
    """The share of random observations on which a model and the policy agree.

    Args:
        policy: The policy.
        step_key: Which actor.
        run: Computes the model.
        n_observations: How many are compared, in batches of several sizes.
        seed: Of the observations.
    """
    actor, generator = policy.actors.by_key[step_key], np.random.default_rng(seed)
    leaves, statistics = ActorLeaves.of(actor), statistics_of(policy.normalization, step_key)
    device = next((parameter.device for parameter in policy.models[step_key].parameters()), torch.device("cpu"))
    kernel, n_agreed = make_kernel(policy, device), 0
    for n in _batches(n_observations):
        inputs = _inputs(leaves, statistics, n, generator)
        turn = Turn(step_key, None, _nested(actor.observation_space, inputs))
        outputs = kernel.outputs(step_key, policy.encode(turn))
        actions = run(inputs)
        by_head = {leaf.head: (leaf.space, actions[leaf.name]) for leaf in leaves.decided}
        n_agreed += int(_agree(actor.heads.heads, outputs, action_mask(turn.observation), by_head).sum())
    return n_agreed / n_observations


def _batches(n_observations: int) -> Iterator[int]:
    for size in cycle(BATCH_SIZES):
        yield min(size, n_observations)
        n_observations -= size
        if n_observations <= 0:
            return


def _nested(space: spaces.Space[Any], values: Arrays) -> Any:
    """A batch of observations as the policy takes it."""

    def part(space: spaces.Space[Any], path: str) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: part(sub, f"{path}/{key}") for key, sub in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(part(sub, f"{path}/{index}") for index, sub in enumerate(space.spaces))
        return values[path.removeprefix("/")]

    return part(space, "" if isinstance(space, spaces.Dict) else OBSERVATION)


def _inputs(leaves: ActorLeaves, statistics: Mapping[str, Any], n: int, generator: np.random.Generator) -> Arrays:
    """Random inputs of a model, by name."""
    decided = {leaf.head: leaf.space for leaf in leaves.decided}
    observed = {leaf.name: _sample(leaf, statistics.get(leaf.name), n, generator) for leaf in leaves.observed}
    return {**observed, **{leaf.name: _mask(decided[leaf.head], n, generator) for leaf in leaves.masks}}


def _sample(leaf: Leaf, statistics: Any, n: int, generator: np.random.Generator) -> NDArray[Any]:
    space = leaf.space
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        sizes, starts = choices_of(space)
        values = starts + generator.integers(sizes, size=(n, len(sizes)))
    elif isinstance(space, spaces.Box):
        values = _numbers(space, (0.0, 1.0) if statistics is None else statistics, n, generator)
    else:
        values = generator.integers(2, size=(n, *(space.shape or ())))
    return values.reshape(n, *(space.shape or ())).astype(space.dtype)


def _numbers(space: spaces.Box, statistics: Any, n: int, generator: np.random.Generator) -> NDArray[Any]:
    """Uniform between near bounds, else around what was observed; what may be a set of things ends with padding."""
    offset, scale = statistics
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        span = high - low
    wide, shape = span > WIDE, (n, *space.shape)
    uniform = np.where(wide, 0, low) + generator.random(shape) * np.where(wide, 1, span)
    values = np.where(wide, offset + 2 * scale * generator.standard_normal(shape), uniform)
    if len(space.shape) > 1:
        n_elements = generator.integers(space.shape[0] + 1, size=(n, 1))
        values[np.arange(space.shape[0]) >= n_elements] = 0.0
    if not np.issubdtype(space.dtype, np.floating):
        values = np.rint(values)
    return np.clip(values, space.low, space.high)


def _mask(space: spaces.Space[Any], n: int, generator: np.random.Generator) -> NDArray[np.int8]:
    """Allows about half of all values, and at least one of each choice."""
    assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
    sizes, _ = choices_of(space)
    mask = generator.integers(2, size=(n, sizes.sum()), dtype=np.int8)
    offsets = np.cumsum(sizes) - sizes
    mask[np.arange(n)[:, None], offsets + generator.integers(sizes, size=(n, len(sizes)))] = 1
    return mask


def _agree(
    heads: Mapping[str, Head], outputs: NDArray[np.float32], mask: Any, actions: Mapping[str, tuple[Any, NDArray[Any]]]
) -> NDArray[np.bool_]:
    """Rows whose actions, given with their space by head, are those of the policy, [n]."""
    agree, start = np.ones(len(outputs), bool), 0
    for path, head in heads.items():
        of_head = outputs[:, start : start + head.size]
        start += head.size
        same = _same_choices if isinstance(head, CategoricalHead) else _same_numbers
        agree &= same(head, actions[path][0], of_head, mask_of(mask, path), actions[path][1])
    return agree


def _same_choices(
    head: Head, space: Any, outputs: NDArray[Any], mask: NDArray[Any] | None, actions: NDArray[Any]
) -> NDArray[np.bool_]:
    """Rows in which the logit of every choice is the largest that is allowed."""
    sizes, starts = choices_of(space)
    chosen = actions.reshape(len(actions), -1) - starts
    inside = (chosen >= 0) & (chosen < sizes)
    logits = outputs if mask is None else np.where(mask, outputs, -np.inf)
    rows, offsets = np.arange(len(outputs))[:, None], np.cumsum(sizes) - sizes
    best = logits[rows, offsets + head.mode(outputs, mask)]
    taken = logits[rows, offsets + np.where(inside, chosen, 0)]
    return np.asarray((inside & (best - taken <= TOLERANCE * (1 + abs(best)))).all(axis=1))


def _same_numbers(
    head: Head, space: Any, outputs: NDArray[Any], mask: NDArray[Any] | None, actions: NDArray[Any]
) -> NDArray[np.bool_]:
    """Rows whose actions lie between those of slightly smaller and slightly larger outputs."""
    rounding = TOLERANCE * (1 + abs(outputs))
    bounds = [head.to_env(head.mode(outputs + shift, None)) for shift in (-rounding, rounding)]
    low, high, given = (array.reshape(len(outputs), -1).astype(np.float64) for array in (*bounds, actions))
    slack = TOLERANCE * (1 + abs(given)) if np.issubdtype(space.dtype, np.floating) else 0.0
    return np.asarray(((given >= low - slack) & (given <= high + slack)).all(axis=1))
