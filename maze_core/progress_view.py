"""What a person sees of a run in progress, as a few lines for any width of a terminal."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maze_core.errors import printable
from maze_core.protocols import EpochReport, RunProgress
from maze_core.run_config import MEAN_RETURN

LABEL = 9
"""Columns of the labels on the left."""

NARROW = 60
"""Columns below which labels and numbers stand closer."""

BAR, SPARKS = (8, 40), (5, 60)
"""Fewest and most columns of the bar, and of the curve of returns."""

MAX_HISTORY = 256
LASTING_S = 1.0
"""Seconds after which it is said what is going on, if it is not training."""

STYLES = {"": "", "dim": "2", "bold": "1", "done": "36", "good": "1;32", "warning": "33"}
"""What is written between ESC[ and m; those with a number from 30 on are colours."""


@dataclass(frozen=True)
class Glyphs:
    """What is drawn with.

    Args:
        sparks: From low to high.
        done: The part of a bar that is done, its end, and the rest.
        dot: Between parts of a line.
        more: At the end of a text that is cut.
    """

    sparks: str
    done: str
    end: str
    rest: str
    dot: str
    more: str

    @staticmethod
    def of(encoding: str | None) -> Glyphs:
        """Those that an encoding has."""
        try:
            "".join((FINE.sparks, FINE.done, FINE.end, FINE.rest, FINE.dot, FINE.more)).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return PLAIN
        return FINE


FINE = Glyphs("▁▂▃▄▅▆▇█", "━", "╸", "─", "·", "…")
PLAIN = Glyphs("_.-~=+*#", "=", ">", "-", "|", "..")

Part = tuple[str, str]
"""A text and its style."""


class History:
    """Mean returns of all evaluations; of a long run each value is the mean of several that follow each other."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.newest: float | None = None
        self._per = 1
        self._rest: list[float] = []

    def add(self, value: float) -> None:
        """Adds an evaluation."""
        self.newest = value
        self._rest.append(value)
        if len(self._rest) < self._per:
            return
        self.values.append(sum(self._rest) / self._per)
        self._rest = []
        if len(self.values) == MAX_HISTORY:
            pairs = zip(self.values[::2], self.values[1::2], strict=True)
            self.values, self._per = [(one + other) / 2 for one, other in pairs], 2 * self._per

    def state_dict(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {"values": list(self.values), "newest": self.newest, "per": self._per, "rest": list(self._rest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; raises ValueError if it is something else."""
        from maze_core.rl.saved import checked_count, checked_number  # imports torch, and lists have to be quick

        self._per = checked_count(state["per"], "per", least=1)
        self.newest = None if state["newest"] is None else checked_number(state["newest"], "newest")
        self.values, self._rest = [], []
        for name, values, most in (("values", self.values, MAX_HISTORY), ("rest", self._rest, self._per)):
            if not isinstance(state[name], list) or len(state[name]) >= most:
                raise ValueError(f"{name} is no list of fewer than {most} numbers")
            values += [checked_number(value, name) for value in state[name]]


class ProgressView:
    """What is known of a run in progress.

    Attributes:
        history: Its evaluations.
        notes: What the user should read.
        warnings: What was warned of; only the newest is kept, and how many there were.
    """

    def __init__(self) -> None:
        self.history = History()
        self.notes: list[str] = []
        self.n_warnings, self.warning = 0, ""
        self._progress: RunProgress | None = None
        self._told_at = 0.0

    def update(self, progress: RunProgress) -> None:
        """Takes over where the run stands."""
        self._progress, self._told_at = progress, time.perf_counter()

    def add(self, report: EpochReport) -> None:
        """Takes over an evaluation, if the epoch had one."""
        for stage in report.stages:
            if stage.stage == "eval" and MEAN_RETURN in stage.values:
                self.history.add(stage.values[MEAN_RETURN])

    def warn(self, text: str) -> None:
        """Keeps a warning in sight."""
        self.n_warnings, self.warning = self.n_warnings + 1, text

    def lines(self, width: int, glyphs: Glyphs, color: bool = True) -> list[str]:
        """The present lines, of at most `width` columns each, with colour codes."""
        if self._progress is None:
            return []
        rows = progress_rows(self, self._progress, time.perf_counter() - self._told_at, width, glyphs)
        return [coloured(fitted(row, width, glyphs), color) for row in rows]


def progress_rows(
    view: ProgressView, progress: RunProgress, since: float, width: int, glyphs: Glyphs
) -> list[Sequence[Part]]:
    """The lines as parts, each for a width.

    Args:
        view: Evaluations and warnings.
        progress: Where the run stands, as it was told last.
        since: Seconds since then.
        width: Columns.
        glyphs: What is drawn with.
    """
    rows: list[Sequence[Part]] = [
        budget_row(progress, since, width, glyphs),
        _row("steps", _steps(progress), width, glyphs),
        _row("return", _returns(view, width, glyphs), width, glyphs),
    ]
    if progress.best_reward is not None:
        rows.append(_row("best", _best(progress), width, glyphs))
    rows.append(_row("time", _times(progress, since), width, glyphs))
    if view.n_warnings:
        count = "" if view.n_warnings == 1 else f"{view.n_warnings}, the newest: "
        rows.append(_row("warning", [(count + _one_line(view.warning), "warning")], width, glyphs))
    elif view.notes:
        count = "" if len(view.notes) == 1 else f"{len(view.notes)}, the last: "
        rows.append(_row("note", [(count + _one_line(view.notes[-1]), "dim")], width, glyphs))
    return rows


def budget_row(progress: RunProgress, since: float, width: int, glyphs: Glyphs) -> list[Part]:
    """Epoch, bar, per cent, and how long it still takes at most."""
    epoch, n_epochs = progress.epoch + 1, progress.n_epochs
    shown = f"{epoch} of {n_epochs}" if n_epochs is not None and epoch <= n_epochs else f"{epoch}"
    head: list[Part] = [*_label("epoch", width), (shown, "bold")]
    if progress.doing != "training" and since > LASTING_S:
        head.append((f" {glyphs.dot} {progress.doing}", "dim"))
    if progress.share is None:
        return head
    tail = f"{progress.share:4.0%}"
    left = seconds_left(progress, since)
    if left is not None:
        tail += f"  at most {duration(left)} left"
    room = width - _width(head) - len(tail) - 4
    if room < BAR[0]:
        return [*head, (f"  {tail.strip()}", "")]
    return [*head, ("  ", ""), *bar(progress.share, min(room, BAR[1]), glyphs), (f" {tail}", "")]


def bar(share: float, width: int, glyphs: Glyphs) -> list[Part]:
    """A bar of so many columns."""
    done = int(share * width)
    end = glyphs.end if done < width else ""
    return [(glyphs.done * done + end, "done"), (glyphs.rest * (width - done - len(end)), "dim")]


def seconds_left(progress: RunProgress, since: float) -> float | None:
    """Until the budget is used, at the speed of the whole run so far; None if nobody can tell."""
    if not progress.share:
        return None
    return max(0.0, progress.time["wall_s"] * (1 - progress.share) / progress.share - since)


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """A curve of at most so many characters, from its lowest value to its highest.

    Args:
        values: Finite; where there are more of them than columns, each column has the mean of some.
        width: Columns.
        glyphs: What is drawn with.
    """
    if not values:
        return ""
    n = min(width, len(values))
    ends = [len(values) * i // n for i in range(n + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    low, high = min(means), max(means)
    top = len(glyphs.sparks) - 1
    return "".join(glyphs.sparks[round((mean - low) / (high - low) * top) if high > low else 0] for mean in means)


def duration(seconds: float, exact: bool = False) -> str:
    """Seconds, minutes or hours, in words.

    Args:
        seconds: Any number; a file may say that it is negative or infinite.
        exact: Whether to three or more digits, as of a time that was measured, and not that is guessed.
    """
    if not 0 <= seconds < 1e10:
        return f"{seconds:.3g} s"
    if round(seconds, exact) < 60:
        return f"{seconds:.1f} s" if exact else f"{seconds:.0f} s"
    whole, minutes = round(seconds), round(seconds / 60)
    if exact:
        return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes < 60 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 1:05, or 2:01:05."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def number(value: float) -> str:
    """A return: about four digits that matter."""
    return f"{value:,.1f}" if 10 <= abs(value) < 1e7 or value == 0 else f"{value:.3g}"


def fitted(parts: Sequence[Part], width: int, glyphs: Glyphs) -> list[Part]:
    """As much of a line as fits; what is cut is marked at its end."""
    if _width(parts) <= width:
        return list(parts)
    found, room = [], width - len(glyphs.more)
    for text, style in parts:
        found.append((text[: max(0, room)], style))
        room -= len(text)
    return [*found, (glyphs.more, "dim")]


def coloured(parts: Sequence[Part], color: bool) -> str:
    """A line with codes for a terminal; without colours bold and faint letters are left."""
    found = []
    for text, style in parts:
        codes = [code for code in STYLES[style].split(";") if code and (color or int(code) < 30)]
        found.append(f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes and text else text)
    return "".join(found)


def _steps(progress: RunProgress) -> list[Part]:
    train_s = progress.time["train_s"]
    parts: list[Part] = [(f"{progress.env_steps:,} env steps", "")]
    if train_s > 0 and progress.env_steps:
        parts.append((f"{progress.env_steps / train_s:,.0f}/s in training", ""))
    return [*parts, (f"{progress.update:,} update{'s' if progress.update != 1 else ''}", "")]


def _returns(view: ProgressView, width: int, glyphs: Glyphs) -> list[Part]:
    if view.history.newest is None:
        return [("not evaluated yet", "dim")]
    now = number(view.history.newest)
    room = min(SPARKS[1], width - LABEL - len(now) - 3)
    curve = sparkline(view.history.values, room, glyphs) if room >= SPARKS[0] else ""
    return [(f"{now}  {curve}" if len(view.history.values) > 1 else now, "bold")]


def _best(progress: RunProgress) -> list[Part]:
    assert progress.best_reward is not None
    parts: list[Part] = [(f"{number(progress.best_reward)} in iteration {progress.best_epoch}", "good")]
    if progress.patience_left is not None:
        parts.append((f"{progress.patience_left} epochs of patience left", ""))
    if progress.reward_threshold is not None and math.isfinite(progress.reward_threshold):
        parts.append((f"solved at {progress.reward_threshold:g}", ""))
    return parts


def _times(progress: RunProgress, since: float) -> list[Part]:
    total = sum(progress.phases.values())
    shares = {name: seconds / total for name, seconds in progress.phases.items()} if total > 0 else {}
    parts = [(f"{name} {share:.0%}", "dim") for name, share in shares.items() if share >= 0.005]
    return [(clock(progress.time["wall_s"] + since), ""), *parts]


def _row(label: str, parts: Sequence[Part], width: int, glyphs: Glyphs) -> list[Part]:
    """A label, and as many parts as fit behind it; the first in any case."""
    row, room = [*_label(label, width), parts[0]], width
    for text, style in parts[1:]:
        if _width(row) + len(text) + 3 > room:
            break
        row += [(f" {glyphs.dot} ", "dim"), (text, style)]
    return row


def _label(label: str, width: int) -> list[Part]:
    return [(f"{label:<{LABEL}}" if width >= NARROW else f"{label} ", "dim")]


def _width(parts: Sequence[Part]) -> int:
    return sum(len(text) for text, _ in parts)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
