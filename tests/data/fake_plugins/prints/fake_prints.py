"""It works, and prints in every way there is."""

import os
import sys
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

print("printed by a fake")
print("printed past a fake", file=sys.__stdout__)
os.write(1, b"written by a fake\n")
os.system("echo echoed by a fake")


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_prints", summary="A fake.", config=Config, build="fake:nothing")
