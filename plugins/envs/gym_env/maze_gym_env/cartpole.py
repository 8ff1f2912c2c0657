"""CartPole for many copies at once, with a seed and a reset of its own for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

CARTPOLE_ENTRY_POINT = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


class SeededCartPoleVectorEnv(CartPoleVectorEnv):
    """CartPole (Barto, Sutton and Anderson 1983) under the contract of `maze_core.rl.vector_env`.

    Gymnasium's own vector form draws the starts of all copies from one generator and ignores
    ``reset_mask``. This one equals the scalar env bit for bit with the same seeds, and moves the state
    of all copies in place, which at few copies takes half the time.

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
        self._change = np.zeros((4, num_envs))  # derivatives of position, velocity, angle, angular velocity
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
        """Steps every copy that is not idle.

        Raises:
            ValueError: If an action is neither 0 nor 1.
        """
        right = action == 1
        if not (right | (action == 0)).all():
            raise ValueError(f"actions must be 0 or 1, and there are {action}")
        if self._any_idle:
            self.state[:, self._idle] = 0.0  # an abandoned pole would fall for ever and overflow
            self.steps[self._idle] = 0
        self._move(np.where(right, self.force_mag, -self.force_mag))
        self.steps += 1
        x, _, theta, _ = self.state
        terminated = (np.abs(x) > self.x_threshold) | (np.abs(theta) > self.theta_threshold_radians)
        truncated = self.steps >= self.max_episode_steps
        reward = -terminated.astype(np.float64) if self._sutton_barto_reward else np.ones(self.num_envs)
        if self._any_idle:
            for values in (reward, terminated, truncated):
                values[self._idle] = 0
        ended = terminated | truncated
        if ended.any():
            self._idle |= ended
            self._any_idle = True
        return self.state.T.astype(np.float32), reward, terminated, truncated, {}

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Copies of all that the running episodes depend on.

        Returns:
            ``state`` [4, B] (position, velocity, angle, angular velocity), ``steps`` of the episodes
            so far [B], and ``idle`` [B].
        """
        return {"state": self.state.copy(), "steps": self.steps.copy(), "idle": self._idle.copy()}

    def set_state(self, state: Mapping[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Goes on with the episodes of a `get_state`, bit for bit.

        Args:
            state: What `get_state` returned, of as many copies as here.

        Returns:
            Observations of all copies [B, 4], and which of them go on where they were [B]: all.

        Raises:
            ValueError: If it is not a state of this env; nothing has changed then.
        """
        given = self._checked(state)
        self.state[:], self.steps[:], self._idle[:] = given["state"], given["steps"], given["idle"]
        self._any_idle = bool(self._idle.any())
        return self.state.T.astype(np.float32), np.ones(self.num_envs, bool)

    def _checked(self, state: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        own = self.get_state()
        if set(state) != set(own):
            raise ValueError(f"a state of CartPole has {', '.join(own)}, and there are {', '.join(state) or 'none'}")
        given = {name: np.asarray(state[name]) for name in own}
        for name, expected in own.items():
            array = given[name]
            if array.shape != expected.shape or array.dtype != expected.dtype:
                raise ValueError(
                    f"{name} of {self.num_envs} copies is {expected.dtype} {expected.shape}, "
                    f"and there is {array.dtype} {array.shape}"
                )
        if not np.isfinite(given["state"]).all():
            raise ValueError("state has values that are not finite")
        if ((given["steps"] < 0) | (given["steps"] > self.max_episode_steps)).any():
            raise ValueError(f"steps must be from 0 to {self.max_episode_steps}, and there are {given['steps']}")
        return given

    def _move(self, force: NDArray[np.float64]) -> None:
        """One step of Euler's method; the order of operations is that of the scalar env, for the same bits."""
        _, velocity, angle, turning = self.state
        cosine, sine = np.cos(angle), np.sin(angle)
        push = (force + self.polemass_length * (turning * turning) * sine) / self.total_mass
        inertia = self.length * (4.0 / 3.0 - self.masspole * (cosine * cosine) / self.total_mass)
        acceleration = (self.gravity * sine - cosine * push) / inertia
        self._change[0], self._change[2], self._change[3] = velocity, turning, acceleration
        self._change[1] = push - self.polemass_length * acceleration * cosine / self.total_mass
        self._change *= self.tau
        self.state += self._change
