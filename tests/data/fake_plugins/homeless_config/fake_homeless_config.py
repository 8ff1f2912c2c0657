"""Its config class belongs to no module."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


Config.__module__ = None


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_homeless", summary="A fake.", config=Config, build="fake:nothing")
