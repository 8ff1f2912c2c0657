"""The policy: a rule that needs no training."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_bakery.config import WEEKDAYS, RuleConfig
from maze_core import UserError
from maze_core.rl import Actors, Turn


class Rule:
    """Bakes for the customers that are expected.

    Args:
        config: Options.
        actors: Of the env.

    Raises:
        UserError: If the env is no bakery.
    """

    def __init__(self, config: RuleConfig, actors: Actors) -> None:
        oven = actors.action_space
        if actors.observation_space != spaces.Discrete(len(WEEKDAYS)) or not isinstance(oven, spaces.Discrete):
            raise UserError("policy bakery_rule plays env bakery only.")
        self.loaves = np.minimum(np.rint(config.share * np.array(config.customers)), oven.n - 1).astype(np.int64)

    def act(self, turn: Turn) -> NDArray[np.int64]:
        """How many loaves are baked on weekdays [n], [n]."""
        baked: NDArray[np.int64] = self.loaves[turn.observation]
        return baked
