"""What a rollout or an export needs of a run directory: its configuration, and the weights of its best policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from maze_core.builtins.config import ObservationNormalizationConfig, StatisticsSource
from maze_core.config import Configured, configure_stored
from maze_core.registry import Registry
from maze_core.runs.run_directory import NORMALIZATION
from maze_core.runs.stored_run import CONFIG, StoredRun


@dataclass(frozen=True)
class OpenedRun:
    """A run that was trained.

    Args:
        stored: Its directory.
        configured: How it was configured.
        weights: Of its best policy, and its critic.
    """

    stored: StoredRun
    configured: Configured
    weights: dict[str, torch.Tensor]

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"run {self.stored.shown}"


def open_run(
    registry: Registry, path: str | Path, variables: Sequence[str] = (), vouched: Mapping[str, Any] | None = None
) -> OpenedRun:
    """Reads a run directory, perhaps a stranger's; nothing in it is executed.

    Args:
        registry: All specs.
        path: The directory.
        variables: Names of environment variables that its configuration may use.
        vouched: Values of the configuration that the user sets, by key.

    Raises:
        NothingUsableError: If it is no run directory, or has no weights.
        UserError: If a plugin is missing, or its configuration asks for what it may not.
    """
    stored = StoredRun(path)
    data = stored.config()
    weights = stored.weights()
    configured = configure_stored(registry, data, str(stored.path / CONFIG), (), variables, vouched)
    return OpenedRun(stored, with_statistics_of_weights(configured), weights)


def given_statistics(configured: Configured) -> list[str]:
    """Keys of the wrappers that take statistics of observations from a file."""
    return [
        key
        for key, wrapper in configured.config.wrappers.items()
        if isinstance(wrapper, ObservationNormalizationConfig) and wrapper.file is not None
    ]


def with_statistics_of_weights(configured: Configured) -> Configured:
    """The configuration of what was trained, without the file that gave its statistics: the weights hold them now."""
    given = given_statistics(configured)
    if not given:
        return configured
    taken = copy.deepcopy(configured)
    for key in given:
        taken.cfg["wrappers"][key].update({"statistics": StatisticsSource.sampled, "file": None})
        wrapper = taken.config.wrappers[key]
        taken.config.wrappers[key] = replace(wrapper, statistics=StatisticsSource.sampled, file=None)
    return taken


def use_stored_statistics(configured: Configured, stored: StoredRun) -> None:
    """Takes statistics of observations that were given from the copy in the run directory."""
    for key in given_statistics(configured):
        configured.config.wrappers[key].file = str(stored.path / NORMALIZATION)
