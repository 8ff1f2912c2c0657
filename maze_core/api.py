"""Training from Python; the command line is a thin layer over this."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from maze_core.build import BuiltRun, build_run
from maze_core.config import ConfigRequest, configure
from maze_core.config.overrides import Item, items_of_mapping, read_items
from maze_core.env_factory import EnvFactory
from maze_core.errors import UserError
from maze_core.field_docs import as_text
from maze_core.pictures import network_pictures
from maze_core.protocols import RunInfo, RunSummary, Trainer
from maze_core.registry import LIST_GROUPS, load_registry
from maze_core.rl.actors import action_mask
from maze_core.rl.critics import Critic
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import ACTION_MASK, repeat, unbatch
from maze_core.rl.streams import draw_root_seed
from maze_core.runs.evaluate import evaluate
from maze_core.runs.normalize import sample_statistics
from maze_core.runs.run_directory import RunDirectory, environment, read_weights
from maze_core.runs.threads import limited_threads, one_thread_is_enough
from maze_core.runs.train import TrainingLoop
from maze_core.stats import EpisodeTotals

LOG = logging.getLogger("maze")

Choice = str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None
"""An option by name, several by a list of names, or ``{name: {field: value}}``."""


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
        run_dir: Directory of the run; must not exist. A new one below outputs/ if not given.
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
        overrides: Mapping[str, Any] | Sequence[str] | str = (),
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
        fields = {"seed": seed, "run_dir": run_dir, "input_dir": input_dir}
        items = _all_items(groups, {key: value for key, value in fields.items() if value is not None}, overrides)
        plugins = [plugins] if isinstance(plugins, str) else list(plugins)
        self.registry = load_registry(plugins, local_plugins)
        directories = () if config_dir is None else (Path(config_dir),)
        self._configured = configure(self.registry, ConfigRequest(config_name, items, directories))
        if self._configured.config.seed is None:
            self._configured.set("seed", draw_root_seed())
        if silent and "console" in self._configured.config.callbacks:
            self._configured.config.callbacks["console"].terminal = False
        self._overrides = [item.text for item in items]
        self._command_of = partial(_command, config_name, directories, plugins, local_plugins)
        self._repeated = [item.text for item in items if item.key not in ("run_dir", "input_dir")]
        self._closed = False
        self._built: BuiltRun | None = None
        self._loop: TrainingLoop | None = None

    def train(self, n_epochs: int | None = None) -> RunSummary:
        """Trains, and leaves the policy with its best weights. A second call goes on.

        Args:
            n_epochs: Exactly so many epochs from now on, even if the env is solved; if not given, up to
                `runner.n_epochs` or an earlier end.

        Raises:
            MazeError: If something cannot be built, an env fails, or numbers stop being finite.
        """
        if n_epochs is not None and n_epochs < 1:
            raise UserError(f"n_epochs={n_epochs} is not allowed: it must be a whole number >= 1.")
        self._build()
        with self._threads():
            if self._loop is None:
                self._loop = self._start()
            return self._loop.run(n_epochs)

    def _threads(self) -> AbstractContextManager[None]:
        """Limits threads where networks are small."""
        kernel = self._build().kernel
        critic = [] if kernel.critic is None else [kernel.critic]
        return limited_threads(one_thread_is_enough([kernel.policy, *critic]))

    def _start(self) -> TrainingLoop:
        built, config = self._build(), self._configured.config
        choices = self._configured.choices
        name = "-".join(str(choices[group]) for group in ("env", "model", "algorithm", "runner"))
        directory = RunDirectory.create(config.run_dir, name)
        self._configured.set("run_dir", str(directory.path))
        text = self._configured.to_yaml()
        directory.write_text("config.yaml", text)
        directory.write_text("overrides.txt", "".join(f"{override}\n" for override in self._overrides))
        command = self._command_of(self._overrides)
        directory.write_text("command.txt", command + "\n")
        versions = {plugin.name: plugin.version for plugin in self.registry.plugins if not plugin.error}
        assert config.seed is not None
        directory.write_text("environment.json", environment(versions, config.seed))
        critic = built.kernel.critic
        pictures = draw_networks({"policy": built.policy, **({"critic": critic} if critic else {})}, directory)
        data = self._configured.to_data()
        again = self._command_of([*self._repeated, f"input_dir={as_text(str(directory.path))}"])
        info = RunInfo(directory.path, text, command, built.notes, config.runner.n_epochs, data, pictures, again)
        for callback in built.callbacks:
            callback.on_run_start(info)
        self._sample_statistics(built, directory)
        return TrainingLoop(built, config.runner, directory)

    def _sample_statistics(self, built: BuiltRun, directory: RunDirectory) -> None:
        """Normalisation needs statistics before the first update; they are recorded in readable form."""

        def tell(n: int, wanted: int) -> None:
            for callback in built.callbacks:
                callback.on_progress("sampling observations for their normalisation", n, wanted)

        sample_statistics(built.workspace, built.streams, tell)
        directory.write_normalization(built.policy)

    def _build(self) -> BuiltRun:
        if self._closed:
            raise UserError("this RunContext is closed; make a new one.")
        if self._built is None:
            input_dir = self._configured.config.input_dir
            weights = None if input_dir is None else read_weights(input_dir)
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
        if n_episodes < 1:
            raise UserError(f"n_episodes={n_episodes} is not allowed: it must be a whole number >= 1.")
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
        if self._built is not None:
            self._built.close()

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
        return self._loop.directory.path if self._loop is not None else None

    @property
    def training_seconds(self) -> float:
        """Seconds spent in training so far, evaluations excluded."""
        return self._loop.train_s if self._loop is not None else 0.0


def draw_networks(networks: Mapping[str, Policy | Critic], directory: RunDirectory) -> dict[str, bytes]:
    """Draws networks into ``networks/`` of a run directory.

    Args:
        networks: What has them, by role.
        directory: Where to.

    Returns:
        PNG files by name; none if a network cannot be drawn, which costs the run nothing.
    """
    try:
        pictures = network_pictures(networks)
    except Exception as error:  # whatever a foreign module raises when it is traced
        LOG.warning("the networks cannot be drawn: %s: %s", type(error).__name__, error)
        return {}
    for picture in pictures:
        directory.write_bytes(f"networks/{picture.name}.png", picture.png)
        directory.write_bytes(f"networks/{picture.name}.svg", picture.svg.encode())
    return {picture.name: picture.png for picture in pictures}


def _group_items(group: str, choice: Choice) -> list[Item]:
    """The overrides that a group's argument stands for."""
    if choice is None:
        return []
    _check_choice(group, choice)
    names = [choice] if isinstance(choice, str) else list(choice)
    value: Any = names if group in LIST_GROUPS else names[0] if len(names) == 1 else names
    items = [Item(group, value, "set", f"{group}={','.join(names) if names else '[]'}")]
    if isinstance(choice, Mapping):
        fields = {
            f"{group}.{name}.{field}" if group in LIST_GROUPS else f"{group}.{field}": value
            for name, values in choice.items()
            for field, value in values.items()
        }
        items += items_of_mapping(fields)
    return items


def _check_choice(group: str, choice: object) -> None:
    options = choice.values() if isinstance(choice, Mapping) else ()
    names = [choice] if isinstance(choice, str) else choice
    is_list = isinstance(names, (Mapping, list, tuple)) and all(isinstance(name, str) for name in names)
    if not is_list or not all(isinstance(fields, Mapping) for fields in options):
        raise UserError(f"{group}={choice!r} is not allowed: give a name, or {{name: {{field: value}}}}.")


def _all_items(
    groups: Mapping[str, Choice], fields: Mapping[str, Any], overrides: Mapping[str, Any] | Sequence[str] | str
) -> list[Item]:
    """All arguments as overrides; one that is given twice must say the same."""
    arguments = [item for group, choice in groups.items() for item in _group_items(group, choice)]
    arguments += items_of_mapping(fields)
    texts = [overrides] if isinstance(overrides, str) else overrides
    named = items_of_mapping(texts) if isinstance(texts, Mapping) else read_items(texts)
    given = {item.key: item for item in arguments}
    for item in named:
        other = given.get(item.key)
        if other is not None and other.value != item.value:
            raise UserError(f"{item.key} is given twice: {other.text} as an argument, and {item.text} in overrides.")
    return arguments + named


def _command(
    config_name: str, directories: Sequence[Path], plugins: Sequence[str], local_plugins: bool, overrides: Sequence[str]
) -> str:
    words = [] if config_name == "conf_train" else ["--config-name", config_name]
    words += [word for directory in directories for word in ("--config-dir", str(directory))]
    words += [word for plugin in plugins for word in ("--plugin", plugin)]
    words += [] if local_plugins else ["--no-local"]
    return shlex.join(["maze", "train", *words, *overrides])
