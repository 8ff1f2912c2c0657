"""A Ray cluster on this machine that never outlives the process that asked for it.

Ray's own processes are told of the death of the one that started them, but not all of theirs: some stay for good when
that one is killed. This process stands between: it adopts whatever Ray starts, waits until its standard input closes,
which happens however its parent ends, and then ends them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import math
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 2**28
"""Memory for what is sent between processes; Ray would take a third of the machine's."""

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 5.0
POLL_S, KILL_POLL_S = 0.1, 0.01


def main() -> None:
    """Has a cluster started as ``sys.argv[1]`` says, and ends all of it when its standard input closes.

    Ray ends a process that uses it without a word if the cluster fails. So one is forked for that, and this one stays.
    """
    options = json.loads(sys.argv[1])
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent, and only then
    adopt()
    starter = os.fork()
    if starter == 0:
        adopt()
        start(options)
        return
    wait_for(starter)
    end_descendants()
    shutil.rmtree(options["folder"], ignore_errors=True)


def adopt() -> None:
    """Makes this process the parent of descendants that lose theirs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(options: dict[str, Any]) -> None:
    """Starts a cluster, prints where it is, and ends it when standard input closes."""
    import ray

    try:
        ray.init(
            address="local", include_dashboard=False, num_cpus=options["cpus"], resources=options["resources"],
            log_to_driver=False, logging_level=logging.ERROR, object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(Path(options["folder"], "ray")),  # Ray lets everybody into it, but not into the one above
        )  # fmt: skip
        tell({"address": ray.get_runtime_context().gcs_address})
        sys.stdin.read()
    except Exception as error:  # whatever keeps Ray from starting
        tell({"error": f"{type(error).__name__}: {error}"})
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        end_descendants()


def wait_for(starter: int) -> None:
    """Waits until a process has ended, or has had its time to do so since standard input closed."""
    deadline = math.inf
    while time.monotonic() < deadline and not os.waitpid(starter, os.WNOHANG)[0]:
        if deadline < math.inf:
            time.sleep(POLL_S)
        elif select.select([sys.stdin], [], [], POLL_S)[0]:
            deadline = time.monotonic() + PATIENCE_S


def tell(answer: dict[str, str]) -> None:
    """A line for the process that asked."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def end_descendants() -> None:
    """Kills everything that this process started or adopted."""
    deadline = time.monotonic() + PATIENCE_S
    while (children := _children()) and time.monotonic() < deadline:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # their own children are adopted then, and not dead yet
                pass
        time.sleep(KILL_POLL_S)


def _children() -> list[int]:
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found
