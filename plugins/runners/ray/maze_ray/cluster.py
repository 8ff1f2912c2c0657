"""The cluster that a run uses: one that is there, or one of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray
from ray._raylet import Config  # type: ignore[attr-defined]

from maze_core import UserError
from maze_ray.config import RayRunnerConfig

KEEP = "import json, sys\nsys.path[:] = json.loads(sys.argv.pop(1))\nfrom maze_ray.keeper import main\nmain()"
"""What the process executes that keeps a cluster of this machine."""

TOKEN = secrets.token_hex(32)
"""Of clusters of this process; Ray remembers the first one that it sees."""

SETTINGS = b"\x04"
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS + bytes(5)
"""What both ends of a connection of Ray (gRPC, HTTP/2) begin with: the head of a cluster answers with its settings."""

CONNECT_S = 10.0
END_S = 15.0
NOT_SENT = ["outputs", ".venv", ".git", "__pycache__"]
"""What nodes do not need of the current directory."""


class Cluster:
    """A connection to a cluster; a process has one at most.

    Args:
        config: Says where it is.
        n_workers: For how many workers there must be room, if it is one of its own; None for as many as cores.

    Raises:
        UserError: If there is none, or it does not let this process in.
    """

    def __init__(self, config: RayRunnerConfig, n_workers: int | None) -> None:
        self.address = config.address or os.environ.get("RAY_ADDRESS") or None
        self._keeper: subprocess.Popen[str] | None = None
        self._before = _variables()
        self.is_own = self.address is None
        if self.address is None:
            try:
                self._keeper, self.address = _started(config, n_workers)
            except BaseException:
                self._restore_variables()
                raise
        else:
            _check_listening(self.address)
        handler = signal.getsignal(signal.SIGTERM)
        folder = {"working_dir": str(Path.cwd()), "excludes": NOT_SENT} if config.send_folder else {}
        namespace = f"maze-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            ray.init(
                self.address, log_to_driver=False, logging_level=logging.ERROR,
                runtime_env={**folder}, namespace=namespace,
            )  # fmt: skip
        except Exception as error:  # Ray raises many kinds
            self.close()
            raise UserError(
                f"no Ray cluster can be used at {self.address}: {first_line(error)}\n"
                "Next: start one with `ray start --head`, name another runner.address=, or leave it out for one on "
                "this machine. Where tokens are asked for, RAY_AUTH_MODE and RAY_AUTH_TOKEN must be set here too."
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would end a run without saving it

    def n_places(self, config: RayRunnerConfig, now: bool = False) -> int:
        """How many workers or jobs have room, at least one.

        Args:
            config: What each reserves.
            now: Whether only what is free counts.
        """
        has = ray.available_resources() if now else ray.cluster_resources()
        reserved = {"CPU": config.cpus_per_worker, **config.resources}
        return max(int(min(has.get(name, 0.0) / amount for name, amount in reserved.items())), 1)

    def has(self) -> str:
        """What it offers, in words."""
        total, free = ray.cluster_resources(), ray.available_resources()
        kinds = [name for name in total if not name.startswith(("node:", "object_store_memory", "memory", "bundle_"))]
        return ", ".join(f"{free.get(name, 0.0):g} of {total[name]:g} {name} free" for name in kinds)

    def close(self) -> None:
        """Leaves it; one of its own ends."""
        with contextlib.suppress(Exception):
            ray.shutdown()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            ended(keeper)
        self._restore_variables()

    def _restore_variables(self) -> None:
        for name in set(_variables()) - set(self._before):
            del os.environ[name]
        os.environ.update(self._before)


_lock = threading.RLock()
_shared: Cluster | None = None
_users = 0


def joined(config: RayRunnerConfig, n_workers: int | None) -> Cluster:
    """The connection of this process; whoever joined leaves with `left`, and the last one closes it.

    Raises:
        UserError: If there is no such cluster, or this process is connected to another one.
    """
    global _shared, _users
    with _lock:
        if _shared is None:
            if ray.is_initialized():
                raise UserError("this process uses Ray already. Call ray.shutdown() before a run with runner=ray.")
            _shared = Cluster(config, n_workers)
        elif config.address not in (None, _shared.address):
            raise UserError(
                f"runner.address={config.address} is another Ray cluster than {_shared.address}, which this process "
                "uses already. Close that run first, or start this one in a process of its own."
            )
        _users += 1
        return _shared


def left() -> None:
    """Says that the connection is not needed any more by one of those who joined."""
    global _shared, _users
    with _lock:
        _users -= 1
        if _users == 0 and _shared is not None:
            _shared.close()
            _shared = None


def _started(config: RayRunnerConfig, n_workers: int | None) -> tuple[subprocess.Popen[str], str]:
    """A cluster on this machine, and the process that ends it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_AUTH_MODE" not in os.environ:  # only who knows the token may use it
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        Config.initialize("")  # Ray read the variable when it was imported
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_places = max(cores, 1 if n_workers is None else n_workers)
    options = {
        "cpus": max(cores, math.ceil(n_places * config.cpus_per_worker)),
        "resources": {name: math.ceil(n_places * amount) for name, amount in config.resources.items()},
        "folder": tempfile.mkdtemp(prefix="maze-ray-"),
    }
    path = json.dumps([str(entry) for entry in sys.path])
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-c", KEEP, path, json.dumps(options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    assert keeper.stdout is not None
    answer: dict[str, Any] = {}
    for line in keeper.stdout:
        if line.startswith("{"):
            answer = json.loads(line)
            break
    if "address" not in answer:
        ended(keeper)
        raise UserError(f"no Ray cluster can be started on this machine: {answer.get('error', 'its process ended')}")
    return keeper, answer["address"]


def ended(keeper: subprocess.Popen[str]) -> None:
    """Ends the process that keeps a cluster, which ends the cluster."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        keeper.stdin.close()
    try:
        keeper.wait(END_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    keeper.stdout.close()


def _variables() -> dict[str, str]:
    """Variables by which Ray is set up, some of which it sets itself."""
    own = ("RAY_", "PYTHONBREAKPOINT")
    return {name: value for name, value in os.environ.items() if name.startswith(own)}


def _check_listening(address: str) -> None:
    """Refuses an address at once where Ray would try for minutes.

    Raises:
        UserError: If nobody listens there, or it is none.
    """
    if address == "auto":
        return
    name, _, port = address.rpartition(":")
    if not name or "/" in name or not port.isdecimal():
        raise UserError(
            f"runner.address={address} is no address of a Ray cluster: name its head as host:port, such as "
            "10.0.0.5:6379. (ray:// is not supported: start the run on a node of the cluster instead.)"
        )
    try:
        with socket.create_connection((name.strip("[]"), int(port)), CONNECT_S) as connection:
            if os.environ.get("RAY_USE_TLS"):
                return
            connection.sendall(HELLO)
            answer = connection.recv(len(HELLO))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster listens at {address}: {error}. Start one with `ray start --head`, name another "
            "runner.address=, or leave it out for one on this machine."
        ) from None
    if answer[3:4] != SETTINGS:
        raise UserError(
            f"what listens at {address} is no Ray cluster. Name the port of its head, which is 6379 if nobody chose "
            "another one."
        )


def first_line(error: BaseException) -> str:
    """What an error of Ray says, without the rest."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
