"""An env that shows a sign to be named, ten times."""

import gymnasium
import numpy as np
from gymnasium import spaces


class GuessSign(gymnasium.Env):
    """One reward for each sign that is named."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(2)

    def __init__(self, config):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._sign(), {}

    def step(self, action):
        right = self.sign == action
        self.steps += 1
        return self._sign(), float(right), self.steps == 10, False, {}

    def _sign(self):
        self.sign = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.sign]
