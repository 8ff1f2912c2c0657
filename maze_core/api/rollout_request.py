"""What a rollout is asked for, and the configuration that this makes."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from maze_core.api.asked import opened_run
from maze_core.api.commands import command
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.adopt import ADOPTED
from maze_core.config.arguments import Arguments, Choice, Overrides, override_items
from maze_core.config.overrides import Item, items_of_mapping
from maze_core.enums import KernelChoice
from maze_core.errors import UserError
from maze_core.live import LiveObjects
from maze_core.registry import Registry, load_registry
from maze_core.rl.streams import draw_root_seed
from maze_core.run_config import RolloutConfig
from maze_core.runs.opened import OpenedRun, given_statistics
from maze_core.runs.rollout import STAGE
from maze_core.specs import PolicySpec


@dataclass
class RolloutRequest:
    """What a rollout is asked for.

    Args:
        groups: Options by group.
        fields: Fields of the root.
        overrides: Further values.
        config_name: Root configuration.
        config_dirs: The user's own config directories.
        plugins: As given with ``--plugin``.
        local_plugins: Whether local plugins are loaded.
        variables: Names of environment variables that the configuration of a run may use.
    """

    groups: Mapping[str, Choice] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    overrides: Overrides = ()
    config_name: str = "conf_rollout"
    config_dirs: Sequence[Path] = ()
    plugins: Sequence[str] = ()
    local_plugins: bool = True
    variables: Sequence[str] = ()


@dataclass
class Prepared:
    """A rollout with a valid configuration.

    Args:
        registry: All specs.
        configured: Its configuration; the seed is set.
        weights: Of a trained policy; None for policies without networks.
        source: Where they come from, for messages.
        command: The whole command line.
        stage: Stream that seeds of episodes come from.
    """

    registry: Registry
    configured: Configured
    weights: Mapping[str, torch.Tensor] | None
    source: str
    command: str = ""
    stage: str = STAGE

    @property
    def config(self) -> RolloutConfig:
        """The configuration as typed objects."""
        config = self.configured.config
        assert isinstance(config, RolloutConfig)
        return config


def prepare(request: RolloutRequest) -> Prepared:
    """Loads plugins, opens the run if one is named, and checks everything.

    Raises:
        MazeError: If something is unknown or contradictory, or the run cannot be used.
    """
    named = _input_dir(request)
    registry = load_registry(request.plugins, request.local_plugins, named)
    live = LiveObjects()
    fields = {key: value for key, value in request.fields.items() if value is not None}
    arguments = Arguments(registry, live, request.config_name, request.config_dirs)
    items = arguments.items(request.groups, fields, request.overrides)
    run, given = None, {item.key: item.value for item in items}
    if named is not None:  # of its live objects those are needed in whose place nothing else was asked for
        unneeded = {"callbacks", "runner", *(item.key for item in items if item.operation == "set")}
        _, run = opened_run(registry, live, named, request.variables, given, unneeded, "rollout")
    registry = live.known_to(registry)
    inherited = [] if run is None else _kernel_of(run)
    configured = rollout_config(registry, [*inherited, *items], request, None if run is None else run.configured)
    asked = live.commented(_command(request, [item.text for item in items], configured))
    weights, source = (None, "") if run is None else (run.weights, run.shown)
    prepared = Prepared(registry, configured, weights, source, asked)
    _check_run(prepared)
    return prepared


def _input_dir(request: RolloutRequest) -> str | None:
    """The run that is named, as an argument or in overrides; None if none is, and for what cannot be a path."""
    items = items_of_mapping(request.fields)
    items += override_items(request.overrides)
    named = [str(item.value) for item in items if item.key == "input_dir" and item.value is not None]
    return named[-1] if named and named[-1].strip() else None


def _kernel_of(run: OpenedRun) -> list[Item]:
    """What computed the policy of a run, unless that is the default: the bits of its decisions depend on it."""
    kernel = run.configured.config.runner.kernel
    return [] if kernel is KernelChoice.auto else items_of_mapping({"runner.kernel": kernel.name})


def _command(request: RolloutRequest, texts: Sequence[str], configured: Configured) -> str:
    """The command that runs the same episodes."""
    seed = configured.config.seed
    drawn = [] if f"seed={seed}" in texts else [f"seed={seed}"]
    variables = [word for name in request.variables for word in ("--env", name)]
    words = [*texts, *drawn, *variables]
    return command(request.config_name, request.config_dirs, request.plugins, request.local_plugins, words, "rollout")


def _check_run(prepared: Prepared) -> None:
    """Refuses a policy with networks that nobody trained, and what a run brings already.

    Raises:
        UserError: If that is asked for.
    """
    config, spec = prepared.config, prepared.registry.of_config(type(prepared.config.policy))
    assert isinstance(spec, PolicySpec)
    if prepared.weights is None:
        if config.input_dir is not None:
            raise UserError(
                f"a configuration file names input_dir={config.input_dir}; a rollout is told its run with --run "
                f"{config.input_dir}, before anything is loaded."
            )
        if spec.networks:
            raise UserError(f"policy={spec.name} acts with the networks of a run. Name it: --run RUN_DIR")
    elif spec.networks and (given := given_statistics(prepared.configured)):
        raise UserError(
            f"{prepared.source} brings statistics of observations, and wrappers.{given[0]}.file gives others. "
            "Leave out one of the two."
        )


def rollout_config(
    registry: Registry,
    items: Sequence[Item],
    request: RolloutRequest,
    base: Configured | None,
    with_runner: bool = False,
) -> Configured:
    """The configuration of a rollout; its seed is set.

    Args:
        registry: All specs.
        items: What was asked for.
        request: The rest of it.
        base: The run whose policy it is about, or None.
        with_runner: Whether it executes where the run does.
    """
    asked = ConfigRequest(request.config_name, items, request.config_dirs, RolloutConfig)
    configured = configure(registry, asked, base, (*ADOPTED, "runner") if with_runner else ADOPTED)
    if configured.config.seed is None:
        configured.set("seed", draw_root_seed())
    return configured


def as_seeds(seeds: Iterable[Any] | None) -> list[int] | None:
    """Seeds of episodes as Python's own numbers, from a range or an array too.

    Raises:
        UserError: If they are none.
    """
    try:
        return None if seeds is None else [operator.index(seed) for seed in seeds]
    except TypeError:
        raise UserError(f"episode_seeds={seeds!r} is not allowed: it must be a list of whole numbers.") from None
