"""What a rollout or an export needs of a run directory: its configuration, and the weights of its best policy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from maze_core.builtins.config import ObservationNormalizationConfig
from maze_core.config import Configured, configure_stored
from maze_core.registry import Registry
from maze_core.run_config import TrainingConfig
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
    registry: Registry, path: str | Path, variables: Sequence[str] = (), vouched: Collection[str] = ()
) -> OpenedRun:
    """Reads a run directory, perhaps a stranger's; nothing in it is executed.

    Args:
        registry: All specs.
        path: The directory.
        variables: Names of environment variables that its configuration may use.
        vouched: Keys of the configuration that the user sets to values of their own.

    Raises:
        NothingUsableError: If it is no run directory, or has no weights.
        UserError: If a plugin is missing, or its configuration asks for what it may not.
    """
    stored = StoredRun(path)
    data = stored.config()
    weights = stored.weights()
    configured = configure_stored(registry, data, str(stored.path / CONFIG), (), variables, vouched)
    config = configured.config
    assert isinstance(config, TrainingConfig)
    for key, wrapper in config.wrappers.items():
        if isinstance(wrapper, ObservationNormalizationConfig) and wrapper.file is not None:
            configured.cfg["wrappers"][key]["file"] = str(stored.path / NORMALIZATION)  # a copy of what was given
    return OpenedRun(stored, configured, weights)
