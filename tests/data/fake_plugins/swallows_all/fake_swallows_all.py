"""It waits for ever, whatever is raised while it handles what is raised."""

import time
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

while True:
    try:
        while True:
            try:
                time.sleep(3600)
            except BaseException as error:
                swallowed = error
    except BaseException as error:
        swallowed = error


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_swallows_all", summary="A fake.", config=Config, build="fake:nothing")
