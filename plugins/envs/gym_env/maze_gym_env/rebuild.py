"""Envs that carry something of an episode into the next one, and the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

LEAKING_ENVS = frozenset({"gymnasium.envs.box2d.bipedal_walker:BipedalWalker"})
"""Classes whose episodes depend on those before: this one keeps its Box2D world over resets.

A test compares every env that can be built here with this list.
"""


def leaks(env: gymnasium.Env[Any, Any]) -> bool:
    """True if the env is known to depend on its earlier episodes, whatever id it was registered under."""
    classes = type(env.unwrapped).__mro__
    return any(f"{cls.__module__}:{cls.__qualname__}" in LEAKING_ENVS for cls in classes)


class RebuiltEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An env that is constructed anew for every episode, which then depends on its seed and actions only.

    Spaces stay the same objects, and a reset without seed goes on with the generator of the episode
    before, as in any env. Whatever else was set on the inner env is gone after a reset.

    Args:
        env: The env of the first episode.
        make: Constructs that of each further one.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
        super().__init__(env)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._make, self._used = make, False

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]  # in Env a plain attribute
        """That of the inner env, so that `gymnasium.make` takes it."""
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, from the second on in an env of its own."""
        if self._used:
            last = self.env.unwrapped
            self.env.close()  # before the next one opens a window of its own
            self.env = self._make()
            if seed is None:
                new = self.env.unwrapped
                new._np_random, new._np_random_seed = last._np_random, last._np_random_seed
        self._used = True
        return self.env.reset(seed=seed, options=options)
