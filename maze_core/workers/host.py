"""What a pool needs of the place where its workers are."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cloudpickle

IDLE, CALLS, CONSTRUCTS = 0, 1, 2
"""Kinds of what a worker does with an env: nothing, a step or reset, its construction."""

START_S = 120.0
"""Least seconds that a worker has for imports and for constructing envs."""


class Progress(NamedTuple):
    """How far a worker is.

    Args:
        calls: Calls of envs so far.
        kind: What it is doing now: `IDLE`, `CALLS` or `CONSTRUCTS`.
        env: In which env.
        seed: Of the episode; negative if it has none.
        step: Of the episode.
    """

    calls: int
    kind: int
    env: int
    seed: int
    step: int

    def doing(self) -> tuple[int | None, str]:
        """Seed of the episode that it is at, if there is one, and what it is doing, in words."""
        if self.kind == IDLE:
            return None, ""
        if self.kind == CONSTRUCTS:
            return None, f" while env {self.env} was constructed"
        if self.seed < 0:
            return None, " in an env"  # one of a vector form of their own
        return self.seed, f" in step {self.step} of env {self.env}, episode seed {self.seed}"


@dataclass(frozen=True)
class Request:
    """What a worker is asked for.

    Args:
        name: Method of `maze_core.workers.responder.Requests`.
        arguments: Its arguments.
        files: Descriptors that follow them, where memory is shared.
        common: A last argument that other requests have too: a host may send it to each place once.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    files: tuple[int, ...] = ()
    common: Any = None

    def to_bytes(self, with_common: bool = True) -> bytes:
        """As `maze_core.workers.responder.Responder.answer` takes it, with or without what is common."""
        last = (self.common,) if with_common and self.common is not None else ()
        return pickled((self.name, *self.arguments, *last))

    def common_bytes(self) -> bytes:
        """What is common, as `maze_core.workers.responder.Responder.answer` takes it."""
        return pickled(self.common)


class Worker(Protocol):
    """A process at work: `maze_core.workers.responder.Responder` answers there, one request after the other."""

    def send(self, request: Request, patience_s: float | None) -> None:
        """Sends a request; the worker may be given up after so many seconds without progress, None never.

        Raises:
            OSError: If it is dead or takes nothing any more; that may also show only when its answer is waited for.
        """
        ...

    def receive(self, patience_s: float | None) -> bytes | bytearray:
        """The answer, once `WorkerHost.ready` has said that it is there.

        Raises:
            EOFError: If the worker is dead.
            OSError: If the answer does not arrive whole.
        """
        ...

    def has_ended(self) -> bool:
        """Whether it is known to be dead."""
        ...

    def progress(self) -> Progress:
        """How far it is, as far as that is known here; asking must not wait for it."""
        ...

    def let_go(self) -> None:
        """Tells it that nothing more is wanted, so that it closes its envs and ends."""
        ...

    def end(self, patience_s: float = 0.0) -> str:
        """Kills it, unless it ends by itself within so many seconds; returns how it ended, in words."""
        ...


class WorkerHost(Protocol):
    """Where workers are.

    Attributes:
        shares_memory: Whether workers see memory of this process by its descriptor; else arrays are sent.
    """

    shares_memory: bool

    def start(self) -> Worker:
        """Starts one more worker.

        Raises:
            OSError: If there cannot be one more.
        """
        ...

    def ready(self, workers: Sequence[Worker], patience_s: float) -> Sequence[int]:
        """Waits until at least one of these workers has answered or is dead, but not longer than so many seconds.

        Returns:
            The places in the sequence of those to receive from.
        """
        ...


def pickled(message: Any) -> bytes:
    """A message to a worker; code that only this process has goes with it."""
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(message)  # type: ignore[no-any-return]
