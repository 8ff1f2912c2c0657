"""Workers on this machine: how one begins, how its end is told, and that it never outlives its parent."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections.abc import Sequence

from maze_core.blueprint import Blueprint
from maze_core.workers.channel import Channel
from maze_core.workers.forked import kill_all, start_process
from maze_core.workers.host import START_S, Progress, Request, Worker
from maze_core.workers.shared import new_memory, shared_arrays

PROGRESS = [("<i8", (5,))]
"""Layout of a worker's `maze_core.workers.host.Progress`."""

WORK = """
from maze_core.workers.child import main
main(parent, *files)
"""
"""What a worker executes."""

MODULES = ("maze_core.workers.child", "gymnasium.vector")
"""What all workers import."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that keep a worker to one thread: more would take the cores of the other workers."""


class ProcessHost:
    """Starts workers on this machine, and waits for them.

    Args:
        blueprint: What they build.
    """

    shares_memory = True

    def __init__(self, blueprint: Blueprint) -> None:
        self._hello, self._folder = blueprint.to_bytes(), blueprint.folder

    def start(self) -> WorkerProcess:
        """Starts a worker."""
        return WorkerProcess(self._hello, self._folder)

    def ready(self, workers: Sequence[Worker], patience_s: float) -> Sequence[int]:
        """Waits until one of these workers has answered or is dead."""
        poll = select.poll()
        sockets = {worker.fileno(): place for place, worker in enumerate(workers) if isinstance(worker, WorkerProcess)}
        for socket_ in sockets:
            poll.register(socket_, select.POLLIN)
        return [sockets[socket_] for socket_, _ in poll.poll(1000 * patience_s)]


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
        self._channel = Channel(own)
        memory = new_memory(PROGRESS)
        (self._progress,) = shared_arrays(memory, PROGRESS)
        files, single = (other.fileno(), memory), dict.fromkeys(ONE_THREAD, "1")
        try:
            self._process = start_process(
                WORK, modules=MODULES, name="maze-worker", folder=folder, environment=single, files=files
            )
        except BaseException:
            own.close()
            raise
        finally:
            other.close()
            os.close(memory)
        with contextlib.suppress(OSError):  # one that is dead already shows when it is waited for
            self._channel.send(hello, START_S)

    def fileno(self) -> int:
        """Descriptor of the socket on which it answers."""
        return self._channel.fileno()

    def has_ended(self) -> bool:
        """Whether it is dead."""
        return self._process.poll() is not None

    def send(self, request: Request, patience_s: float | None) -> None:
        """Sends a request."""
        self._channel.send(request.to_bytes(), patience_s, request.files)

    def receive(self, patience_s: float | None) -> bytearray:
        """Its answer."""
        return self._channel.receive(patience_s)[0]

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(*self._progress.tolist())

    def let_go(self) -> None:
        """Tells it to end."""
        self._channel.close()

    def end(self, patience_s: float = 0.0) -> str:
        """Kills it, with everything that it started, unless it ends by itself; returns how it ended, in words."""
        self._channel.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        finally:
            ended = self._process.returncode is not None
            kill_all(self._process)
            code = self._process.wait()
        return ending(code) if ended else "stopped listening and had to be killed"


def ending(code: int) -> str:
    """How a process with this exit code ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (perhaps because memory ran out)" if name == "SIGKILL" else "")
