"""Whole runs side by side in a cluster: those of ``maze train --multirun`` and ``maze sweep``."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from maze_core import JobLostError, MazeError, StorageError, UserError
from maze_ray.cluster import Cluster, joined, left
from maze_ray.config import Placement, RayRunnerConfig
from maze_ray.job_actor import JobActor, Told
from maze_ray.mirror import Source, repeat

LOG = logging.getLogger("maze")

POLL_S, FILES_S = 0.5, 10.0
"""Seconds from one question how a job is to the next, and to the next that brings its files."""

TOLD_AFTER_S, KILL_S = 30.0, 5.0


class RayJobs:
    """Starts each job on a node that has room for it.

    Args:
        config: Which cluster, and what each job reserves.

    Raises:
        UserError: If the cluster cannot be used.
    """

    def __init__(self, config: RayRunnerConfig) -> None:
        self._config, self.max_restarts = config, config.max_worker_restarts
        n_places = 1 + (config.n_workers or 0)  # of a job and its workers, which would wait for each other
        self._cluster: Cluster | None = joined(config, n_places)
        self.n_slots = max(self._cluster.n_places(config) // n_places, 1)

    def start(self, words: Sequence[str], directory: Path, log: Path) -> RayJob:
        """Starts a job; see `maze_core.JobHost`."""
        assert self._cluster is not None
        actor = ray.remote(max_restarts=0, max_task_retries=0)(JobActor).options(
            num_cpus=self._config.cpus_per_worker, resources=dict(self._config.resources),
            scheduling_strategy="SPREAD" if self._config.placement is Placement.spread else "DEFAULT",
        )  # fmt: skip
        folder = None if self._config.send_folder else str(Path.cwd())
        handle = actor.remote([str(entry) for entry in sys.path], folder, str(self._cluster.address))
        same = not self._config.send_folder or directory.is_absolute()
        return RayJob(handle, words, directory, log, same)

    def close(self) -> None:
        """Leaves the cluster."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            left()


class RayJob:
    """A job in a cluster, whose directory and log are kept here as well if its node does not see them.

    Args:
        actor: Handle of its actor.
        words: Its arguments, behind ``maze``.
        directory: Its run directory.
        log: Where what it prints is appended.
        same: Whether these paths lead to the same place on a node that sees this disk.
    """

    def __init__(self, actor: Any, words: Sequence[str], directory: Path, log: Path, same: bool) -> None:
        self._actor, self._words, self._directory, self._log, self._same = actor, words, directory, log, same
        log.parent.mkdir(parents=True, exist_ok=True)
        self._sign = NamedTemporaryFile(dir=log.parent, prefix=".seen-")  # noqa: SIM115  # until a node looked for it
        self._answer: Callable[[Any], None] = self._placed
        self._pending: Any = actor.sees.remote(str(Path(self._sign.name).absolute()))
        self._code: int | None = None
        self._begun = self._asked = self._brought = time.monotonic()

    def poll(self) -> int | None:
        """Its exit code, if it ended.

        Raises:
            JobLostError: If its node or its actor is gone.
            MazeError: If it cannot be started there, or its files cannot be written here.
        """
        try:
            return self._looked()
        except (MazeError, JobLostError):
            self._end()
            raise

    def _looked(self) -> int | None:
        if self._code is not None:
            return self._code
        now = time.monotonic()
        if self._pending is None and now - self._asked >= POLL_S:
            self._ask(now)
        if self._pending is not None and ray.wait([self._pending], timeout=0)[0]:
            answer, self._pending = self._result(), None
            self._answer(answer)
        elif self._answer == self._placed and now - self._begun > TOLD_AFTER_S:
            self._begun = math.inf
            LOG.warning("the job in %s waits for room in the Ray cluster.", self._directory)
        return self._code

    def _result(self) -> Any:
        try:
            return ray.get(self._pending)
        except RayTaskError as error:
            raise UserError(str(error.cause)) from error
        except RayError as error:
            raise JobLostError("its node or its process died") from error

    def _ask(self, now: float) -> None:
        brings = now - self._brought >= FILES_S
        self._asked, self._brought = now, now if brings else self._brought
        self._pending = self._actor.poll.remote(brings)

    def _placed(self, sees: bool) -> None:
        """It has a place; and whether that sees the directory."""
        self._sign.close()
        files = None if sees and self._same else Source(self._directory).changes()[0]
        self._answer = self._started
        self._pending = self._actor.start.remote(list(self._words), str(self._directory), str(self._log), files)

    def _started(self, _: None) -> None:
        self._answer = self._told

    def _told(self, answer: Told) -> None:
        """How far it is."""
        code, files, gone, printed = answer
        try:
            repeat(self._directory, files, gone)
            if printed:
                with self._log.open("ab") as log:
                    log.write(printed)
        except OSError as error:
            raise StorageError(f"{self._directory} cannot be written: {error.strerror}.") from None
        self._code = code
        if code is not None:
            self._end()

    def stop(self) -> None:
        """Asks it to end; one that has no place yet never begins."""
        if self._answer == self._placed:
            self._code = -signal.SIGTERM
            self._end()
            return
        with contextlib.suppress(RayError):
            self._actor.stop.remote()

    def kill(self) -> None:
        """Ends it."""
        if self._code is None:
            with contextlib.suppress(RayError):
                ray.wait([self._actor.kill.remote()], timeout=KILL_S)
            self._end()

    def _end(self) -> None:
        self._sign.close()
        with contextlib.suppress(RayError):
            ray.kill(self._actor)
