"""It waits for ever."""

import time
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

time.sleep(3600)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_hangs", summary="A fake.", config=Config, build="fake:nothing")
