"""An env for the model of the plugin guide: a local plugin."""

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class ShelfConfig:
    """Find what is wanted on a shelf."""


class Shelf(gymnasium.Env):
    observation_space = spaces.Dict(
        {"items": spaces.Box(-1, 1, (6, 2)), "wanted": spaces.Box(-1, 1, (2,)), "action_mask": spaces.MultiBinary(6)}
    )
    action_space = spaces.Discrete(6)

    def __init__(self, config):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {}

    def step(self, action):
        reward, self.steps = float(action == self.wanted), self.steps + 1
        return self.look(), reward, False, self.steps == 10, {}

    def look(self):
        n = int(self.np_random.integers(2, 7))
        items = np.zeros((6, 2), np.float32)
        items[:n] = self.np_random.uniform(-1, 1, (n, 2))
        self.wanted = int(self.np_random.integers(n))
        return {"items": items, "wanted": items[self.wanted], "action_mask": (np.arange(6) < n).astype(np.int8)}


@hookimpl
def maze_envs():
    yield EnvSpec(name="shelf", summary="Find it.", config=ShelfConfig, build=Shelf)
