"""It works, and handles signals that it was not asked to handle."""

import signal
from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)


@dataclass(kw_only=True)
class Config:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="fake_changes_signals", summary="A fake.", config=Config, build="fake:nothing")
