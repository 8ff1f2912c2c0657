"""All heads of an actor: from the outputs of its network to its actions, and back to derivatives.

Masks mirror the action space: an int8 array [B, n] for Discrete(n), [B, sum(nvec)] for
MultiDiscrete, a Dict of them for Dict (for a Tuple a Dict keyed "0", "1", ...); heads that have
none are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.enums import BoxDistribution
from maze_core.errors import UserError
from maze_core.rl.distributions import Array, BinaryHead, CategoricalHead, Evaluation, GaussianHead, Head

ACTION = "action"
"""Name of the head of an action space that is neither Dict nor Tuple."""


class ActionHeads:
    """The distributions of one actor's action space.

    The outputs of all heads lie side by side, [n, size], in the order of `output_sizes`; so do their
    raw actions [n, n_actions], their noise [n, n_noise], and the logarithms of standard deviations
    [n_log_stds].

    Args:
        space: The action space, possibly nested.
        box_distribution: Which distribution a Box gets.

    Raises:
        UserError: If no head exists for a part of the space.
    """

    def __init__(self, space: spaces.Space[Any], box_distribution: BoxDistribution = BoxDistribution.gaussian) -> None:
        self._space = space
        squashed = box_distribution is BoxDistribution.squashed_gaussian
        self.heads: dict[str, Head] = {path: _head(leaf, squashed, path) for path, leaf in _action_leaves(space, "")}
        if not self.heads or 0 in [head.size for head in self.heads.values()]:
            raise UserError(f"there is nothing to decide in the action space {space}.")
        heads = list(self.heads.values())
        self.output_sizes: dict[str, int] = {path: head.size for path, head in self.heads.items()}
        self.size = sum(head.size for head in heads)
        self.n_actions = sum(head.n_actions for head in heads)
        self.n_log_stds = sum(head.n_log_stds for head in heads)
        cuts = [_slices([getattr(head, name) for head in heads])
                for name in ("size", "n_actions", "n_noise", "n_log_stds")]  # fmt: skip
        self._parts = list(zip(self.heads.items(), *cuts, strict=True))

    def mode(self, outputs: Array, mask: Any = None) -> Array:
        """The most probable raw actions, [n, n_actions].

        Args:
            outputs: Of the network, [n, size].
            mask: Mask of the batch, or None.
        """
        return _joined([h.mode(outputs[:, o], mask_of(mask, path)) for (path, h), o, _, _, _ in self._parts])

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """What `sample` needs for a block of rows, [*shape, n_noise]."""
        return _joined([head.noise(generator, shape) for head in self.heads.values()])

    def sample(self, outputs: Array, log_std: Array, noise: Array, mask: Any = None) -> Array:
        """Raw actions drawn from the distributions, [n, n_actions].

        Args:
            outputs: Of the network, [n, size].
            log_std: Logarithms of the standard deviations of all Gaussians, [n_log_stds].
            noise: As `noise` returned it, [n, n_noise].
            mask: Mask of the batch, or None.
        """
        return _joined(
            [
                head.sample(outputs[:, o], log_std[s], noise[:, e], mask_of(mask, path))
                for (path, head), o, _, e, s in self._parts
            ]
        )

    def evaluate(self, outputs: Array, log_std: Array, actions: Array, mask: Any = None) -> Evaluation:
        """How probable raw actions are: log-probabilities and entropies of all heads add up.

        Args:
            outputs: Of the network, [n, size].
            log_std: Logarithms of the standard deviations of all Gaussians, [n_log_stds].
            actions: Raw actions, [n, n_actions].
            mask: Mask of the batch, or None.
        """
        parts = [
            head.evaluate(outputs[:, o], log_std[s], actions[:, a], mask_of(mask, path))
            for (path, head), o, a, _, s in self._parts
        ]
        if len(parts) == 1:
            only: Evaluation = parts[0]
            return only

        def gradient(d_log_probs: Array, d_entropies: Array | float) -> tuple[Array, Array | None]:
            derivatives = [part.gradient(d_log_probs, d_entropies) for part in parts]
            scales = [d_log_std for _, d_log_std in derivatives if d_log_std is not None]
            return _joined([d_outputs for d_outputs, _ in derivatives]), np.concatenate(scales) if scales else None

        log_probs = np.sum([part.log_probs for part in parts], axis=0)
        return Evaluation(log_probs, np.sum([part.entropies for part in parts], axis=0), gradient)

    def to_env(self, actions: Array) -> Any:
        """Raw actions [n, n_actions] as members of the space: leaves [n, ...], nested as it is."""
        return _nest(self._space, "", {path: head.to_env(actions[:, a]) for (path, head), _, a, _, _ in self._parts})

    def random(self, generator: np.random.Generator, n: int, mask: Any = None) -> Any:
        """Random valid actions.

        Args:
            generator: Where randomness comes from.
            n: Number of rows.
            mask: Mask of the batch, or None.

        Returns:
            Members of the space with leaves [n, ...], nested as it is.
        """
        actions = {path: head.random(generator, n, mask_of(mask, path)) for path, head in self.heads.items()}
        return _nest(self._space, "", actions)

    def check_mask_space(self, space: spaces.Space[Any], whose: str) -> None:
        """Refuses a mask that does not mirror the action space.

        Args:
            space: Space of the mask.
            whose: Named in the error.

        Raises:
            UserError: If a part of it belongs to no head, or has another number of entries than its head has choices.
        """
        if _has_tuple(space):
            raise UserError(f"the action mask of {whose} is a Tuple, and must be a Dict with the keys '0', '1', ...")
        masks = dict(_action_leaves(space, ""))
        unknown = sorted(set(masks) - set(self.heads))
        if unknown:
            known = ", ".join(map(repr, self.heads))
            raise UserError(f"the action mask of {whose} has an entry {unknown[0]!r}; its actions are {known}.")
        for path, part in masks.items():
            head = self.heads[path]
            if not isinstance(head, CategoricalHead):
                raise UserError(
                    f"the action mask of {whose} for {path!r} cannot be honoured: only Discrete and MultiDiscrete "
                    "actions have masks."
                )
            if part.shape != (head.size,):
                raise UserError(
                    f"the action mask of {whose} for {path!r} has the shape {part.shape}; it must be ({head.size},), "
                    "one entry for each choice."
                )

    def blocked(self, mask: Any) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """For each masked head, the rows [n] whose mask allows nothing."""
        for path, head in self.heads.items():
            leaf = mask_of(mask, path)
            if leaf is not None:
                if leaf.shape[-1] != head.size:
                    raise UserError(f"the action mask of {path!r} has {leaf.shape[-1]} entries instead of {head.size}.")
                yield path, head.allows_nothing(leaf)


def mask_of(mask: Any, path: str) -> NDArray[np.int8] | None:
    """The part of a mask that belongs to a head, or None."""
    if mask is None or not isinstance(mask, Mapping):
        return mask if path == ACTION else None
    part: Any = mask
    for key in path.split("/"):
        if not isinstance(part, Mapping) or key not in part:
            return None
        part = part[key]
    return np.asarray(part)


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _action_leaves(space: spaces.Space[Any], path: str) -> Iterator[tuple[str, spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            if "/" in str(key):
                raise UserError(f"the action key {key!r} contains '/', which separates the keys of nested actions.")
            yield from _action_leaves(sub, f"{path}/{key}" if path else str(key))
    elif isinstance(space, spaces.Tuple):
        for index, sub in enumerate(space.spaces):
            yield from _action_leaves(sub, f"{path}/{index}" if path else str(index))
    else:
        yield path or ACTION, space


def _has_tuple(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.Dict):
        return any(map(_has_tuple, space.spaces.values()))
    return isinstance(space, spaces.Tuple)


def _nest(space: spaces.Space[Any], path: str, actions: Mapping[str, Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _nest(sub, f"{path}/{key}" if path else str(key), actions) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        items = enumerate(space.spaces)
        return tuple(_nest(sub, f"{path}/{index}" if path else str(index), actions) for index, sub in items)
    return actions[path or ACTION]


def _head(space: spaces.Space[Any], squashed: bool, path: str) -> Head:
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return CategoricalHead(space)
    if isinstance(space, spaces.MultiBinary):
        return BinaryHead(space)
    if isinstance(space, spaces.Box):
        return GaussianHead(space, squashed, path)
    raise UserError(
        f"there is no action distribution for {path!r} with the space {space}. "
        "Allowed: Discrete, MultiDiscrete, MultiBinary, Box, and Dict or Tuple of them."
    )
