"""Builds the networks of a run: policy, critic, and what they start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from maze_core.errors import MazeError, NothingUsableError, UserError
from maze_core.live import GivenNetwork
from maze_core.registry import Registry
from maze_core.rl.actors import Actors
from maze_core.rl.critics import VALUE, Critic
from maze_core.rl.normalization import ObservationNormalization
from maze_core.rl.policy import CRITIC_PREFIX, Policy, take_weights
from maze_core.rl.streams import Streams
from maze_core.rl.torch_generator import torch_generator
from maze_core.run_config import PerActorConfig, RunConfig
from maze_core.specs import CriticSpec, ModelSpec, TrainerSpec, resolve_build

DEFAULT_MODEL = "flatten_concat"
"""The model of those for whom none was chosen."""


def build_networks(
    registry: Registry,
    config: RunConfig,
    actors: Actors,
    device: torch.device,
    normalization: ObservationNormalization | None,
) -> tuple[Policy, Critic | None]:
    """Builds the policy and, for an actor-critic algorithm, its critic.

    Raises:
        UserError: If a model cannot read an actor's observations.
    """
    algorithm, critic_spec = registry.of_config(type(config.algorithm)), registry.of_config(type(config.critic))
    assert isinstance(algorithm, TrainerSpec) and isinstance(critic_spec, CriticSpec) and config.seed is not None
    streams = Streams(config.seed)
    if not algorithm.actor_critic:
        return build_policy(registry, config.model, actors, streams, device, normalization), None
    policy = build_policy(
        registry, config.model, actors, streams, device, normalization,
        getattr(config.algorithm, "initial_log_std", 0.0), critic_spec.in_policy,
    )  # fmt: skip
    chosen = getattr(config.critic, "model", None)
    where, model = ("model", _another(registry, config.model)) if chosen is None else ("critic.model", chosen)
    with _seeded(streams, "critic_weights", device):
        models = _Models(registry, model_configs(registry, model, actors, where), policy, device, where)
        critic = resolve_build(critic_spec.build)(config.critic, actors.step_keys, lambda key: models(key, {VALUE: 1}))
    if critic is not None and not critic.in_policy:
        named = [(f"critic.{key}", model) for key, model in critic.models.items()]
        _refuse_shared([*policy.models.items(), *named], "critic=<network>, or use critic=shared_embedding")
    return policy, None if critic is None else critic.eval()  # torch's mode; `Kernel.learning` changes it for updates


def _another(registry: Registry, model: Any) -> Any:
    """The config of a critic like a policy: of a network that was given there is one only, so it gets the default."""
    if isinstance(model, PerActorConfig):
        actors = {key: _another(registry, part) for key, part in model.actors.items()}
        return replace(model, default=_another(registry, model.default), actors=actors)
    spec = registry.of_config(type(model))
    given = spec is not None and isinstance(spec.build, GivenNetwork)
    return registry.get("model", DEFAULT_MODEL).config() if given else model


def build_policy(
    registry: Registry,
    model_config: Any,
    actors: Actors,
    streams: Streams,
    device: torch.device,
    normalization: ObservationNormalization | None = None,
    initial_log_std: float | None = None,
    with_value: bool = False,
) -> Policy:
    """Builds the networks of all actors; their initial weights depend on the root seed only.

    Args:
        registry: All specs.
        model_config: Config of the chosen model; `maze_core.run_config.PerActorConfig`
            chooses one for each step key.
        actors: The env's actors.
        streams: Random streams of the run.
        device: Where the networks live.
        normalization: Of what the networks see.
        initial_log_std: Of Gaussian actions; None if nobody samples from the policy.
        with_value: Whether every network puts out a value too.

    Raises:
        UserError: If a model cannot read an actor's observations.
    """
    configs = model_configs(registry, model_config, actors)
    build = _Models(registry, configs, Policy(actors, {}), device, "model")
    extra = {VALUE: 1} if with_value else {}
    models: dict[str, nn.Module] = {}
    with _seeded(streams, "weights", device):
        for key, actor in actors.by_key.items():
            if with_value and VALUE in actor.heads.output_sizes:
                raise UserError(
                    f"actor {key!r} has an action named {VALUE!r}, so its network cannot put out a value of that name. "
                    "Use critic=shared or critic=per_sub_step."
                )
            models[key] = build(key, {**actor.heads.output_sizes, **extra})
    _refuse_shared(models.items(), "model={<step key>: <network>, ...}")
    policy = Policy(actors, models, normalization, initial_log_std)
    policy.log_stds.to(device)  # statistics of observations stay where observations come from
    return policy.eval()  # torch's mode; `Kernel.learning` changes it for updates


def _refuse_shared(models: Iterable[tuple[str, nn.Module]], instead: str) -> None:
    """Refuses one network in two places: it would be two sets of weights when they are saved, and one when they learn.

    Raises:
        UserError: If there is one.
    """
    owners: dict[int, str] = {}
    for key, model in models:
        for parameter in model.parameters():
            other = owners.setdefault(id(parameter), key)
            if other != key:
                raise UserError(f"{other!r} and {key!r} have the same network. Give each its own: {instead}.")


def _seeded(streams: Streams, name: str, device: torch.device) -> AbstractContextManager[None]:
    """Seeds torch's own generators, and restores them."""
    return torch_generator(int(streams.generator(name).integers(2**31)), [device])


class _Models:
    """Builds the model that was chosen for each actor.

    Args:
        registry: All specs.
        configs: Config of each step key's model.
        policy: Its encoders say what the models read.
        device: Where they live.
        where: Key of the configuration that chose them.
    """

    def __init__(
        self, registry: Registry, configs: Mapping[str, Any], policy: Policy, device: torch.device, where: str
    ) -> None:
        self._registry, self._configs, self._policy, self._device = registry, configs, policy, device
        self._where = where

    def __call__(self, step_key: str, output_sizes: Mapping[str, int]) -> nn.Module:
        """Builds the model of one actor, with these outputs."""
        config = self._configs[step_key]
        spec = self._registry.of_config(type(config))
        if not isinstance(spec, ModelSpec):
            key = f"{self._where}.actors.{step_key}"
            raise UserError(f"{key} is no model. Choose one with {key}=<name>.")
        build = resolve_build(spec.build)
        space = self._policy.encoders[step_key].space
        try:
            model = build(config, space, output_sizes).to(self._device)
            check_fit(model, space, output_sizes, self._device)
            return model  # type: ignore[no-any-return]
        except MazeError:
            raise
        except (Exception, SystemExit) as error:  # whatever somebody's own model raises
            reason = str(error).partition("\n")[0]
            parts = ", ".join(f"{key} {_shape(part)}" for key, part in space.spaces.items())
            raise UserError(
                f"model {spec.name!r} of actor {step_key!r} raised {type(error).__name__}: {reason}\n"
                f"It gets a mapping with {parts}, and must put out one with {_needed(output_sizes)}."
            ) from error


def check_fit(model: nn.Module, space: spaces.Dict, output_sizes: Mapping[str, int], device: torch.device) -> None:
    """Checks that a model reads what an actor observes, and puts out what its heads need.

    Args:
        model: The model.
        space: The encoded observation space.
        output_sizes: Size of each head.
        device: Where the model lives.

    Raises:
        ValueError: If the outputs are others. Whatever a model raises that reads something else passes unchanged.
    """
    before = model.training
    model.eval()  # it learns nothing from this
    try:
        with torch.no_grad(), torch_generator():
            outputs: Any = model(_zeros(space, device))
    finally:
        model.train(before)
    if not isinstance(outputs, Mapping):
        raise ValueError(f"it puts out a {type(outputs).__name__}")
    for head, size in output_sizes.items():
        shape = getattr(outputs.get(head), "shape", None)
        if shape is None or tuple(shape) != (2, size):
            given = ", ".join(f"{key} {list(getattr(value, 'shape', ()))}" for key, value in outputs.items())
            raise ValueError(f"of 2 observations it puts out {given or 'nothing'}")


def _zeros(space: spaces.Dict, device: torch.device) -> dict[str, Any]:
    """Two encoded observations."""
    return {
        key: _zeros(part, device)
        if isinstance(part, spaces.Dict)
        else torch.zeros(2, *(part.shape or ()), device=device)
        for key, part in space.spaces.items()
    }


def _needed(output_sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{head} [B, {size}]" for head, size in output_sizes.items())


def _shape(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Dict):
        return f"({', '.join(f'{key} {_shape(part)}' for key, part in space.spaces.items())})"
    return f"[{', '.join(['B', *map(str, space.shape or ())])}]"


def model_configs(registry: Registry, model_config: Any, actors: Actors, where: str = "model") -> Mapping[str, Any]:
    """Which model config each step key gets.

    Args:
        registry: All specs.
        model_config: Config of the chosen model.
        actors: The env's actors.
        where: Key of the configuration that chose it.

    Raises:
        UserError: If the configuration names a step key that the env does not have, or critics are to
            tell agents apart where policies do not.
    """
    if not isinstance(model_config, PerActorConfig):
        return dict.fromkeys(actors.step_keys, model_config)
    parts = {key: actor.part for key, actor in actors.by_key.items()}
    unknown = sorted(set(model_config.actors) - set(parts.values()))
    if unknown:
        known = ", ".join(dict.fromkeys(parts.values()))
        raise UserError(f"{where}.actors.{unknown[0]}: the env has no such actor. Its actors: {known}.")
    if where != "model" and model_config.separate_agents:
        raise UserError(f"{where}.separate_agents=true: critics follow the policy. Use model.separate_agents=true.")
    default = model_config.default
    if default is None and set(model_config.actors) != set(parts.values()):
        default = registry.get("model", DEFAULT_MODEL).config()
    return {key: model_config.actors.get(part, default) for key, part in parts.items()}


def warm_start(policy: Policy, weights: Mapping[str, torch.Tensor], source: str, critic: Critic | None = None) -> str:
    """Starts policy and critic from earlier weights, and says what was taken over.

    The policy's networks must fit; what only some algorithms have (a critic, standard deviations of
    actions) is taken over where it fits, and begins anew where it does not.

    Raises:
        NothingUsableError: If they are those of another network.
    """
    normalization = policy.normalization
    if normalization is not None and not normalization.wants_samples() and not normalization.running:
        raise UserError(
            f"input_dir={source} brings statistics of observations, and wrappers.observation_normalization.file "
            "gives others. Leave out one of the two."
        )
    taken, missing = _taken(policy, weights, f"input_dir={source}", critic)
    unused = [name for name in weights if name not in taken]
    rest = f"; new: {', '.join(missing)}" if missing else ""
    rest += f"; not used: {', '.join(unused)}" if unused else ""
    return f"input_dir={source}: took over {'all ' if not missing else ''}{len(taken)} weight tensors{rest}."


def take_trained(policy: Policy, weights: Mapping[str, torch.Tensor], source: str, critic: Critic | None) -> None:
    """Takes over the weights of a trained policy, and of its critic as far as they fit.

    Raises:
        NothingUsableError: If they are those of another network.
    """
    _, missing = _taken(policy, weights, source, critic)
    lacking = [name for name in missing if not name.startswith(CRITIC_PREFIX)]
    if lacking:
        raise NothingUsableError(f"{source} has no weights {lacking[0]!r}. Choose the algorithm of that run.")


def _taken(
    policy: Policy, weights: Mapping[str, torch.Tensor], source: str, critic: Critic | None
) -> tuple[list[str], list[str]]:
    """Takes over weights; returns the names of those that were taken over, and of those that were not there.

    Raises:
        NothingUsableError: If networks or statistics are those of another policy.
    """
    brings = any(name.startswith("normalization.") for name in weights)
    if brings != (policy.normalization is not None):
        has, do = ("has", "Add") if brings else ("has no", "Leave out")
        raise NothingUsableError(
            f"{source}: its policy {has} normalised observations. {do} wrappers=observation_normalization."
        )
    taken, missing = take_weights(policy, weights, critic)
    if any(name.startswith(("models.", "normalization.")) for name in missing):
        raise NothingUsableError(
            f"{source} holds the weights of another network: it has {_shapes(weights)}; "
            f"needed: {_shapes(policy.state_dict())}. Choose the env and model of that run."
        )
    return taken, missing


def _shapes(weights: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(
        f"{name.rpartition('.models.')[2]} {list(value.shape)}" for name, value in list(weights.items())[:4]
    ) + (", ..." if len(weights) > 4 else "")
