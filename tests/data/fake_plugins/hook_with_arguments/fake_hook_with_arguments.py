"""Its hook takes an argument."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs(registry):
    yield EnvSpec(name="fake_arguments", summary="A fake.", config=Config, build="fake:nothing")
