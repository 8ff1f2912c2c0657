"""Python processes that never outlive the one that started them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from maze_core.locks import ForkLock

HEAD = """
import ctypes, os, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != parent:
    os._exit(1)
import json
sys.path[:], files = json.loads(sys.argv[2])
del sys.argv[1:3]
"""
"""Runs first in a process: the kernel kills it (PR_SET_PDEATHSIG) when the parent ends, whatever it is doing then."""


def start_python(
    code: str,
    arguments: Sequence[str] = (),
    *,
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[int] = (),
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process that finds the same modules as this one, in a session of its own: Ctrl-C is for the parent.

    Args:
        code: What it executes; ``parent`` is the number of this process there, ``sys.argv[1:]`` are the arguments.
        arguments: What it is given.
        folder: Its current directory; this one's if not given.
        environment: Variables that it has besides those of this process.
        files: Descriptors that it inherits; named ``files`` there.
        output: Where what it prints goes; where this one prints if not given.

    Raises:
        OSError: If there cannot be one more process.
    """
    given = json.dumps([[str(entry) for entry in sys.path], list(files)])
    command = [sys.executable, "-P", "-c", HEAD + code, str(os.getpid()), given, *arguments]

    def start() -> subprocess.Popen[bytes]:
        out, err = (None if is_open(number) else subprocess.DEVNULL for number in (1, 2))
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output or out, stderr=subprocess.STDOUT if output else err,
            pass_fds=files, cwd=folder, start_new_session=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip

    process: subprocess.Popen[bytes] = _starter().do(start)
    return process


def is_open(number: int) -> bool:
    """Whether this is what a process prints to, and not closed or something else that got its number."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def flush() -> None:
    """Writes what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be none
            stream.flush()


def kill_group(pid: int) -> None:
    """Kills a process, and those that it started and that have no session of their own."""
    for kill in (os.killpg, os.kill):  # one that was forked just now may not have a group of its own yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


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


_present: _Starter | None = None
_lock = ForkLock()


def _starter() -> _Starter:
    global _present
    with _lock:
        if _present is None or _present.pid != os.getpid():  # a forked process has no threads
            _present = _Starter()
        return _present
