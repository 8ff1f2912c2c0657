"""Maze: a plugin-based toolkit for reinforcement learning.

This module is the public interface for plugin authors. Importing it is cheap: it loads no plugin,
no torch and no Gymnasium; `RunContext` is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from maze_core.enums import Activation, BoxDistribution, Schedule
from maze_core.errors import (
    ConfigError,
    EnvFaultError,
    MazeError,
    MissingPackageError,
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
    Acting,
    Callback,
    DrawsActions,
    EpochReport,
    RunInfo,
    Runner,
    RunProgress,
    RunSummary,
    Trainer,
    TrainingJob,
    Workspace,
)
from maze_core.run_config import EvaluationConfig, RunnerConfig, SweeperConfig
from maze_core.specs import (
    API_VERSION,
    CallbackSpec,
    CommandSpec,
    CriticSpec,
    EnvSpec,
    ModelSpec,
    PolicySpec,
    RunnerSpec,
    SweeperSpec,
    TrainerSpec,
    WrapperSpec,
)
from maze_core.sweeps import EndedTrial, Goal, Outcome, Parameter, Sweeper, Trial

if TYPE_CHECKING:
    from maze_core.api import RolloutResult, RunContext, export, rollout
    from maze_core.api.comparison import compare
    from maze_core.api.comparison_results import Comparison
    from maze_core.api.jobs import Multirun, multirun
    from maze_core.api.reports import report
    from maze_core.api.reproduction import Reproduction, reproduce
    from maze_core.api.sweep import Sweep, sweep
    from maze_core.blueprint import Blueprint
    from maze_core.builtins.config import LocalRunnerConfig
    from maze_core.builtins.runners import LocalRunner
    from maze_core.exports.artefact import ExportedPolicy, load_policy
    from maze_core.runs.job_hosts import JobHost, JobLostError, LocalJobs, RunningJob
    from maze_core.runs.trajectories import load_trajectories, save_trajectory
    from maze_core.workers.host import Progress, Request, Worker, WorkerHost
    from maze_core.workers.responder import Responder

__all__ = [
    "API_VERSION", "Acting", "Activation", "Blueprint", "BoxDistribution", "Callback", "CallbackSpec",
    "CommandSpec", "Comparison", "ConfigError", "CriticSpec", "DrawsActions", "EndedTrial", "EnvFaultError",
    "EnvSpec", "EpochReport", "EvaluationConfig", "ExportedPolicy", "Goal", "JobHost", "JobLostError", "LocalJobs",
    "LocalRunner", "LocalRunnerConfig", "MazeError", "MissingPackageError", "ModelSpec", "Multirun", "NonFiniteError",
    "NothingUsableError", "Outcome", "Parameter", "PluginError", "PolicySpec", "Progress", "Reproduction",
    "Request", "Responder", "RolloutResult", "RunContext", "RunInfo", "RunProgress", "RunSummary", "Runner",
    "RunnerConfig", "RunnerSpec", "RunningJob", "Schedule", "StorageError", "Sweep", "Sweeper", "SweeperConfig",
    "SweeperSpec", "Trainer", "TrainerSpec", "TrainingJob", "Trial", "UserError", "Worker", "WorkerHost",
    "Workspace", "WrapperSpec", "compare", "did_you_mean", "export", "hookimpl", "load_policy", "load_trajectories",
    "multirun", "report", "reproduce", "require", "rollout", "save_trajectory", "sweep",
]  # fmt: skip


_LAZY = {
    "RunContext": "maze_core.api",
    "RolloutResult": "maze_core.api",
    "LocalRunner": "maze_core.builtins.runners",
    "LocalRunnerConfig": "maze_core.builtins.config",
    "Multirun": "maze_core.api.jobs",
    "multirun": "maze_core.api.jobs",
    "Reproduction": "maze_core.api.reproduction",
    "report": "maze_core.api.reports",
    "reproduce": "maze_core.api.reproduction",
    "Sweep": "maze_core.api.sweep",
    "sweep": "maze_core.api.sweep",
    "Comparison": "maze_core.api.comparison_results",
    "compare": "maze_core.api.comparison",
    "export": "maze_core.api",
    "rollout": "maze_core.api",
    "ExportedPolicy": "maze_core.exports.artefact",
    "load_policy": "maze_core.exports.artefact",
    "Blueprint": "maze_core.blueprint",
    "JobHost": "maze_core.runs.job_hosts",
    "JobLostError": "maze_core.runs.job_hosts",
    "LocalJobs": "maze_core.runs.job_hosts",
    "RunningJob": "maze_core.runs.job_hosts",
    "Progress": "maze_core.workers.host",
    "Request": "maze_core.workers.host",
    "Responder": "maze_core.workers.responder",
    "Worker": "maze_core.workers.host",
    "WorkerHost": "maze_core.workers.host",
    "load_trajectories": "maze_core.runs.trajectories",
    "save_trajectory": "maze_core.runs.trajectories",
}
"""Where the heavy part of this interface is."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'maze_core' has no attribute {name!r}")
