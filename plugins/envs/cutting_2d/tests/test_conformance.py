"""All that the cutting problem brings keeps its contract."""

from maze_core.testing import (
    EnvConformance,
    ModelConformance,
    PluginConformance,
    PolicyConformance,
    WrapperConformance,
)

SMALL = {"max_pieces_in_inventory": 6, "max_steps": 9, "demand": "random"}


class TestPlugin(PluginConformance):
    name = "cutting_2d"


class TestFlat(EnvConformance):
    name = "cutting_2d_flat"
    overrides = SMALL


class TestStructured(EnvConformance):
    name = "cutting_2d_struct"
    overrides = SMALL


class TestMasked(EnvConformance):
    name = "cutting_2d_struct_masked"
    overrides = SMALL


class TestPieceScoring(ModelConformance):
    name = "cutting_2d_piece_scoring"
    env = {"cutting_2d_struct_masked": SMALL}


class TestPieceCutting(ModelConformance):
    name = "cutting_2d_piece_cutting"
    env = {"cutting_2d_struct_masked": SMALL}


class TestGreedy(PolicyConformance):
    name = "cutting_2d_greedy"


class TestSizeScaling(WrapperConformance):
    name = "cutting_2d"
