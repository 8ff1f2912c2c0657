"""The wrapper ``observation_normalization``: builds what the policy holds, from its options."""

from __future__ import annotations

from pathlib import Path

from maze_core.builtins.config import ObservationNormalizationConfig, StatisticsSource
from maze_core.errors import UserError
from maze_core.rl.actors import Actors
from maze_core.rl.normalization import ObservationNormalization
from maze_core.runs.files import UnreadableError, read_json

MAX_BYTES = 2**26


def build_normalization(config: ObservationNormalizationConfig, actors: Actors) -> ObservationNormalization:
    """Builds the normalisation, with its statistics if they are given.

    Raises:
        UserError: If an excluded part does not exist, or given statistics do not fit.
    """
    running = config.statistics is StatisticsSource.running
    n_samples = config.n_samples if config.statistics is StatisticsSource.sampled else 0
    built = ObservationNormalization(actors, config.method, config.clip, config.exclude, running, n_samples)
    if config.file is not None:
        built.set_from(_read(Path(config.file).expanduser()), config.file)
    return built


def _read(file: Path) -> object:
    try:
        return read_json(file.resolve(), MAX_BYTES)
    except (UnreadableError, OSError) as error:
        raise UserError(f"observation_normalization: {error}") from None
