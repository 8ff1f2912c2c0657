"""A job in a cluster: the actor that has its process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from maze_core import LocalJobs, RunningJob, UserError
from maze_ray.mirror import Files, Source, paths_in, repeat

JOB = "MAZE_RAY_JOB"
"""A variable that jobs have: what is spread over the cluster are they, not their episodes."""

Told = tuple[int | None, Files, list[str], bytes]
"""Exit code, what changed in its directory, what is gone there, and what it printed since."""


class JobActor:
    """Has the process of a job, which ends with it.

    Args:
        path: `sys.path` of the process that started it.
        folder: Current directory of that process; None if its content was sent to the present one.
        address: Of the cluster.
    """

    def __init__(self, path: Sequence[str], folder: str | None, address: str) -> None:
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
        self._folder = folder
        os.environ.update({JOB: "1", "RAY_ADDRESS": address})
        self._source: Source | None = None
        self._log = Path()
        self._told = 0
        self._job: RunningJob | None = None

    def sees(self, file: str) -> bool:
        """Whether it sees this file, and so the disk of the process that started it."""
        return Path(file).exists()

    def start(self, words: Sequence[str], directory: str, log: str, files: Files | None) -> None:
        """Starts the process.

        Args:
            words: Its arguments, behind ``maze``.
            directory: Its run directory.
            log: Where what it prints is appended.
            files: What the run directory holds, if that is not seen here.

        Raises:
            UserError: If the node lacks a folder, or does not let it be made.
        """
        try:
            if self._folder is not None:
                os.chdir(self._folder)  # of this actor's process alone, which has nothing else to do
            if files is not None:
                stale = [path for path in paths_in(Path(directory)) if path not in files]  # of one that was lost here
                repeat(Path(directory), files, stale)
                Path(log).parent.mkdir(parents=True, exist_ok=True)
                self._source, self._log = Source(Path(directory)), Path(log)
                self._source.changes()
                self._told = self._log.stat().st_size if self._log.exists() else 0
            self._job = LocalJobs().start(words, Path(directory), Path(log))
        except OSError as error:
            raise UserError(
                f"a job cannot be started on the node {os.uname().nodename}: {error}. Use a folder that nodes have, "
                "too, or runner.send_folder=true and a relative run_dir."
            ) from None

    def poll(self, with_files: bool) -> Told:
        """How far it is; with what changed on this node's disk if asked for, and in any case when it has ended."""
        assert self._job is not None
        code = self._job.poll()
        if self._source is None or not (with_files or code is not None):
            return code, {}, [], b""
        files, gone = self._source.changes()
        with self._log.open("rb") as log:
            log.seek(self._told)
            printed = log.read()
        self._told += len(printed)
        return code, files, gone, printed

    def stop(self) -> None:
        """Asks it to save its state and to end."""
        if self._job is not None:
            self._job.stop()

    def kill(self) -> None:
        """Ends it."""
        if self._job is not None:
            with contextlib.suppress(OSError):
                self._job.kill()
