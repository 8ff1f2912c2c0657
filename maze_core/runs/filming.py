"""Frames of episodes, taken while they run."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper

from maze_core.animations import Film, frame_of, require_format
from maze_core.enums import RenderForm
from maze_core.env_factory import EnvFactory
from maze_core.errors import UserError
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv

DEFAULT_FPS = 30.0
"""Frames per second of an env that does not say."""


class FilmingVectorEnv(VectorWrapper[Any, Any, Any]):
    """Renders the first envs after each reset and step, until their episode ends.

    Args:
        env: Its innermost env steps scalar envs that can be rendered.
        n_filmed: How many envs are filmed.

    Attributes:
        films: Of the last episode of each, [n_filmed].
    """

    def __init__(self, env: AnyVectorEnv, n_filmed: int) -> None:
        super().__init__(env)
        base = env.unwrapped
        assert isinstance(base, InProcessVectorEnv)
        self._base = base
        self._fps = float(base.envs[0].metadata.get("render_fps") or DEFAULT_FPS)
        self.films = [Film(self._fps) for _ in range(n_filmed)]
        self._live = np.zeros(n_filmed, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Resets, and begins new films."""
        outcome = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for row in np.flatnonzero(mask[: len(self.films)]).tolist():
            self.films[row] = Film(self._fps)
            self._live[row] = True
            self._shoot(row)
        return outcome

    def step(self, actions: Any) -> Any:
        """Steps, and takes a frame of each env in an episode."""
        outcome = self.env.step(actions)
        for row in np.flatnonzero(self._live).tolist():
            self._shoot(row)
        n = len(self.films)
        self._live &= ~(outcome[2] | outcome[3])[:n]
        return outcome

    def _shoot(self, row: int) -> None:
        env = self._base.envs[row]
        self.films[row].add(frame_of(env, env.spec.id if env.spec is not None else type(env.unwrapped).__name__))


def check_rendering(factory: EnvFactory, form: RenderForm) -> None:
    """Checks that the env can be shown in this form, before any episode runs.

    Raises:
        UserError: If it cannot be rendered, or renders text where images are needed, or a package is missing.
        EnvFaultError: If it fails.
    """
    if form is not RenderForm.terminal:
        require_format(form)
    with contextlib.closing(factory.rendering(1)) as env:
        filming = FilmingVectorEnv(env, 1)
        filming.reset(seed=[0])
        if form is not RenderForm.terminal and isinstance(filming.films[0][0], str):
            raise UserError(f"render={form.value}: env {factory.spec.name!r} renders text. Use render=terminal.")
