"""Registers the cutting problem in its forms, with a wrapper, models and a heuristic of its own."""

from collections.abc import Iterator

from maze_core import EnvSpec, ModelSpec, PolicySpec, WrapperSpec, hookimpl
from maze_cutting_2d.config import (
    FlatCuttingConfig,
    GreedyConfig,
    MaskedCuttingConfig,
    PieceCuttingConfig,
    PieceScoringConfig,
    SizeScalingConfig,
    StructuredCuttingConfig,
)

maze_api_version = 1

ENVS, VECTOR_ENVS = "maze_cutting_2d.envs", "maze_cutting_2d.vector_envs"


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The problem as one decision, as two dependent ones, and as two with masks."""
    yield EnvSpec(
        name="cutting_2d_flat",
        summary="2-D cutting stock as one decision.",
        config=FlatCuttingConfig,
        build=f"{ENVS}:FlatCutting",
        build_vector=f"{VECTOR_ENVS}:VectorFlatCutting",
    )
    yield EnvSpec(
        name="cutting_2d_struct",
        summary="2-D cutting stock as two dependent decisions: which piece, then how to cut it.",
        config=StructuredCuttingConfig,
        build=f"{ENVS}:StructuredCutting",
        build_vector=f"{VECTOR_ENVS}:VectorStructuredCutting",
    )
    yield EnvSpec(
        name="cutting_2d_struct_masked",
        summary="2-D cutting stock as two dependent decisions, with masks of what is possible.",
        config=MaskedCuttingConfig,
        build=f"{ENVS}:StructuredCutting",
        build_vector=f"{VECTOR_ENVS}:VectorStructuredCutting",
    )


@hookimpl
def maze_wrappers() -> Iterator[WrapperSpec]:
    """What networks see of sizes."""
    yield WrapperSpec(
        name="cutting_2d",
        summary="Shows all sizes of a cutting_2d env as shares of the longer side of a raw piece.",
        config=SizeScalingConfig,
        build="maze_cutting_2d.wrappers:SizeScaling",
        build_vector="maze_cutting_2d.wrappers:VectorSizeScaling",
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """Networks of the two decisions."""
    yield ModelSpec(
        name="cutting_2d_piece_scoring",
        summary="Compares every piece of the inventory with the order; for sub-step select_piece.",
        config=PieceScoringConfig,
        build="maze_cutting_2d.models:PieceScoring",
    )
    yield ModelSpec(
        name="cutting_2d_piece_cutting",
        summary="Decides how a piece is cut; for sub-step cut_piece.",
        config=PieceCuttingConfig,
        build="maze_cutting_2d.models:PieceCutting",
    )


@hookimpl
def maze_policies() -> Iterator[PolicySpec]:
    """A heuristic."""
    yield PolicySpec(
        name="cutting_2d_greedy",
        summary="Cuts from the smallest piece that the order fits.",
        config=GreedyConfig,
        build="maze_cutting_2d.policies:GreedyPolicy",
    )
