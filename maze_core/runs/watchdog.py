"""Tells when an env does not return."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from maze_core.rl.vector_env import InProcessVectorEnv

LOG = logging.getLogger("maze")


@contextmanager
def watching(envs: Callable[[], Sequence[InProcessVectorEnv]], timeout: float | None) -> Iterator[None]:
    """Warns, once for each time, when a step or reset takes longer than it should.

    It cannot be ended from within the process; one that holds Python's lock cannot even be told of.

    Args:
        envs: Which envs there are at present.
        timeout: Seconds; None watches nothing.
    """
    if timeout is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        told: tuple[int, float, int | None] | None = None
        while not ended.wait(min(timeout / 2, 1.0)):
            for env in envs():
                busy = env.busy
                if busy is not None and busy != told and time.monotonic() - busy[1] > timeout:
                    told = busy
                    LOG.warning(
                        "env %d of %d has not returned for %g s (episode seed %s); Ctrl-C twice ends the run, and maze "
                        "resume goes on from its last checkpoint",
                        busy[0], env.num_envs, timeout, busy[2],
                    )  # fmt: skip

    thread = threading.Thread(target=watch, name="maze-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
