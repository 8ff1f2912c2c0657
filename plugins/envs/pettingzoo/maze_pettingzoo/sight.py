"""What an agent sees and decides, from PettingZoo's form to Maze's.

A mask of PettingZoo is a Box of zeros and ones beside the observation, or an entry of the info; one of Maze is a
MultiBinary in the observation Dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from maze_core import UserError

MASK, OBSERVATION = "action_mask", "observation"


class Sight:
    """The spaces of one agent, and the way of its observations and actions into and out of them.

    Args:
        observation_space: As PettingZoo has it.
        action_space: As PettingZoo has it.
        info: What the game tells the agent; the mask may be in it.

    Raises:
        UserError: If the mask does not fit the actions.
    """

    def __init__(self, observation_space: Any, action_space: Any, info: Mapping[str, Any]) -> None:
        self.action_space = action_space
        parts = dict(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else {}
        shown = parts.pop(MASK, None)
        self._plain = not isinstance(observation_space, spaces.Dict)
        self._in_info = shown is None and info.get(MASK) is not None
        self.masked = shown is not None or self._in_info
        self.observation_space = observation_space
        if self.masked:
            mask = self._mask_space(np.shape(info[MASK]) if shown is None else shown.shape or ())
            seen = {OBSERVATION: observation_space} if self._plain else parts
            self.observation_space = spaces.Dict([*seen.items(), (MASK, mask)])

    def _mask_space(self, shape: tuple[int, ...]) -> spaces.MultiBinary:
        if not isinstance(self.action_space, spaces.Discrete) or shape != (int(self.action_space.n),):
            raise UserError(f"a mask of shape {list(shape)} does not fit the action space {self.action_space}.")
        return spaces.MultiBinary(shape[0])

    def seen(self, observation: Any, info: Mapping[str, Any], open_mask: bool = False) -> Any:
        """A member of the observation space, with arrays of its own.

        Args:
            observation: As PettingZoo gives it.
            info: What it tells the agent.
            open_mask: Whether to allow every action, whatever the game says.
        """
        if not self.masked:
            return _copied(observation)
        seen = {OBSERVATION: _copied(observation)} if self._plain else _copied(observation)
        n = int(self.action_space.n)
        mask = info.get(MASK, np.zeros(n)) if self._in_info else seen[MASK]
        return {**seen, MASK: np.ones(n, np.int8) if open_mask else np.array(mask, np.int8)}

    def decided(self, action: Any) -> Any:
        """An action as PettingZoo takes it.

        Raises:
            UserError: If it is none.
        """
        if isinstance(self.action_space, spaces.Discrete):
            action = int(action) if np.shape(action) == () and np.asarray(action).dtype.kind in "iu" else action
        elif isinstance(self.action_space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
            action = np.array(action)
        if not self.action_space.contains(action):
            raise UserError(f"action {action!r} is not allowed: it must be a member of {self.action_space}.")
        return action


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    return tuple(_copied(part) for part in value) if isinstance(value, tuple) else np.array(value)
