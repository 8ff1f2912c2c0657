"""Registers Gymnasium environments."""

from collections.abc import Iterator

from maze_core import EnvSpec, hookimpl
from maze_gym_env.config import GymEnvConfig

maze_api_version = 1


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``gym_env``."""
    yield EnvSpec(
        name="gym_env",
        summary="Any environment registered with Gymnasium; env.name is its id.",
        config=GymEnvConfig,
        build="maze_gym_env.envs:make_env",
        build_vector="maze_gym_env.envs:make_native_vector_env",
        resolve="maze_gym_env.envs:resolve",
        build_rendering="maze_gym_env.envs:make_rendering_env",
        check_foreign="maze_gym_env.envs:refuse_foreign",
    )
