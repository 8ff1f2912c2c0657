"""From configs to live objects. The only module that knows how the parts of a run fit together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from maze_core.blueprint import Blueprint
from maze_core.config import Configured
from maze_core.enums import BoxDistribution, OnEnvError
from maze_core.env_factory import EnvFactory
from maze_core.errors import PluginError, UserError
from maze_core.networks import build_networks, warm_start
from maze_core.protocols import Callback, Runner, Trainer, TrainingJob
from maze_core.registry import Registry
from maze_core.rl.actors import Actors
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.kernels import Kernel
from maze_core.rl.normalization import ObservationNormalization
from maze_core.rl.policy import Policy
from maze_core.rl.replay import KeepsState, ReplayedVectorEnv, layers, learned_state, load_learned_state
from maze_core.rl.streams import Streams
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv
from maze_core.run_config import PerActorConfig, TrainingConfig
from maze_core.specs import EnvSpec, WrapperSpec, resolve_build


class RunWorkspace:
    """Envs by size, and the policy's computation; see `maze_core.protocols.Workspace`.

    Args:
        factory: Makes envs.
        kernel: Computes the policy.
        max_replay_steps: Up to how many steps an episode of training can be repeated; None if none ever is.
    """

    def __init__(self, factory: EnvFactory, kernel: Kernel, max_replay_steps: int | None = None) -> None:
        self.factory, self.kernel, self._max_replay_steps = factory, kernel, max_replay_steps
        self.runner: Runner | None = None  # steps envs elsewhere, perhaps
        self.actors = kernel.policy.actors
        self._vector_envs: dict[tuple[int, bool], AnyVectorEnv] = {}
        self._trained_in: list[AnyVectorEnv] = []

    def new_vector_env(self, num_envs: int) -> AnyVectorEnv:
        """A vector env for training that nobody else gets."""
        env = self._vector(num_envs, training=True)
        if self._max_replay_steps is not None and not isinstance(env, KeepsState):
            env = ReplayedVectorEnv(env, self._max_replay_steps)
        self._trained_in.append(env)
        return env

    def vector_env(self, num_envs: int, training: bool) -> AnyVectorEnv:
        """A vector env of this size; the same one each time, but never one for both."""
        key = (num_envs, training)
        if key not in self._vector_envs:
            self._vector_envs[key] = self._vector(num_envs, training)
        return self._vector_envs[key]

    def learns(self, training: bool) -> bool:
        """Whether a wrapper learns from all envs together."""
        return any(spec.shares_state and (training or not spec.training_only) for spec, _ in self.factory.wrappers)

    def _vector(self, num_envs: int, training: bool) -> AnyVectorEnv:
        inner = None if self.runner is None else self.runner.vector_env(num_envs, training)
        return self.factory.vector(num_envs, training, inner)

    def state_dict(self) -> dict[str, Any]:
        """What wrappers learned over all episodes, as arrays and JSON values."""
        kept = [{"num_envs": n, "training": training, "learned": learned_state(env)}
                for (n, training), env in self._vector_envs.items()]  # fmt: skip
        return {
            "trained_in": [learned_state(env) for env in self._trained_in],
            "kept": [entry for entry in kept if entry["learned"]],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; the same envs for training must have been made."""
        for env, learned in zip(self._trained_in, state["trained_in"], strict=True):
            load_learned_state(env, learned)
        for entry in state["kept"]:
            load_learned_state(self.vector_env(entry["num_envs"], entry["training"]), entry["learned"])

    def in_process(self) -> list[InProcessVectorEnv]:
        """The vector envs that step scalar envs in this process."""
        envs = (*self._vector_envs.values(), *self._trained_in)
        return [layer for env in envs for layer in layers(env) if isinstance(layer, InProcessVectorEnv)]

    @property
    def n_not_repeated(self) -> int:
        """How many episodes under way could not go on when the run did."""
        return sum(getattr(env, "n_not_repeated", 0) for env in self._trained_in)

    def close(self) -> None:
        """Closes all envs."""
        for env in (*self._vector_envs.values(), *self._trained_in):
            env.close()
        self._vector_envs.clear()
        self._trained_in.clear()


@dataclass(frozen=True)
class BuiltRun:
    """All live objects of a training run.

    Args:
        workspace: Envs and the policy's computation.
        runner: Where work executes.
        trainer: The algorithm.
        callbacks: What is told, by key of the configuration.
        streams: Random streams.
        reward_threshold: Mean return at which the env counts as solved, or None.
        notes: What was chosen, in lines for the user.
    """

    workspace: RunWorkspace
    runner: Runner
    trainer: Trainer
    callbacks: dict[str, Callback]
    streams: Streams
    reward_threshold: float | None
    notes: list[str]

    @property
    def policy(self) -> Policy:
        """What is trained."""
        return self.trainer.policy

    @property
    def kernel(self) -> Kernel:
        """What computes policy and critic."""
        return self.workspace.kernel

    def close(self) -> None:
        """Gives back everything that was started."""
        with contextlib.ExitStack() as stack:  # what raises does not keep the rest from being closed
            for close in (
                self.workspace.close,
                self.runner.close,
                *(callback.close for callback in self.callbacks.values()),
            ):
                stack.callback(close)


def build_run(
    registry: Registry, configured: Configured, weights: Mapping[str, torch.Tensor] | None = None
) -> BuiltRun:
    """Builds everything that a training run needs.

    Args:
        registry: All specs.
        configured: A complete, valid configuration; its seed is set.
        weights: What the policy starts from; None for new random weights.

    Raises:
        NothingUsableError: If the weights are those of another network.
        MazeError: If something cannot be built; envs that were made are closed.
    """
    config = configured.config
    assert config.seed is not None
    factory, notes = env_factory(registry, config), list(configured.notes)
    with contextlib.ExitStack() as failed, contextlib.closing(factory.vector(1)) as probe:
        workspace = _workspace(registry, config, factory, probe)
        failed.callback(workspace.close)
        if weights is not None:
            notes.append(warm_start(workspace.kernel.policy, weights, str(config.input_dir), workspace.kernel.critic))
        runner: Runner = _build(registry, config.runner)(config.runner)
        failed.callback(runner.close)
        where = runner.start(workspace, partial(Blueprint.of, registry, config), probe)
        workspace.runner = runner
        notes.append(_execution_note(probe, workspace.kernel, where))
        job = TrainingJob(
            workspace.actors, workspace.kernel, runner, Streams(config.seed), workspace.new_vector_env,
            config.runner.n_epochs, config.runner.total_env_steps,
        )  # fmt: skip
        trainer = _trainer(registry, config, job)
        callbacks = {key: _build(registry, callback)(callback) for key, callback in config.callbacks.items()}
        threshold = _threshold(config.runner.stop_at_reward, probe)
        failed.pop_all()
        return BuiltRun(workspace, runner, trainer, callbacks, job.streams, threshold, notes)


def build_workspace(registry: Registry, config: TrainingConfig) -> RunWorkspace:
    """Builds envs and policy only, for work in another process.

    Raises:
        MazeError: If something cannot be built.
    """
    factory = env_factory(registry, config)
    with contextlib.closing(factory.vector(1)) as probe:
        return _workspace(registry, config, factory, probe)


def _workspace(registry: Registry, config: TrainingConfig, factory: EnvFactory, probe: AnyVectorEnv) -> RunWorkspace:
    device = torch_device(config.runner.device)
    box_distribution = getattr(config.algorithm, "box_distribution", BoxDistribution.gaussian)
    separate_agents = isinstance(config.model, PerActorConfig) and config.model.separate_agents
    actors = Actors(probe.single_observation_space, probe.single_action_space, box_distribution, separate_agents)
    normalization = build_normalization(registry, config, actors)
    policy, critic = build_networks(registry, config, actors, device, normalization)
    kernel = make_kernel(policy, device, critic, config.runner.kernel)
    return RunWorkspace(factory, kernel, config.runner.checkpoint.max_replay_steps)


def _build(registry: Registry, config: Any) -> Any:
    spec = registry.of_config(type(config))
    assert spec is not None
    return resolve_build(spec.build)


def _trainer(registry: Registry, config: TrainingConfig, job: TrainingJob) -> Trainer:
    trainer: Trainer = _build(registry, config.algorithm)(config.algorithm, job)
    missing = [name for name in ("step", "state_dict", "load_state_dict") if not callable(getattr(trainer, name, None))]
    if missing:
        raise PluginError(
            f"{type(trainer).__name__}, which trains algorithm {type(config.algorithm).__name__}, has no method "
            f"{', '.join(missing)}; maze_core.protocols.Trainer says what they return."
        )
    return trainer


def env_factory(registry: Registry, config: TrainingConfig) -> EnvFactory:
    """The factory of the configured env and wrappers."""
    spec = registry.of_config(type(config.env))
    assert isinstance(spec, EnvSpec)
    wrappers = []
    for wrapper in config.wrappers.values():
        wrapper_spec = registry.of_config(type(wrapper))
        assert isinstance(wrapper_spec, WrapperSpec)
        if not wrapper_spec.in_policy:
            wrappers.append((wrapper_spec, wrapper))
    repeats = config.runner.on_env_error is OnEnvError.restart
    return EnvFactory(spec, config.env, wrappers, repeats)


def torch_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        UserError: If this machine does not have it.
    """
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"runner.device={name}: torch {torch.__version__} finds no CUDA device. Use runner.device=cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"runner.device={name}: there are only {torch.cuda.device_count()} CUDA devices, from cuda:0 on."
        )
    return device


def build_normalization(registry: Registry, config: TrainingConfig, actors: Actors) -> ObservationNormalization | None:
    """Builds the wrapper that acts inside the policy, if one is chosen.

    Raises:
        UserError: If there is more than one, or a wrapper that changes observations comes after it.
    """
    chosen = [(key, wrapper, registry.of_config(type(wrapper))) for key, wrapper in config.wrappers.items()]
    inside = [(key, wrapper, spec) for key, wrapper, spec in chosen if isinstance(spec, WrapperSpec) and spec.in_policy]
    if not inside:
        return None
    if len(inside) > 1:
        raise UserError(f"wrappers {inside[0][0]} and {inside[1][0]} both act inside the policy; use one of them.")
    key, wrapper, spec = inside[0]
    after = chosen[[entry[0] for entry in chosen].index(key) + 1 :]
    outside = [other for other, _, of in after if isinstance(of, WrapperSpec) and of.changes_observation]
    if outside:
        order = [entry[0] for entry in chosen if entry[0] != key]
        last = max(order.index(other) for other in outside) + 1
        names = {other: of.name for other, _, of in chosen if of is not None}
        works = ",".join(names[other] for other in [*order[:last], key, *order[last:]])
        raise UserError(
            f"wrapper {key} sees what the networks see, so {outside[0]} cannot come after it. Use wrappers={works}."
        )
    return resolve_build(spec.build)(wrapper, actors)  # type: ignore[no-any-return]


def _threshold(stop_at_reward: float | None, env: AnyVectorEnv) -> float | None:
    if stop_at_reward is not None:
        return stop_at_reward
    spec = env.spec
    if spec is None and isinstance(env.unwrapped, InProcessVectorEnv):
        spec = env.unwrapped.envs[0].spec
    return None if spec is None or spec.reward_threshold is None else float(spec.reward_threshold)


def _execution_note(env: AnyVectorEnv, kernel: Kernel, where: str) -> str:
    form = "one env after the other" if isinstance(env.unwrapped, InProcessVectorEnv) else "its own vector form"
    form += f", {where}" if where else ""
    critic = "" if kernel.critic is None else f" and {_n_parameters(kernel.critic)} of the critic"
    count = f"{kernel.policy.n_parameters} parameters{' of the policy' if critic else ''}{critic}"
    return f"env steps: {form}; networks: {kernel.name} kernel, {count}"


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
