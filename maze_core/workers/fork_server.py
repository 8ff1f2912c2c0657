"""Processes that begin with what is imported already: a server imports it once, and forks for each of them.

Importing torch takes longer than many a small run. The server does nothing but import, so that it has no threads of
its own and no state that its children would share. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from maze_core.workers.start import start_python

SERVE = """
from maze_core.workers.fork_server import serve
serve(int(sys.argv[1]))
"""
"""What the server executes; it comes back from `serve` in each child, with what that is to execute."""

MODULES = (
    "maze_core.api", "maze_core.cli.train_command", "maze_core.cli.resume_command",
    "maze_core.builtins.tensorboard_callback", "maze_core.pictures", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "gymnasium.vector",
    "hydra.core.override_parser.overrides_parser",
)  # fmt: skip
"""What most runs import."""

PR_SET_PDEATHSIG = 1
POSSIBLE = sys.platform == "linux"


class ForkServer:
    """A server, and what it started.

    Raises:
        OSError: If there cannot be one more process.
    """

    def __init__(self) -> None:
        own, other = socket.socketpair()
        try:
            self._process = start_python(SERVE, [str(other.fileno())], files=(other.fileno(),))
        except BaseException:
            own.close()
            raise
        finally:
            other.close()
        self._socket, self._received, self._gone = own, b"", False
        self._started: list[int] = []
        self._codes: dict[int, int] = {}

    @property
    def gone(self) -> bool:
        """Whether it ended, and all that it started with it."""
        return self._gone or self._process.poll() is not None

    def start(self, code: str, arguments: Sequence[str], log: int, environment: Mapping[str, str]) -> Forked:
        """Starts a process, in a session of its own, that ends with this one.

        Args:
            code: What it executes; ``sys.argv[1:]`` are the arguments there.
            arguments: What it is given.
            log: Descriptor to which it prints.
            environment: Variables that it has besides those of this process.

        Raises:
            OSError: If there cannot be one more process.
        """
        request = {"code": code, "arguments": list(arguments), "environment": dict(environment)}
        message = json.dumps(request).encode() + b"\n"
        with contextlib.suppress(ConnectionError):  # it is noticed below
            sent = socket.send_fds(self._socket, [message], [log])
            self._socket.sendall(message[sent:])
        while not self._started:
            if self._gone:
                raise OSError("the server of processes ended")
            self._listen(None)
        return Forked(self, self._started.pop())

    def _listen(self, patience_s: float | None) -> None:
        """Takes what the server says, waiting for it at most so long; None waits until it says something."""
        if not select.select([self._socket], [], [], patience_s)[0]:
            return
        try:
            received = self._socket.recv(2**16)
        except ConnectionError:
            received = b""
        self._gone = not received
        *lines, self._received = (self._received + received).split(b"\n")
        for answer in map(json.loads, lines):
            if "started" in answer:
                self._started.append(answer["started"])
            else:
                self._codes[answer["ended"]] = answer["code"]

    def code_of(self, pid: int, wait: bool = False) -> int | None:
        """Exit code of a process that was started here, negative for a signal; None while it runs."""
        while pid not in self._codes:
            self._listen(None if wait else 0)
            if self._gone:
                self._codes.setdefault(pid, -signal.SIGKILL)  # the kernel kills it with the server
            elif not wait:
                break
        return self._codes.get(pid)

    def close(self) -> None:
        """Ends the server, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._socket.close()


class Forked:
    """A process that a server started, as far as it is like a `subprocess.Popen`.

    Args:
        server: Where.
        pid: Its number.
    """

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._server.code_of(self.pid)

    def wait(self) -> int:
        """The same, once it ended."""
        code = self._server.code_of(self.pid, wait=True)
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def serve(connection: int) -> None:
    """Starts processes as it is asked to; comes back in each of them, never in the server.

    Args:
        connection: Descriptor of the socket to who asks.
    """
    for module in MODULES:
        importlib.import_module(module)
    link = socket.socket(fileno=connection)
    received, logs, (wakes, waker) = b"", list[int](), os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    server = os.getpid()
    while True:
        ready = select.select([link.fileno(), wakes], [], [])[0]
        if wakes in ready:
            os.read(wakes, 4096)
            for pid, code in _ended():
                link.sendall(json.dumps({"ended": pid, "code": code}).encode() + b"\n")
        if link.fileno() in ready:
            data, descriptors, *_ = socket.recv_fds(link, 2**16, 1)
            if not data:
                os._exit(0)  # who asks is gone; the kernel kills the children
            received, logs = received + data, logs + descriptors
            if not received.endswith(b"\n"):
                continue
            pid = os.fork()
            if pid == 0:
                link.close()
                _become(json.loads(received), server, logs[0], (wakes, waker))
                return
            os.close(logs[0])
            received, logs = b"", []
            link.sendall(json.dumps({"started": pid}).encode() + b"\n")


def _ended() -> list[tuple[int, int]]:
    """Children that ended since, each with its exit code."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def _become(request: Mapping[str, object], server: int, log: int, pipes: tuple[int, int]) -> None:
    """Makes a child what was asked for; it ends with the code that this raises as SystemExit."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in pipes:
        os.close(descriptor)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(log, descriptor)
    os.close(log)
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.update(environment)
    random.seed()
    sys.modules["numpy"].random.seed()  # who draws without a seed must not draw what its siblings do
    sys.argv[1:] = arguments
    # The code is what `ForkServer.start` was given: the socket has no name, so nobody but the parent writes to it.
    exec(str(request["code"]), {"__name__": "__main__"})


Process = subprocess.Popen[bytes] | Forked
"""What was started, by a server or by itself."""
