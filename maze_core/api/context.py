"""Training from Python, and a policy to use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from maze_core.api.asked import Sources, asked_again, asked_for, asked_to_resume, checked_count
from maze_core.api.exports import write_export
from maze_core.api.multirun import directory_of, expanded, for_each_job
from maze_core.api.player import Player
from maze_core.api.rollouts import RolloutResult
from maze_core.build import BuiltRun, build_run
from maze_core.config import Configured
from maze_core.config.arguments import Choice, Overrides
from maze_core.config.overrides import Item
from maze_core.env_factory import EnvFactory
from maze_core.errors import UserError, checked_texts
from maze_core.exports.artefact import Trained
from maze_core.protocols import RunSummary, Trainer
from maze_core.registry import Registry
from maze_core.rl.critics import Critic
from maze_core.rl.policy import Policy, weights_of
from maze_core.run_config import TrainingConfig
from maze_core.runs.launch import Run, one_thread, resume_run, start_run
from maze_core.runs.stored_run import stored_weights
from maze_core.runs.threads import limited_threads
from maze_core.runs.watchdog import watching


class RunContext:
    """A training run, from its configuration to a policy that can be used.

    ```python
    rc = RunContext(env="gym_env", overrides={"env.name": "CartPole-v1"})
    rc.train()
    action = rc.compute_action(observation)
    ```

    Every component takes the name of an option, a mapping from the name to the fields that differ from its defaults,
    an instance of its config class, or a live object: for `env` a function that makes one, for `model` and `critic` a
    network or ``(observation_space, output_sizes) -> network``, for `wrappers` functions from env to env, for
    `callbacks` instances of `maze_core.Callback`, for `policy` an object with a method ``act(turn)`` or what makes one
    of the actors, for `runner` a `maze_core.Runner` or what makes one of its options. `model` and `critic` also take a
    mapping from step keys to any of them; `wrappers` and `callbacks` take several. Nothing is built before its time.

    Args:
        env: The environment.
        wrappers: Env wrappers, the first innermost.
        model: The policy's network.
        critic: What has a value, for algorithms that learn values.
        algorithm: The training algorithm.
        policy: Who acts in `evaluate`, `rollout` and `compute_action` in place of what is trained.
        runner: Where it executes, and when it ends.
        callbacks: What is told about the run; an empty list for nothing.
        experiment: A named complete run.
        overrides: Values by dotted path, such as ``{"algorithm.lr": 0.01}``, or a list of overrides as
            they are written on the command line.
        config_name: Root configuration.
        config_dir: Directory with configuration files of your own.
        seed: Root seed; drawn if not given.
        run_dir: Directory of the run; a new one below outputs/ if not given. That of an earlier run
            stands for `input_dir`: the new run gets a directory of its own. In `overrides`, as on the
            command line, ``run_dir`` always names a new directory, and one that exists is an error.
        input_dir: Directory of an earlier run whose best weights the policy starts from.
        plugins: Modules, files or folders to load plugins from, besides the installed packages and
            ``maze_plugins.py`` in the current directory.
        local_plugins: Whether ``maze_plugins.py`` in the current directory is loaded.
        multirun: Whether there is a run for each combination of values: of those that overrides name as on the
            command line, and of lists that are given for a component which takes one, or for `seed`. All methods
            and properties then give a list with an entry for each run.
        silent: Prints nothing.

    Raises:
        UserError: If something is unknown or contradictory.
        ConfigError: If a value is not allowed; the message has its full key.
    """

    def __init__(
        self,
        *,
        env: Choice = None,
        wrappers: Choice = None,
        model: Choice = None,
        critic: Choice = None,
        algorithm: Choice = None,
        policy: Choice = None,
        runner: Choice = None,
        callbacks: Choice = None,
        experiment: str | None = None,
        overrides: Overrides = (),
        config_name: str = "conf_train",
        config_dir: str | Path | None = None,
        seed: int | Sequence[int] | None = None,
        run_dir: str | Path | None = None,
        input_dir: str | Path | None = None,
        plugins: Sequence[str] | str = (),
        local_plugins: bool = True,
        multirun: bool = False,
        silent: bool = False,
    ) -> None:
        self._jobs: list[RunContext] | None = None
        if multirun:
            given = {name: value for name, value in locals().items() if name not in ("self", "multirun")}
            self._jobs = [RunContext(**job) for job in expanded(given)]
            for number, job in enumerate(self._jobs if len(self._jobs) > 1 else [], 1):
                job._number = number
            return
        groups = {
            "experiment": experiment, "env": env, "wrappers": wrappers, "model": model,
            "critic": critic, "algorithm": algorithm, "runner": runner, "callbacks": callbacks,
        }  # fmt: skip
        fields = {"seed": seed, "run_dir": run_dir, "input_dir": input_dir}
        sources = Sources(config_name, config_dir, checked_texts("plugins", plugins), local_plugins)
        registry, configured, self._asked, named = asked_for(groups, policy, fields, overrides, sources, silent)
        self._set_up(registry, configured, named)

    def _set_up(self, registry: Registry, configured: Configured, policy: Sequence[Item] = ()) -> None:
        self._registry, self._configured = registry, configured
        self._player = Player(registry, configured, policy)
        self._jobs, self._closed = None, False
        self._number: int | None = None  # of several runs
        self._built: BuiltRun | None = None
        self._run: Run | None = None

    @classmethod
    def resume(
        cls,
        run_dir: str | Path,
        *,
        overrides: Overrides = (),
        plugins: Sequence[str] | str = (),
        local_plugins: bool = True,
        variables: Sequence[str] | str = (),
        silent: bool = False,
        **live_objects: Any,
    ) -> RunContext:
        """Takes up a run that was stopped or killed; `train` goes on with it.

        Nothing in the directory is executed. The policy has the best weights so far.

        Args:
            run_dir: Directory of the run.
            overrides: What changes: how long the run goes on (``runner.n_epochs``, ...), and callbacks.
            plugins: As for a new run.
            local_plugins: As for a new run.
            variables: Names of environment variables that the configuration may use.
            silent: Prints nothing.
            live_objects: Those that the run was given, as they were: ``env=make_env``; callbacks and policy may be new.

        Raises:
            NothingUsableError: If there is nothing to go on from.
            UserError: If another process has the run, or an override would make it another one.
        """
        if not isinstance(run_dir, (str, os.PathLike)):
            raise UserError(f"run_dir={run_dir!r} is not allowed: give the directory of the run to go on with.")
        sources = Sources("conf_train", None, checked_texts("plugins", plugins), local_plugins)
        live, registry, items, policy = asked_again(sources, run_dir, overrides, live_objects)
        names = checked_texts("variables", variables)
        asked = partial(asked_to_resume, registry, str(run_dir), items, names, sources, live, silent)
        context = cls.__new__(cls)
        configured, run = resume_run(registry, run_dir, items, names, asked)
        context._set_up(registry, configured, policy)
        context._built, context._run = run.built, run
        return context

    @for_each_job
    def train(self, n_epochs: int | None = None, *, best: bool = True) -> RunSummary:
        """Trains, and leaves the policy with its best weights. A second call goes on.

        Args:
            n_epochs: Exactly so many epochs from now on, even if the env is solved; if not given, up to
                `runner.n_epochs` or an earlier end.
            best: False leaves the policy with its last weights.

        Raises:
            MazeError: If something cannot be built, an env fails, or numbers stop being finite.
        """
        n_epochs = None if n_epochs is None else checked_count("n_epochs", n_epochs)
        built = self._build()
        with self._threads(), watching(built.workspace.in_process, self._config.runner.step_timeout):
            if self._run is None:
                self._run = start_run(self._registry, self._configured, built, self._asked)
            elif self.finished is not None and n_epochs is None and not self._run.begun:
                raise UserError(f"{self.run_dir} is finished: {self.finished}. Raise {self.ended_by} to go on.")
            self._run.begin()
            return self._run.loop.run(n_epochs, best)

    @property
    @for_each_job
    def finished(self) -> str | None:
        """Why a run that was taken up needs no more training, as a phrase; None if it does."""
        return self._limit()[1]

    @property
    @for_each_job
    def ended_by(self) -> str | None:
        """The option that ended a run that needs no more training, such as ``runner.patience``."""
        return self._limit()[0]

    def _limit(self) -> tuple[str, str] | tuple[None, None]:
        loop = None if self._run is None else self._run.loop
        if loop is None or loop.stop_reason is None or loop.in_epoch:
            return None, None
        return loop.limit_reached(self._config.runner.n_epochs) or (None, None)

    def _threads(self) -> AbstractContextManager[None]:
        """Limits threads where networks are small."""
        return limited_threads(one_thread(self._build()))

    def _build(self) -> BuiltRun:
        if self._closed:
            raise UserError("this RunContext is closed; make a new one.")
        if self._built is None:
            weights = None if self._config.input_dir is None else stored_weights(self._config.input_dir)
            with limited_threads(True):  # initial weights must not depend on their number
                self._built = build_run(self._registry, self._configured, weights)
        return self._built

    @for_each_job
    def evaluate(self, n_episodes: int = 20) -> dict[str, float]:
        """Evaluates the policy on `n_episodes` episodes.

        Args:
            n_episodes: How many; their seeds are those of the final evaluation.

        Returns:
            Statistics by path, such as ``BaseEnvEvents/reward/mean``.

        Raises:
            UserError: If there is to be no episode.
        """
        return self._player.evaluate(self._build(), checked_count("n_episodes", n_episodes))

    @for_each_job
    def rollout(
        self,
        n_episodes: int | None = None,
        *,
        policy: Choice = None,
        deterministic: bool = True,
        episode_seeds: Sequence[int] | None = None,
        max_env_steps: int | None = None,
        record: bool = True,
        trajectories: bool = False,
        render: str | None = None,
        n_rendered: int | None = None,
        run_dir: str | Path | None = None,
    ) -> RolloutResult:
        """Runs episodes, by default with the policy that is trained as it is now.

        Args:
            n_episodes: How many; 10 if not given.
            policy: Who acts instead: a name, a mapping, a config or an object with a method ``act(turn)``.
            deterministic: False draws the actions of the trained policy.
            episode_seeds: Seeds of the episodes; from the root seed if not given.
            max_env_steps: After how many env steps an episode is truncated.
            record: Whether the result has the trajectories.
            trajectories: Whether they are saved.
            render: ``gif``, ``webp`` or ``mp4`` for files, or ``terminal``.
            n_rendered: How many episodes are shown, from the first on.
            run_dir: Directory of the results. One is made if it is named, or if something is to be saved in it.

        Raises:
            UserError: If something is unknown or contradictory.
            EnvFaultError: If an env fails.
        """
        run_dir = None if run_dir is None else directory_of(run_dir, self._number)
        fields = {
            "n_episodes": n_episodes, "episode_seeds": episode_seeds, "max_env_steps": max_env_steps,
            "trajectories": trajectories, "render": render, "n_rendered": n_rendered, "run_dir": run_dir,
        }  # fmt: skip
        return self._player.rollout(self._build(), fields, policy, deterministic, record)

    @for_each_job
    def compute_action(self, observation: Any, *, actor: str | None = None, deterministic: bool = True) -> Any:
        """What the policy does for one observation, or for a batch of them.

        Args:
            observation: A member of the env's observation space, or a batch with leaves [B, ...]; its action mask
                is honoured. For a structured env the whole observation, which says who acts.
            actor: Step key of the actor whose own observation is given instead.
            deterministic: Whether it is the most probable action; else it is drawn.

        Returns:
            A member of the action space; for a structured env of the acting actor's. For a batch leaves [B, ...];
            for one of whole observations of a structured env a list of actions.

        Raises:
            UserError: If the observation does not fit the space, or there is no such actor.
            EnvFaultError: If the mask allows nothing, or a number is not finite.
        """
        return self._player.decide(self._build(), observation, actor, deterministic)

    @for_each_job
    def export(self, path: str | Path | None = None, form: str = "maze") -> Path:
        """Writes the policy as it is now, for use elsewhere; see `maze_core.export`.

        Raises:
            UserError: If something exists there, or a package is missing.
        """
        policy = self._build().policy
        spaces = (policy.actors.observation_space, policy.actors.action_space)
        trained = Trained(self._registry, self._configured, weights_of(policy, None), spaces, "the policy")
        return write_export(trained, path, form, self._number)

    @for_each_job
    def close(self) -> None:
        """Closes envs and loggers; ``with RunContext(...) as rc:`` does it at the end."""
        self._closed = True
        try:
            if self._built is not None:
                self._built.close()
        finally:
            if self._run is not None:
                self._run.close()

    def __enter__(self) -> RunContext:
        """Returns the context itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes envs and loggers."""
        self.close()

    @property
    @for_each_job
    def registry(self) -> Registry:
        """All that plugins and live objects offer."""
        return self._registry

    @property
    @for_each_job
    def policy(self) -> Policy:
        """The policy: after training the best one."""
        return self._build().policy

    @property
    @for_each_job
    def critic(self) -> Critic | None:
        """What has a value; None where the algorithm learns none."""
        return self._build().kernel.critic

    @property
    @for_each_job
    def stats(self) -> dict[str, dict[str, float]]:
        """The newest statistics of each stage: ``train``, ``eval``, ``final_eval``; empty before training."""
        return {} if self._run is None else {name: dict(s.values) for name, s in self._run.loop.newest.items()}

    @property
    @for_each_job
    def env_factory(self) -> EnvFactory:
        """Makes the env of this run, wrapped as configured."""
        return self._build().workspace.factory

    @property
    @for_each_job
    def trainer(self) -> Trainer:
        """The algorithm at work."""
        return self._build().trainer

    @property
    def _config(self) -> TrainingConfig:
        config = self._configured.config
        assert isinstance(config, TrainingConfig)
        return config

    @property
    @for_each_job
    def config(self) -> str:
        """The whole configuration as YAML."""
        return self._configured.to_yaml()

    @property
    @for_each_job
    def raw_errors(self) -> bool:
        """True if the runner asks for errors with their traceback."""
        return bool(getattr(self._config.runner, "raw_errors", False))

    @property
    @for_each_job
    def run_dir(self) -> Path | None:
        """The run directory; None before training."""
        return self._run.loop.directory.path if self._run is not None else None

    @property
    @for_each_job
    def resume_command(self) -> str | None:
        """The command that takes up the run; None while there is no checkpoint."""
        return self._run.resume_command if self._run is not None and self._run.checkpoints.numbers() else None

    @property
    @for_each_job
    def training_seconds(self) -> float:
        """Seconds spent in training so far, evaluations excluded."""
        return 0.0 if self._run is None else self._run.loop.train_s
