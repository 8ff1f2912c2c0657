"""Registers games of PettingZoo."""

from collections.abc import Iterator

from maze_core import EnvSpec, hookimpl
from maze_pettingzoo.config import PettingZooConfig

maze_api_version = 1


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``pettingzoo``."""
    yield EnvSpec(
        name="pettingzoo",
        summary="A game of PettingZoo, such as classic/tictactoe_v3: one agent against others, or a team.",
        config=PettingZooConfig,
        build="maze_pettingzoo.envs:make_env",
        resolve="maze_pettingzoo.games:resolve",
        build_rendering="maze_pettingzoo.envs:make_rendering_env",
        check_foreign="maze_pettingzoo.games:refuse_foreign",
    )
