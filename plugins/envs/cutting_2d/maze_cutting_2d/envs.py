"""One env at a time: the flat and the structured form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from maze_core import UserError
from maze_core.rl import StructuredEnv
from maze_cutting_2d.config import CuttingConfig, FlatCuttingConfig, MaskedCuttingConfig, StructuredCuttingConfig
from maze_cutting_2d.rendering import draw
from maze_cutting_2d.spaces import CUT, SELECT, flat_spaces, structured_spaces
from maze_cutting_2d.world import CuttingWorld, Size, fits, fits_somehow


def observed_inventory(world: CuttingWorld) -> dict[str, Any]:
    """What is seen when a piece has to be chosen."""
    inventory = np.zeros((world.config.max_pieces_in_inventory, 2), np.float32)
    if world.inventory:
        inventory[: len(world.inventory)] = world.inventory
    count = np.array([len(world.inventory)], np.float32)
    return {"inventory": inventory, "inventory_size": count, "ordered_piece": np.array(world.order, np.float32)}


def checked(action: Any, config: CuttingConfig, *keys: str) -> list[int]:
    """The parts of an action as whole numbers.

    Raises:
        UserError: If one is missing, no whole number, or out of its range.
    """
    largest = {"piece_idx": config.max_pieces_in_inventory, "cut_rotation": 2, "cut_order": 2}
    parts = []
    for key in keys:
        part = np.asarray(action.get(key) if isinstance(action, Mapping) else None)
        if part.shape != () or part.dtype.kind not in "iu" or not 0 <= int(part) < largest[key]:
            allowed = f"a whole number from 0 to {largest[key] - 1}"
            raise UserError(f"action {key}={part} is not allowed: it must be {allowed}.")
        parts.append(int(part))
    return parts


def picture(world: CuttingWorld, selected: int | None = None) -> NDArray[np.uint8]:
    """The state as an image [480, 640, 3]."""
    return draw(world.raw, world.inventory, world.order, world.last_cut, selected)


class FlatCutting(gymnasium.Env[dict[str, Any], dict[str, Any]]):
    """All in one decision.

    Args:
        config: Options.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, config: FlatCuttingConfig) -> None:
        self.world = CuttingWorld(config)
        self.observation_space, self.action_space = flat_spaces(config)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
        """Starts an episode."""
        super().reset(seed=seed)
        self.world.reset(self.np_random)
        return observed_inventory(self.world), {}

    def step(self, action: Mapping[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Cuts."""
        world = self.world
        reward = world.step(*checked(action, world.config, "piece_idx", "cut_rotation", "cut_order"))
        return observed_inventory(world), reward, False, world.ended, world.told() if world.ended else {}

    def render(self) -> Any:
        """The last cut, the next order and the inventory, as an image [480, 640, 3]."""
        return picture(self.world)


class StructuredCutting(StructuredEnv):
    """First which piece, then how it is cut.

    Args:
        config: Options; `MaskedCuttingConfig` adds masks of what is possible.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, config: StructuredCuttingConfig | MaskedCuttingConfig) -> None:
        self.masked = isinstance(config, MaskedCuttingConfig)
        super().__init__(structured_spaces(config, self.masked))
        self.world = CuttingWorld(config)
        self.selected: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
        """Starts an episode."""
        super().reset(seed=seed)
        self.world.reset(self.np_random)
        self.selected = None
        return self._select_turn(), {}

    def step(self, action: Mapping[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Takes one of the two decisions; the first changes nothing in the world."""
        world = self.world
        if self.selected is None:
            (self.selected,) = checked(action.get(SELECT), world.config, "piece_idx")
            return self._cut_turn(world.piece(self.selected)), 0.0, False, False, {}
        rotation, order = checked(action.get(CUT), world.config, "cut_rotation", "cut_order")
        reward = world.step(self.selected, rotation, order)
        self.selected = None
        return self._select_turn(), reward, False, world.ended, world.told() if world.ended else {}

    def render(self) -> Any:
        """The last cut, the next order, the inventory and what is selected in it, as an image [480, 640, 3]."""
        return picture(self.world, self.selected)

    def _select_turn(self) -> dict[str, Any]:
        observation = observed_inventory(self.world)
        if self.masked:
            world = self.world
            mask = np.zeros(world.config.max_pieces_in_inventory, np.int8)
            mask[: len(world.inventory)] = [fits_somehow(world.order, piece) for piece in world.inventory]
            observation["action_mask"] = {"piece_idx": mask}
        return self.turn_of(SELECT, observation, new_step=True)

    def _cut_turn(self, piece: Size) -> dict[str, Any]:
        order = self.world.order
        observation: dict[str, Any] = {
            "selected_piece": np.array(piece, np.float32),
            "ordered_piece": np.array(order, np.float32),
        }
        if self.masked:
            rotation = np.array([fits(order, piece), fits(order[::-1], piece)], np.int8)
            if not rotation.any():  # a piece that the mask ruled out: either way it is an invalid cut
                rotation[:] = 1
            observation["action_mask"] = {"cut_rotation": rotation, "cut_order": np.ones(2, np.int8)}
        return self.turn_of(CUT, observation, new_step=False)
