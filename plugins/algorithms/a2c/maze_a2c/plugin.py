"""Registers the algorithm."""

from collections.abc import Iterator

from maze_a2c.config import A2CConfig
from maze_core import TrainerSpec, hookimpl

maze_api_version = 1


@hookimpl
def maze_trainers() -> Iterator[TrainerSpec]:
    """The algorithm ``a2c``."""
    yield TrainerSpec(
        name="a2c",
        summary="Advantage actor-critic: one gradient step after every few env steps.",
        config=A2CConfig,
        build="maze_a2c.a2c:A2CTrainer",
        actor_critic=True,
    )
