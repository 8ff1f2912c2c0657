"""The interfaces between the core and what plugins build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from maze_core.blueprint import Blueprint
    from maze_core.rl.actors import Actors, Turn
    from maze_core.rl.episodes import EpisodeBatch
    from maze_core.rl.kernels import Kernel
    from maze_core.rl.policy import Policy
    from maze_core.rl.streams import Streams
    from maze_core.rl.vector_env import AnyVectorEnv
    from maze_core.stats import StageStatistics


class Acting(Protocol):
    """Who decides: a policy as far as evaluations and rollouts need it, trained or not."""

    def act(self, turn: Turn) -> Any:
        """The actions of one actor, members of its action space with leaves [len(turn.rows), ...]; masks hold."""
        ...


@runtime_checkable
class DrawsActions(Protocol):
    """The optional protocol of a policy whose actions are drawn: all its randomness comes from what it is given."""

    def begin(self, generator: np.random.Generator) -> None:
        """New episodes begin, with this randomness."""
        ...


class Workspace(Protocol):
    """What a piece of work needs where it executes: envs and who decides in them.

    Attributes:
        actors: The actors of the env.
        acting: Who decides in evaluations and rollouts.
        kernel: The policy's computation; only where there are networks.
    """

    actors: Actors
    acting: Acting
    kernel: Kernel

    def vector_env(self, num_envs: int, training: bool) -> AnyVectorEnv:
        """A vector env of this size, wrapped as configured; kept and reused by the next caller.

        Args:
            num_envs: How many envs, B.
            training: Training and evaluation have envs of their own.
        """
        ...

    def learns(self, training: bool) -> bool:
        """Whether a wrapper learns from all envs together, so that they must be stepped in one place.

        Args:
            training: Of training's envs.
        """
        ...

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights and statistics that decisions depend on, on the CPU; empty where nothing is trained."""
        ...


class Runner(Protocol):
    """Where envs and evaluations execute."""

    def start(self, workspace: Workspace, blueprint: Callable[[], Blueprint], probe: AnyVectorEnv) -> str:
        """Is called once, before anything else.

        Args:
            workspace: Envs and the policy's computation in this process.
            blueprint: Makes what another process needs to build the same.
            probe: A vector env of one env, wrapped for training, to look at; it is closed afterwards.

        Returns:
            Where what executes, as a phrase for the user.
        """
        ...

    def vector_env(self, num_envs: int, training: bool) -> AnyVectorEnv | None:
        """Copies of the env, without wrappers of vector form, that step elsewhere; None if they do so here."""
        ...

    def n_slots(self, training: bool) -> int:
        """How many tasks execute at the same time.

        Args:
            training: Whether they use training's envs.
        """
        ...

    def map(self, function: Callable[[Workspace, Any], Any], tasks: Sequence[Any], training: bool = False) -> list[Any]:
        """Executes ``function(workspace, task)`` for each task.

        The result does not depend on where or in what order that happens.

        Args:
            function: A top-level function.
            tasks: Picklable values.
            training: Whether the tasks use training's envs.

        Returns:
            The results, in the order of the tasks.
        """
        ...

    def close(self) -> None:
        """Gives back everything that was started."""
        ...


@dataclass(frozen=True)
class TrainingJob:
    """What an algorithm gets to work with.

    Args:
        actors: The env's actors.
        kernel: Computes the policy, ``kernel.policy``, and the critic of an actor-critic algorithm.
        runner: Executes work.
        streams: Random streams of the run.
        make_vector_env: ``(n_envs) ->`` a new vector env for training, wrapped as configured.
        n_epochs: Most epochs of the run, or None.
        total_env_steps: Most env steps of the run, or None.
    """

    actors: Actors
    kernel: Kernel
    runner: Runner
    streams: Streams
    make_vector_env: Callable[[int], AnyVectorEnv]
    n_epochs: int | None = None
    total_env_steps: int | None = None

    def horizon(self, epoch_length: int, env_steps_per_update: int) -> int | None:
        """Most updates that the run's budget allows; None without a budget."""
        by_epochs = None if self.n_epochs is None else self.n_epochs * epoch_length
        by_steps = None if self.total_env_steps is None else -(-self.total_env_steps // env_steps_per_update)
        return min((limit for limit in (by_epochs, by_steps) if limit is not None), default=None)


class Trainer(Protocol):
    """An algorithm at work.

    Attributes:
        policy: What is trained.
        epoch_length: Updates per epoch.
        env_steps: Env steps of training so far.
        updates: Updates so far.
        episodes: Training episodes that ended since they were last taken away.

    Two more attributes are optional. ``seconds`` says what time was spent on so far: seconds by phase,
    such as ``{"env": 1.2, "update": 0.3}``. ``histograms`` has values whose distribution is told at the
    end of each epoch: arrays [n] by name, such as the advantages of the newest rollout. It is part of
    the state, since a run may be taken up between the last update of an epoch and its report.
    """

    policy: Policy
    epoch_length: int
    env_steps: int
    updates: int
    episodes: list[EpisodeBatch]

    def step(self) -> Mapping[str, float]:
        """Collects experience, makes one update, and returns metrics about it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the next update depends on besides the policy's statistics of observations, and the envs.

        Tensors and JSON values only.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        ...


@dataclass(frozen=True)
class RunInfo:
    """A run at its start.

    Args:
        directory: Its run directory.
        config_yaml: The full configuration as recorded.
        command: What was asked for, as a command line.
        notes: Lines that the user should read.
        n_epochs: Most epochs, or None.
        config: The same configuration as plain data, without the values of environment variables.
        pictures: PNG files of the networks, by name.
        next_command: How to start another run like this one from its weights.
        resume_command: How to go on with this one.
    """

    directory: Path
    config_yaml: str
    command: str
    notes: Sequence[str]
    n_epochs: int | None
    config: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    next_command: str = ""
    resume_command: str = ""


@dataclass(frozen=True)
class EpochReport:
    """What an epoch brought.

    Args:
        epoch: Number of the epoch, from 0.
        update: Updates so far.
        env_steps: Env steps of training so far.
        time: ``train_s``, ``evaluation_s``, ``wall_s``: seconds so far.
        stages: Statistics of training and, where there was one, of the evaluation.
        new_best: Mean evaluation return, if it is the best so far, else None.
        phases: Seconds in this process by what they were spent on, as in `RunProgress`.
    """

    epoch: int
    update: int
    env_steps: int
    time: Mapping[str, float]
    stages: Sequence[StageStatistics]
    new_best: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands between two updates.

    Args:
        doing: What comes next: ``training``, ``evaluation`` or ``final evaluation``.
        epoch: Number of the epoch under way, from 0.
        update: Updates so far.
        env_steps: Env steps of training so far.
        share: Used share of the budget, from 0 to 1: of the epochs or of the env steps, whichever end first;
            None for a run without a budget.
        time: ``train_s``, ``evaluation_s``, ``wall_s``: seconds so far.
        phases: Seconds in this process by what they were spent on: the trainer's own phases, ``evaluation``, ``other``.
        n_epochs: Epochs with which it ends, or None.
        best_reward: Mean return of the best evaluation so far, or None.
        best_epoch: In which epoch that was, or None.
        patience_left: After how many more epochs without a better evaluation it ends; None if that does not count.
        reward_threshold: Mean evaluation return with which the env counts as solved, or None.
    """

    doing: str
    epoch: int
    update: int
    env_steps: int
    share: float | None
    time: Mapping[str, float]
    phases: Mapping[str, float]
    n_epochs: int | None = None
    best_reward: float | None = None
    best_epoch: int | None = None
    patience_left: int | None = None
    reward_threshold: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """A run at its end.

    Args:
        stop_reason: Why it ended, a phrase such as ``solved: ...``.
        final: Statistics of the best policy on episodes that did not select it; None after an
            interruption.
        best_reward: Mean return of the evaluation that selected the best policy, or None.
        best_epoch: In which epoch that was, or None.
        directory: The run directory.
        signal: Number of the signal that ended it, or None.
    """

    stop_reason: str
    final: EpochReport | None
    best_reward: float | None
    best_epoch: int | None
    directory: Path
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends with the run."""
        return 0 if self.signal is None else 128 + self.signal


class Callback:
    """Is told about a run; loggers derive from it and override what they need."""

    def on_run_start(self, run: RunInfo) -> None:
        """The run directory exists; nothing was trained yet."""

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """An earlier run goes on; `state` is what `state_dict` returned at its last checkpoint.

        Whatever was written after that must go, so that nothing is told twice. Without an own
        implementation the run counts as a new one.
        """
        self.on_run_start(run)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as JSON values; called at every checkpoint.

        What was told so far must be on the disk when it returns. An empty one: it begins anew when the
        run goes on.
        """
        return {}

    def on_progress(self, what: str, n: int, total: int) -> None:
        """Something that comes before training has reached n of total."""

    def on_update(self, progress: RunProgress) -> None:
        """Training or an evaluation goes on; between updates told about twice a second, however many there are.

        How often depends on the clock: nothing that must be the same in each run of a seed may come from it.
        """

    def on_epoch_end(self, report: EpochReport) -> None:
        """An epoch ended, and its evaluation if it had one."""

    def on_run_end(self, summary: RunSummary) -> None:
        """The run ended by itself or was interrupted; its results are saved."""

    def close(self) -> None:
        """Is called last, after an error too."""
