"""When the state of a run is saved, and with what beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maze_core.config import config_hash
from maze_core.enums import OnCheckpointError
from maze_core.errors import StorageError
from maze_core.run_config import CheckpointConfig
from maze_core.runs.checkpoints import CheckpointStore

LOG = logging.getLogger("maze")

CHECKPOINTS = "checkpoints"


class Checkpointer:
    """Saves the state of a run now and then.

    Args:
        directory: The run directory.
        config: When, and how many are kept.
        records: What belongs into every checkpoint besides the state: the configurations of the run; the
            one that it ``started`` with is also told by its hash, so that a change shows without reading the state.
        fingerprint: What its bits depend on besides.
    """

    def __init__(
        self, directory: Path, config: CheckpointConfig, records: Mapping[str, Any], fingerprint: Mapping[str, str]
    ) -> None:
        self.config, self._records, self.fingerprint = config, records, fingerprint
        self._config_hash = config_hash(records["started"])
        self._store = CheckpointStore(directory / CHECKPOINTS, config.keep)
        self._saved_at, self._updates = time.monotonic(), 0

    def after_update(self) -> bool:
        """Counts an update; True if it is time to save."""
        self._updates += 1
        every_s, every_updates = self.config.every_s, self.config.every_updates
        by_time = every_s is not None and time.monotonic() - self._saved_at >= every_s
        return by_time or (every_updates is not None and self._updates >= every_updates)

    def save(self, state: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Writes a checkpoint.

        Args:
            state: Of the training loop.
            summary: What is shown of it without reading it.

        Raises:
            StorageError: If the disk does not take it, and the run is to stop then.
        """
        try:
            told = {**summary, "config": self._config_hash}
            self._store.write({**self._records, "state": state}, told, self.fingerprint)
        except StorageError as error:
            if self.config.on_error is OnCheckpointError.stop:
                before = " The run can go on from the checkpoint before." if self._store.numbers() else ""
                raise StorageError(f"{error}{before}") from None
            LOG.warning("%s", error)
        self._saved_at, self._updates = time.monotonic(), 0
