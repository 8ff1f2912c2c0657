"""Training from Python; the command line is a thin layer over this."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from maze_core.build import BuiltRun, build_run
from maze_core.config import ConfigRequest, Configured, configure, variables_in
from maze_core.config.arguments import Choice, Overrides, argument_items, override_items
from maze_core.env_factory import EnvFactory
from maze_core.errors import UserError
from maze_core.field_docs import as_text
from maze_core.protocols import RunSummary, Trainer
from maze_core.registry import Registry, load_registry
from maze_core.rl.actors import action_mask
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import ACTION_MASK, repeat, unbatch
from maze_core.rl.streams import draw_root_seed
from maze_core.runs.evaluate import evaluate
from maze_core.runs.launch import Asked, Run, one_thread, resume_run, start_run
from maze_core.runs.stored_run import is_run_directory, stored_weights
from maze_core.runs.threads import limited_threads
from maze_core.runs.watchdog import watching
from maze_core.stats import EpisodeTotals


class RunContext:
    """A training run, from its configuration to a policy that can be used.

    ```python
    rc = RunContext(env="gym_env", overrides={"env.name": "CartPole-v1"})
    rc.train()
    action = rc.compute_action(observation)
    ```

    Every group takes the name of an option, or a mapping from the name to the fields that differ from
    its defaults; `wrappers` and `callbacks` take several. Nothing is built before it is needed.

    Args:
        env: The environment.
        wrappers: Env wrappers, the first innermost.
        model: The policy's network.
        critic: What has a value, for algorithms that learn values.
        algorithm: The training algorithm.
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
        runner: Choice = None,
        callbacks: Choice = None,
        experiment: str | None = None,
        overrides: Overrides = (),
        config_name: str = "conf_train",
        config_dir: str | Path | None = None,
        seed: int | None = None,
        run_dir: str | Path | None = None,
        input_dir: str | Path | None = None,
        plugins: Sequence[str] | str = (),
        local_plugins: bool = True,
        silent: bool = False,
    ) -> None:
        groups = {
            "experiment": experiment, "env": env, "wrappers": wrappers, "model": model,
            "critic": critic, "algorithm": algorithm, "runner": runner, "callbacks": callbacks,
        }  # fmt: skip
        plugins = [plugins] if isinstance(plugins, str) else list(plugins)
        foreign = input_dir or run_dir or _named_input_dir(overrides)
        registry = load_registry(plugins, local_plugins, foreign)
        notes = []
        if run_dir is not None and is_run_directory(Path(run_dir).expanduser()):
            if input_dir is not None and Path(input_dir) != Path(run_dir):
                raise UserError(f"run_dir={run_dir} is an earlier run, and input_dir={input_dir} is another; name one.")
            notes = [f"{run_dir} is an earlier run: its weights are taken, and this run gets a directory of its own."]
            run_dir, input_dir = None, run_dir
        fields = {"seed": seed, "run_dir": run_dir, "input_dir": input_dir}
        items = argument_items(groups, {key: value for key, value in fields.items() if value is not None}, overrides)
        directories = () if config_dir is None else (Path(config_dir),)
        configured = configure(registry, ConfigRequest(config_name, items, directories))
        configured.notes += notes
        if configured.config.seed is None:
            configured.set("seed", draw_root_seed())
        command_of = partial(_command, config_name, directories, plugins, local_plugins)
        repeated = [item.text for item in items if item.key not in ("run_dir", "input_dir")]
        texts = [item.text for item in items]
        self._asked = Asked(
            texts,
            command_of(texts),
            lambda path: command_of([*repeated, f"input_dir={_text(path)}"]),
            _resume_command(configured, plugins, local_plugins),
        )
        _silence(configured, silent)
        self._set_up(registry, configured)

    def _set_up(self, registry: Registry, configured: Configured) -> None:
        self.registry, self._configured = registry, configured
        self._closed = False
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

        Raises:
            NothingUsableError: If there is nothing to go on from.
            UserError: If another process has the run, or an override would make it another one.
        """
        if not isinstance(run_dir, (str, os.PathLike)):
            raise UserError(f"run_dir={run_dir!r} is not allowed: give the directory of the run to go on with.")
        plugins = [plugins] if isinstance(plugins, str) else list(plugins)
        variables = [variables] if isinstance(variables, str) else list(variables)
        registry = load_registry(plugins, local_plugins, run_dir)
        items = override_items(overrides)
        words = [str(run_dir), *(word for name in variables for word in ("--env", name))]

        def asked(configured: Configured) -> Asked:
            _silence(configured, silent)
            changed = configured.differences(configure(registry, ConfigRequest()))
            again = [f"{key}={_text(value)}" for key, _, value in changed if key not in ("run_dir", "input_dir")]
            texts = [item.text for item in items]
            return Asked(
                texts,
                _command("conf_train", (), plugins, local_plugins, [*words, *texts], "resume"),
                lambda path: _command("conf_train", (), plugins, local_plugins, [*again, f"input_dir={_text(path)}"]),
                _resume_command(configured, plugins, local_plugins),
            )

        context = cls.__new__(cls)
        configured, run = resume_run(registry, run_dir, items, variables, asked)
        context._set_up(registry, configured)
        context._built, context._run = run.built, run
        return context

    def train(self, n_epochs: int | None = None) -> RunSummary:
        """Trains, and leaves the policy with its best weights. A second call goes on.

        Args:
            n_epochs: Exactly so many epochs from now on, even if the env is solved; if not given, up to
                `runner.n_epochs` or an earlier end.

        Raises:
            MazeError: If something cannot be built, an env fails, or numbers stop being finite.
        """
        if n_epochs is not None:
            _check_count("n_epochs", n_epochs)
        built = self._build()
        if self._run is None:
            self._run = start_run(self.registry, self._configured, built, self._asked)
        elif self.finished is not None and n_epochs is None and not self._run.begun:
            raise UserError(f"{self.run_dir} is finished: {self.finished}. Raise {self.ended_by} to go on.")
        timeout = self._configured.config.runner.step_timeout
        with self._threads(), watching(built.workspace.in_process, timeout):
            self._run.begin()
            return self._run.loop.run(n_epochs)

    @property
    def finished(self) -> str | None:
        """Why a run that was taken up needs no more training, as a phrase; None if it does."""
        limit = self._limit()
        return None if limit is None else limit[1]

    @property
    def ended_by(self) -> str | None:
        """The option that ended a run that needs no more training, such as ``runner.patience``."""
        limit = self._limit()
        return None if limit is None else limit[0]

    def _limit(self) -> tuple[str, str] | None:
        loop = None if self._run is None else self._run.loop
        ended = loop is not None and loop.stop_reason is not None and not loop.in_epoch
        return loop.limit_reached(self._configured.config.runner.n_epochs) if loop is not None and ended else None

    def _threads(self) -> AbstractContextManager[None]:
        """Limits threads where networks are small."""
        return limited_threads(one_thread(self._build()))

    def _build(self) -> BuiltRun:
        if self._closed:
            raise UserError("this RunContext is closed; make a new one.")
        if self._built is None:
            input_dir = self._configured.config.input_dir
            weights = None if input_dir is None else stored_weights(input_dir)
            with limited_threads(True):  # initial weights must not depend on their number
                self._built = build_run(self.registry, self._configured, weights)
        return self._built

    def evaluate(self, n_episodes: int = 20) -> dict[str, float]:
        """Evaluates the policy on `n_episodes` episodes.

        Args:
            n_episodes: How many; their seeds are those of the final evaluation.

        Returns:
            Statistics by path, such as ``BaseEnvEvents/reward/mean``.

        Raises:
            UserError: If there is to be no episode.
        """
        _check_count("n_episodes", n_episodes)
        built = self._build()
        with self._threads():
            return dict(evaluate(built.runner, built.streams, "final_eval", n_episodes, EpisodeTotals()).values)

    def compute_action(self, observation: Any) -> Any:
        """The policy's most probable action for one observation.

        Args:
            observation: A member of the env's observation space; its action mask is honoured. For a
                structured env the whole observation, whose actor decides.

        Returns:
            A member of the action space; for a structured env of the acting actor's.

        Raises:
            UserError: If the observation does not fit the space.
            EnvFaultError: If the mask allows nothing.
        """
        kernel = self._build().workspace.kernel
        try:
            turn = kernel.policy.actors.turns(repeat(observation, 1), None, np.ones(1, bool))[0]
            space = kernel.policy.actors.by_key[turn.step_key].observation_space
            if isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces and action_mask(turn.observation) is None:
                raise KeyError(ACTION_MASK)
            return unbatch(kernel.act(turn), 0)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            space = self.env_factory().observation_space
            raise UserError(f"the observation does not fit the space {space}: {error}") from error

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
    def policy(self) -> Policy:
        """The policy: after training the best one."""
        return self._build().policy

    @property
    def env_factory(self) -> EnvFactory:
        """Makes the env of this run, wrapped as configured."""
        return self._build().workspace.factory

    @property
    def trainer(self) -> Trainer:
        """The algorithm at work."""
        return self._build().trainer

    @property
    def config(self) -> str:
        """The whole configuration as YAML."""
        return self._configured.to_yaml()

    @property
    def raw_errors(self) -> bool:
        """True if the runner asks for errors with their traceback."""
        return bool(getattr(self._configured.config.runner, "raw_errors", False))

    @property
    def run_dir(self) -> Path | None:
        """The run directory; None before training."""
        return self._run.loop.directory.path if self._run is not None else None

    @property
    def resume_command(self) -> str | None:
        """The command that takes up the run; None while there is no checkpoint."""
        return self._run.resume_command if self._run is not None and self._run.checkpoints.numbers() else None

    @property
    def training_seconds(self) -> float:
        """Seconds spent in training so far, evaluations excluded."""
        return self._run.loop.train_s if self._run is not None else 0.0


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}={value!r} is not allowed: it must be a whole number >= 1.")


def _silence(configured: Configured, silent: bool) -> None:
    if silent and "console" in configured.config.callbacks:
        configured.config.callbacks["console"].terminal = False


def _named_input_dir(overrides: Overrides) -> str | None:
    """The run directory that is about to be opened: no plugin is loaded from inside it."""
    named = [item.value for item in override_items(overrides) if item.key == "input_dir"]
    return named[-1] if named and isinstance(named[-1], str) else None


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    return as_text(str(value) if isinstance(value, Path) else value)


def _resume_command(configured: Configured, plugins: Sequence[str], local_plugins: bool) -> Callable[[Path], str]:
    words = [word for name in variables_in(configured.to_data()) for word in ("--env", name)]
    return lambda path: _command("conf_train", (), plugins, local_plugins, [str(path), *words], "resume")


def _command(
    config_name: str,
    directories: Sequence[Path],
    plugins: Sequence[str],
    local_plugins: bool,
    overrides: Sequence[str],
    verb: str = "train",
) -> str:
    words = [] if config_name == "conf_train" else ["--config-name", config_name]
    words += [word for directory in directories for word in ("--config-dir", str(directory))]
    words += [word for plugin in plugins for word in ("--plugin", plugin)]
    words += [] if local_plugins else ["--no-local"]
    return shlex.join(["maze", verb, *words, *overrides])
