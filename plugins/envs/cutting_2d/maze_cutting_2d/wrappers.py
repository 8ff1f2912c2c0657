"""What networks see of sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper, spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from maze_core import UserError
from maze_cutting_2d.config import SizeScalingConfig

SIZES = ("inventory", "ordered_piece", "selected_piece")


def scaled(part: Any, largest: float) -> Any:
    """Sizes divided by the largest side, the number of pieces by the number of slots; the rest as it is."""
    if not isinstance(part, dict):
        return part
    slots = part["inventory"].shape[-2] if "inventory" in part else 1
    factors = {**dict.fromkeys(SIZES, np.float32(1 / largest)), "inventory_size": np.float32(1 / slots)}
    return {key: value * factors[key] if key in factors else scaled(value, largest) for key, value in part.items()}


def scaled_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space of what `scaled` returns."""
    if not isinstance(space, spaces.Dict):
        return space
    changed = (*SIZES, "inventory_size")
    return spaces.Dict(  # of pairs: from a mapping it would sort the keys, whose order says who is which actor
        [
            (key, spaces.Box(0, 1, part.shape, np.float32) if key in changed else scaled_space(part))
            for key, part in space.spaces.items()
        ]
    )


def largest_side(space: spaces.Space[Any]) -> float:
    """The longer side of a raw piece.

    Raises:
        UserError: If the env is no cutting problem.
    """
    ordered = list(_ordered_pieces(space))
    if not ordered:
        raise UserError("wrapper cutting_2d scales the sizes of a cutting_2d env, and this env has none.")
    return float(ordered[0].high.max())


def _ordered_pieces(space: spaces.Space[Any]) -> Iterator[spaces.Box]:
    for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else ():
        if key == "ordered_piece" and isinstance(part, spaces.Box):
            yield part
        yield from _ordered_pieces(part)


class SizeScaling(Wrapper[Any, Any, Any, Any]):
    """Scales the observations of one env."""

    def __init__(self, env: Env[Any, Any], config: SizeScalingConfig) -> None:
        super().__init__(env)
        self._largest = largest_side(env.observation_space)
        self.observation_space = scaled_space(env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return scaled(observation, self._largest), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, *rest = self.env.step(action)
        return scaled(observation, self._largest), *rest


class VectorSizeScaling(VectorWrapper[Any, Any, Any]):
    """Scales the observations of many envs."""

    def __init__(self, env: VectorEnv[Any, Any, Any], config: SizeScalingConfig) -> None:
        super().__init__(env)
        self._largest = largest_side(env.single_observation_space)
        self.single_observation_space = scaled_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the chosen envs."""
        observation, info = self.env.reset(seed=seed, options=options)
        return scaled(observation, self._largest), info

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        observation, *rest = self.env.step(actions)
        return scaled(observation, self._largest), *rest
