"""It calls itself for ever."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


def call():
    call()


call()


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_recursion_error", summary="A fake.", config=Config, build="fake:nothing")
