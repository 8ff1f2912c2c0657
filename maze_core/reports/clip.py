"""A short animation of an episode for a page: bounded in time, frames and pixels."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from maze_core.animations import Film, frame_of, write_film
from maze_core.build import BuiltRollout
from maze_core.enums import RenderForm
from maze_core.errors import UserError
from maze_core.protocols import DrawsActions
from maze_core.rl.episodes import run_episodes
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv
from maze_core.runs.filming import DEFAULT_FPS

MAX_FRAMES, MAX_FPS, MAX_PIXELS = 110, 20.0, 250_000
MAX_BYTES = 3 * 2**18
MEDIA_TYPE = "image/webp"


@dataclass(frozen=True)
class Clip:
    """An episode, or the beginning of one.

    Args:
        still: Its first frame, a WebP file.
        moving: All of it, a WebP file.
        size: Width and height in pixels.
        seed: Of the episode.
        episode_return: Sum of the rewards, of what is shown.
        seconds: How long it takes in the env's own time.
        complete: Whether it is shown to its end.
        threshold: Return at which the env counts as solved, if it says so.
    """

    still: bytes
    moving: bytes
    size: tuple[int, int]
    seed: int
    episode_return: float
    seconds: float
    complete: bool
    threshold: float | None


class _EnoughError(Exception):
    """There is no more time."""


class _Camera(VectorWrapper[Any, Any, Any]):
    """Takes frames of the only env at even intervals, which are doubled when there are many.

    Args:
        env: Its innermost env steps one scalar env that can be rendered.
        deadline: When to stop, by `time.monotonic`.
    """

    def __init__(self, env: AnyVectorEnv, deadline: float) -> None:
        super().__init__(env)
        base = env.unwrapped
        assert isinstance(base, InProcessVectorEnv)
        self._env, self._deadline = base.envs[0], deadline
        self.fps = float(self._env.metadata.get("render_fps") or DEFAULT_FPS)
        self.every = max(1, round(self.fps / MAX_FPS))
        self.frames: list[NDArray[np.uint8]] = []
        self.n_steps, self.episode_return, self.ended = 0, 0.0, False

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets, and takes the first frame."""
        outcome = self.env.reset(seed=seed, options=options)
        self._shoot()
        return outcome

    def step(self, actions: Any) -> Any:
        """Steps, and takes a frame if it is time.

        Raises:
            _EnoughError: If there is no more time.
        """
        outcome = self.env.step(actions)
        self.n_steps += 1
        self.episode_return += float(outcome[1][0])
        self.ended = bool(outcome[2][0] | outcome[3][0])
        if self.ended or self.n_steps % self.every == 0:
            self._shoot()
        if not self.ended and time.monotonic() > self._deadline:
            raise _EnoughError
        return outcome

    def _shoot(self) -> None:
        frame = frame_of(self._env, type(self._env.unwrapped).__name__)
        if isinstance(frame, str):
            raise UserError("the env renders text, and an animation needs images; see it with render=terminal")
        self.frames.append(shrunk(frame, MAX_PIXELS))
        if len(self.frames) > MAX_FRAMES:
            self.frames, self.every = self.frames[::2], 2 * self.every

    @property
    def threshold(self) -> float | None:
        """What the env itself calls solved."""
        spec = self._env.spec
        return None if spec is None or spec.reward_threshold is None else float(spec.reward_threshold)


def make_clip(built: BuiltRollout, seed: int, seconds: float, max_bytes: int = MAX_BYTES) -> Clip:
    """Plays an episode and films it.

    Args:
        built: A rollout.
        seed: Of the episode.
        seconds: How long playing may take; then the rest of the episode is left out.
        max_bytes: How large the file may be.

    Raises:
        MazeError: If the env cannot be rendered, or fails.
    """
    workspace = built.workspace
    with contextlib.closing(workspace.factory.rendering(1)) as env:
        camera = _Camera(env, time.monotonic() + seconds)
        if isinstance(workspace.acting, DrawsActions):
            workspace.acting.begin(built.streams.generator("policy", 0))
        with contextlib.suppress(_EnoughError):
            run_episodes(camera, workspace.actors, workspace.acting.act, [seed])
        threshold = camera.threshold
    frames = camera.frames
    moving = _webp(frames, camera.fps / camera.every)
    while len(moving) > max_bytes and frames[0].shape[0] * frames[0].shape[1] > 2**12:
        frames = [shrunk(frame, frame.shape[0] * frame.shape[1] // 3) for frame in frames[::2]]
        camera.every *= 2
        moving = _webp(frames, camera.fps / camera.every)
    height, width, _ = frames[0].shape
    return Clip(
        _webp(frames[:1], 1.0), moving, (width, height), seed, camera.episode_return, camera.n_steps / camera.fps,
        camera.ended, threshold,
    )  # fmt: skip


def _webp(frames: list[NDArray[np.uint8]], fps: float) -> bytes:
    film = Film(fps)
    for frame in frames:
        film.add(frame)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.webp")
        write_film(film, file, RenderForm.webp)
        return file.read_bytes()


def shrunk(frame: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """An image [H, W, 3] of at most so many pixels; each is the mean of the area that it stands for."""
    height, width, _ = frame.shape
    scale = (pixels / (height * width)) ** 0.5
    if scale >= 1:
        return np.array(frame)
    rows, columns = (_means(size, max(1, int(size * scale))) for size in (height, width))
    mixed = np.tensordot(rows, frame.astype(np.float32), (1, 0))  # [h, W, 3]
    small: NDArray[np.uint8] = (
        np.rint(np.einsum("hwc,vw->hvc", mixed, columns, optimize=True)).clip(0, 255).astype(np.uint8)
    )
    return small


def _means(size: int, parts: int) -> NDArray[np.float32]:
    """Shares of each pixel in each part of a line of pixels, [parts, size]; those of a part sum to 1."""
    edges = np.linspace(0, size, parts + 1)
    pixels = np.arange(size)
    shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    means: NDArray[np.float32] = (np.clip(shares, 0, None) * parts / size).astype(np.float32)
    return means
