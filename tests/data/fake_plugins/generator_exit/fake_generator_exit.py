"""It raises what closes generators."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

raise GeneratorExit


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_generator_exit", summary="A fake.", config=Config, build="fake:nothing")
