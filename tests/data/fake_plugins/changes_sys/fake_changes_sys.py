"""It works, and changes where modules are found and what the command line was."""

import sys
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

sys.path = ["/nowhere", *sys.path]
sys.argv[:] = ["other"]


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_sys", summary="A fake.", config=Config, build="fake:nothing")
