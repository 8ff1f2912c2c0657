"""Registers evolution strategies."""

from collections.abc import Iterator

from maze_core import TrainerSpec, hookimpl
from maze_es.config import ESConfig

maze_api_version = 1


@hookimpl
def maze_trainers() -> Iterator[TrainerSpec]:
    """The algorithm ``es``."""
    yield TrainerSpec(
        name="es",
        summary="Evolution strategies: a whole population steps in lock-step; needs no gradients.",
        config=ESConfig,
        build="maze_es.es:ESTrainer",
    )
