"""Two of its specs use one config class."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_first", summary="A fake.", config=Config, build="fake:nothing")
    yield EnvSpec(name="fake_second", summary="A fake.", config=Config, build="fake:nothing")
