"""Where work executes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maze_core.protocols import Workspace
from maze_core.run_config import RunnerConfig


class LocalRunner:
    """Executes everything in this process, one task after the other.

    Args:
        config: Options.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self.config = config
        self._workspace: Workspace | None = None

    def start(self, workspace: Workspace) -> None:
        """Takes the envs and the policy's computation to work with."""
        self._workspace = workspace

    def map(self, function: Callable[[Workspace, Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Executes ``function(workspace, task)`` for each task, in order."""
        assert self._workspace is not None
        return [function(self._workspace, task) for task in tasks]

    def close(self) -> None:
        """Lets go of the workspace."""
        self._workspace = None
