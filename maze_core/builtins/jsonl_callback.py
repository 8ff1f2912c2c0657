"""Writes statistics as rows that a machine can read."""

from __future__ import annotations

import json
from typing import IO

from maze_core.builtins.config import JsonlConfig
from maze_core.protocols import Callback, EpochReport, RunInfo


class JsonlCallback(Callback):
    """Writes one row of metrics.jsonl for each epoch and stage.

    A row is ``{epoch, stage, update, env_steps, time, values}``; floats read back bit-equal.

    Args:
        config: Options.
    """

    def __init__(self, config: JsonlConfig) -> None:
        self._file: IO[str] | None = None

    def on_run_start(self, run: RunInfo) -> None:
        """Opens the file."""
        self._file = (run.directory / "metrics.jsonl").open("w", encoding="utf-8")

    def on_epoch_end(self, report: EpochReport) -> None:
        """Writes the rows of the epoch."""
        assert self._file is not None
        for stage in report.stages:
            row = {
                "epoch": report.epoch,
                "stage": stage.stage,
                "update": report.update,
                "env_steps": report.env_steps,
                "time": dict(report.time),
                "values": dict(stage.values),
            }
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
