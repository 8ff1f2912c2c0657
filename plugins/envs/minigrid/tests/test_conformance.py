"""Grid worlds, and the network that reads them, keep their contracts."""

from maze_core.testing import EnvConformance, ModelConformance, PluginConformance


class TestPlugin(PluginConformance):
    name = "minigrid"


class TestSymbols(EnvConformance):
    name = "minigrid"
    overrides = {"name": "MiniGrid-Dynamic-Obstacles-5x5-v0"}
    n_env_steps = 120


class TestDrawn(EnvConformance):
    name = "minigrid"
    overrides = {"name": "MiniGrid-LavaGapS5-v0", "observation": "rgb"}
    n_env_steps = 40


class TestGridCells(ModelConformance):
    name = "minigrid_cells"
    overrides = {"n_channels": [4, 3], "hidden_sizes": [8]}
