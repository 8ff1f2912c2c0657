"""What people see on the console: configuration, tables, progress, summary. The only home of rich."""

from __future__ import annotations

import contextlib
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.syntax import Syntax
from rich.table import Table

from maze_core.errors import printable
from maze_core.field_docs import FieldDoc, as_text
from maze_core.live_block import LiveBlock
from maze_core.progress_view import Glyphs, ProgressView, duration
from maze_core.protocols import EpochReport, RunSummary

if TYPE_CHECKING:
    from maze_core.stats import StageStatistics

COLUMN, VALUE_WIDTH, STEP_WIDTH = 22, 20, 5
PATH_WIDTH = 4 * COLUMN

ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Another screen, where no cursor is seen and long lines are cut; and back."""

HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[2K", "\x1b[J"


def statistics_table(report: EpochReport) -> str:
    """The statistics of an epoch, one row each.

    The path has four columns: stage, event group, event, statistic; for a histogram the fourth
    names sub-step and action. Parts that would touch the next column end in ``..``.
    """
    return _table(f"Iteration {report.epoch}", report.epoch + 1, report.stages)


def rollout_table(statistics: StageStatistics) -> str:
    """The statistics of a rollout, in the same form."""
    return _table("Rollout", 0, [statistics])


def _table(title: str, step: int, stages: Sequence[StageStatistics]) -> str:
    lines = [
        f"{'*' * 10} {title} {'*' * 10}",
        f"{'step':>{STEP_WIDTH}}|{'path':<{PATH_WIDTH}}|{'value':>{VALUE_WIDTH}}",
        f"{'=' * STEP_WIDTH}|{'=' * PATH_WIDTH}|{'=' * VALUE_WIDTH}",
    ]
    for stage in stages:
        rows = [(path, f"[len:{len(h.values)}, μ:{h.mean:.1f}]") for path, h in stage.histograms.items()]
        rows += [(path, f"{value:.3f}") for path, value in stage.values.items()]
        for path, value in rows:
            parts = [stage.stage, *path.split("/", 2)]
            cells = "".join(f"{_cut(part, COLUMN - 1):<{COLUMN}}" for part in parts)
            lines.append(f"{step:>{STEP_WIDTH}}|{cells}|{_cut(value, VALUE_WIDTH):>{VALUE_WIDTH}}")
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def best_line(reward: float) -> str:
    """The line that announces a new best model."""
    return f"-> new overall best model {reward:.5f}!"


def progress_line(report: EpochReport, n_epochs: int | None) -> str:
    """Where the run stands, in one line."""
    train_s, wall_s = report.time["train_s"], report.time["wall_s"]
    n_trained = report.epoch + 1
    n_epochs = n_epochs if n_epochs and n_trained <= n_epochs else None
    parts = [f"epoch {n_trained}" + (f" of {n_epochs}" if n_epochs else ""), f"{report.env_steps:,} env steps"]
    if train_s > 0:
        parts.append(f"{report.env_steps / train_s:,.0f} env steps/s in training")
    if n_epochs:
        parts.append(f"at most {duration(wall_s / n_trained * (n_epochs - n_trained))} left")
    return ", ".join(parts)


def summary_lines(summary: RunSummary, next_command: str, resume_command: str = "") -> list[str]:
    """What came out, where it is, and what to run next.

    Args:
        summary: The run at its end.
        next_command: How to start another run like it from its weights.
        resume_command: How to go on with it; told after an interruption.
    """
    directory = shlex.quote(str(summary.directory))
    lines = [f"Run ended: {summary.stop_reason}."]
    if summary.best_reward is not None and summary.best_epoch is not None:
        lines.append(f"Best evaluation: {summary.best_reward:.3f} in iteration {summary.best_epoch}.")
    if summary.final is not None:
        final = summary.final.stages[-1]
        episodes = int(final.values["BaseEnvEvents/reward/episode_count"])
        deviation = final.values["BaseEnvEvents/reward/std"]
        result = f"{final.mean_reward:.3f} ± {deviation:.3f}"
        lines.append(f"Final evaluation of the best policy: {result} over {episodes} new episodes.")
    if summary.signal is not None and summary.final is None:
        lines.append(f"Go on where it ended:  {resume_command}")
    lines += [
        f"Results: {directory}  (best weights state_dict.pt, last ones final_state_dict.pt)",
        f"A page about it:  maze report {directory}",
        f"Curves:  maze board {directory}",
        f"Go on from these weights:  {next_command}",
    ]
    return lines


def rollout_lines(directory: Path | None, trajectories: bool, animations: Sequence[Path]) -> list[str]:
    """Where the results of a rollout are.

    Args:
        directory: Of the results; None if nothing was written.
        trajectories: Whether steps were saved.
        animations: Files that show episodes.
    """
    if directory is None:
        return []
    lines = [f"Results: {shlex.quote(str(directory))}  (a row for each episode: episodes.csv, episodes.jsonl)"]
    if trajectories:
        shown = str(directory / "trajectories")
        lines.append(f"Steps:   maze_core.load_trajectories({shown!r})")
    return lines + [f"Shown:   {shlex.quote(str(path))}" for path in animations]


class Output:
    """Writes to the terminal, and the same as plain text to a log file.

    Args:
        terminal: False writes to the log file only.
    """

    def __init__(self, terminal: bool = True) -> None:
        self._terminal = terminal
        self._rich = RichConsole(soft_wrap=True, highlight=False, markup=False, emoji=False, file=sys.stdout)
        self._log: Callable[[str], None] | None = None
        self._progress: Progress | None = None
        self._block: LiveBlock | None = None

    @property
    def live(self) -> bool:
        """True if a person looks at it: colours and a progress line make sense."""
        return self._terminal and self._rich.is_terminal

    @property
    def can_draw(self) -> bool:
        """True if a person looks at it on a terminal that can move its cursor."""
        return self.live and not self._rich.is_dumb_terminal

    @property
    def can_keep(self) -> bool:
        """True if lines can stay in place there: it is a terminal indeed, and not only a pipe that takes colours."""
        return self.can_draw and self._rich.file.isatty()

    @property
    def in_color(self) -> bool:
        """False if the person asked for no colours (``NO_COLOR``)."""
        return not self._rich.no_color

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal now."""
        return self._rich.size.width, self._rich.size.height

    @contextlib.contextmanager
    def screen(self) -> Iterator[Callable[[Sequence[str]], None]]:
        """Gives the terminal to pictures that replace each other; afterwards it is as it was, whatever happens.

        Yields:
            Draws a picture, given as lines that may have colour codes.
        """
        self.end_progress()
        try:
            self._write(ENTER_SCREEN)
            yield lambda lines: self._write(HOME + "\n".join(CLEAR_LINE + line for line in lines) + CLEAR_BELOW)
        finally:
            self._write(LEAVE_SCREEN)

    def picture(self, lines: Sequence[str]) -> None:
        """Writes a picture, given as lines that may have colour codes, where the cursor is."""
        self._write("\n".join(lines) + "\n")

    def _write(self, text: str) -> None:
        """As it is, control characters too."""
        self._rich.file.write(text)
        self._rich.file.flush()

    def open_log(self, log: Callable[[str], None]) -> None:
        """From now on everything is also told to `log`, as lines of plain text."""
        self._log = log

    def line(self, text: str, style: str | None = None) -> None:
        """Writes a text; what could move the cursor is shown, not obeyed."""
        text = "\n".join(map(printable, text.split("\n")))
        if self._block is not None:
            self._block.erase()
        if self._log is not None:
            self._log(f"{text}\n")
        if self.live:
            self._rich.print(text, style=style)
        elif self._terminal:
            print(text, flush=True)

    def yaml(self, text: str) -> None:
        """Writes a configuration, coloured on a terminal."""
        if not self.live:
            self.line(text)
            return
        if self._log is not None:
            self._log(f"{text}\n")
        self._rich.print(Syntax(text, "yaml", background_color="default", theme="ansi_dark"))

    def bar(self, what: str, n: int, total: int) -> None:
        """Shows how far something is: a bar on a terminal, and a plain line when it is complete."""
        if self.live:
            if self._progress is None:
                self._progress = self._new_bar(total)
            self._progress.update(self._progress.task_ids[0], completed=n, description=what, refresh=True)
        if n >= total:
            self.end_progress()
            self.line(f"{what}: {total} of {total}")

    def _new_bar(self, total: int | None) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=self._rich, auto_refresh=False, transient=True)
        progress.start()
        progress.add_task("", total=total)
        return progress

    def show(self, view: ProgressView) -> None:
        """Shows where a run stands, in lines that stay in place; only where `can_keep`."""
        if self._block is None:
            glyphs, file = Glyphs.of(self._rich.encoding), self._rich.file
            self._block = LiveBlock(file, lambda columns: view.lines(columns, glyphs, self.in_color))
            self._block.start()
        else:
            self._block.draw()

    def make_room(self) -> None:
        """Takes away what stays in place, until it is shown again, because somebody else writes."""
        if self._block is not None:
            self._block.erase()

    def end_progress(self) -> None:
        """Takes away for good what stays in place."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._block is not None:
            self._block.stop()
            self._block = None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table for people; it wraps on a narrow terminal and is never cut when piped."""
    console = RichConsole(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    entries = [[str(cell) for cell in row] for row in rows]
    for entry in entries:
        table.add_row(*entry)
    if not console.is_terminal:
        widths = [max(map(len, cells)) for cells in zip(columns, *entries, strict=True)]
        console.width = sum(widths) + 2 * len(widths) + 2
    console.print(table)


def print_options(prefix: str, docs: Sequence[FieldDoc]) -> None:
    """Prints the options of a config: key, default, what is allowed, and what it means."""
    for doc in docs:
        print(f"{prefix}.{doc.name}={as_text(doc.default)}")
        print(
            f"    {doc.allowed}"
            if doc.allowed.startswith(doc.type)
            else f"    {doc.type}{'; ' if doc.allowed else ''}{doc.allowed}"
        )
        for line in textwrap.wrap(doc.doc, 100):
            print(f"    {line}")
