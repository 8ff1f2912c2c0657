"""The env."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from maze_bakery.config import WEEKDAYS, BakeryConfig
from maze_core.stats import Event, EventGroup, EventRecorder

LOAVES = EventGroup("LoafEvents", sold=Event("sum"), wasted=Event("sum"), missed=Event("sum"))
COST = 0.5
"""Of a loaf that is baked; one that is sold earns 1."""


class Bakery(gymnasium.Env[Any, Any]):
    """Each morning: how many loaves?

    Observation: the weekday, from 0 for Monday. Action: how many loaves are baked. Reward: 1 for each one that is
    sold, less `COST` for each one that was baked.

    Args:
        config: Options.
    """

    def __init__(self, config: BakeryConfig) -> None:
        self.config = config
        self.observation_space = spaces.Discrete(len(WEEKDAYS))
        self.action_space = spaces.Discrete(config.n_loaves + 1)
        self.events = EventRecorder(LOAVES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Opens on some weekday."""
        super().reset(seed=seed)
        self.events.reset()
        self.day, self.baked, self.sold = 0, 0, 0
        self.first = int(self.np_random.integers(len(WEEKDAYS)))
        return self._weekday(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Sells for a day."""
        baked = int(action)
        customers = int(self.np_random.poisson(self.config.customers[self._weekday()]))
        sold = min(baked, customers)
        self.events.fire(LOAVES, "sold", sold)
        self.events.fire(LOAVES, "wasted", baked - sold)
        self.events.fire(LOAVES, "missed", customers - sold)
        self.day, self.baked, self.sold = self.day + 1, self.baked + baked, self.sold + sold
        closed = self.day == len(WEEKDAYS) * self.config.n_weeks
        info = self.events.episode(share_sold=self.sold / max(self.baked, 1)) if closed else {}
        return self._weekday(), sold - COST * baked, False, closed, info

    def _weekday(self) -> int:
        return (self.first + self.day) % len(WEEKDAYS)
