"""What a page says of a run, as far as it can be read: each thing by itself, and why one is missing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from maze_core.config import config_hash
from maze_core.errors import NothingUsableError, printable
from maze_core.reports.clip import Clip
from maze_core.reports.panels import Statistics
from maze_core.runs.files import UnreadableError, read_file, read_json
from maze_core.runs.metrics import MetricRow, read_metrics
from maze_core.runs.stored_run import CONFIG, METRICS, Condition, StoredRun, entries_of
from maze_core.stats import REWARD

T = TypeVar("T")

MAX_SMALL, MAX_PICTURE, MAX_PICTURES = 2**18, 2**18, 3 * 2**17
"""Bytes of a file that explains, of one picture, and of all pictures of a run together."""

MAX_CONFIG = 2**20
MAX_SHOWN_NAME = 48

Difference = tuple[str, Any, Any]
"""Key, default, value."""


@dataclass(frozen=True)
class RunRecord:
    """A run as it is found.

    Args:
        name: What it is called among several.
        stored: Its directory.
        condition: How it is doing.
        config: Its configuration as plain data; None if it cannot be read.
        config_text: The file.
        statistics: All that it told; no rows if there are none.
        environment: What it was made with.
        command: The commands that it was started with, a line each.
        overrides: What was asked for, one for each value.
        networks: Name and SVG file of each network.
        problems: What cannot be used, in sentences.
        differences: What differs from the defaults; None if that cannot be known.
        no_differences: Why not, in a sentence.
        clip: An episode of its best policy.
        no_clip: Why there is none, in a sentence.
    """

    name: str
    stored: StoredRun
    condition: Condition
    config: Mapping[str, Any] | None
    config_text: str
    statistics: Statistics
    environment: Mapping[str, Any]
    command: str
    overrides: Sequence[str]
    networks: Sequence[tuple[str, bytes]]
    problems: Sequence[str] = field(default=())
    differences: Sequence[Difference] | None = None
    no_differences: str = ""
    clip: Clip | None = None
    no_clip: str = ""

    @property
    def components(self) -> Mapping[str, Any]:
        """Name of what is chosen, by its place in the configuration."""
        found = (self.config or {}).get("components")
        return found if isinstance(found, dict) else {}

    def component(self, group: str) -> str:
        """What is chosen for a group, with the name of an env that has one."""
        name = self.components.get(group)
        options = (self.config or {}).get(group)
        inner = options.get("name") if isinstance(options, dict) and group == "env" else None
        if name is None:
            return "–"
        return f"{inner} ({name})" if isinstance(inner, str) else str(name)

    def listed(self, group: str) -> str:
        """What is chosen for a group of several, in order."""
        names = [str(name) for path, name in self.components.items() if str(path).startswith(f"{group}.")]
        return ", ".join(names) or "none"

    @property
    def title(self) -> str:
        """What it trained, and how."""
        options = (self.config or {}).get("env")
        inner = options.get("name") if isinstance(options, dict) else None
        env = inner if isinstance(inner, str) else self.components.get("env")
        algorithm = self.components.get("algorithm")
        return f"{env}, {algorithm}" if env and algorithm else self.name

    @property
    def best(self) -> MetricRow | None:
        """The evaluation with the best mean return."""
        rows = [row for row in self.statistics.of_stage("eval") if math.isfinite(mean_return(row))]
        return max(rows, key=mean_return, default=None)

    @property
    def final(self) -> MetricRow | None:
        """The last final evaluation."""
        return self._last("final_eval")

    @property
    def latest(self) -> MetricRow | None:
        """The last row of all."""
        return self.statistics.rows[-1] if self.statistics.rows else None

    def _last(self, stage: str) -> MetricRow | None:
        rows = self.statistics.of_stage(stage)
        return rows[-1] if rows else None

    @property
    def hash(self) -> str:
        """That of its configuration."""
        return "–" if self.config is None else config_hash(self.config)


def mean_return(row: MetricRow) -> float:
    """Mean return of the episodes of a row; NaN if it has none."""
    return row.values.get(f"{REWARD}mean", math.nan)


def read_record(stored: StoredRun, name: str) -> RunRecord:
    """Reads a run directory, perhaps a stranger's; nothing in it is executed.

    Args:
        stored: The directory.
        name: What the run is called among several.
    """
    problems: list[str] = []

    def attempt(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except NothingUsableError as error:
            problems.append(str(error))
            return otherwise

    path = stored.path
    rows: list[MetricRow] = attempt(lambda: read_metrics(stored), []) if os.path.lexists(path / METRICS) else []
    return RunRecord(
        name, stored, stored.condition(), attempt(stored.config, None), _text(path / CONFIG, MAX_CONFIG),
        Statistics(name, rows), _environment(path), _text(path / "command.txt", MAX_SMALL),
        [line for line in _text(path / "overrides.txt", MAX_SMALL).splitlines() if line],
        list(_networks(path / "networks")), problems,
    )  # fmt: skip


def _text(path: Path, limit: int) -> str:
    """A file that explains, and that nothing depends on; empty if it cannot be read."""
    try:
        return read_file(path, limit).decode(errors="replace").strip("\n")
    except UnreadableError:
        return ""


def _environment(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path / "environment.json", MAX_SMALL)
    except UnreadableError:
        return {}
    return found if isinstance(found, dict) else {}


def _networks(folder: Path) -> Iterator[tuple[str, bytes]]:
    try:
        names = sorted(entry.name for entry in entries_of(folder) if entry.name.endswith(".svg"))
    except NothingUsableError:
        return
    left = MAX_PICTURES
    for name in names:
        try:
            picture = read_file(folder / name, min(MAX_PICTURE, left))
        except UnreadableError:
            continue
        left -= len(picture)
        yield name.removesuffix(".svg"), picture


def names_of(paths: Sequence[Path]) -> list[str]:
    """What runs are called among each other: their own names, or more of their paths where those are the same."""
    parts = [path.absolute().parts for path in paths]
    names = [path.absolute().name for path in paths]
    depth = 1
    while len(set(names)) < len(names) and depth < max(map(len, parts)):
        depth += 1
        names = ["/".join(part[-depth:]) for part in parts]
    shown = [printable(name) for name in names]
    return [name if len(name) <= MAX_SHOWN_NAME else f"…{name[1 - MAX_SHOWN_NAME :]}" for name in shown]


FIXED = ("run", "epoch", "stage", "update", "env_steps", "train_s", "evaluation_s", "wall_s")
"""Columns that every table of statistics has, before the statistics themselves."""


def csv_rows(records: Sequence[RunRecord]) -> list[dict[str, object]]:
    """All statistics of runs, a row for each epoch and stage."""
    return [
        {
            "run": record.stored.shown, "epoch": row.epoch, "stage": row.stage, "update": row.update,
            "env_steps": row.env_steps, **{name: row.time.get(name) for name in FIXED[5:]}, **row.values,
        }
        for record in records
        for row in record.statistics.rows
    ]  # fmt: skip
