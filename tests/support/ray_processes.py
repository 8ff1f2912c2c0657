"""Processes of Ray on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = ("ray::", "site-packages/ray/", "maze_ray.keeper", "bin/ray start")
"""Of the command lines of Ray's processes; those of workers name the same folders."""

RAY = str(Path(sys.executable).with_name("ray"))


def commands() -> dict[int, str]:
    """Command lines of all processes that belong to Ray, by number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and any(part in command for part in MARKS) and "maze_core.workers" not in command:
                found[int(entry.name)] = command
    return found


def children_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for file in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, file.read_text().split())
    return found


def none_left(before: dict[int, str]) -> None:
    """Fails if there are more processes of Ray than before."""
    deadline = time.monotonic() + 10
    while set(commands()) - set(before) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = {pid: line for pid, line in commands().items() if pid not in before}
    assert not left, left


class Node:
    """One more node of a cluster, with two cores and the resource ``other``, on this machine."""

    def __init__(self, address: str) -> None:
        command = [RAY, "start", f"--address={address}", "--num-cpus=2", '--resources={"other": 2}', "--block"]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the node)
        self._process = subprocess.Popen(command, start_new_session=True, stdout=self._said, stderr=self._said)

    def commands(self) -> list[str]:
        """Command lines of its own processes: those of other nodes, or of a run before, are not among them.

        Raises:
            AssertionError: If it ended by itself.
        """
        self._said.seek(0)
        assert self._process.poll() is None, f"the node ended by itself: {self._said.read().decode()}"
        lines = commands()
        return [lines[pid] for pid in children_of(self._process.pid) if pid in lines]

    def kill(self) -> None:
        """Ends it as a machine ends that loses its power."""
        if self._process.returncode is not None:
            return
        for pid in children_of(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()
