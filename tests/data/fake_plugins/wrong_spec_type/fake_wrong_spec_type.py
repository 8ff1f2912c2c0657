"""It yields a model where envs are expected."""

from dataclasses import dataclass

from maze_core import ModelSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield ModelSpec(name="fake_wrong", summary="A fake.", config=Config, build="fake:nothing")
