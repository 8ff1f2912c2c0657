"""Registers the sweeper that asks Optuna."""

from collections.abc import Iterator

from maze_core import SweeperSpec, hookimpl
from maze_optuna.config import OptunaConfig

maze_api_version = 1


@hookimpl
def maze_sweepers() -> Iterator[SweeperSpec]:
    """The sweeper ``optuna``."""
    yield SweeperSpec(
        name="optuna",
        summary="Optuna: learns from trials which values to try next, and ends trials that promise little.",
        config=OptunaConfig,
        build="maze_optuna.sweeper:OptunaSweeper",
    )
