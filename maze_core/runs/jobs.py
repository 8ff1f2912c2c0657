"""Runs side by side, each in a process of its own: a job is a run that is started, or goes on, by its command line."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from maze_core.errors import MazeError, StorageError, UserError, printable
from maze_core.runs.checkpointer import CHECKPOINTS
from maze_core.runs.files import UnreadableError, open_file, reason_of
from maze_core.runs.job_hosts import JobHost, JobLostError, LocalJobs
from maze_core.runs.lock import LOCK, RunLock
from maze_core.runs.run_directory import NORMALIZATION
from maze_core.runs.stop_request import StopRequest
from maze_core.runs.stored_run import CONFIG, METRICS, SPACES, StoredRun, entries_of, is_run_directory
from maze_core.workers.process import ending

LOG = logging.getLogger("maze")
LOST = -signal.SIGKILL

AT_START = {
    CONFIG, SPACES, METRICS, LOCK, NORMALIZATION, CHECKPOINTS, "overrides.txt", "command.txt", "environment.json",
    "log.txt", "networks",
}  # fmt: skip
EVENTS = "events.out.tfevents."
"""What a run has before its first checkpoint."""

POLL_S = 0.05
LAST_LINES, LAST_BYTES = 3, 4096
MAX_LOG = 2**40


class Standing(Enum):
    """How far a job is."""

    new = "new"
    begun = "begun"
    finished = "finished"


@dataclass(frozen=True)
class Job:
    """One of several runs.

    Args:
        number: From 1.
        what: What makes it different from the others.
        directory: Its run directory.
        log: What its process prints.
        train: The command line that starts it, behind ``maze``.
        resume: The one that goes on with it.
    """

    number: int
    what: str
    directory: Path
    log: Path
    train: tuple[str, ...]
    resume: tuple[str, ...]

    def standing(self) -> Standing:
        """How far it is. What is left of one that was killed before its first checkpoint is taken away.

        Raises:
            UserError: If another process has it, or what is there is none of its own.
            StorageError: If it is damaged, or cannot be read.
        """
        try:
            return self._standing()
        except OSError as error:
            raise StorageError(f"{self.directory} cannot be used: {reason_of(error)}.") from None

    def _standing(self) -> Standing:
        if self.directory.is_symlink():
            raise UserError(f"{self.directory} is a link; it is in the way of job {self.number}.")
        if not os.path.lexists(self.directory):
            return Standing.new
        if not is_run_directory(self.directory) and not self._is_unborn():
            raise UserError(f"{self.directory} is no run; it is in the way of job {self.number}.")
        if is_run_directory(self.directory):
            stored = StoredRun(self.directory)
            condition = stored.condition()
            if condition.status == "running":
                raise UserError(f"job {self.number} is in use by {condition.holder or 'another process'}.")
            if condition.status == "damaged":
                raise StorageError(f"{stored.shown} is damaged: {'; '.join(condition.problems)}.")
            if condition.status == "finished":
                return Standing.finished
            if stored.checkpoints.numbers():
                return Standing.begun
        self._take_away()
        return Standing.new

    def _is_unborn(self) -> bool:
        return {entry.name for entry in entries_of(self.directory)} <= {LOCK}

    def _take_away(self) -> None:
        """Removes a run that was never trained, and nothing else."""
        lock = RunLock(self.directory)
        try:
            for entry in entries_of(self.directory):
                if entry.name not in AT_START and not entry.name.startswith(EVENTS):
                    name = printable(entry.name)
                    raise UserError(f"{self.directory} was never trained, and holds {name}. Move that elsewhere.")
            shutil.rmtree(self.directory)
        finally:
            lock.release()

    def last_words(self) -> str:
        """The end of what its process printed."""
        try:
            with open_file(self.log, MAX_LOG) as file:
                file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
                lines = file.read().decode(errors="replace").split("\n")
        except (OSError, UnreadableError) as error:
            return f"(its log cannot be read: {reason_of(error)})"
        return "\n".join([printable(line) for line in lines if line.strip()][-LAST_LINES:])


class JobProcess:
    """A job at work.

    Args:
        job: Which.
        goes_on: Whether it was begun before.
        host: Where its process is.

    Raises:
        StorageError: If it cannot be started.
    """

    def __init__(self, job: Job, goes_on: bool, host: JobHost) -> None:
        self.job, self.started, self.asked = job, time.monotonic(), False
        try:
            self._process = host.start(job.resume if goes_on else job.train, job.directory, job.log)
        except OSError as error:
            raise StorageError(f"job {job.number} cannot be started: {reason_of(error)}.") from None

    def ended(self) -> Ended | None:
        """How it ended; None while it runs."""
        try:
            code, problem, lost = self._process.poll(), "", False
        except JobLostError as error:
            code, problem, lost = LOST, f"job {self.job.number} was lost: {error}.", True
        except MazeError as error:
            code, problem, lost = error.exit_code, str(error), False
        seconds = time.monotonic() - self.started
        return None if code is None else Ended(self.job, code, seconds, self.asked, problem, lost)

    def stop(self) -> None:
        """Asks it to save its state and to end, once."""
        if not self.asked:
            self.asked = True
            self._process.stop()

    def kill(self) -> None:
        """Ends it, with everything that it started."""
        self._process.kill()


@dataclass(frozen=True)
class Ended:
    """How the process of a job ended.

    Args:
        job: Which.
        code: Its exit code; negative for the number of a signal.
        seconds: How long it took.
        asked: Whether it was asked to end.
        problem: Why it was not even started, or what became of it; empty if its code says it.
        lost: Whether it is gone with its machine.
    """

    job: Job
    code: int
    seconds: float = 0.0
    asked: bool = False
    problem: str = ""
    lost: bool = False

    @property
    def obeyed(self) -> bool:
        """Whether it ended because it was asked to, and its state is saved."""
        return self.asked and self.code in (128 + signal.SIGTERM, -signal.SIGTERM)

    @property
    def how(self) -> str:
        """In words."""
        return self.problem or ending(self.code)


def run_jobs(
    jobs: Iterable[Job],
    n_parallel: int,
    ended: Callable[[Ended], None],
    wanted: Callable[[Job], bool] = lambda job: True,
    host: JobHost | None = None,
) -> int | None:
    """Runs jobs, the next one as soon as there is room; those that are finished are left alone.

    Args:
        jobs: Asked for the next one when it can be started.
        n_parallel: How many run at the same time, >= 1.
        ended: Is told of each job whose process ended.
        wanted: Is asked again and again about a running job; False asks it to end.
        host: Where their processes are; on this machine if not given. It is closed.

    Returns:
        The signal that interrupted this process, if there was one: all running jobs were asked to end, and have.
    """
    running: list[JobProcess] = []
    stop = StopRequest("ending as soon as all running jobs have saved their state")
    with stop.listening(), contextlib.closing(host or LocalJobs()) as place:
        source = _Queue(jobs, place.max_restarts)
        try:
            while True:
                while stop.signal is None and len(running) < n_parallel and (job := source.next()) is not None:
                    running += _started(job, ended, place)
                if not running:
                    return stop.signal
                time.sleep(POLL_S)
                for process in list(running):
                    how = process.ended()
                    if how is not None:
                        running.remove(process)
                        if stop.signal is not None or not source.takes_again(how):
                            ended(how)
                    elif stop.signal is not None or not wanted(process.job):
                        process.stop()
        finally:
            for process in running:
                process.kill()


class _Queue:
    """Jobs that are to be started: first those that were lost, then the next ones.

    Args:
        jobs: Asked for the next one when it is needed.
        max_restarts: How often one that is lost is started again.
    """

    def __init__(self, jobs: Iterable[Job], max_restarts: int) -> None:
        self._jobs, self._max_restarts = iter(jobs), max_restarts
        self._lost: list[Job] = []
        self._times: Counter[int] = Counter()

    def next(self) -> Job | None:
        """The next one; None if there is none at present."""
        return self._lost.pop(0) if self._lost else next(self._jobs, None)

    def takes_again(self, ended: Ended) -> bool:
        """Whether a job is started again: if it was lost, and not too often."""
        if not ended.lost or self._times[ended.job.number] >= self._max_restarts:
            return False
        self._times[ended.job.number] += 1
        LOG.warning("%s It goes on elsewhere.", ended.problem)
        self._lost.append(ended.job)
        return True


def _started(job: Job, ended: Callable[[Ended], None], host: JobHost) -> list[JobProcess]:
    """The process of a job, if it needs one."""
    try:
        standing = job.standing()
        return [] if standing is Standing.finished else [JobProcess(job, standing is Standing.begun, host)]
    except MazeError as error:
        problem, code = str(error), error.exit_code
    ended(Ended(job, code, problem=problem))
    return []
