"""It has not enough memory."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

raise MemoryError("too much")


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_memory_error", summary="A fake.", config=Config, build="fake:nothing")
