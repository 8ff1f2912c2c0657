"""It takes a name that is reserved."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="live_env", summary="A fake.", config=Config, build="fake:nothing")
