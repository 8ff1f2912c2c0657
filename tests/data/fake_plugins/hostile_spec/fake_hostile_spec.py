"""Its spec raises when it is looked at."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


class HostileSpec(EnvSpec):
    @property
    def name(self):
        raise SystemExit(1)


@hookimpl
def maze_envs():
    yield HostileSpec.__new__(HostileSpec)
