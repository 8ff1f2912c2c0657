"""Tiny envs, one for each kind of action space: observe an action, and do the same.

Importing this module registers them with Gymnasium as `Benchmark/<kind>-v0`.
"""

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

N_CHOICES = 6
ACTION_SPACES: dict[str, spaces.Space[Any]] = {
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "MultiBinary": spaces.MultiBinary(4),
    "Box": spaces.Box(-1.0, 1.0, (3,)),
    "Dict": spaces.Dict({"gear": spaces.Discrete(3), "wheel": spaces.Box(-1.0, 1.0, (2,))}),
}
KINDS = (*ACTION_SPACES, "Masked")


class Identity(gymnasium.Env[Any, Any]):
    """The reward is 0 for the action that was observed, and the more negative the farther from it.

    Args:
        kind: Key of `ACTION_SPACES`.
    """

    def __init__(self, kind: str) -> None:
        self.action_space = deepcopy(ACTION_SPACES[kind])
        flat = spaces.flatten_space(self.action_space)
        self.observation_space = spaces.Box(-1.0, 1.0, flat.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw the first action to be repeated."""
        super().reset(seed=seed)
        if seed is not None:
            self.action_space.seed(seed)
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        """Compare, and draw the next one."""
        reward = -float(np.abs(self._flat(action) - self._wanted).mean())
        return self._draw(), reward, False, False, {}

    def _draw(self) -> Any:
        self._wanted = self._flat(self.action_space.sample())
        return self._wanted

    def _flat(self, action: Any) -> NDArray[np.float32]:
        return np.asarray(spaces.flatten(self.action_space, action), np.float32)


class MaskedIdentity(gymnasium.Env[Any, Any]):
    """The same with a Discrete action of which half the values are masked, never the one observed."""

    def __init__(self) -> None:
        self.action_space = spaces.Discrete(N_CHOICES)
        observation = spaces.Box(0.0, 1.0, (N_CHOICES,), np.float32)
        self.observation_space = spaces.Dict(observation=observation, action_mask=spaces.MultiBinary(N_CHOICES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw the first action to be repeated, and a mask."""
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        """Compare, and draw the next one."""
        reward = float(action == self._wanted)
        return self._draw(), reward, False, False, {}

    def _draw(self) -> Any:
        allowed = self.np_random.permutation(N_CHOICES)[: N_CHOICES // 2]
        self._wanted = int(allowed[0])
        observation, mask = np.zeros(N_CHOICES, np.float32), np.zeros(N_CHOICES, np.int8)
        observation[self._wanted], mask[allowed] = 1.0, 1
        return {"observation": observation, "action_mask": mask}


for _kind in ACTION_SPACES:
    gymnasium.register(f"Benchmark/{_kind}-v0", f"{__name__}:Identity", max_episode_steps=32, kwargs={"kind": _kind})
gymnasium.register("Benchmark/Masked-v0", f"{__name__}:MaskedIdentity", max_episode_steps=32)
