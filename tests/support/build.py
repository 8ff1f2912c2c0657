"""From an env class to the live objects of a run, without the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from maze_core.build import RunWorkspace
from maze_core.builtins.runners import LocalRunner
from maze_core.enums import BoxDistribution, KernelChoice, NormalizationMethod
from maze_core.env_factory import EnvFactory
from maze_core.networks import build_networks, build_policy
from maze_core.plugins import PluginSources, load_plugins
from maze_core.protocols import TrainingJob
from maze_core.registry import Registry
from maze_core.rl import Actors, AutogradKernel, Kernel, ObservationNormalization, Policy, Streams, make_kernel
from maze_core.run_config import RunnerConfig, TrainingConfig
from maze_core.specs import EnvSpec, resolve_build

CPU = torch.device("cpu")


@dataclass
class NoOptions:
    """Config of an env that has none."""


@cache
def registry() -> Registry:
    """All installed plugins."""
    return Registry(load_plugins(PluginSources(environ={})))


def make_policy(actors: Actors, seed: int = 0, model: str = "flatten_concat", **options: Any) -> Policy:
    """A policy of perception's models, small unless asked otherwise."""
    config = registry().get("model", model).config(**{"hidden_sizes": [7], **options})
    return build_policy(registry(), config, actors, Streams(seed), CPU)


def env_factory(make_env: Callable[[], Any]) -> EnvFactory:
    """The factory of an env that no plugin brings."""
    return EnvFactory(
        EnvSpec(name="test_env", summary="", config=NoOptions, build=lambda _: make_env()), NoOptions(), []
    )


def gym_factory(name: str = "CartPole-v1", **kwargs: Any) -> EnvFactory:
    """The factory of a Gymnasium env, as the plugin gym_env makes it."""
    spec = registry().get("env", "gym_env")
    assert isinstance(spec, EnvSpec)
    return EnvFactory(spec, spec.config(name=name, kwargs=kwargs), [])


def make_job(
    factory: EnvFactory,
    seed: int = 0,
    box_distribution: BoxDistribution = BoxDistribution.gaussian,
    autograd: bool = False,
    **model_options: Any,
) -> TrainingJob:
    """Actors, policy, kernel and a runner that works in this process."""
    probe = factory.vector(1)
    actors = Actors(probe.single_observation_space, probe.single_action_space, box_distribution)
    probe.close()
    policy = make_policy(actors, seed, **model_options)
    kernel: Kernel = AutogradKernel(policy, CPU) if autograd else make_kernel(policy, CPU)
    runner = LocalRunner(RunnerConfig())
    runner.start(RunWorkspace(factory, kernel))
    return TrainingJob(actors, kernel, runner, Streams(seed), factory.vector)


def make_trainer(factory: EnvFactory, seed: int = 0, model: dict[str, Any] | None = None, **options: Any) -> Any:
    """An ES trainer; `options` are those of its config, `model` those of its model."""
    spec = registry().get("algorithm", "es")
    config = spec.config(**options)
    return resolve_build(spec.build)(config, make_job(factory, seed, config.box_distribution, **(model or {})))


def make_actor_critic_job(
    factory: EnvFactory,
    seed: int = 0,
    *,
    critic: str = "shared",
    autograd: bool = False,
    algorithm: Any = None,
    running_normalization: bool = False,
    n_epochs: int | None = None,
    total_env_steps: int | None = None,
    **model_options: Any,
) -> TrainingJob:
    """The same for an algorithm that learns values; `algorithm` is its config, PPO's defaults if not given."""
    algorithm = registry().get("algorithm", "ppo").config() if algorithm is None else algorithm
    probe = factory.vector(1)
    actors = Actors(probe.single_observation_space, probe.single_action_space, algorithm.box_distribution)
    probe.close()
    config = TrainingConfig(
        model=registry().get("model", "flatten_concat").config(**{"hidden_sizes": [7], **model_options}),
        critic=registry().get("critic", critic).config(),
        algorithm=algorithm,
        seed=seed,
    )
    normalization = None
    if running_normalization:
        normalization = ObservationNormalization(actors, NormalizationMethod.mean_std, 10.0, (), running=True)
    policy, values = build_networks(registry(), config, actors, CPU, normalization)
    kernel = make_kernel(policy, CPU, values, KernelChoice.autograd if autograd else KernelChoice.auto)
    runner = LocalRunner(RunnerConfig())
    runner.start(RunWorkspace(factory, kernel))
    return TrainingJob(actors, kernel, runner, Streams(seed), factory.vector, n_epochs, total_env_steps)


def make_actor_critic(
    name: str, factory: EnvFactory, seed: int = 0, *, job: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """A trainer `ppo` or `a2c`; `options` are those of its config, `job` those of `make_actor_critic_job`."""
    spec = registry().get("algorithm", name)
    config = spec.config(**options)
    return resolve_build(spec.build)(config, make_actor_critic_job(factory, seed, algorithm=config, **(job or {})))
