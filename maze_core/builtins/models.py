"""Ways to choose models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from maze_core.errors import UserError


def per_actor(config: Any, observation_space: Any, output_sizes: Mapping[str, int]) -> NoReturn:
    """Raises: ``per_actor`` chooses the models of actors, and is none itself.

    Raises:
        UserError: Always; it was named where one network is wanted.
    """
    raise UserError("model per_actor chooses a model for each actor, and cannot be the model of one actor.")
