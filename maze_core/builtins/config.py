"""Options of the core's own components."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from maze_core.enums import NormalizationMethod
from maze_core.errors import require
from maze_core.run_config import RunnerConfig


class StatisticsSource(Enum):
    """Where the statistics of a normalisation come from."""

    sampled = "sampled"
    running = "running"
    given = "given"


@dataclass(kw_only=True)
class LocalRunnerConfig(RunnerConfig):
    """Everything executes in this process."""

    raw_errors: bool = False
    """Whether an error shows its traceback, for debugging one's own env or model."""


@dataclass(kw_only=True)
class SharedCriticConfig:
    """One value for each env step, estimated from what its first sub-step observes."""

    model: Any = None
    """Its network, ``critic.model=<name>``; null is one like the policy's, with weights of its own."""


@dataclass(kw_only=True)
class PerSubStepCriticConfig:
    """A value for each sub-step, estimated from what its actor observes."""

    model: Any = None
    """The network of each actor, ``critic.model=<name>``; null is one like the policy's."""


@dataclass(kw_only=True)
class SharedEmbeddingCriticConfig:
    """A value for each sub-step, put out by the policy's own network."""


@dataclass(kw_only=True)
class NoCriticConfig:
    """No values: advantages are whole returns."""


@dataclass(kw_only=True)
class RandomConfig:
    """Valid actions with equal probability; masks are honoured."""


@dataclass(kw_only=True)
class MaskedRandomConfig:
    """Valid actions with equal probability, in an env that says by a mask which are valid."""


@dataclass(kw_only=True)
class TrainedConfig:
    """The policy that a run trained, with its best weights."""

    deterministic: bool = True
    """Whether it takes its most probable actions; else they are drawn as in training."""


@dataclass(kw_only=True)
class RewardScalingConfig:
    """Multiplies every reward that is learned from; evaluations show the env's own."""

    scale: float = 1.0
    """The factor."""

    def __post_init__(self) -> None:
        require(self, "scale", math.isfinite(self.scale) and self.scale != 0, "a finite number other than 0")


@dataclass(kw_only=True)
class RewardClippingConfig:
    """Clips every reward that is learned from; evaluations show the env's own."""

    low: float = -1.0
    """Smallest reward."""

    high: float = 1.0
    """Largest reward."""

    def __post_init__(self) -> None:
        require(self, "low", not math.isnan(self.low), "a number, or -inf for no limit")
        require(self, "high", self.low < self.high, "a number larger than low, or inf for no limit")


@dataclass(kw_only=True)
class ReturnNormalizationConfig:
    """Divides rewards of training by the running standard deviation of the discounted return."""

    gamma: float = 0.99
    """Discount of that return, per env step."""

    clip: float | None = 10.0
    """Largest absolute reward that is passed on; null for no limit."""

    def __post_init__(self) -> None:
        require(self, "gamma", 0 <= self.gamma <= 1, "a number from 0 to 1")
        require(self, "clip", self.clip is None or self.clip > 0, "null or a number > 0")


@dataclass(kw_only=True)
class TimeLimitConfig:
    """Truncates episodes after a number of env steps."""

    max_env_steps: int = 1000
    """Env steps per episode at most; all sub-steps of a structured env count as one."""

    def __post_init__(self) -> None:
        require(self, "max_env_steps", self.max_env_steps >= 1, "a whole number >= 1")


@dataclass(kw_only=True)
class ObservationStackingConfig:
    """Shows the last observations side by side, along a new first axis."""

    n_observations: int = 4
    """How many; before there were as many, the first is repeated."""

    def __post_init__(self) -> None:
        require(self, "n_observations", self.n_observations >= 2, "a whole number >= 2")


@dataclass(kw_only=True)
class RenderObservationConfig:
    """Shows the rendered frame instead of what the env observes; needs env.kwargs.render_mode=rgb_array."""


@dataclass(kw_only=True)
class PixelPreparationConfig:
    """Makes images grey, resizes them and scales their values; what is observed has shape (H, W, C)."""

    grey: bool = True
    """Whether colours become one channel of brightness."""

    height: int | None = 84
    """Pixels of the new height, each the mean of the area that it covers; null keeps it."""

    width: int | None = 84
    """Pixels of the new width; null keeps it."""

    scale: bool = True
    """Whether values become float32 from 0 to 1; else they keep their range, and uint8 stays uint8."""

    def __post_init__(self) -> None:
        require(self, "height", self.height is None or self.height >= 1, "null or a whole number >= 1")
        require(self, "width", self.width is None or self.width >= 1, "null or a whole number >= 1")


@dataclass(kw_only=True)
class ActionRepeatConfig:
    """Repeats each action for several env steps, and sums their rewards."""

    n_repeats: int = 4
    """Env steps for each action, fewer at the end of an episode."""

    def __post_init__(self) -> None:
        require(self, "n_repeats", self.n_repeats >= 2, "a whole number >= 2")


@dataclass(kw_only=True)
class MaskFromInfoConfig:
    """Puts an action mask that the env tells in its info into the observation."""

    key: str = "action_mask"
    """Key of the mask in the info of reset and step."""


@dataclass(kw_only=True)
class MonitoringConfig:
    """Adds histograms of rewards and observations to the statistics."""

    observations: bool = True
    """Whether observations are counted; rewards always are."""


@dataclass(kw_only=True)
class ObservationNormalizationConfig:
    """Shifts and scales what the networks see; the statistics travel with the weights."""

    statistics: StatisticsSource = StatisticsSource.sampled
    """Where they come from: sampled before training by random actions, updated while training, or given."""

    method: NormalizationMethod = NormalizationMethod.mean_std
    """To zero mean and unit standard deviation, or the range that was seen to [-1, 1]."""

    n_samples: int = 1000
    """Env steps that are sampled at least; episodes are played to their end."""

    clip: float | None = 10.0
    """Largest absolute value that is passed on; null for no limit."""

    exclude: list[str] = field(default_factory=list)
    """Keys of parts that are left as they are."""

    file: str | None = None
    """A normalization.json to take given statistics from."""

    def __post_init__(self) -> None:
        given = self.statistics is StatisticsSource.given
        require(self, "n_samples", self.n_samples >= 2, "a whole number >= 2")
        require(self, "clip", self.clip is None or self.clip > 0, "null or a number > 0")
        require(self, "file", given == (self.file is not None), "a path with statistics=given, else null")


@dataclass(kw_only=True)
class ConsoleConfig:
    """Prints configuration, statistics and summary, and writes the same to log.txt."""

    terminal: bool = True
    """Whether to print; log.txt is written in any case. A run that goes on prints, unless it is told again not to."""


@dataclass(kw_only=True)
class JsonlConfig:
    """Writes the statistics of each epoch and stage as rows of metrics.jsonl."""


@dataclass(kw_only=True)
class TensorBoardConfig:
    """Writes the statistics, the configuration and the command for TensorBoard."""
