"""It raises what ends generators."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

raise StopIteration("early")


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_stop_iteration", summary="A fake.", config=Config, build="fake:nothing")
