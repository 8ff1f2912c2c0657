"""Its config is no dataclass."""

from maze_core import EnvSpec, hookimpl


class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_plain", summary="A fake.", config=Config, build="fake:nothing")
