"""The options of a run that belong to no plugin. Light: imported by every plugin's config."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from maze_core.enums import BoxDistribution, KernelChoice, OnCheckpointError, OnEnvError, RenderForm
from maze_core.errors import require
from maze_core.sweeps import Goal

MEAN_RETURN = "BaseEnvEvents/reward/mean"
"""Path of the statistic that most is judged by."""


@dataclass(kw_only=True)
class EvaluationConfig:
    """How the policy is evaluated during training."""

    n_episodes: int = 20
    """Episodes per evaluation; their seeds are the same each time, and none of training's."""

    every_epochs: int = 1
    """Epochs from one evaluation to the next."""

    def __post_init__(self) -> None:
        require(self, "n_episodes", self.n_episodes >= 1, "a whole number >= 1")
        require(self, "every_epochs", self.every_epochs >= 1, "a whole number >= 1")


@dataclass(kw_only=True)
class CheckpointConfig:
    """When the state of a run is saved, so that it can go on after a crash."""

    every_s: float | None = 60.0
    """Seconds from one checkpoint to the next, at the end of an update; null for no such limit."""

    every_updates: int | None = None
    """Updates from one checkpoint to the next; null for no such limit."""

    keep: int = 3
    """How many of the newest are kept."""

    max_replay_steps: int = 100_000
    """Steps up to which an episode under way is repeated when the run goes on; a longer one is cut off."""

    on_error: OnCheckpointError = OnCheckpointError.stop
    """What happens when a checkpoint cannot be written: stop, or warn and go on."""

    def __post_init__(self) -> None:
        require(self, "every_s", self.every_s is None or self.every_s > 0, "null or a number > 0")
        require(
            self, "every_updates", self.every_updates is None or self.every_updates >= 1, "null or a whole number >= 1"
        )
        require(self, "keep", self.keep >= 2, "a whole number >= 2")
        require(self, "max_replay_steps", self.max_replay_steps >= 0, "a whole number >= 0")


CHANGEABLE = (
    "runner.n_epochs", "runner.total_env_steps", "runner.stop_at_reward", "runner.patience", "runner.checkpoint",
    "runner.on_env_error", "runner.step_timeout", "runner.raw_errors", "runner.n_workers",
    "runner.max_worker_restarts", "runner.device", "callbacks",
)  # fmt: skip
"""What a run that goes on may change; everything else would make it another run."""


@dataclass(kw_only=True)
class RunnerConfig:
    """When a run ends and how it is evaluated: base of every runner's config.

    The first limit that is reached ends the run; null means no limit.
    """

    n_epochs: int | None = 100
    """Most epochs of training."""

    total_env_steps: int | None = None
    """Most env steps of training, over all envs; the update that reaches it is finished."""

    stop_at_reward: float | None = None
    """Mean evaluation return at which the env counts as solved; null takes the env's own
    threshold, inf never stops."""

    patience: int | None = 15
    """Epochs without a better evaluation after which the run ends; null waits for ever."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How the policy is evaluated."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When the state of the run is saved."""

    on_env_error: OnEnvError = OnEnvError.fail
    """What happens when an env raises: fail, or restart, which repeats the episode's seed and actions in
    a new env; one that raises there too fails."""

    step_timeout: float | None = 60.0
    """Seconds after which an env that does not return from a step or reset is told of, or its worker replaced;
    null for never."""

    n_workers: int | None = None
    """Processes that step envs and run episodes; 0 for this one alone, null decides by the time of an env step."""

    max_worker_restarts: int = 3
    """How often in a row a worker that dies or hangs is replaced while it is at the same episode, by its seed."""

    device: str = "cpu"
    """Where networks are computed: cpu, cuda, or cuda:N."""

    kernel: KernelChoice = KernelChoice.auto
    """What computes networks: auto (NumPy for dense layers on the CPU, else torch) or autograd (torch)."""

    def __post_init__(self) -> None:
        require(self, "n_epochs", self.n_epochs is None or self.n_epochs >= 1, "null or a whole number >= 1")
        require(
            self,
            "total_env_steps",
            self.total_env_steps is None or self.total_env_steps >= 1,
            "null or a whole number >= 1",
        )
        require(
            self,
            "stop_at_reward",
            self.stop_at_reward is None or not math.isnan(self.stop_at_reward),
            "null, a number, or inf",
        )
        require(self, "patience", self.patience is None or self.patience >= 1, "null or a whole number >= 1")
        require(self, "step_timeout", self.step_timeout is None or self.step_timeout > 0, "null or a number > 0")
        require(self, "n_workers", self.n_workers is None or 0 <= self.n_workers <= 1024, "null or 0 to 1024")
        require(self, "max_worker_restarts", self.max_worker_restarts >= 0, "a whole number >= 0")
        index = self.device.removeprefix("cuda:")
        require(
            self,
            "device",
            self.device in ("cpu", "cuda") or (index.isdecimal() and len(index) <= 3),
            "cpu, cuda, or cuda:N",
        )


@dataclass(kw_only=True)
class PerActorConfig:
    """A model of its own for each actor of a structured env."""

    default: Any = None
    """The model of the actors that are not named, ``model.default=<name>``; null is flatten_concat."""

    actors: dict[str, Any] = field(default_factory=dict)
    """Model by step key: ``model.actors.<step_key>=<name>``."""

    separate_agents: bool = False
    """Whether each agent has networks of its own; else agents with the same step key share them."""


@dataclass(kw_only=True)
class TrainingConfig:
    """Root of a training run's configuration. Each group holds the config of the chosen option."""

    config_name: ClassVar[str] = "conf_train"
    optional_groups: ClassVar[tuple[str, ...]] = ()

    env: Any = None
    """The environment."""

    wrappers: dict[str, Any] = field(default_factory=dict)
    """Env wrappers, the first innermost."""

    model: Any = None
    """The network of the policy."""

    critic: Any = None
    """What has a value, for algorithms that learn values."""

    algorithm: Any = None
    """The training algorithm."""

    runner: Any = None
    """Where it executes, and when it ends."""

    callbacks: dict[str, Any] = field(default_factory=dict)
    """What is told about the run."""

    seed: int | None = None
    """Root seed of all randomness, 0 to 2147483647; null draws one and records it."""

    run_dir: str | None = None
    """Directory of the run; null makes one below outputs/."""

    input_dir: str | None = None
    """Directory of an earlier run whose best weights the policy starts from."""

    def __post_init__(self) -> None:
        require(
            self, "seed", self.seed is None or 0 <= self.seed < 2**31, "null or a whole number from 0 to 2147483647"
        )
        require(self, "run_dir", self.run_dir is None or bool(self.run_dir.strip()), "null or a path")
        require(self, "input_dir", self.input_dir is None or bool(self.input_dir.strip()), "null or a path")


@dataclass(kw_only=True)
class SweeperConfig:
    """What a sweep varies and for how long: base of every sweeper's config."""

    space: dict[str, Any] = field(default_factory=dict)
    """What varies: for each key of the configuration a list of values, or {low: ..., high: ...}, of which both are
    possible, with log: true or step: ... where wanted."""

    n_trials: int = 50
    """How many trials, those that are pruned or fail among them."""

    n_parallel: int | None = None
    """How many run at the same time, each in a process of its own; null is one for each core."""

    metric: str = MEAN_RETURN
    """The statistic of evaluations that is to be large or small; that of the final evaluation counts."""

    goal: Goal = Goal.maximize
    """Whether it is to be large (maximize) or small (minimize)."""

    def __post_init__(self) -> None:
        require(self, "n_trials", self.n_trials >= 1, "a whole number >= 1")
        require(self, "n_parallel", self.n_parallel is None or self.n_parallel >= 1, "null or a whole number >= 1")
        require(self, "metric", len(self.metric.split("/")) >= 3, "a path such as BaseEnvEvents/reward/mean")


@dataclass(kw_only=True)
class SweepConfig(TrainingConfig):
    """Root of a sweep's configuration: that of all its runs, and what varies among them."""

    config_name: ClassVar[str] = "conf_sweep"

    sweeper: Any = None
    """What proposes values."""


@dataclass(kw_only=True)
class RolloutConfig:
    """Root of a rollout's configuration: a policy acts in envs, and nothing is learned."""

    config_name: ClassVar[str] = "conf_rollout"
    optional_groups: ClassVar[tuple[str, ...]] = ("model", "critic", "algorithm")

    env: Any = None
    """The environment; that of the run, if one is named."""

    wrappers: dict[str, Any] = field(default_factory=dict)
    """Env wrappers, the first innermost; those of the run, if one is named."""

    policy: Any = None
    """Who acts; if a run is named, the policy that it trained."""

    model: Any = None
    """The network of a trained policy; that of the run."""

    critic: Any = None
    """As in training, where a trained policy's network puts out values too; that of the run."""

    algorithm: Any = None
    """What a policy was trained with says how its actions are drawn; that of the run."""

    runner: Any = None
    """Where episodes execute."""

    seed: int | None = None
    """Root seed of all randomness, 0 to 2147483647; null draws one and records it."""

    run_dir: str | None = None
    """Directory of the results; null makes one below outputs/."""

    input_dir: str | None = None
    """Directory of the run whose env, wrappers and best policy are used; also written as --run."""

    n_episodes: int | None = None
    """How many episodes; null runs one for each of episode_seeds, or else 10."""

    episode_seeds: list[int] | None = None
    """Seeds of the episodes, 0 to 2147483647 each; null takes them from the root seed."""

    max_env_steps: int | None = None
    """Env steps after which an episode is truncated; null leaves that to the env."""

    trajectories: bool = False
    """Whether every step of every episode is saved, as files in trajectories/."""

    render: RenderForm | None = None
    """In which form episodes are shown: gif, webp or mp4 makes files in animations/, terminal plays them."""

    n_rendered: int = 1
    """How many episodes are shown, from the first on."""

    def __post_init__(self) -> None:
        require(
            self, "seed", self.seed is None or 0 <= self.seed < 2**31, "null or a whole number from 0 to 2147483647"
        )
        require(self, "run_dir", self.run_dir is None or bool(self.run_dir.strip()), "null or a path")
        require(self, "input_dir", self.input_dir is None or bool(self.input_dir.strip()), "null or a path")
        seeds = self.episode_seeds
        require(
            self,
            "episode_seeds",
            seeds is None or (bool(seeds) and all(0 <= seed < 2**31 for seed in seeds)),
            "null or a list of whole numbers from 0 to 2147483647",
        )
        require(
            self,
            "n_episodes",
            self.n_episodes is None
            or (1 <= self.n_episodes <= 10_000_000 and (seeds is None or self.n_episodes == len(seeds))),
            "null or a whole number from 1 to 10000000, and as many as episode_seeds if they are given",
        )
        require(
            self, "max_env_steps", self.max_env_steps is None or self.max_env_steps >= 1, "null or a whole number >= 1"
        )
        require(self, "n_rendered", self.n_rendered >= 1, "a whole number >= 1")


@dataclass(kw_only=True)
class PolicyConfig:
    """Root of what an exported policy says about its networks."""

    config_name: ClassVar[str] = ""
    optional_groups: ClassVar[tuple[str, ...]] = ()

    wrappers: dict[str, Any] = field(default_factory=dict)
    """The normalisation of observations inside the policy, if it has one."""

    model: Any = None
    """The network."""

    box_distribution: BoxDistribution = BoxDistribution.gaussian
    """What the outputs of the network mean where actions are a Box."""

    has_deviations: bool = False
    """Whether standard deviations of actions are among the weights."""

    has_value: bool = False
    """Whether the network puts out a value too."""

    kernel: KernelChoice = KernelChoice.auto
    """What computes the network, as in the run."""


RunConfig = TrainingConfig | RolloutConfig
"""Root of the configuration of something that runs."""
