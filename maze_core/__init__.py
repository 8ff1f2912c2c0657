"""Maze: a plugin-based toolkit for reinforcement learning.

This module is the public interface for plugin authors. Importing it is cheap: it loads no plugin,
no torch and no Gymnasium; `RunContext` is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maze_core.enums import Activation, BoxDistribution, Schedule
from maze_core.errors import (
    ConfigError,
    EnvFaultError,
    MazeError,
    NonFiniteError,
    NothingUsableError,
    PluginError,
    StorageError,
    UserError,
    did_you_mean,
    require,
)
from maze_core.hookspecs import hookimpl
from maze_core.protocols import (
    Callback,
    EpochReport,
    RunInfo,
    Runner,
    RunSummary,
    Trainer,
    TrainingJob,
    Workspace,
)
from maze_core.run_config import EvaluationConfig, RunnerConfig
from maze_core.specs import (
    API_VERSION,
    CallbackSpec,
    CriticSpec,
    EnvSpec,
    ModelSpec,
    PolicySpec,
    RunnerSpec,
    TrainerSpec,
    WrapperSpec,
)

if TYPE_CHECKING:
    from maze_core.api import RunContext

__all__ = [
    "API_VERSION", "Activation", "BoxDistribution", "Callback", "CallbackSpec", "ConfigError", "CriticSpec",
    "EnvFaultError", "EnvSpec", "EpochReport", "EvaluationConfig", "MazeError", "ModelSpec", "NonFiniteError",
    "NothingUsableError", "PluginError", "PolicySpec", "RunContext", "RunInfo", "RunSummary", "Runner",
    "RunnerConfig", "RunnerSpec", "Schedule", "StorageError", "Trainer", "TrainerSpec", "TrainingJob", "UserError",
    "Workspace", "WrapperSpec", "did_you_mean", "hookimpl", "require",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "RunContext":
        from maze_core.api import RunContext

        return RunContext
    raise AttributeError(f"module 'maze_core' has no attribute {name!r}")
