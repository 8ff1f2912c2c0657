"""Registers the core's own components, through the same hooks as every other plugin."""

from __future__ import annotations

from collections.abc import Iterator

from maze_core.builtins.config import (
    ActionRepeatConfig,
    ConsoleConfig,
    JsonlConfig,
    LocalRunnerConfig,
    MaskedRandomConfig,
    MaskFromInfoConfig,
    MonitoringConfig,
    NoCriticConfig,
    ObservationNormalizationConfig,
    ObservationStackingConfig,
    PerSubStepCriticConfig,
    PixelPreparationConfig,
    RandomConfig,
    RenderObservationConfig,
    ReturnNormalizationConfig,
    RewardClippingConfig,
    RewardScalingConfig,
    SharedCriticConfig,
    SharedEmbeddingCriticConfig,
    TensorBoardConfig,
    TimeLimitConfig,
    TrainedConfig,
)
from maze_core.hookspecs import hookimpl
from maze_core.run_config import PerActorConfig
from maze_core.specs import CallbackSpec, CriticSpec, ModelSpec, PolicySpec, RunnerSpec, WrapperSpec

WRAPPERS = "maze_core.builtins.wrappers"


@hookimpl
def maze_runners() -> Iterator[RunnerSpec]:
    """Where work executes."""
    yield RunnerSpec(
        name="local",
        summary="This machine.",
        config=LocalRunnerConfig,
        build="maze_core.builtins.runners:LocalRunner",
    )


@hookimpl
def maze_wrappers() -> Iterator[WrapperSpec]:
    """Env wrappers."""
    yield WrapperSpec(
        name="observation_normalization",
        summary="Normalises what the networks see; statistics are sampled, running or given.",
        config=ObservationNormalizationConfig,
        build="maze_core.builtins.normalization:build_normalization",
        in_policy=True,
    )
    yield WrapperSpec(
        name="return_normalization",
        summary="Divides rewards of training by the deviation of the discounted return.",
        config=ReturnNormalizationConfig,
        build=f"{WRAPPERS}.rewards:ReturnNormalization",
        build_vector=f"{WRAPPERS}.rewards:VectorReturnNormalization",
        shares_state=True,
        training_only=True,
        changes_observation=False,
    )
    yield WrapperSpec(
        name="reward_scaling",
        summary="Multiplies every reward of training by a constant.",
        config=RewardScalingConfig,
        build=f"{WRAPPERS}.rewards:RewardScaling",
        build_vector=f"{WRAPPERS}.rewards:VectorRewardScaling",
        training_only=True,
        changes_observation=False,
    )
    yield WrapperSpec(
        name="reward_clipping",
        summary="Clips every reward of training.",
        config=RewardClippingConfig,
        build=f"{WRAPPERS}.rewards:RewardClipping",
        build_vector=f"{WRAPPERS}.rewards:VectorRewardClipping",
        training_only=True,
        changes_observation=False,
    )
    yield WrapperSpec(
        name="time_limit",
        summary="Truncates episodes after a number of env steps.",
        config=TimeLimitConfig,
        build=f"{WRAPPERS}.steps:EnvStepLimit",
        build_vector=f"{WRAPPERS}.steps:VectorEnvStepLimit",
        changes_observation=False,
    )
    yield WrapperSpec(
        name="render_observation",
        summary="Shows the rendered frame instead of what the env observes.",
        config=RenderObservationConfig,
        build=f"{WRAPPERS}.pixels:RenderObservation",
    )
    yield WrapperSpec(
        name="pixel_preparation",
        summary="Makes images grey, resizes them and scales their values.",
        config=PixelPreparationConfig,
        build=f"{WRAPPERS}.pixels:PixelPreparation",
    )
    yield WrapperSpec(
        name="observation_stacking",
        summary="Shows the last observations together.",
        config=ObservationStackingConfig,
        build=f"{WRAPPERS}.observations:ObservationStacking",
        build_vector=f"{WRAPPERS}.observations:VectorObservationStacking",
    )
    yield WrapperSpec(
        name="action_repeat",
        summary="Repeats each action and sums the rewards.",
        config=ActionRepeatConfig,
        build=f"{WRAPPERS}.steps:ActionRepeat",
        build_vector=f"{WRAPPERS}.steps:VectorActionRepeat",
        changes_observation=False,
    )
    yield WrapperSpec(
        name="mask_from_info",
        summary="Puts an action mask from the info into the observation.",
        config=MaskFromInfoConfig,
        build=f"{WRAPPERS}.observations:MaskFromInfo",
    )
    yield WrapperSpec(
        name="monitoring",
        summary="Adds histograms of rewards and observations to the statistics.",
        config=MonitoringConfig,
        build=f"{WRAPPERS}.monitoring:Monitoring",
        build_vector=f"{WRAPPERS}.monitoring:VectorMonitoring",
        changes_observation=False,
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """Ways to choose models."""
    yield ModelSpec(
        name="per_actor",
        summary="A model of its own for each actor of a structured env.",
        config=PerActorConfig,
        build="maze_core.builtins.models:per_actor",
    )


@hookimpl
def maze_critics() -> Iterator[CriticSpec]:
    """What has a value."""
    yield CriticSpec(
        name="shared",
        summary="One value for each env step, from what its first sub-step observes (the default).",
        config=SharedCriticConfig,
        build="maze_core.builtins.critics:shared",
    )
    yield CriticSpec(
        name="per_sub_step",
        summary="A value for each sub-step, from what its actor observes.",
        config=PerSubStepCriticConfig,
        build="maze_core.builtins.critics:per_sub_step",
    )
    yield CriticSpec(
        name="shared_embedding",
        summary="A value for each sub-step, put out by the policy's own network.",
        config=SharedEmbeddingCriticConfig,
        build="maze_core.builtins.critics:shared_embedding",
        in_policy=True,
    )
    yield CriticSpec(
        name="none",
        summary="No values: advantages are whole returns.",
        config=NoCriticConfig,
        build="maze_core.builtins.critics:none",
    )


@hookimpl
def maze_policies() -> Iterator[PolicySpec]:
    """Who acts in a rollout."""
    yield PolicySpec(
        name="random",
        summary="Valid actions with equal probability; masks are honoured.",
        config=RandomConfig,
        build="maze_core.builtins.policies:random",
    )
    yield PolicySpec(
        name="masked_random",
        summary="The same, and an error where the env has no masks.",
        config=MaskedRandomConfig,
        build="maze_core.builtins.policies:masked_random",
    )
    yield PolicySpec(
        name="trained",
        summary="The policy that a run trained, with its best weights.",
        config=TrainedConfig,
        build="maze_core.builtins.policies:trained",
        networks=True,
    )


@hookimpl
def maze_callbacks() -> Iterator[CallbackSpec]:
    """Loggers."""
    yield CallbackSpec(
        name="console",
        summary="Prints configuration, statistics and summary.",
        config=ConsoleConfig,
        build="maze_core.builtins.console_callback:ConsoleCallback",
    )
    yield CallbackSpec(
        name="jsonl",
        summary="Writes statistics as rows of metrics.jsonl.",
        config=JsonlConfig,
        build="maze_core.builtins.jsonl_callback:JsonlCallback",
    )
    yield CallbackSpec(
        name="tensorboard",
        summary="Writes statistics, configuration and command for TensorBoard.",
        config=TensorBoardConfig,
        build="maze_core.builtins.tensorboard_callback:TensorBoardCallback",
    )
