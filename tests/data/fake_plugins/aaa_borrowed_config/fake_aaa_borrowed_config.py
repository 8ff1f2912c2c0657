"""It uses the config class of another plugin."""

from maze_gym_env.config import GymEnvConfig

from maze_core import EnvSpec, hookimpl


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_borrowed", summary="A fake.", config=GymEnvConfig, build="fake:nothing")
