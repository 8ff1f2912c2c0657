"""Small envs of every shape.

Each shows four values and pays the one that is chosen: 1 at best, 0 on average for who chooses at random. An episode
has 3 to 8 env steps, as its seed decides; those of even length terminate, the others are truncated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core.rl.actors import StructuredEnv

PICK, PLACE = "pick", "place"
VALUES = np.linspace(-1, 1, 4, dtype=np.float32)
SHORTEST, LONGEST, SIDE = 3, 8, 32


class Shelf:
    """Four values in random order, some of them allowed; a new one each time, for so many steps."""

    def start(self, generator: np.random.Generator) -> None:
        """Begins an episode."""
        self.generator, self.steps = generator, 0
        self.length = int(generator.integers(SHORTEST, LONGEST, endpoint=True))
        self.fill()

    def fill(self) -> None:
        """Shows other values."""
        self.values = self.generator.permutation(VALUES)
        self.mask = self.generator.integers(0, 2, 4, dtype=np.int8)
        self.mask[self.generator.integers(4)] = 1

    def end_step(self) -> tuple[bool, bool]:
        """An env step is over; says whether the episode is terminated or truncated."""
        self.steps += 1
        self.fill()
        over = self.steps == self.length
        return over and self.length % 2 == 0, over and self.length % 2 == 1


class FlatToy(gymnasium.Env[Any, Any]):
    """Choose the largest value that is allowed; the info tells the mask too."""

    observation_space: spaces.Space[Any] = spaces.Dict(
        {"values": spaces.Box(-1, 1, (4,)), "action_mask": spaces.MultiBinary(4)}
    )
    action_space: spaces.Space[Any] = spaces.Discrete(4)

    def __init__(self, config: Any = None) -> None:
        self.shelf = Shelf()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self.shelf.start(self.np_random)
        return self.seen(), self.told()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pays the chosen value."""
        reward = float(self.shelf.values[int(action)])
        terminated, truncated = self.shelf.end_step()
        return self.seen(), reward, terminated, truncated, self.told()

    def seen(self) -> Any:
        """What is observed now."""
        return {"values": self.shelf.values, "action_mask": self.shelf.mask}

    def told(self) -> dict[str, Any]:
        """The info."""
        return {"action_mask": self.shelf.mask}


class VectorToy(FlatToy):
    """The same without a mask in the observation."""

    observation_space = spaces.Box(-1, 1, (4,))

    def seen(self) -> NDArray[np.float32]:
        """What is observed now."""
        return self.shelf.values


class ImagesToy(FlatToy):
    """The same as an image, each value the brightness of a stripe; what is rendered is that image."""

    observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def seen(self) -> NDArray[np.uint8]:
        """What is observed now."""
        stripes = np.repeat((127 * (1 + self.shelf.values)).astype(np.uint8), SIDE // 4)
        return np.broadcast_to(stripes[None, :, None], (SIDE, SIDE, 3)).copy()

    def render(self) -> Any:
        """The same image."""
        return self.seen()


class StructuredToy(StructuredEnv):
    """Pick the largest value that is allowed, then say a number that is shown; the first item needs no number."""

    def __init__(self, config: Any = None) -> None:
        pick = spaces.Dict({"values": spaces.Box(-1, 1, (4,)), "action_mask": spaces.MultiBinary(4)})
        super().__init__({
            PICK: (pick, spaces.Discrete(4)),
            PLACE: (spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))),
        })  # fmt: skip
        self.shelf, self.place = Shelf(), np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self.shelf.start(self.np_random)
        self.placing = False
        return self._pick_turn(), {}

    def step(self, action: Mapping[str, Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one of the two decisions."""
        if self.placing:
            return self._end_of_step(-abs(float(action[PLACE][0]) - float(self.place[0])))
        item = int(action[PICK])
        reward = float(self.shelf.values[item])
        if item == 0:
            return self._end_of_step(reward)
        self.placing, self.place = True, self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.turn_of(PLACE, self.place, new_step=False), reward, False, False, {}

    def _end_of_step(self, reward: float) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.placing = False
        terminated, truncated = self.shelf.end_step()
        return self._pick_turn(), reward, terminated, truncated, {}

    def _pick_turn(self) -> dict[str, Any]:
        seen = {"values": self.shelf.values, "action_mask": self.shelf.mask}
        return self.turn_of(PICK, seen, new_step=True)
