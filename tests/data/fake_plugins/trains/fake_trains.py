"""It works, with an env that can be trained."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """Guess a sign."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_trains", summary="A fake.", config=Config, build="fake_trains_env:GuessSign")
