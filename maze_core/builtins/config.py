"""Options of the core's own components."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maze_core.errors import require
from maze_core.run_config import RunnerConfig


@dataclass(kw_only=True)
class LocalRunnerConfig(RunnerConfig):
    """Everything executes in this process."""

    raw_errors: bool = False
    """Whether an error shows its traceback, for debugging one's own env or model."""


@dataclass(kw_only=True)
class RewardScalingConfig:
    """Multiplies every reward that is learned from; evaluations show the env's own."""

    scale: float = 1.0
    """The factor."""

    def __post_init__(self) -> None:
        require(self, "scale", math.isfinite(self.scale) and self.scale != 0, "a finite number other than 0")


@dataclass(kw_only=True)
class ConsoleConfig:
    """Prints configuration, statistics and summary, and writes the same to log.txt."""

    terminal: bool = True
    """Whether to print; log.txt is written in any case."""


@dataclass(kw_only=True)
class JsonlConfig:
    """Writes the statistics of each epoch and stage as rows of metrics.jsonl."""


@dataclass(kw_only=True)
class TensorBoardConfig:
    """Writes the statistics, the configuration and the command for TensorBoard."""
