"""From the id of a grid world to an env, with every way that can fail told in a sentence."""

from __future__ import annotations

import contextlib
import io
import warnings
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces
from numpy.typing import NDArray

from maze_core import EnvFaultError, MissingPackageError, UserError, did_you_mean
from maze_core.stats import EventRecorder
from maze_minigrid.config import MiniGridConfig, Observation

PREFIXES = ("MiniGrid-", "BabyAI-")
"""How ids of grid worlds begin."""

PIXELS_PER_CELL = 8
"""Sides of a cell in an observation that is drawn."""


def _imported() -> ModuleType:
    """The package that has the grid worlds; importing it registers them with Gymnasium.

    Raises:
        MissingPackageError: If it is missing.
    """
    try:
        import minigrid
    except ImportError as problem:
        raise MissingPackageError(
            f"env minigrid needs a package that cannot be imported: {problem}.\nNext: pip install minigrid"
        ) from None
    return minigrid


def known_ids() -> list[str]:
    """All ids of grid worlds.

    Raises:
        MissingPackageError: If the package is missing.
    """
    _imported()
    return [env_id for env_id in gymnasium.registry if env_id.startswith(PREFIXES)]


def resolve(config: MiniGridConfig) -> list[str]:
    """Checks that the id exists.

    Returns:
        A line for the user if the mission, which is not seen, may differ from one episode to the next.

    Raises:
        UserError: If no grid world has this id, or it needs a package that is missing.
    """
    refuse_foreign(config)
    env = _constructed(config)
    differs = _mission_differs(env)
    env.close()
    if not differs:
        return []
    return [
        f"{config.name} says in words what is to be done, not the same in each episode, and they are not observed: "
        "where the grid alone does not tell, no policy can know what is wanted."
    ]


def _mission_differs(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether the mission may be another one in the next episode, as all those of BabyAI."""
    from minigrid.core.mission import MissionSpace

    assert isinstance(env.observation_space, spaces.Dict)
    mission = env.observation_space["mission"]
    return type(mission) is not MissionSpace or mission.ordered_placeholders is not None


def refuse_foreign(config: MiniGridConfig) -> None:
    """Refuses what is no id of a grid world: nothing else is imported or made.

    Raises:
        UserError: If no grid world has this id.
    """
    known = known_ids()
    if config.name not in known:
        raise UserError(
            f"minigrid has no env {config.name!r}.{did_you_mean(config.name, known)}\n"
            "All ids: python -c 'import gymnasium, minigrid; gymnasium.pprint_registry()'"
        )


def make_env(config: MiniGridConfig) -> gymnasium.Env[Any, Any]:
    """Builds one grid world.

    Raises:
        UserError: If no grid world has this id, or a package is missing.
        EnvFaultError: If its constructor raises anything else.
    """
    refuse_foreign(config)
    return GridWorld(_constructed(config), config.observation)


def make_rendering_env(config: MiniGridConfig) -> gymnasium.Env[Any, Any]:
    """Builds one that gives images of the whole grid when it is rendered; raises as `make_env`."""
    refuse_foreign(config)
    return GridWorld(_constructed(config, render_mode="rgb_array"), config.observation)


def _constructed(config: MiniGridConfig, **arguments: Any) -> gymnasium.Env[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a version is out of date
            return gymnasium.make(config.name, disable_env_checker=True, **arguments)
    except (ImportError, error.Error) as problem:
        raise UserError(f"env {config.name!r} cannot be used: {' '.join(str(problem).split())}.") from problem
    except Exception as problem:
        kind = type(problem).__name__
        raise EnvFaultError(f"env {config.name!r} raised {kind} in its constructor: {problem}") from problem


class GridWorld(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A grid world as networks can see it; tells whether each episode was a success.

    Args:
        env: Shows a Dict of ``image`` [7, 7, 3] uint8 (kind, colour and state of each cell before the agent),
            ``direction`` and the text ``mission``.
        observation: What of it is shown.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], observation: Observation) -> None:
        super().__init__(env)
        self._shows, self._events = observation, EventRecorder()
        inner = env.observation_space
        assert isinstance(inner, spaces.Dict)
        cells = _cell_space(inner["image"].shape or ())
        if observation is Observation.dict:
            self.observation_space = spaces.Dict({"image": cells, "direction": inner["direction"]})
        elif observation is Observation.image:
            self.observation_space = cells
        else:
            height, width, _ = cells.shape
            self.observation_space = spaces.Box(
                0, 255, (height * PIXELS_PER_CELL, width * PIXELS_PER_CELL, 3), np.uint8
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        with contextlib.redirect_stdout(io.StringIO()):  # BabyAI prints each mission that it drew in vain
            observation, info = self.env.reset(seed=seed, options=options)
        self._events.reset()
        return self._shown(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step; the info of the last one has the KPI ``success``: 1 if the mission was accomplished."""
        observation, reward, terminated, truncated, info = self.env.step(int(action))
        if terminated or truncated:
            info = {**info, **self._events.episode(success=float(terminated and float(reward) > 0))}
        return self._shown(observation), float(reward), terminated, truncated, info

    def _shown(self, observation: dict[str, Any]) -> Any:
        if self._shows is Observation.dict:
            return {"image": observation["image"], "direction": observation["direction"]}
        return observation["image"] if self._shows is Observation.image else self._drawn()

    def _drawn(self) -> NDArray[np.uint8]:
        world: Any = self.env.unwrapped
        return np.asarray(world.get_frame(tile_size=PIXELS_PER_CELL, agent_pov=True), np.uint8)


def _cell_space(shape: tuple[int, ...]) -> spaces.Box:
    """Symbols of cells [H, W, 3]: kind, colour and state; one bound for all of them can be told in a few words."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    largest = max(max(numbers.values()) for numbers in (OBJECT_TO_IDX, COLOR_TO_IDX, STATE_TO_IDX))
    return spaces.Box(0, largest, shape, np.uint8)
