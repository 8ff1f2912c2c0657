"""It raises an error that cannot be shown."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


class HostileError(BaseException):
    def __str__(self):
        raise SystemExit(1)


raise HostileError


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_hostile_error", summary="A fake.", config=Config, build="fake:nothing")
