"""It raises an error that tries to command the terminal, and is very long."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

raise ValueError("\x1b[2Jgone\n" + "x" * 100_000)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_loud_error", summary="A fake.", config=Config, build="fake:nothing")
