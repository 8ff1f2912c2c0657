"""Whether its wrapper is for training only, it does not say."""

from dataclasses import dataclass

from maze_core import WrapperSpec, hookimpl


class Hostile:
    def __bool__(self):
        raise SystemExit(1)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_wrappers():
    yield WrapperSpec(name="fake_flag", summary="A fake.", config=Config, build="fake:nothing", training_only=Hostile())
