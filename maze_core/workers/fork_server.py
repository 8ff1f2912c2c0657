"""The server that forks processes, for `maze_core.workers.forked`: it imports what they need, and does nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from maze_core.workers.channel import Channel, closed_after
from maze_core.workers.start import flush, kill_group

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


def serve(connection: int) -> None:
    """Starts processes as it is asked to; comes back in each of them, never in the server.

    Args:
        connection: Descriptor of the socket to who asks.
    """
    channel, numbers, (wakes, waker) = Channel(socket.socket(fileno=connection)), dict[int, int](), os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    poll, server = select.poll(), os.getpid()
    poll.register(channel.fileno(), select.POLLIN)
    poll.register(wakes, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wakes in ready:
            os.read(wakes, 4096)
            for pid, code in _ended(numbers):
                _tell(channel, number=numbers.pop(pid), code=code)
        if channel.fileno() in ready:
            try:
                message, files = channel.receive()
            except (EOFError, OSError):
                os._exit(0)  # who asks is gone; the kernel kills the children
            request = json.loads(message)
            if "unwanted" in request:
                for pid in (pid for pid, number in numbers.items() if number == request["unwanted"]):
                    kill_group(pid)
                continue
            try:
                pid = _forked(request["modules"])
            except Exception as error:
                with contextlib.suppress(OSError):
                    os.write(files[1], f"a process cannot be started: {type(error).__name__}: {error}\n".encode())
                _tell(channel, number=request["number"], code=1)
            else:
                if pid == 0:
                    channel.close()
                    _become(request, server, files, (wakes, waker))
                    return
                numbers[pid] = request["number"]
                _tell(channel, number=request["number"], pid=pid)
            closed_after(files)


def _tell(channel: Channel, **answer: int) -> None:
    channel.send(json.dumps(answer).encode())


def _forked(modules: Sequence[str]) -> int:
    """Imports what a process needs and forks it; returns its number, 0 in itself.

    Raises:
        OSError: If there cannot be one more process.
    """
    if any(module not in sys.modules for module in modules):
        for module in modules:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # a collection in a child would write to all that it shares
    flush()
    return os.fork()


def _ended(started: Collection[int]) -> list[tuple[int, int]]:
    """Processes that ended since, each with its exit code; what they started, and left, is killed."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # nobody else has this number before it is waited for
            found.append((ended.si_pid, os.waitstatus_to_exitcode(os.waitpid(ended.si_pid, 0)[1])))
    return [(pid, code) for pid, code in found if pid in started]  # not what an import left


def _become(request: Mapping[str, Any], server: int, files: Sequence[int], pipe: Sequence[int]) -> None:
    """Makes a child what was asked for; it ends with the code that this raises as SystemExit."""
    system = ctypes.CDLL(None)
    system.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    os.setsid()
    system.prctl(PR_SET_NAME, request["name"].encode(), 0, 0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    closed_after(pipe)
    for descriptor, file in zip((1, 2), files, strict=False):
        os.dup2(file, descriptor)
    os.fchdir(files[2])
    closed_after(files[:3])
    os.umask(request["umask"])
    os.sched_setaffinity(0, request["cores"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = request["path"]
    importlib.invalidate_caches()
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # who draws without a seed must not draw what its siblings do
    sys.argv[1:] = request["arguments"]
    names = {"__name__": "__main__", "sys": sys, "parent": server, "files": list(files[3:])}
    exec(request["code"], names)  # what `start_process` was given: the socket has no name, only the parent writes to it
