"""Prints a run to the console, and the same text to log.txt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maze_core import console
from maze_core.builtins.config import ConsoleConfig
from maze_core.protocols import Callback, EpochReport, RunInfo, RunSummary
from maze_core.runs.files import GrowingFile

LOG = "log.txt"


class ConsoleCallback(Callback):
    """Prints configuration, statistics and summary.

    Args:
        config: Options.
    """

    def __init__(self, config: ConsoleConfig) -> None:
        self._out = console.Output(config.terminal)
        self._log: GrowingFile | None = None
        self._n_epochs: int | None = None
        self._next_command = self._resume_command = ""

    def on_run_start(self, run: RunInfo) -> None:
        """Prints the configuration and what the user should know."""
        self._open(run, GrowingFile(run.directory / LOG))
        self._out.yaml(run.config_yaml.rstrip())
        self._tell(run)

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Prints what the user should know; the log goes on where it was."""
        self._open(run, GrowingFile.taken_up(run.directory / LOG, state))
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

    def state_dict(self) -> dict[str, Any]:
        """How long the log is, and its hash."""
        return {} if self._log is None else self._log.position()

    def on_progress(self, what: str, n: int, total: int) -> None:
        """Shows a progress bar on a terminal, and one line at the end."""
        self._out.bar(what, n, total)

    def on_epoch_end(self, report: EpochReport) -> None:
        """Prints the table, and a line for a new best model."""
        self._out.line("")
        self._out.line(console.statistics_table(report))
        if report.new_best is not None:
            self._out.line(console.best_line(report.new_best), style="bold green")
        if report.stages[-1].stage != "final_eval":
            self._out.progress(report, self._n_epochs)

    def on_run_end(self, summary: RunSummary) -> None:
        """Prints what came out and what to run next."""
        self._out.end_progress()
        self._out.line("")
        for line in console.summary_lines(summary, self._next_command, self._resume_command):
            self._out.line(line)

    def close(self) -> None:
        """Gives the terminal back and closes the log."""
        self._out.end_progress()
        if self._log is not None:
            self._log.close()
