"""Writes statistics as rows that a machine can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from maze_core.builtins.config import JsonlConfig
from maze_core.protocols import Callback, EpochReport, RunInfo
from maze_core.runs.files import GrowingFile
from maze_core.runs.stored_run import METRICS


class JsonlCallback(Callback):
    """Writes one row of metrics.jsonl for each epoch and stage.

    A row is ``{epoch, stage, update, env_steps, time, values}``; floats read back bit-equal.

    Args:
        config: Options.
    """

    def __init__(self, config: JsonlConfig) -> None:
        self._file: GrowingFile | None = None

    def on_run_start(self, run: RunInfo) -> None:
        """Opens the file."""
        self._file = GrowingFile(run.directory / METRICS)

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Opens the file, and drops the rows that were written after the checkpoint."""
        self._file = GrowingFile.taken_up(run.directory / METRICS, state)

    def state_dict(self) -> dict[str, Any]:
        """How long the file is, and its hash."""
        return {} if self._file is None else self._file.position()

    def on_epoch_end(self, report: EpochReport) -> None:
        """Writes the rows of the epoch."""
        assert self._file is not None
        lines = []
        for stage in report.stages:
            row = {
                "epoch": report.epoch,
                "stage": stage.stage,
                "update": report.update,
                "env_steps": report.env_steps,
                "time": dict(report.time),
                "values": dict(stage.values),
            }
            lines.append(json.dumps(row) + "\n")
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
