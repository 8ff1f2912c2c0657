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
import os
import shutil
import signal
import sys
import time
from pathlib import Path

OBJECT_STORE_BYTES = 2**28
"""Memory for what is sent between processes; Ray would take a third of the machine's."""

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 5.0


def main() -> None:
    """Starts a cluster as ``sys.argv[1]`` says, and prints where it is."""
    options = json.loads(sys.argv[1])
    os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent, and only then
    import ray

    try:
        ray.init(
            address="local", include_dashboard=False, num_cpus=options["cpus"], resources=options["resources"],
            log_to_driver=False, logging_level=logging.ERROR, object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=options["folder"],
        )  # fmt: skip
        tell({"address": ray.get_runtime_context().gcs_address})
        sys.stdin.read()
    except Exception as error:  # whatever keeps Ray from starting
        tell({"error": f"{type(error).__name__}: {error}"})
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()
        end_descendants()
        shutil.rmtree(options["folder"], ignore_errors=True)


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
            while os.waitpid(-1, 0)[0]:  # their own children are adopted then
                pass


def _children() -> list[int]:
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found
