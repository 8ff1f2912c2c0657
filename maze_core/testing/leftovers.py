"""Processes and threads that something started and did not end."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

PATIENCE_S = 5.0
"""How long they may take to end."""


def at_work() -> set[str]:
    """Child processes of this one and its threads, by name."""
    threads = {f"thread {thread.name}" for thread in threading.enumerate()}
    return threads | {f"process {number}" for number in _children()}


def left_since(before: set[str]) -> list[str]:
    """What is at work now and was not before, after it had time to end."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := sorted(at_work() - before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _children() -> set[int]:
    """Numbers of the child processes, as far as the system tells (Linux)."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found |= {int(number) for number in file.read_text().split()}
    return found
