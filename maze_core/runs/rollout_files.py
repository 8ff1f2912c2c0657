"""What a rollout leaves behind: a row for each episode, its steps, its animation."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from maze_core.animations import write_film
from maze_core.enums import RenderForm
from maze_core.runs.files import GrowingFile
from maze_core.runs.rollout import Episode
from maze_core.runs.run_directory import RunDirectory
from maze_core.runs.trajectories import save_trajectory
from maze_core.stats import StageStatistics

ROWS, TABLE, STATISTICS = "episodes.jsonl", "episodes.csv", "statistics.json"
TRAJECTORIES, ANIMATIONS = "trajectories", "animations"

FIXED = ("episode", "seed", "return", "env_steps", "terminated", "truncated")
"""Columns that every table of episodes has; what an env tells comes behind them."""


class RolloutFiles:
    """Writes what episodes bring as soon as they ended.

    Args:
        directory: Where to.
        trajectories: Whether steps are saved.
        render: Form of the animations; None or ``terminal`` for no files.
    """

    def __init__(self, directory: RunDirectory, trajectories: bool, render: RenderForm | None) -> None:
        self._directory, self._trajectories, self._render = directory, trajectories, render
        self._rows = GrowingFile(directory.path / ROWS)
        self._table: list[dict[str, Any]] = []
        self.directory, self.animations = directory.path, list[Path]()
        self._absolute = directory.path.absolute()  # an env may change the working directory

    def add(self, episode: Episode) -> None:
        """Writes one episode.

        Raises:
            StorageError: If the disk does not take it.
        """
        row = row_of(episode)
        self._rows.write((json.dumps(row) + "\n").encode())
        told = {path: value for path, value in row["events"].items() if not isinstance(value, list)}
        self._table.append({**{name: row[name] for name in FIXED}, **told})
        name = f"{episode.number:06d}"
        if self._trajectories and episode.trajectory is not None:
            save_trajectory(episode.trajectory, self._absolute / TRAJECTORIES / f"{name}.npz")
        if episode.film is not None and self._render not in (None, RenderForm.terminal):
            assert self._render is not None
            file = Path(ANIMATIONS, f"{name}.{self._render.value}")
            write_film(episode.film, self._absolute / file, self._render)
            self.animations.append(self.directory / file)

    @property
    def n_episodes(self) -> int:
        """How many episodes were added."""
        return len(self._table)

    def end(self, statistics: StageStatistics) -> None:
        """Writes the statistics of all episodes."""
        self._directory.write_text(STATISTICS, json.dumps(dict(statistics.values), indent=2) + "\n")

    def close(self) -> None:
        """Writes the table of the episodes so far, also of a rollout that was interrupted."""
        self._rows.close()
        self._directory.write_text(TABLE, as_csv(self._table))


def row_of(episode: Episode) -> dict[str, Any]:
    """An episode without its steps, as JSON values."""
    events = {
        path: value.tolist() if isinstance(value, np.ndarray) else value for path, value in episode.events.items()
    }
    return {
        "episode": episode.number, "seed": episode.seed, "return": episode.episode_return,
        "env_steps": episode.env_steps, "terminated": episode.terminated, "truncated": episode.truncated,
        "events": events,
    }  # fmt: skip


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as a table with all columns that any of them has."""
    columns = list(dict.fromkeys([*FIXED, *(column for row in rows for column in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
