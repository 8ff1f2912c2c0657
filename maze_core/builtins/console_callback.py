"""Prints a run to the console, and the same text to log.txt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from maze_core import console
from maze_core.builtins.config import ConsoleConfig
from maze_core.progress_view import ProgressView
from maze_core.protocols import Callback, EpochReport, RunInfo, RunProgress, RunSummary
from maze_core.runs.files import GrowingFile

LOG = "log.txt"
MESSAGES = logging.getLogger("maze")


class ConsoleCallback(Callback):
    """Prints configuration, statistics and summary.

    Args:
        config: Options.
    """

    def __init__(self, config: ConsoleConfig) -> None:
        self._out = console.Output(config.terminal)
        self._log: GrowingFile | None = None
        self._n_epochs: int | None = None
        self._view = ProgressView()
        self._filter: Callable[[logging.LogRecord], bool] | None = None
        self._next_command = self._resume_command = ""

    def on_run_start(self, run: RunInfo) -> None:
        """Prints the configuration and what the user should know."""
        self._open(run, GrowingFile(run.directory / LOG))
        self._out.yaml(run.config_yaml.rstrip())
        self._tell(run)

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Prints what the user should know; the log goes on where it was."""
        self._open(run, GrowingFile.taken_up(run.directory / LOG, state))
        self._view.history.load_state_dict(state["evaluations"])
        self._tell(run)

    def _open(self, run: RunInfo, log: GrowingFile) -> None:
        self._log = log
        self._out.open_log(lambda text: log.write(text.encode()))
        self._n_epochs = run.n_epochs
        self._next_command, self._resume_command = run.next_command, run.resume_command

    def _tell(self, run: RunInfo) -> None:
        self._out.line(f"Run directory: {run.directory}")
        for note in run.notes:
            self._out.line(note)
        self._view.notes = list(run.notes)

    def state_dict(self) -> dict[str, Any]:
        """How long the log is, and its hash; the returns of all evaluations, for their curve."""
        return {} if self._log is None else {**self._log.position(), "evaluations": self._view.history.state_dict()}

    def on_progress(self, what: str, n: int, total: int) -> None:
        """Shows a progress bar on a terminal, and one line at the end."""
        self._out.bar(what, n, total)

    def on_update(self, progress: RunProgress) -> None:
        """Shows where the run stands, if a person looks at it."""
        self._view.update(progress)
        if self._out.can_keep:
            if self._filter is None:
                self._filter = self._note_warning
                MESSAGES.addFilter(self._filter)
            self._out.show(self._view)

    def _note_warning(self, record: logging.LogRecord) -> bool:
        """Makes room for a message that is about to be printed, and keeps a warning in sight."""
        self._out.make_room()
        if record.levelno >= logging.WARNING:
            self._view.warn(record.getMessage())
        return True

    def on_epoch_end(self, report: EpochReport) -> None:
        """Prints the table, and a line for a new best model."""
        self._view.add(report)
        self._out.line("")
        self._out.line(console.statistics_table(report))
        if report.new_best is not None:
            self._out.line(console.best_line(report.new_best), style="bold green")
        if not self._out.can_keep and report.stages[-1].stage != "final_eval":
            self._out.line(console.progress_line(report, self._n_epochs))

    def on_run_end(self, summary: RunSummary) -> None:
        """Prints what came out and what to run next."""
        self._end_view()
        self._out.line("")
        for line in console.summary_lines(summary, self._next_command, self._resume_command):
            self._out.line(line)

    def close(self) -> None:
        """Gives the terminal back and closes the log."""
        self._end_view()
        if self._log is not None:
            self._log.close()

    def _end_view(self) -> None:
        self._out.end_progress()
        if self._filter is not None:
            MESSAGES.removeFilter(self._filter)
            self._filter = None
