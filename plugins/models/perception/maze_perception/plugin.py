"""Registers the models."""

from collections.abc import Iterator

from maze_core import ModelSpec, hookimpl
from maze_perception.config import FlattenConcatConfig, PixelObsConfig, VectorObsConfig

maze_api_version = 1


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """Networks from observation to outputs."""
    yield ModelSpec(
        name="flatten_concat",
        summary="Any observation space, flattened and concatenated, through dense layers (the default).",
        config=FlattenConcatConfig,
        build="maze_perception.models:flatten_concat",
    )
    yield ModelSpec(
        name="vector_obs",
        summary="One vector of numbers as observation, through dense layers.",
        config=VectorObsConfig,
        build="maze_perception.models:vector_obs",
    )
    yield ModelSpec(
        name="pixel_obs",
        summary="One image or a stack of images as observation, through convolutions and dense layers.",
        config=PixelObsConfig,
        build="maze_perception.pixels:PixelModel",
    )
