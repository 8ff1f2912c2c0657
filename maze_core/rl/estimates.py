"""What the critic estimated in the newest rollout, to be told as distributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.rl.rollouts import Experience
from maze_core.rl.saved import saved_array


class Estimates(Mapping[str, NDArray[np.float32]]):
    """Arrays [n] of the newest rollout by name: ``value`` of its states, ``advantage`` of its decisions.

    Advantages are those before normalisation; without critic there are no values. Keeping a rollout costs
    nothing: its arrays are joined when somebody asks.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[np.float32]]] = {}

    def keep(self, experience: Experience) -> None:
        """Forgets the rollout before this one."""
        samples = experience.samples()
        valued = [part for part in samples if part.valued is None or part.valued.any()]
        self._parts = {"value": [part.of_values(part.values)[0] for part in valued]} if valued else {}
        self._parts["advantage"] = [part.advantages for part in samples]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The values of this name, [n]."""
        return np.concatenate(self._parts[name]) if self._parts[name] else np.zeros(0, np.float32)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._parts)

    def __len__(self) -> int:
        """How many there are; none before the first rollout."""
        return len(self._parts)

    def state_dict(self) -> dict[str, Any]:
        """All arrays by name."""
        return dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned.

        Raises:
            ValueError: If it is something else.
        """
        if not set(state) <= {"value", "advantage"}:
            raise ValueError(f"there are no estimates of {sorted(map(str, state))}")
        self._parts = {name: [saved_array(state, name, (len(state[name]),), np.float32)] for name in state}
