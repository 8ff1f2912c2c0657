"""It misspells a hook."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_env():
    yield EnvSpec(name="fake_misspelt", summary="A fake.", config=Config, build="fake:nothing")
