"""It works, and makes torch compute in double precision."""

from dataclasses import dataclass

import torch

from maze_core import EnvSpec, hookimpl

torch.set_default_dtype(torch.float64)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_dtype", summary="A fake.", config=Config, build="fake:nothing")
