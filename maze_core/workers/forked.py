"""Processes that begin with what is imported already: a server imports it once, and forks for each of them.

Importing torch takes longer than many a small run, and memory for each process that does it. A server does nothing but
import, so that no thread of it is in the middle of something when it forks. It is started when the first process is
wanted, and stays until this one ends. Linux only; elsewhere each process imports for itself.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from maze_core.locks import ForkLock
from maze_core.workers.channel import Channel
from maze_core.workers.start import is_open, kill_group, start_python

SERVE = """
from maze_core.workers.fork_server import serve
serve(files[0])
"""
"""What a server executes; it comes back from `serve` in each child, after what that had to execute."""

READ_ONCE = (
    "OMP_", "MKL_", "OPENBLAS_", "GOMP_", "ATEN_", "NPY_", "TORCH_", "PYTORCH_", "CUDA_", "MPL", "LD_", "PYTHON",
)  # fmt: skip
"""How variables begin that are read when modules are imported: processes that differ in them need another server."""

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
        OSError: If that is not possible, as far as it shows at once; else its exit code is 1, and its output says why.
    """
    if not POSSIBLE:
        return start_python(code, arguments, folder=folder, environment=environment, files=files, output=output)
    variables = {**os.environ, **(environment or {})}
    request = {
        "code": code, "arguments": list(arguments), "modules": list(modules), "name": name, "environment": variables,
        "path": [str(entry) for entry in sys.path], "cores": list(os.sched_getaffinity(0)), "umask": _umask(),
    }  # fmt: skip
    where = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            outputs = [output or (number if is_open(number) else nowhere) for number in (1, 2)]
            descriptors = [file if isinstance(file, int) else file.fileno() for file in outputs]
            return _server(variables).start(request, [*descriptors, where, *files])
    finally:
        os.close(where)


def _umask() -> int:
    status = Path("/proc/self/status").read_text()  # to ask the system for it sets it, for all threads
    found = re.search(r"^Umask:\s*([0-7]+)", status, re.MULTILINE)
    if found:
        return int(found[1], 8)
    umask = os.umask(0o077)  # of a system that does not say it there
    os.umask(umask)
    return umask


_servers: dict[frozenset[tuple[str, str]], ForkServer] = {}
_lock = ForkLock()


def _server(environment: Mapping[str, str]) -> ForkServer:
    """The one for processes with such an environment."""
    read_once = {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}
    key = frozenset(read_once.items())
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
    for server in _servers.values():
        server.close()


def _forget_servers() -> None:
    """In a process that this one forked: they are not its own."""
    for server in _servers.values():
        server.forget()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_servers)


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
            files: Descriptors: what it prints to, what it prints errors to, its directory, and others.

        Raises:
            OSError: If they cannot be sent.
        """
        self.listen(0.0)  # a server whose answers nobody takes does not listen either
        with self._lock, self._whole():
            self._count += 1
            self._send({**request, "number": self._count}, files)
            return Forked(self, self._count)

    def _send(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> None:
        with contextlib.suppress(ConnectionError):  # it is gone, which shows when its answer is waited for
            self._channel.send(json.dumps(request).encode(), None, files)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Ends the server if a message stops half-way, by Ctrl-C perhaps: nobody would understand the next one."""
        try:
            yield
        except BaseException:
            self._process.kill()
            self._closed = True
            raise

    def listen(self, patience_s: float) -> None:
        """Takes what the server says, after waiting for it at most so long."""
        if self._closed or not _readable(self._channel.fileno(), patience_s):
            return
        with self._lock, self._whole():
            while not self._closed and _readable(self._channel.fileno(), 0.0):  # another thread may have been here
                try:
                    answer = json.loads(self._channel.receive()[0])
                except (EOFError, OSError):
                    self._closed = True
                    break
                if "pid" in answer:
                    self._pids[answer["number"]] = answer["pid"]
                else:
                    self._codes.setdefault(answer["number"], answer["code"])

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

    def kill(self, number: int) -> None:
        """Kills a process that was started here, and those that it started; one that has not begun never does much."""
        if self.code_of(number) is None:
            with self._lock, self._whole():
                if number in self._pids:
                    kill_group(self._pids[number])
                else:  # perhaps the server imports, or hangs
                    self._codes[number] = -signal.SIGKILL
                    self._send({"unwanted": number})

    def forget(self) -> None:
        """What a process that was forked does with its parent's server."""
        self._closed, self._lock = True, threading.Lock()
        self._channel.close()

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
    if descriptor < 0:
        return False  # it was closed
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

    def kill_all(self) -> None:
        """Kills it, if it runs; what it started dies with it anyway, unless that has a session of its own."""
        self._server.kill(self._number)


Process = subprocess.Popen[bytes] | Forked
"""What was started, by a server or by itself."""


def kill_all(process: Process) -> None:
    """Kills a process of `start_process`, and those that it started."""
    if isinstance(process, Forked):
        process.kill_all()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
