"""It works, and imports torch, which takes a second."""

from dataclasses import dataclass

import torch  # noqa: F401

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_imports_torch", summary="A fake.", config=Config, build="fake:nothing")
