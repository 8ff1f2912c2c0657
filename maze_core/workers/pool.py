"""Keeps workers at work, wherever they are: waits for their answers, and replaces those that die or hang."""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError, masked
from maze_core.workers.host import CONSTRUCTS, START_S, Request, Worker, WorkerHost

LOG = logging.getLogger("maze")

BUILD = "build"
"""The first request to a process, with all its imports."""

WORK = ("step", "reset", "run")
"""Requests that get training on; the others only lead there again."""

POLL_S = 0.25
EXIT_S = 2.0

Weights = Mapping[str, NDArray[Any]]


class WorkerFaultError(EnvFaultError):
    """A worker died or hung too often while it was at the same episode."""


class WorkerTracebackError(Exception):
    """The traceback of an error in a worker, as text."""

    def __str__(self) -> str:
        """As Python prints a traceback."""
        return masked(f"\n\nIn a worker:\n{self.args[0]}")


class Lost:
    """Stands for an answer: the worker ended before it gave one, and another one has its place."""


class _Place:
    """A place for a worker, and the process that has it at present."""

    def __init__(self) -> None:
        self.process: Worker | None = None
        self.generation = 0
        self.asked = Request("")
        self.seen = -1  # its progress when it was last looked at
        self.seen_at = 0.0


class WorkerPool:
    """Workers.

    Args:
        host: Where they are.
        n_workers: How many.
        step_timeout: Seconds that a call of an env may take; None for any time.
        max_restarts: How often in a row a worker may die or hang in the same episode, by its seed.
    """

    def __init__(self, host: WorkerHost, n_workers: int, step_timeout: float | None, max_restarts: int) -> None:
        self._host = host
        self._timeout, self._max_restarts = step_timeout, max_restarts
        self._workers = [_Place() for _ in range(n_workers)]
        self._failures: dict[Any, tuple[int, int]] = {}  # how often in a row, and whose the last one was
        self._told: set[tuple[int, str]] = set()  # while they got ready, where all have the same to tell

    @property
    def shares_memory(self) -> bool:
        """Whether workers see memory of this process."""
        return self._host.shares_memory

    def __len__(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    def generation(self, index: int) -> int:
        """A number that changes when another process gets this worker's place."""
        return self._workers[index].generation

    def start(self) -> None:
        """Starts all processes, which get ready meanwhile."""
        for index in range(len(self._workers)):
            self._begin(index)

    def _begin(self, index: int) -> None:
        """Starts a process that builds what it needs; its next answer says that this is done."""
        worker = self._workers[index]
        try:
            worker.process = self._host.start()
        except OSError as error:
            raise WorkerFaultError(f"worker {index} cannot be started: {error}") from None
        worker.generation += 1
        self._send(index, Request(BUILD))

    def _send(self, index: int, request: Request) -> None:
        worker = self._workers[index]
        assert worker.process is not None
        worker.asked, worker.seen, worker.seen_at = request, -1, time.monotonic()
        with contextlib.suppress(OSError):  # it is dead or hangs, which shows when its answer is waited for
            worker.process.send(request, self._timeout)

    def ask(self, requests: Mapping[int, Request]) -> dict[int, Any]:
        """Sends one request to each of several workers and waits for all answers.

        Returns:
            Answers by worker; `Lost` for one that ended, and was replaced by a new process.

        Raises:
            WorkerFaultError: If one ended too often.
            MazeError: Whatever a request raised; of several that of the first worker.
        """
        answers: dict[int, Any] = {}
        try:
            for index, request in self._ready(requests, answers):
                self._send(index, request)
            while waiting := set(requests) - set(answers):
                answers.update(self._answers(waiting))
        except BaseException:
            self._abandon(set(requests) - set(answers))
            raise
        for index in sorted(answers):
            if isinstance(answers[index], _Failed):
                raise answers[index].error from WorkerTracebackError(answers[index].traceback)
        return answers

    def tell(self, index: int, request: Request) -> None:
        """Sends what needs no answer to a worker, if there is one at this place."""
        process = self._workers[index].process
        if process is not None:
            with contextlib.suppress(OSError):
                process.send(request, EXIT_S)

    def map(self, function: Callable[[Any, Any], Any], tasks: Sequence[Any], weights: Weights) -> list[Any]:
        """Executes ``function(workspace, task)`` for each task, in as many workers as there are.

        Args:
            function: A top-level function.
            tasks: What it gets.
            weights: Of the policy.

        Returns:
            Results in the order of the tasks.

        Raises:
            WorkerFaultError: If a worker ended too often.
            MazeError: Whatever a task raised; of several that of the first.
        """
        results: dict[int, Any] = {}
        waiting, working = list(range(len(tasks)))[::-1], dict[int, int]()  # working: task by worker
        try:
            while waiting or working:
                failed = any(isinstance(result, _Failed) for result in results.values())
                free = [] if failed else [index for index in range(len(self._workers)) if index not in working]
                lost: dict[int, Any] = {}
                given = {index: waiting.pop() for index in free[: len(waiting)]}
                working |= given
                requests = {
                    index: Request("run", (function, tasks[task]), common=weights) for index, task in given.items()
                }
                for index, request in self._ready(requests, lost):
                    self._send(index, request)
                answers = lost or (self._answers(set(working)) if working else {})
                for index, answer in answers.items():
                    task = working.pop(index)
                    if isinstance(answer, Lost):
                        waiting.append(task)
                    else:
                        results[task] = answer
                if failed and not working:
                    break
        except BaseException:
            self._abandon(set(working))
            raise
        for task in sorted(results):
            if isinstance(results[task], _Failed):
                raise results[task].error from WorkerTracebackError(results[task].traceback)
        return [results[task] for task in range(len(tasks))]

    def _ready(self, requests: Mapping[int, Request], lost: dict[int, Any]) -> Iterable[tuple[int, Request]]:
        """The requests whose workers are idle, after waiting for new processes; the others are lost."""
        for index in requests:
            if self._workers[index].process is None:
                self._begin(index)
        while new := {i for i in requests if self._workers[i].asked.name == BUILD and i not in lost}:
            for index, answer in self._answers(new).items():
                if isinstance(answer, Lost):
                    lost[index] = answer
                elif isinstance(answer, _Failed):
                    raise answer.error from WorkerTracebackError(answer.traceback)
        return [(index, request) for index, request in requests.items() if index not in lost]

    def _answers(self, waiting: set[int]) -> dict[int, Any]:
        """Waits until at least one of these workers answers or is lost."""
        found, left = dict[int, Any](), dict[int, Worker]()
        for index in waiting:
            process = self._workers[index].process
            assert process is not None
            left[index] = process
        wait_s = POLL_S if self._timeout is None else min(POLL_S, self._timeout / 4)
        while not found:
            indices = list(left)
            for place in self._host.ready(list(left.values()), wait_s):
                del left[indices[place]]
                found[indices[place]] = self._received(indices[place])
            for index in left:
                reason = self._trouble(index)
                if reason is not None:
                    found[index] = self._replaced(index, reason)
        return found

    def _received(self, index: int) -> Any:
        worker = self._workers[index]
        assert worker.process is not None
        try:
            message = worker.process.receive(self._timeout)
        except (EOFError, OSError):
            return self._replaced(index, None)
        fulfilled, answer, notes = pickle.loads(message)  # from a process of this one's own, by its own connection
        if worker.asked.name == BUILD:
            notes = [note for note in notes if note not in self._told]
            self._told.update(notes)
        for level, text in notes:
            LOG.log(level, "%s", masked(text))
        if worker.asked.name in WORK:
            self._failures = {key: failed for key, failed in self._failures.items() if failed[1] != index}
        worker.asked = Request("")
        return answer if fulfilled else _Failed(*answer)

    def _trouble(self, index: int) -> str | None:
        """What is wrong with a worker that does not answer; None if it may be at work."""
        worker = self._workers[index]
        assert worker.process is not None
        if worker.process.has_ended():
            return ""
        progress, now = worker.process.progress(), time.monotonic()
        if progress.calls != worker.seen:
            worker.seen, worker.seen_at = progress.calls, now
        if self._timeout is None:
            return None
        slow = worker.asked.name == BUILD or progress.kind == CONSTRUCTS
        patience = max(self._timeout, START_S) if slow else self._timeout
        return f"did nothing for {patience:g} s" if now - worker.seen_at > patience else None

    def _replaced(self, index: int, reason: str | None) -> Lost:
        """Starts another process in place of one that died or hangs.

        Raises:
            WorkerFaultError: If that happened too often.
        """
        worker = self._workers[index]
        assert worker.process is not None
        (seed, at), process, worker.process = worker.process.progress().doing(), worker.process, None
        ending = process.end(0.0 if reason else EXIT_S)
        what = f"worker {index} {reason or ending}{at}"
        key = (index, worker.asked.name) if seed is None else seed
        tries = self._failures.get(key, (0, index))[0] + 1
        self._failures[key] = tries, index
        if tries > self._max_restarts:
            raise WorkerFaultError(f"{what}, at try {tries} (runner.max_worker_restarts={self._max_restarts}).")
        LOG.warning("%s; another one takes its place.", what)
        self._begin(index)
        return Lost()

    def _abandon(self, indices: Iterable[int]) -> None:
        """Kills workers whose answers nobody waits for any more."""
        for index in indices:
            worker = self._workers[index]
            process, worker.process, worker.asked = worker.process, None, Request("")
            worker.generation += 1  # whoever had envs there knows by it
            if process is not None:
                process.end()

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.let_go()  # they all end at the same time
        deadline = time.monotonic() + EXIT_S
        for worker in self._workers:
            process, worker.process = worker.process, None
            if process is not None:
                process.end(max(deadline - time.monotonic(), 0.0))


@dataclass(frozen=True)
class _Failed:
    """A request that raised."""

    error: BaseException
    traceback: str


def as_arrays(weights: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Tensors as arrays, which are sent faster."""
    return {name: np.asarray(tensor.detach().cpu()) for name, tensor in weights.items()}
