"""It computes for ever."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

while True:
    pass


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_hangs_busily", summary="A fake.", config=Config, build="fake:nothing")
