"""Where the processes of jobs are."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from maze_core.runs.files import open_log
from maze_core.runs.threads import n_cores
from maze_core.workers.forked import Process, kill_all, start_process

WORK = """
import json, sys
from maze_core.cli.main import maze
maze.main(json.loads(sys.argv[1]), prog_name="maze")
"""
"""What a job's process executes."""

MODULES = (
    "maze_core.api", "maze_core.cli.train_command", "maze_core.cli.resume_command",
    "maze_core.builtins.tensorboard_callback", "maze_core.pictures", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "gymnasium.vector",
    "hydra.core.override_parser.overrides_parser",
)  # fmt: skip
"""What most runs import."""


class JobLostError(Exception):
    """The machine of a job is gone, not the job: it can go on elsewhere."""


class RunningJob(Protocol):
    """The process of a job, wherever it is."""

    def poll(self) -> int | None:
        """Its exit code, negative for the number of a signal; None while it runs. Must not wait.

        Raises:
            JobLostError: If it is gone with its machine; its directory is here as it was some time before.
        """
        ...

    def stop(self) -> None:
        """Asks it to save its state and to end, as SIGTERM does."""
        ...

    def kill(self) -> None:
        """Ends it, with everything that it started, if it has not ended."""
        ...


class JobHost(Protocol):
    """Where the processes of jobs are.

    Attributes:
        n_slots: How many run at the same time, if nobody says it.
        max_restarts: How often a job that is lost is started again.
    """

    n_slots: int
    max_restarts: int

    def start(self, words: Sequence[str], directory: Path, log: Path) -> RunningJob:
        """Starts a process of the command line that ends with this one, however that ends.

        Args:
            words: Its arguments, behind ``maze``.
            directory: The run directory that they name: it is there, with what it holds, and must be kept here.
            log: Where what it prints is appended.

        Raises:
            MazeError: If that is not possible.
            OSError: If there cannot be one more process, or its log cannot be written.
        """
        ...

    def close(self) -> None:
        """Gives back what was started."""
        ...


class LocalJobs:
    """Jobs in processes of this machine."""

    max_restarts = 0

    def __init__(self) -> None:
        self.n_slots = n_cores()

    def start(self, words: Sequence[str], directory: Path, log: Path) -> LocalJob:
        """Starts a process; what it prints is appended to a file."""
        with open_log(log) as file:
            return LocalJob(
                start_process(
                    WORK, [json.dumps(list(words))], modules=MODULES, name="maze-job", environment={"COLUMNS": "120"},
                    output=file,
                )
            )  # fmt: skip

    def close(self) -> None:
        """Does nothing: jobs end by themselves, or are killed by who started them."""


class LocalJob:
    """A job in a process of this machine.

    Args:
        process: It.
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Its exit code, if it ended."""
        return self._process.poll()

    def stop(self) -> None:
        """Asks it to end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it, with everything that it started."""
        if self._process.poll() is None:
            kill_all(self._process)
        self._process.wait()
