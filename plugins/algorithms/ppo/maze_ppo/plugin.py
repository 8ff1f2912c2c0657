"""Registers the algorithm."""

from collections.abc import Iterator

from maze_core import TrainerSpec, hookimpl
from maze_ppo.config import PPOConfig

maze_api_version = 1


@hookimpl
def maze_trainers() -> Iterator[TrainerSpec]:
    """The algorithm ``ppo``."""
    yield TrainerSpec(
        name="ppo",
        summary="Proximal policy optimisation: several passes over each rollout, with clipped steps.",
        config=PPOConfig,
        build="maze_ppo.ppo:PPOTrainer",
        actor_critic=True,
    )
