"""One worker process: how it begins, how its end is told, and that it never outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess

from maze_core.workers.channel import Channel
from maze_core.workers.shared import new_memory, shared_arrays
from maze_core.workers.start import start_python

PROGRESS = [("<i8", (5,))]
"""Layout of a worker's progress: calls of envs so far, kind of the present one, env, episode seed, step."""

IDLE, CALLS, CONSTRUCTS = 0, 1, 2
"""Kinds of what a worker does with an env: nothing, a step or reset, its construction."""

WORK = """
from maze_core.workers.child import main
main(parent, *map(int, sys.argv[1:3]))
"""
"""What a worker executes."""

START_S = 120.0
"""Least seconds that a worker has for imports and for constructing envs."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that keep a worker to one thread: more would take the cores of the other workers."""


class WorkerProcess:
    """A process that waits for messages.

    Args:
        hello: The first one.
        folder: Its current directory.

    Raises:
        OSError: If there cannot be one more process.
    """

    def __init__(self, hello: bytes, folder: str) -> None:
        own, other = socket.socketpair()
        self.channel = Channel(own)
        memory = new_memory(PROGRESS)
        (self.progress,) = shared_arrays(memory, PROGRESS)
        files, single = (other.fileno(), memory), dict.fromkeys(ONE_THREAD, "1")
        try:
            self._process = start_python(WORK, list(map(str, files)), folder=folder, environment=single, files=files)
        except BaseException:
            own.close()
            raise
        finally:
            other.close()
            os.close(memory)
        with contextlib.suppress(OSError):  # one that is dead already shows when it is waited for
            self.channel.send(hello, START_S)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether it is dead."""
        return self._process.poll() is not None

    @property
    def constructs(self) -> bool:
        """Whether it is constructing an env."""
        return bool(self.progress[1] == CONSTRUCTS)

    def doing(self) -> tuple[int | None, str]:
        """Seed of the episode that it is at, if there is one, and what it is doing, in words."""
        _, kind, env, seed, step = self.progress.tolist()
        if kind == IDLE:
            return None, ""
        if kind == CONSTRUCTS:
            return None, f" while env {env} was constructed"
        if seed < 0:
            return None, " in an env"  # one of a vector form of their own
        return seed, f" in step {step} of env {env}, episode seed {seed}"

    def end(self, patience_s: float = 0.0) -> str:
        """Kills it, with everything that it started, unless it ends by itself; returns how it ended, in words."""
        self.channel.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        finally:
            ended = self._process.returncode is not None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return ending(self._process.returncode) if ended else "stopped listening and had to be killed"


def ending(code: int) -> str:
    """How a process with this exit code ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (perhaps because memory ran out)" if name == "SIGKILL" else "")
