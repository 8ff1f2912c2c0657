"""It works, and changes the current directory."""

import os
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

os.chdir("/")


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_folder", summary="A fake.", config=Config, build="fake:nothing")
