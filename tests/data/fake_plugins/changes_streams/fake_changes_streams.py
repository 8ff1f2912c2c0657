"""It works, and replaces the standard streams."""

import io
import sys
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

sys.stdout = io.TextIOWrapper(sys.__stdout__.buffer, write_through=True)
sys.stderr = io.StringIO()


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_streams", summary="A fake.", config=Config, build="fake:nothing")
