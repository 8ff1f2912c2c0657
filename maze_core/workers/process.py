"""One worker process: how it begins, how its end is told, and that it never outlives its parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from maze_core.workers.channel import Channel
from maze_core.workers.shared import new_memory, shared_arrays

PROGRESS = [("<i8", (5,))]
"""Layout of a worker's progress: calls of envs so far, kind of the present one, env, episode seed, step."""

IDLE, CALLS, CONSTRUCTS = 0, 1, 2
"""Kinds of what a worker does with an env: nothing, a step or reset, its construction."""

BOOT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
import json
sys.path[:] = json.loads(sys.argv[4])
from maze_core.workers.child import main
main(*map(int, sys.argv[1:4]))
"""
"""Runs first in a worker: the kernel kills it (PR_SET_PDEATHSIG) when the parent ends, whatever it is doing then."""

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
        arguments = [str(os.getpid()), str(other.fileno()), str(memory), json.dumps([str(entry) for entry in sys.path])]
        try:
            self._process = _started([sys.executable, "-P", "-c", BOOT, *arguments], (other.fileno(), memory), folder)
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


class _Starter:
    """A thread that starts processes and does nothing else.

    Linux tells a process of its parent's death when the thread that started it ends; this one lasts.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = queue.SimpleQueue()
        self.pid = os.getpid()
        threading.Thread(target=self._work, name="maze-starter", daemon=True).start()

    def _work(self) -> None:
        while True:
            task, answer = self._tasks.get()
            try:
                answer.put(task())
            except Exception as error:
                answer.put(error)

    def do(self, task: Callable[[], Any]) -> Any:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tasks.put((task, answer))
        result = answer.get()
        if isinstance(result, Exception):
            raise result
        return result


_starter: _Starter | None = None
_starter_lock = threading.Lock()


def _started(command: Sequence[str], files: Sequence[int], folder: str) -> subprocess.Popen[bytes]:
    global _starter
    with _starter_lock:
        if _starter is None or _starter.pid != os.getpid():  # a forked process has no threads
            _starter = _Starter()
        starter = _starter
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # in a session of its own: Ctrl-C is for the parent
            command, stdin=subprocess.DEVNULL, pass_fds=files, cwd=folder, start_new_session=True, env=environment
        )

    process: subprocess.Popen[bytes] = starter.do(start)
    return process
