"""Registers the core's own components, through the same hooks as every other plugin."""

from __future__ import annotations

from collections.abc import Iterator

from maze_core.builtins.config import (
    ConsoleConfig,
    JsonlConfig,
    LocalRunnerConfig,
    RewardScalingConfig,
    TensorBoardConfig,
)
from maze_core.hookspecs import hookimpl
from maze_core.run_config import PerActorConfig
from maze_core.specs import CallbackSpec, ModelSpec, RunnerSpec, WrapperSpec


@hookimpl
def maze_runners() -> Iterator[RunnerSpec]:
    """Where work executes."""
    yield RunnerSpec(
        name="local",
        summary="This machine.",
        config=LocalRunnerConfig,
        build="maze_core.builtins.runners:LocalRunner",
    )


@hookimpl
def maze_wrappers() -> Iterator[WrapperSpec]:
    """Env wrappers."""
    yield WrapperSpec(
        name="reward_scaling",
        summary="Multiplies every reward of training by a constant.",
        training_only=True,
        config=RewardScalingConfig,
        build="maze_core.builtins.wrappers:RewardScaling",
        build_vector="maze_core.builtins.wrappers:VectorRewardScaling",
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """Ways to choose models."""
    yield ModelSpec(
        name="per_actor",
        summary="A model of its own for each actor of a structured env.",
        config=PerActorConfig,
        build="maze_core.builtins.models:per_actor",
    )


@hookimpl
def maze_callbacks() -> Iterator[CallbackSpec]:
    """Loggers."""
    yield CallbackSpec(
        name="console",
        summary="Prints configuration, statistics and summary.",
        config=ConsoleConfig,
        build="maze_core.builtins.console_callback:ConsoleCallback",
    )
    yield CallbackSpec(
        name="jsonl",
        summary="Writes statistics as rows of metrics.jsonl.",
        config=JsonlConfig,
        build="maze_core.builtins.jsonl_callback:JsonlCallback",
    )
    yield CallbackSpec(
        name="tensorboard",
        summary="Writes statistics, configuration and command for TensorBoard.",
        config=TensorBoardConfig,
        build="maze_core.builtins.tensorboard_callback:TensorBoardCallback",
    )
