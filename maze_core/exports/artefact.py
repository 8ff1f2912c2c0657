"""A policy as one file: weights, normalisation, spaces, and which model they belong to.

The file is in the format of safetensors. Its tensors are the policy's `state_dict`; its metadata has one entry,
``maze``, with JSON: format, the spaces of an env, the configuration of the model, which wrappers the env had, and where
it comes from. It is data: who opens it executes nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from gymnasium import Space

from maze_core.build import build_normalization
from maze_core.config import Configured, configure_stored, variables_in
from maze_core.enums import KernelChoice
from maze_core.errors import NonFiniteError, NothingUsableError, checked_path, checked_texts, printable
from maze_core.live import LiveObjects
from maze_core.networks import build_policy, take_trained
from maze_core.registry import Registry, load_registry
from maze_core.rl.acting import KernelPolicy
from maze_core.rl.actors import Actors
from maze_core.rl.decisions import Decisions
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.policy import CRITIC_PREFIX, Policy
from maze_core.rl.space_data import space_data, space_from_data
from maze_core.rl.streams import Streams
from maze_core.run_config import PerActorConfig, PolicyConfig, TrainingConfig
from maze_core.runs.files import parse_json, read_file, write_file
from maze_core.runs.opened import with_statistics_of_weights
from maze_core.runs.stored_run import is_run_directory
from maze_core.specs import CriticSpec, TrainerSpec, WrapperSpec

FORMAT = 1
KEY, HASH = "maze", "sha256"
MAX_BYTES, MAX_HEADER = 2**34, 2**24
CPU = torch.device("cpu")


class ExportedPolicy:
    """A policy without the env and the algorithm that it was trained with.

    Args:
        policy: Its networks.
        about: What its file says about it.
        kernel: What computes them; the bits of decisions depend on it.

    Attributes:
        actors: Step keys of its actors; one for a flat env.
        observation_space: What an env shows, after its wrappers.
        action_space: What it takes.
        about: Where it comes from, and which wrappers its env had: they must be applied to what it is asked about.
    """

    def __init__(self, policy: Policy, about: Mapping[str, Any], kernel: KernelChoice = KernelChoice.auto) -> None:
        self.policy, self.about = policy, about
        self.actors = policy.actors.step_keys
        self.observation_space, self.action_space = policy.actors.observation_space, policy.actors.action_space
        self._kernel, self._decisions = make_kernel(policy, CPU, None, kernel), Decisions(policy.actors)
        self._acting: dict[bool, KernelPolicy] = {}

    def compute_action(self, observation: Any, *, actor: str | None = None, deterministic: bool = True) -> Any:
        """What the policy does for one observation, or for a batch of them; see `RunContext.compute_action`.

        Raises:
            UserError: If the observation does not fit the space, or there is no such actor.
            EnvFaultError: If the mask allows nothing, or a number is not finite.
        """
        if deterministic not in self._acting:
            self._acting[deterministic] = KernelPolicy(self._kernel, deterministic)
        return self._decisions.decide(self._acting[deterministic], observation, actor)


@dataclass(frozen=True)
class Trained:
    """What an export is made of.

    Args:
        registry: All specs.
        configured: How the run was configured.
        weights: Of the policy; those of the critic are left out.
        spaces: Observation and action space of the env, after its wrappers.
        source: Where weights come from, for messages.
    """

    registry: Registry
    configured: Configured
    weights: Mapping[str, torch.Tensor]
    spaces: tuple[Space[Any], Space[Any]]
    source: str

    @property
    def config(self) -> TrainingConfig:
        """The configuration as typed objects."""
        config = self.configured.config
        assert isinstance(config, TrainingConfig)
        return config


def write_artefact(trained: Trained, path: Path) -> None:
    """Writes the policy of a run as one file.

    Raises:
        UserError: If a space cannot be written down.
        NothingUsableError: If weights and networks do not fit each other.
        StorageError: If the disk does not take it.
    """
    policy_of(trained)  # what could not be loaded is not written
    tensors = {name: value.contiguous() for name, value in trained.weights.items() if not _is_critics(name)}
    about = {
        "format": FORMAT,
        "spaces": [space_data(space) for space in trained.spaces],
        "policy": _policy_data(trained),
        "wrappers": _outside(trained),
        "origin": {group: trained.configured.components[group] for group in ("env", "model", "algorithm")},
    }
    content = safetensors.torch.save(tensors, {KEY: json.dumps({**about, HASH: _hash(about, tensors)})})
    write_file(path, lambda file: file.write(content))


def _is_critics(name: str) -> bool:
    return name.startswith(CRITIC_PREFIX)


def _policy_data(trained: Trained) -> dict[str, Any]:
    """The configuration of a policy's networks, as `PolicyConfig` describes it."""
    config, data = trained.config, with_statistics_of_weights(trained.configured).to_data()
    inside = [key for key, wrapper in config.wrappers.items() if _spec(trained, wrapper).in_policy]
    of_policy = [path for path in data["components"] if path.split(".")[0] == "model"]
    of_policy += [f"wrappers.{key}" for key in inside]
    algorithm = trained.registry.of_config(type(config.algorithm))
    critic = trained.registry.of_config(type(config.critic))
    assert isinstance(algorithm, TrainerSpec) and isinstance(critic, CriticSpec)
    distribution = getattr(config.algorithm, "box_distribution", None)
    return {
        "components": {path: data["components"][path] for path in of_policy},
        "wrappers": {key: data["wrappers"][key] for key in inside},
        "model": data["model"],
        **({} if distribution is None else {"box_distribution": distribution.name}),
        "has_deviations": algorithm.actor_critic,
        "has_value": algorithm.actor_critic and critic.in_policy,
        "kernel": config.runner.kernel.name,
    }


def _outside(trained: Trained) -> list[str]:
    """Wrappers that stand between the env and the policy."""
    specs = [_spec(trained, wrapper) for wrapper in trained.config.wrappers.values()]
    return [spec.name for spec in specs if not spec.in_policy and not spec.training_only]


def _spec(trained: Trained, wrapper: Any) -> WrapperSpec:
    spec = trained.registry.of_config(type(wrapper))
    assert isinstance(spec, WrapperSpec)
    return spec


def _hash(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of all that decisions depend on, so that damage is noticed wherever it is."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_policy(
    path: str | Path,
    *,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    variables: Sequence[str] | str = (),
    **live_objects: Any,
) -> ExportedPolicy:
    """Loads a policy that ``maze export`` wrote. Neither the plugin of its env nor that of its algorithm is needed.

    Args:
        path: The file.
        plugins: As for `RunContext`, if the model comes from a local plugin.
        local_plugins: As for `RunContext`.
        variables: Names of environment variables that the configuration of its model may use.
        live_objects: ``model=...``, if the run was given live networks.

    Raises:
        NothingUsableError: If the file holds no such policy, or is damaged.
        UserError: If the plugin of the model is missing.
    """
    path = Path(checked_path("path", path)).expanduser()
    name, variables = printable(str(path)), checked_texts("variables", variables)
    tensors, about = _read(path, name)
    registry = load_registry(
        checked_texts("plugins", plugins), local_plugins, path.parent if is_run_directory(path.parent) else None
    )
    registry = LiveObjects.again(live_objects).known_to(registry)
    try:
        observation_space, action_space = (space_from_data(data) for data in about["spaces"])
        policy = _policy(registry, tensors, about["policy"], (observation_space, action_space), name, variables)
        return ExportedPolicy(policy, about, KernelChoice[about["policy"]["kernel"]])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(name, str(error)) from None


def policy_of(trained: Trained) -> Policy:
    """The policy of a run, built from its spaces and without its env.

    Raises:
        NothingUsableError: If weights and networks do not fit each other.
    """
    data = _policy_data(trained)
    return _policy(trained.registry, trained.weights, data, trained.spaces, trained.source, variables_in(data))


def _policy(
    registry: Registry, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Any],
    spaces: tuple[Space[Any], Space[Any]], name: str, variables: Sequence[str],
) -> Policy:  # fmt: skip
    configured = configure_stored(registry, data, name, variables=variables, root=PolicyConfig)
    config: Any = with_statistics_of_weights(configured).config  # no other file is read, whatever this one says
    assert isinstance(config, PolicyConfig)
    separate = isinstance(config.model, PerActorConfig) and config.model.separate_agents
    actors = Actors(*spaces, config.box_distribution, separate)
    policy = build_policy(
        registry, config.model, actors, Streams(0), CPU, build_normalization(registry, config, actors),
        0.0 if config.has_deviations else None, config.has_value,
    )  # fmt: skip
    try:
        take_trained(policy, tensors, name, None)
    except NonFiniteError as error:
        raise _unusable(name, str(error)) from None
    return policy


def _read(path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file, and what it says about itself."""
    content = read_file(Path(os.path.realpath(path)), MAX_BYTES)  # a user's own link may lead to it
    size = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= size <= min(MAX_HEADER, len(content) - 8):
        raise _unusable(name, "it is no file of safetensors")
    header = parse_json(content[8 : 8 + size], name)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise _unusable(name, "it holds no policy of Maze")
    about = parse_json(text.encode(errors="surrogatepass"), name)
    if not isinstance(about, dict) or about.get("format") != FORMAT or not _has_parts(about):
        raise _unusable(name, f"it is not of format {FORMAT}")
    written = about.pop(HASH)
    try:
        tensors = safetensors.torch.load(content)
        intact = _hash(about, tensors) == written
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise _unusable(name, str(error)) from None
    if not intact:
        raise _unusable(name, "it is not as it was written")
    return tensors, about


def _has_parts(about: Mapping[str, Any]) -> bool:
    spaces = about.get("spaces")
    return isinstance(about.get("policy"), dict) and isinstance(spaces, list) and len(spaces) == 2 and HASH in about


def _unusable(name: str, reason: str) -> NothingUsableError:
    return NothingUsableError(f"{name} cannot be used: {printable(reason)[:300]}.")
