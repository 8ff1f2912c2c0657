"""What its spec says of itself raises when it is compared or asked."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


class Hostile:
    def __bool__(self):
        raise SystemExit(1)

    __eq__ = __hash__ = __str__ = __repr__ = __bool__


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name=Hostile(), summary=Hostile(), config=Config, build=Hostile())
