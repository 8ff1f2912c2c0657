"""All that comes with the core keeps the contracts that plugins keep."""

import pytest

from maze_core.testing import (
    CallbackConformance,
    CriticConformance,
    ModelConformance,
    PluginConformance,
    PolicyConformance,
    RunnerConformance,
    WrapperConformance,
)


class TestPlugin(PluginConformance):
    name = "builtins"


class TestLocalRunner(RunnerConformance):
    name = "local"
    overrides = {"n_workers": 0}


@pytest.mark.workers
class TestLocalRunnerWithWorkers(RunnerConformance):
    name = "local"
    overrides = {"n_workers": 2}


class TestObservationNormalization(WrapperConformance):
    name = "observation_normalization"


class TestReturnNormalization(WrapperConformance):
    name = "return_normalization"


class TestRewardScaling(WrapperConformance):
    name = "reward_scaling"
    overrides = {"scale": -2.5}


class TestRewardClipping(WrapperConformance):
    name = "reward_clipping"
    overrides = {"low": -0.25, "high": 0.5}


class TestTimeLimit(WrapperConformance):
    name = "time_limit"
    overrides = {"max_env_steps": 3}


class TestRenderObservation(WrapperConformance):
    name = "render_observation"


class TestPixelPreparation(WrapperConformance):
    name = "pixel_preparation"
    overrides = {"height": 8, "width": 8}


class TestObservationStacking(WrapperConformance):
    name = "observation_stacking"


class TestActionRepeat(WrapperConformance):
    name = "action_repeat"
    overrides = {"n_repeats": 2}


class TestMaskFromInfo(WrapperConformance):
    name = "mask_from_info"


class TestMonitoring(WrapperConformance):
    name = "monitoring"


class TestPerActor(ModelConformance):
    name = "per_actor"


class TestSharedCritic(CriticConformance):
    name = "shared"


class TestPerSubStepCritic(CriticConformance):
    name = "per_sub_step"


class TestSharedEmbeddingCritic(CriticConformance):
    name = "shared_embedding"


class TestNoCritic(CriticConformance):
    name = "none"


class TestRandom(PolicyConformance):
    name = "random"


class TestMaskedRandom(PolicyConformance):
    name = "masked_random"


class TestTrained(PolicyConformance):
    name = "trained"


class TestTrainedDrawing(PolicyConformance):
    name = "trained"
    overrides = {"deterministic": False}


class TestConsole(CallbackConformance):
    name = "console"


class TestJsonl(CallbackConformance):
    name = "jsonl"


class TestTensorBoard(CallbackConformance):
    name = "tensorboard"
