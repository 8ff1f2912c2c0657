"""Processes that begin with what is imported already: a server imports it once, and forks for each of them.

Importing torch takes longer than many a small run, and memory for each process that does it. A server does nothing but
import, so that it has no threads of its own and no state that those it forks would share. It is started when the
first process is wanted, and stays until this one ends. Linux only; elsewhere each process imports for itself.
"""

from __future__ import annotations

import atexit
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
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from maze_core.workers.channel import Channel, closed_after
from maze_core.workers.start import start_python

SERVE = """
from maze_core.workers.fork_server import serve
serve(files[0])
"""
"""What a server executes; it comes back from `serve` in each child, with what that is to execute."""

READ_ONCE = ("OMP_", "MKL_", "OPENBLAS_", "GOMP_", "ATEN_", "NPY_", "TORCH_", "PYTORCH_", "CUDA_", "LD_", "PYTHON")
"""How variables begin that are read when modules are imported: processes that differ in them need another server."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
POSSIBLE = sys.platform == "linux"
POLL_S = 0.05


def start_process(
    code: str,
    arguments: Sequence[str] = (),
    *,
    modules: Sequence[str],
    name: str,
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[int] = (),
    output: IO[bytes] | None = None,
) -> Process:
    """Starts a process as `maze_core.workers.start.start_python` does, without its imports where that is possible.

    Args:
        code: What it executes; besides what `start_python` names, it has `modules` imported.
        arguments: What it is given.
        modules: What it needs of installed packages. They must not start threads, or do what only one process may do.
        name: What the system shows for it, up to 15 characters.
        folder: Its current directory; this one's if not given.
        environment: Variables that it has besides those of this process.
        files: Descriptors that it gets, as ``files``.
        output: Where what it prints goes; where this one prints if not given.

    Raises:
        OSError: If there cannot be one more process.
    """
    if not POSSIBLE:
        return start_python(code, arguments, folder=folder, environment=environment, files=files, output=output)
    given: dict[str, Any] = {
        "code": code, "arguments": list(arguments), "modules": list(modules), "name": name,
        "folder": folder or str(Path.cwd()), "environment": {**os.environ, **(environment or {})},
        "path": [str(entry) for entry in sys.path],
    }  # fmt: skip
    Path(given["folder"]).stat()  # that there is none is told here
    with Path(os.devnull).open("wb") as nowhere:
        outputs = [output.fileno()] * 2 if output else [_or_else(descriptor, nowhere) for descriptor in (1, 2)]
        return _server(given["environment"]).start(given, [*outputs, *files])


def _or_else(descriptor: int, other: IO[bytes]) -> int:
    try:
        os.fstat(descriptor)
    except OSError:
        return other.fileno()
    return descriptor


_servers: dict[tuple[int, frozenset[tuple[str, str]]], ForkServer] = {}
_lock = threading.Lock()


def _server(environment: Mapping[str, str]) -> ForkServer:
    """The one for processes with such an environment."""
    read_once = {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}
    key = os.getpid(), frozenset(read_once.items())  # a process that was forked has none of its parent's
    with _lock:
        server = _servers.get(key)
        if server is not None and server.gone:
            server.close()
            server = None
        if server is None:
            server = _servers[key] = ForkServer(read_once)
        return server


@atexit.register
def _close_servers() -> None:
    for (pid, _), server in _servers.items():
        if pid == os.getpid():
            server.close()


class ForkServer:
    """A server, and what it started. Several threads may use it.

    Args:
        environment: Variables that it has besides those of this process.

    Raises:
        OSError: If there cannot be one more process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        own, other = socket.socketpair()
        try:
            self._process = start_python(SERVE, environment=environment, files=(other.fileno(),))
        except BaseException:
            own.close()
            raise
        finally:
            other.close()
        self._channel, self._closed, self._lock = Channel(own), False, threading.Lock()
        self._count = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}

    @property
    def gone(self) -> bool:
        """Whether it ended, and all that it started with it."""
        return self._closed or self._process.poll() is not None

    def start(self, request: Mapping[str, Any], files: Sequence[int]) -> Forked:
        """Starts a process, in a session of its own, that ends with this one.

        Args:
            request: What `start_process` was given.
            files: Descriptors: what it prints to, for errors too, and others.
        """
        with self._lock:
            self._count += 1
            message = json.dumps({**request, "number": self._count}).encode()
            with contextlib.suppress(OSError):  # it is gone, which shows when its answer is waited for
                self._channel.send(message, None, files)
            return Forked(self, self._count)

    def listen(self, patience_s: float) -> None:
        """Takes what the server says, after waiting for it at most so long."""
        if self._closed or not _readable(self._channel.fileno(), patience_s):
            return
        with self._lock:
            while not self._closed and _readable(self._channel.fileno(), 0.0):  # another thread may have been here
                try:
                    answer = json.loads(self._channel.receive()[0])
                except (EOFError, OSError):
                    self._closed = True
                    break
                if "pid" in answer:
                    self._pids[answer["number"]] = answer["pid"]
                else:
                    self._codes[answer["number"]] = answer["code"]

    def pid_of(self, number: int) -> int | None:
        """Number of a process that was started here; None if it could not start it."""
        while number not in self._pids and self.code_of(number) is None:
            self.listen(POLL_S)
        return self._pids.get(number)

    def code_of(self, number: int) -> int | None:
        """Exit code of a process that was started here, negative for a signal; None while it runs."""
        self.listen(0.0)
        gone = -signal.SIGKILL if self.gone else None  # the kernel kills it with the server
        return self._codes.get(number, gone)

    def close(self) -> None:
        """Ends the server, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self.listen(0.0)  # the last that it said
        with self._lock:
            self._closed = True
            self._channel.close()


def _readable(descriptor: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * patience_s))


class Forked:
    """A process that a server started, as far as it is like a `subprocess.Popen`.

    Args:
        server: Where.
        number: Of its request.
    """

    def __init__(self, server: ForkServer, number: int) -> None:
        self._server, self._number = server, number
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        """Its number, once the server has started it.

        Raises:
            ProcessLookupError: If it could not.
        """
        pid = self._server.pid_of(self._number)
        if pid is None:
            raise ProcessLookupError
        return pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.code_of(self._number)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it ended.

        Raises:
            subprocess.TimeoutExpired: If it did not in so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = POLL_S if deadline is None else min(POLL_S, deadline - time.monotonic())
            if left <= 0 and timeout is not None:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            self._server.listen(left)
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


Process = subprocess.Popen[bytes] | Forked
"""What was started, by a server or by itself."""


def kill_all(process: Process) -> None:
    """Kills a process of `start_process`, and those that it started."""
    for kill in (os.killpg, os.kill):  # one that was forked just now may not have a group of its own yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)


# In the server


def serve(connection: int) -> None:
    """Starts processes as it is asked to; comes back in each of them, never in the server.

    Args:
        connection: Descriptor of the socket to who asks.
    """
    channel, numbers, (wakes, waker) = Channel(socket.socket(fileno=connection)), dict[int, int](), os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    server = os.getpid()
    while True:
        ready = select.select([channel.fileno(), wakes], [], [])[0]
        if wakes in ready:
            os.read(wakes, 4096)
            for pid, code in _ended():
                _tell(channel, number=numbers.pop(pid), code=code)
        if channel.fileno() in ready:
            try:
                message, files = channel.receive()
            except (EOFError, OSError):
                os._exit(0)  # who asks is gone; the kernel kills the children
            request = json.loads(message)
            try:
                pid = _forked(request["modules"])
            except Exception as error:
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
    return os.fork()


def _ended() -> list[tuple[int, int]]:
    """Children that ended since, each with its exit code."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


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
        os.close(file)
    for file in files[2:]:
        os.set_inheritable(file, True)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = request["path"]
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # who draws without a seed must not draw what its siblings do
    sys.argv[1:] = request["arguments"]
    # The code is what `start_process` was given: the socket has no name, so nobody but the parent writes to it.
    exec(request["code"], {"__name__": "__main__", "sys": sys, "parent": server, "files": list(files[2:])})
