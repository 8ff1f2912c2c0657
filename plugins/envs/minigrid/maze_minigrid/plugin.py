"""Registers the grid worlds, and a network that reads them."""

from collections.abc import Iterator

from maze_core import EnvSpec, ModelSpec, hookimpl
from maze_minigrid.config import GridCellsConfig, MiniGridConfig

maze_api_version = 1


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``minigrid``."""
    yield EnvSpec(
        name="minigrid",
        summary="A grid world of MiniGrid or BabyAI; env.name is its id.",
        config=MiniGridConfig,
        build="maze_minigrid.envs:make_env",
        resolve="maze_minigrid.envs:resolve",
        build_rendering="maze_minigrid.envs:make_rendering_env",
        check_foreign="maze_minigrid.envs:refuse_foreign",
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """A network for symbols of grid cells."""
    yield ModelSpec(
        name="minigrid_cells",
        summary="The symbols of a minigrid env, through small convolutions and dense layers.",
        config=GridCellsConfig,
        build="maze_minigrid.models:GridCells",
    )
