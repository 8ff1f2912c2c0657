"""CartPole for many copies at once, with a seed and a reset of its own for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

CARTPOLE_ENTRY_POINT = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


class SeededCartPoleVectorEnv(CartPoleVectorEnv):
    """Gymnasium's native CartPole under the contract of `maze_core.rl.vector_env`.

    Gymnasium's own form draws the starts of all copies from one generator and ignores
    ``reset_mask``. This one equals the scalar env bit for bit with the same seeds.

    Args:
        num_envs: Number of copies, B.
        max_episode_steps: Steps after which an episode is truncated.
        sutton_barto_reward: As in Gymnasium: reward 0 and -1 instead of 1.
    """

    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    state: NDArray[np.float64]  # type: ignore[assignment]  # [4, B]; None before the first reset of the parent

    def __init__(self, num_envs: int, max_episode_steps: int, sutton_barto_reward: bool = False) -> None:
        super().__init__(num_envs, max_episode_steps, sutton_barto_reward=sutton_barto_reward)
        self.state = np.zeros((4, num_envs))
        self._idle = np.ones(num_envs, bool)
        self._any_idle = True

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Resets the copies in ``options["reset_mask"]`` (all without it), each with its own seed."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for index in np.flatnonzero(mask):
            generator, _ = seeding.np_random(None if seed is None else seed[index])
            self.state[:, index] = generator.uniform(self.low, self.high, size=4)
        self.steps[mask] = 0
        self._idle &= ~mask
        self._any_idle = bool(self._idle.any())
        return self.state.T.astype(np.float32), {}

    def step(self, action: NDArray[np.integer[Any]]) -> tuple[Any, ...]:
        """Steps every copy that is not idle."""
        self.prev_done[:] = False  # nothing is to be reset by the parent class
        if self._any_idle:
            self.state[:, self._idle] = 0.0  # an abandoned pole would fall for ever and overflow
            self.steps[self._idle] = 0
        observation, reward, terminated, truncated, info = super().step(action)
        reward = reward.astype(np.float64)
        if self._any_idle:
            reward[self._idle] = 0.0
            terminated[self._idle] = False
            truncated[self._idle] = False
        ended = terminated | truncated
        if ended.any():
            self._idle |= ended
            self._any_idle = True
        return observation, reward, terminated, truncated, info
