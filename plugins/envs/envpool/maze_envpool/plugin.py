"""Registers the environments of EnvPool."""

from collections.abc import Iterator

from maze_core import EnvSpec, hookimpl
from maze_envpool.config import EnvPoolConfig

maze_api_version = 1


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``envpool``."""
    yield EnvSpec(
        name="envpool",
        summary="An environment that EnvPool computes in C++, many copies at once; env.name is its id.",
        config=EnvPoolConfig,
        build="maze_envpool.envs:make_env",
        build_vector="maze_envpool.envs:make_vector_env",
        resolve="maze_envpool.envs:resolve",
        build_rendering="maze_envpool.envs:make_rendering_env",
        check_foreign="maze_envpool.envs:refuse_foreign",
    )
