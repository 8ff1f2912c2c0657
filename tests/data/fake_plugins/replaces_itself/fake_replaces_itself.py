"""It puts something else in its place."""

import sys
import types
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

sys.modules[__name__] = types.SimpleNamespace(__spec__=None)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_replaces_itself", summary="A fake.", config=Config, build="fake:nothing")
