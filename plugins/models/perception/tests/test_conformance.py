"""The models keep the contract of models."""

from maze_core.testing import ModelConformance, PluginConformance


class TestPlugin(PluginConformance):
    name = "perception"


class TestFlattenConcat(ModelConformance):
    name = "flatten_concat"


class TestVectorObs(ModelConformance):
    name = "vector_obs"


class TestPixelObs(ModelConformance):
    name = "pixel_obs"
    overrides = {"n_channels": [2, 3], "kernel_sizes": [4, 3], "strides": [4, 2], "hidden_sizes": [8]}
