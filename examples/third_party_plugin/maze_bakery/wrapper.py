"""The wrapper."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from maze_bakery.config import WEEKDAYS, WeekendConfig
from maze_core import UserError


class Weekend(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Observation: 1 at the weekend, else 0.

    Args:
        env: The bakery, or another one that shows the weekday alone.
        config: Options.

    Raises:
        UserError: If the env shows something else.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], config: WeekendConfig) -> None:
        super().__init__(env)
        if env.observation_space != spaces.Discrete(len(WEEKDAYS)):
            raise UserError(f"wrapper bakery_weekend needs an env that shows a weekday, not {env.observation_space}.")
        self.first = config.first
        self.observation_space = spaces.Discrete(2)

    def observation(self, observation: Any) -> int:
        """Whether the day belongs to the weekend."""
        return int(observation >= self.first)
