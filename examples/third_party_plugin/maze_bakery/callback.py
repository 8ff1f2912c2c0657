"""The callback: a table of what is thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maze_bakery.config import WasteConfig
from maze_core import Callback, EpochReport, RunInfo
from maze_core.runs.files import GrowingFile

FILE, WASTED = "waste.csv", "LoafEvents/wasted/mean_episode_total"


class Waste(Callback):
    """Writes a row ``epoch,wasted`` for each evaluation of a bakery.

    Args:
        config: Options.
    """

    def __init__(self, config: WasteConfig) -> None:
        self.file: GrowingFile | None = None

    def on_run_start(self, run: RunInfo) -> None:
        """Begins the table."""
        self.file = GrowingFile(run.directory / FILE)
        self.file.write(b"epoch,wasted\n")

    def state_dict(self) -> dict[str, Any]:
        """How long the table is, all of it on the disk."""
        return {} if self.file is None else {"size": self.file.saved_size()}

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Goes on with the table as it was at the checkpoint."""
        self.file = GrowingFile(run.directory / FILE, state["size"])

    def on_epoch_end(self, report: EpochReport) -> None:
        """Adds a row."""
        for stage in report.stages:
            if stage.stage == "eval" and WASTED in stage.values and self.file is not None:
                self.file.write(f"{report.epoch},{stage.values[WASTED]}\n".encode())

    def close(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()
