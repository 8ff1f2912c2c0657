"""Its hook yields for ever."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    while True:
        yield EnvSpec(name="fake_endless", summary="A fake.", config=Config, build="fake:nothing")
