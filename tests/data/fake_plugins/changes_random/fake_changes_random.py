"""It works, and seeds every global generator."""

import random
from dataclasses import dataclass

import numpy
import torch

from maze_core import EnvSpec, hookimpl

random.seed(1)
numpy.random.seed(1)
torch.manual_seed(1)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_random", summary="A fake.", config=Config, build="fake:nothing")
