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
from maze_core.errors import MazeError, NonFiniteError, NothingUsableError, PluginError, UserError
from maze_core.networks import build_networks, take_trained, warm_start
from maze_core.protocols import Callback, Runner, Trainer, TrainingJob
from maze_core.registry import Registry
from maze_core.rl.acting import CheckedPolicy, checked_policy
from maze_core.rl.actors import Actors
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.kernels import Kernel
from maze_core.rl.normalization import ObservationNormalization
from maze_core.rl.policy import Policy
from maze_core.rl.streams import Streams
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv
from maze_core.run_config import PerActorConfig, PolicyConfig, RolloutConfig, RunConfig, TrainingConfig
from maze_core.specs import EnvSpec, PolicySpec, WrapperSpec, resolve_build
from maze_core.workspace import EnvWorkspace, RunWorkspace

__all__ = ["BuiltRollout", "BuiltRun", "EnvWorkspace", "RunWorkspace", "build_rollout", "build_run", "build_workspace"]


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
    assert isinstance(config, TrainingConfig) and config.seed is not None
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


@dataclass(frozen=True)
class BuiltRollout:
    """All live objects of a rollout.

    Args:
        workspace: Envs, and who acts in them.
        runner: Where episodes execute.
        streams: Random streams.
        notes: What was chosen, in lines for the user.
    """

    workspace: EnvWorkspace
    runner: Runner
    streams: Streams
    notes: list[str]

    def close(self) -> None:
        """Gives back everything that was started."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.runner.close)
            stack.callback(self.workspace.close)


def build_rollout(
    registry: Registry, configured: Configured, weights: Mapping[str, torch.Tensor] | None = None, source: str = ""
) -> BuiltRollout:
    """Builds everything that a rollout needs.

    Args:
        registry: All specs.
        configured: A complete, valid configuration of a rollout; its seed is set.
        weights: Those of a trained policy; None leaves its first random ones.
        source: Where they come from, for messages.

    Raises:
        NothingUsableError: If the weights are those of another network.
        MazeError: If something cannot be built; envs that were made are closed.
    """
    config = configured.config
    assert isinstance(config, RolloutConfig) and config.seed is not None
    factory = env_factory(registry, config)
    with contextlib.ExitStack() as failed, contextlib.closing(factory.vector(1, training=False)) as probe:
        workspace = _rollout_workspace(registry, config, factory, probe)
        failed.callback(workspace.close)
        if weights is not None and isinstance(workspace, RunWorkspace):
            _take_trained(workspace.kernel, weights, source)
        runner: Runner = _build(registry, config.runner)(config.runner)
        failed.callback(runner.close)
        where = runner.start(workspace, partial(Blueprint.of, registry, config), probe)
        workspace.runner = runner
        notes = [*configured.notes, _rollout_note(probe, configured.choices["policy"], workspace, where)]
        failed.pop_all()
        return BuiltRollout(workspace, runner, Streams(config.seed), notes)


def _take_trained(kernel: Kernel, weights: Mapping[str, torch.Tensor], source: str) -> None:
    try:
        take_trained(kernel.policy, weights, source, kernel.critic)
    except NonFiniteError as error:  # nothing stopped being finite: these weights never were
        raise NothingUsableError(f"{source} cannot be used: {error}") from None


def build_workspace(registry: Registry, config: RunConfig) -> EnvWorkspace:
    """Builds envs and policy only, for work in another process.

    Raises:
        MazeError: If something cannot be built.
    """
    factory = env_factory(registry, config)
    with contextlib.closing(factory.vector(1, training=isinstance(config, TrainingConfig))) as probe:
        if isinstance(config, RolloutConfig):
            return _rollout_workspace(registry, config, factory, probe)
        return _workspace(registry, config, factory, probe)


def _rollout_workspace(
    registry: Registry, config: RolloutConfig, factory: EnvFactory, probe: AnyVectorEnv
) -> EnvWorkspace:
    spec = registry.of_config(type(config.policy))
    if isinstance(spec, PolicySpec) and spec.networks:
        kernel = _kernel(registry, config, probe)
        return RunWorkspace(factory, kernel, acting=build_acting(registry, config.policy, kernel.policy.actors, kernel))
    actors = Actors(probe.single_observation_space, probe.single_action_space)
    return EnvWorkspace(factory, actors, build_acting(registry, config.policy, actors))


def build_acting(registry: Registry, config: Any, actors: Actors, kernel: Kernel | None = None) -> CheckedPolicy:
    """Builds who acts in a rollout.

    Args:
        registry: All specs.
        config: Of the policy.
        actors: Of the env.
        kernel: For a policy with networks.

    Raises:
        PluginError: If what a plugin builds cannot act, or raises.
    """
    spec = registry.of_config(type(config))
    assert isinstance(spec, PolicySpec)
    name, build = f"policy {spec.name!r}", resolve_build(spec.build)
    try:
        policy = build(config, kernel if spec.networks else actors)
    except MazeError:
        raise
    except Exception as error:  # whatever somebody's own policy raises
        raise PluginError(f"{name} raised {type(error).__name__} when it was built: {error}") from error
    return checked_policy(policy, actors, name)


def _workspace(registry: Registry, config: TrainingConfig, factory: EnvFactory, probe: AnyVectorEnv) -> RunWorkspace:
    return RunWorkspace(factory, _kernel(registry, config, probe), config.runner.checkpoint.max_replay_steps)


def _kernel(registry: Registry, config: RunConfig, probe: AnyVectorEnv) -> Kernel:
    """The networks of a run and what computes them."""
    device = torch_device(config.runner.device)
    box_distribution = getattr(config.algorithm, "box_distribution", BoxDistribution.gaussian)
    separate_agents = isinstance(config.model, PerActorConfig) and config.model.separate_agents
    actors = Actors(probe.single_observation_space, probe.single_action_space, box_distribution, separate_agents)
    normalization = build_normalization(registry, config, actors)
    policy, critic = build_networks(registry, config, actors, device, normalization)
    return make_kernel(policy, device, critic, config.runner.kernel)


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


def env_factory(registry: Registry, config: RunConfig) -> EnvFactory:
    """The factory of the configured env and wrappers; a rollout's own limit comes last."""
    spec = registry.of_config(type(config.env))
    assert isinstance(spec, EnvSpec)
    wrappers = []
    for wrapper in config.wrappers.values():
        wrapper_spec = registry.of_config(type(wrapper))
        assert isinstance(wrapper_spec, WrapperSpec)
        if not wrapper_spec.in_policy:
            wrappers.append((wrapper_spec, wrapper))
    if isinstance(config, RolloutConfig) and config.max_env_steps is not None:
        limit = registry.get("wrapper", "time_limit")
        assert isinstance(limit, WrapperSpec)
        wrappers.append((limit, limit.config(max_env_steps=config.max_env_steps)))
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


def build_normalization(
    registry: Registry, config: RunConfig | PolicyConfig, actors: Actors
) -> ObservationNormalization | None:
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
    critic = "" if kernel.critic is None else f" and {_n_parameters(kernel.critic)} of the critic"
    count = f"{kernel.policy.n_parameters} parameters{' of the policy' if critic else ''}{critic}"
    return f"{_form(env, where)}; networks: {kernel.name} kernel, {count}"


def _rollout_note(env: AnyVectorEnv, policy: str, workspace: EnvWorkspace, where: str) -> str:
    kernel = f", {workspace.kernel.name} kernel" if isinstance(workspace, RunWorkspace) else ""
    return f"{_form(env, where)}; policy: {policy}{kernel}"


def _form(env: AnyVectorEnv, where: str) -> str:
    form = "one env after the other" if isinstance(env.unwrapped, InProcessVectorEnv) else "its own vector form"
    return f"env steps: {form}{f', {where}' if where else ''}"


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
