"""Its config class cannot be compared."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


class Meta(type):
    def __hash__(cls):
        raise SystemExit(1)


@dataclass(kw_only=True)
class HostileConfig(metaclass=Meta):
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_hostile", summary="A fake.", config=HostileConfig, build="fake:nothing")
