"""Wrappers for observations that are images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import Env, Wrapper, spaces
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from maze_core.builtins.config import PixelPreparationConfig, RenderObservationConfig
from maze_core.errors import EnvFaultError, UserError
from maze_core.rl.actors import is_structured
from maze_core.rl.spaces import ACTION_MASK

AnyEnv = Env[Any, Any]

BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)
"""How much red, green and blue add to the brightness (ITU-R BT.601)."""


class RenderObservation(Wrapper[Any, Any, Any, Any]):
    """Shows the rendered frame, uint8 (H, W, 3), instead of what the env observes.

    Args:
        env: Built with ``render_mode="rgb_array"``; it is reset once to learn the size of its frames.
        config: Has no options.

    Raises:
        UserError: If the env does not render frames, or its observations have parts that must not get lost.
    """

    def __init__(self, env: AnyEnv, config: RenderObservationConfig) -> None:
        super().__init__(env)
        if env.render_mode != "rgb_array":
            raise UserError(
                f"wrapper render_observation needs an env that renders frames, and its render_mode is "
                f"{env.render_mode}. Use env.kwargs.render_mode=rgb_array."
            )
        shown = env.observation_space
        if is_structured(shown, env.action_space):
            raise UserError("wrapper render_observation would hide whose turn it is in a structured env.")
        if isinstance(shown, spaces.Dict) and ACTION_MASK in shown.spaces:
            raise UserError("wrapper render_observation would hide the action_mask that the env shows.")
        env.reset(seed=0)
        self.observation_space = spaces.Box(0, 255, self._frame().shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._frame(), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._frame(), reward, terminated, truncated, info

    def _frame(self) -> NDArray[np.uint8]:
        frame: Any = self.env.render()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.dtype != np.uint8:
            what = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise EnvFaultError(f"wrapper render_observation: render() gave {what}, and a frame is uint8 (H, W, 3).")
        return frame


class PixelPreparation(Wrapper[Any, Any, Any, Any]):
    """Makes images grey, resizes them and scales their values; shows (H, W, C).

    Images are (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels.

    Args:
        env: Its observations are images with known bounds.
        config: What is done.

    Raises:
        UserError: If they are not.
    """

    def __init__(self, env: AnyEnv, config: PixelPreparationConfig) -> None:
        super().__init__(env)
        space = _image_space(env.observation_space, env.action_space)
        self._config = config
        self._first = len(space.shape) == 3 and space.shape[-1] not in (1, 3)
        self._low, self._high = float(space.low.min()), float(space.high.max())
        self._whole = space.dtype == np.uint8 and not config.scale
        height, width, channels = _channels_last(space.low, self._first).shape
        self._size = (config.height or height, config.width or width)
        self._limits = (0.0, 1.0) if config.scale else (self._low, self._high)
        shape = (*self._size, 1 if config.grey else channels)
        self.observation_space = spaces.Box(*self._limits, shape, np.uint8 if self._whole else np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._prepared(observation), info

    def step(self, action: Any) -> Any:
        """Steps the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._prepared(observation), reward, terminated, truncated, info

    def _prepared(self, observation: Any) -> NDArray[Any]:
        image = _channels_last(np.asarray(observation), self._first).astype(np.float32)
        if self._config.grey and image.shape[-1] == 3:
            image = image @ BRIGHTNESS[:, None]
        if image.shape[:2] != self._size:
            image = _resized(image, self._size)
        if self._config.scale:
            image = (image - self._low) / (self._high - self._low)
        image = image.clip(*self._limits)  # rounding must not leave the space
        return image.round().astype(np.uint8) if self._whole else image.astype(np.float32, copy=False)


def _channels_last(image: NDArray[Any], channels_first: bool) -> NDArray[Any]:
    if image.ndim == 2:
        return image[:, :, None]
    return image.transpose(1, 2, 0) if channels_first else image


def _resized(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Each new pixel is the mean of the area that it covers: [H, W, C] -> [*size, C]."""
    channels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    resized: NDArray[np.float32] = interpolate(channels[None], size, mode="area")[0].numpy()
    return np.ascontiguousarray(resized.transpose(1, 2, 0))


def _image_space(space: spaces.Space[Any], action_space: spaces.Space[Any]) -> spaces.Box:
    shape = space.shape or ()
    fits = len(shape) == 2 or (len(shape) == 3 and (shape[-1] in (1, 3) or shape[0] in (1, 3)))
    if not isinstance(space, spaces.Box) or not fits:
        what = "those of a structured env" if is_structured(space, action_space) else str(space)
        raise UserError(
            "wrapper pixel_preparation prepares single images of shape (H, W), (H, W, C) or (C, H, W) with 1 or 3 "
            f"channels, and the observations here are {what}. To observe what an env draws, use "
            "render_observation before it, with env.kwargs.render_mode=rgb_array."
        )
    low, high = float(space.low.min()), float(space.high.max())
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(
            f"wrapper pixel_preparation needs the bounds of pixel values, and those of {space} are not finite. "
            "Give the env's observation space its bounds, such as 0 to 255."
        )
    return space
