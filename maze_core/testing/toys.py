"""Toys that the checks need: small envs of every shape, a network and an algorithm. A plugin of this kit only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maze_core.errors import require
from maze_core.hookspecs import hookimpl
from maze_core.specs import EnvSpec, ModelSpec, TrainerSpec

PLUGIN, PARTS = "maze_core.testing.toys", "maze_core.testing.toy"
"""What loads them, as ``--plugin`` does; how the modules of what they build begin."""

FLAT, STRUCTURED, VECTOR, IMAGES = "toy_flat", "toy_structured", "toy_vector", "toy_images"
MODEL, ALGORITHM = "toy_linear", "toy_search"


@dataclass(kw_only=True)
class FlatConfig:
    """One choice with a mask."""


@dataclass(kw_only=True)
class StructuredConfig:
    """A choice with a mask, and after most of them a number."""


@dataclass(kw_only=True)
class VectorConfig:
    """One choice from a plain vector."""


@dataclass(kw_only=True)
class ImagesConfig:
    """One choice from an image."""


@dataclass(kw_only=True)
class LinearConfig:
    """One dense layer."""


@dataclass(kw_only=True)
class SearchConfig:
    """Tries a random step and keeps it if it pays."""

    n_episodes: int = 12
    """Episodes by which weights are judged."""

    epoch_length: int = 10
    """Updates per epoch."""

    def __post_init__(self) -> None:
        require(self, "n_episodes", 1 <= self.n_episodes <= 1000, "a whole number from 1 to 1000")
        require(self, "epoch_length", self.epoch_length >= 1, "a whole number >= 1")


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """Envs of every shape."""
    yield EnvSpec(
        name=FLAT,
        summary="One choice with a mask.",
        config=FlatConfig,
        build=f"{PARTS}_envs:FlatToy",
    )
    yield EnvSpec(
        name=STRUCTURED,
        summary="Two dependent choices.",
        config=StructuredConfig,
        build=f"{PARTS}_envs:StructuredToy",
    )
    yield EnvSpec(
        name=VECTOR,
        summary="One choice from a vector.",
        config=VectorConfig,
        build=f"{PARTS}_envs:VectorToy",
    )
    yield EnvSpec(
        name=IMAGES,
        summary="One choice from an image.",
        config=ImagesConfig,
        build=f"{PARTS}_envs:ImagesToy",
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """A network."""
    yield ModelSpec(
        name=MODEL,
        summary="One dense layer.",
        config=LinearConfig,
        build=f"{PARTS}_search:Linear",
    )


@hookimpl
def maze_trainers() -> Iterator[TrainerSpec]:
    """An algorithm."""
    yield TrainerSpec(
        name=ALGORITHM,
        summary="Random search.",
        config=SearchConfig,
        build=f"{PARTS}_search:SearchTrainer",
    )
