"""Many envs at once: the flat and the structured form, under the contract of `maze_core.rl.vector_env`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from numpy.typing import NDArray

from maze_core import UserError
from maze_core.rl import StructuredEnv
from maze_cutting_2d.config import CuttingConfig, FlatCuttingConfig, MaskedCuttingConfig, StructuredCuttingConfig
from maze_cutting_2d.spaces import CUT, SELECT, flat_spaces, structured_spaces
from maze_cutting_2d.vector_world import VectorCuttingWorld

Rows = NDArray[np.intp]


class VectorCutting(VectorEnv[Any, Any, Any], ABC):
    """What both forms have in common.

    Args:
        config: Options.
        num_envs: Envs, B.
        observation_space: Of a single env.
        action_space: Of a single env.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(
        self, config: CuttingConfig, num_envs: int, observation_space: spaces.Dict, action_space: spaces.Dict
    ) -> None:
        self.num_envs, self.world = num_envs, VectorCuttingWorld(config, num_envs)
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._live = np.zeros(num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the envs in ``options["reset_mask"]`` (all without it), each with its own seed."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        rows = np.flatnonzero(mask)
        for row in rows if seed is not None else ():
            if seed[row] is not None:
                self._generators[row] = seeding.np_random(seed[row])[0]
        self.world.reset(rows, [self._generators[row] for row in rows])
        self._live[rows] = True
        self._begin(rows)
        return self._observed(), {}

    def _begin(self, rows: Rows) -> None:
        """Episodes begin in these envs."""

    @abstractmethod
    def _observed(self) -> Any:
        """What all envs observe."""

    def _inventory(self) -> dict[str, Any]:
        world = self.world
        return {
            "inventory": world.inventory,
            "inventory_size": world.count[:, None].astype(np.float32),
            "ordered_piece": world.order,
        }

    def _finish(self, rows: Rows, rewards: NDArray[np.float64]) -> tuple[Any, ...]:
        """What `step` returns after env steps of these envs with these rewards, [len(rows)]."""
        all_rewards, truncated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        all_rewards[rows] = rewards
        over = rows[self.world.ended(rows)]
        truncated[over] = True
        self._live[over] = False
        info = self.world.told(over) if len(over) else {}
        return self._observed(), all_rewards, np.zeros(self.num_envs, bool), truncated, info

    def _part(self, actions: Mapping[str, Any], key: str, n: int, rows: Rows) -> NDArray[np.intp]:
        """One part of the actions of some envs.

        Raises:
            UserError: If one is out of its range.
        """
        part = np.asarray(actions[key], np.intp)[rows]
        if len(part) and not 0 <= part.min() <= part.max() < n:
            bad = part[(part < 0) | (part >= n)][0]
            raise UserError(f"action {key}={bad} is not allowed: it must be a whole number from 0 to {n - 1}.")
        return part


class VectorFlatCutting(VectorCutting):
    """All in one decision, for many envs."""

    def __init__(self, config: FlatCuttingConfig, num_envs: int) -> None:
        super().__init__(config, num_envs, *flat_spaces(config))

    def step(self, actions: Any) -> Any:
        """Cuts in every env that is not idle."""
        rows, n = np.flatnonzero(self._live), self.world.n_slots
        parts = [self._part(actions, key, size, rows)
                 for key, size in (("piece_idx", n), ("cut_rotation", 2), ("cut_order", 2))]  # fmt: skip
        return self._finish(rows, self.world.step(rows, *parts))

    def _observed(self) -> Any:
        return self._inventory()


class VectorStructuredCutting(VectorCutting):
    """First which piece, then how it is cut, for many envs; each may be in either sub-step."""

    def __init__(self, config: StructuredCuttingConfig | MaskedCuttingConfig, num_envs: int) -> None:
        self.masked = isinstance(config, MaskedCuttingConfig)
        form = StructuredEnv(structured_spaces(config, self.masked))
        assert isinstance(form.observation_space, spaces.Dict) and isinstance(form.action_space, spaces.Dict)
        super().__init__(config, num_envs, form.observation_space, form.action_space)
        self._cutting = np.zeros(num_envs, bool)  # the envs in their second sub-step
        self._selected = np.zeros(num_envs, np.intp)
        parts = {key: form.observation_space[key] for key in (SELECT, CUT)}
        self._nothing = {key: create_empty_array(part, num_envs, np.zeros) for key, part in parts.items()}

    def _begin(self, rows: Rows) -> None:
        self._cutting[rows] = False

    def step(self, actions: Any) -> Any:
        """Takes the decision that is next in every env that is not idle; the first changes nothing in the world."""
        selecting, cutting = np.flatnonzero(self._live & ~self._cutting), np.flatnonzero(self._live & self._cutting)
        rewards = np.zeros(0)
        if len(selecting):
            self._selected[selecting] = self._part(actions[SELECT], "piece_idx", self.world.n_slots, selecting)
        if len(cutting):
            parts = [self._part(actions[CUT], key, 2, cutting) for key in ("cut_rotation", "cut_order")]
            rewards = self.world.step(cutting, self._selected[cutting], *parts)
        self._cutting[selecting], self._cutting[cutting] = True, False
        return self._finish(cutting, rewards)

    def _observed(self) -> Any:
        cutting = self._cutting
        turn = {
            "actor": cutting.astype(np.int64),
            "agent": np.zeros(self.num_envs, np.int64),
            "new_step": (~cutting).astype(np.int64),
        }
        if cutting.all():
            return {**turn, SELECT: self._nothing[SELECT], CUT: self._cut_part()}
        if not cutting.any():
            return {**turn, SELECT: self._select_part(), CUT: self._nothing[CUT]}
        return {**turn, SELECT: _where(~cutting, self._select_part()), CUT: _where(cutting, self._cut_part())}

    def _select_part(self) -> dict[str, Any]:
        part = self._inventory()
        return {**part, "action_mask": {"piece_idx": self.world.fitting.astype(np.int8)}} if self.masked else part

    def _cut_part(self) -> dict[str, Any]:
        pieces, orders = self.world.pieces(np.arange(self.num_envs), self._selected), self.world.order
        part: dict[str, Any] = {"selected_piece": pieces, "ordered_piece": orders}
        if self.masked:
            rotation = np.stack([(orders <= pieces).all(axis=1), (orders[:, ::-1] <= pieces).all(axis=1)], axis=1)
            rotation[~rotation.any(axis=1)] = True  # a piece that the mask ruled out: either way it is an invalid cut
            both = np.ones((self.num_envs, 2), np.int8)
            part["action_mask"] = {"cut_rotation": rotation.astype(np.int8), "cut_order": both}
        return part


def _where(chosen: NDArray[np.bool_], part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _where(chosen, value) for key, value in part.items()}
    return np.where(chosen.reshape(-1, *[1] * (part.ndim - 1)), part, 0).astype(part.dtype)
