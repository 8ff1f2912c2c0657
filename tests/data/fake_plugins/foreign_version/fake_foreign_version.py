"""It was written for another version of the plugin interface."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


maze_api_version = 99


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_foreign", summary="A fake.", config=Config, build="fake:nothing")
