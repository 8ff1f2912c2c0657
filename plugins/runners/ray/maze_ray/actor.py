"""A worker in a cluster: the actor in whose process envs step and episodes run."""

from __future__ import annotations

import os
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

from maze_core import UserError

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that keep a worker to one thread: more would take the cores of the other workers."""


class Actor:
    """Answers messages; while it does, it says in another thread how far it is.

    Args:
        hello: What it builds: a `maze_core.Blueprint`, as bytes.
        core: Version of maze-core that the run has.
        sent: Whether the folder of the run lies in the current directory of this process.
    """

    def __init__(self, hello: bytes, core: str, sent: bool) -> None:
        self._hello, self._core, self._folder = hello, core, str(Path.cwd()) if sent else None
        self._responder: Any = None
        self._progress: Any = None

    def answer(self, message: bytes, common: bytes | None = None) -> bytes | None:
        """Answers a message; see `maze_core.Responder`."""
        if self._responder is None:
            os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # before NumPy and torch are imported
            try:
                self._begin()
            except UserError as error:
                return pickle.dumps((False, (error, ""), []))
        answer: bytes | None = self._responder.answer(message, (), common)
        return answer

    def _begin(self) -> None:
        here = metadata.version("maze-core")
        if here != self._core:
            raise UserError(
                f"a worker on {os.uname().nodename} has maze-core {here} instead of {self._core}. "
                f"Install the same version there: pip install maze-core=={self._core}"
            )
        import numpy as np

        from maze_core import Responder

        self._progress = np.zeros(5, np.int64)
        self._responder = Responder(self._hello, self._progress, self._folder)

    def progress(self) -> list[int]:
        """How far it is: a `maze_core.Progress`."""
        return [0] * 5 if self._progress is None else self._progress.tolist()

    def close(self) -> None:
        """Closes its envs."""
        if self._responder is not None:
            self._responder.close()
