"""What plugins yield: one small typed record for each thing that a user can select.

A spec names a thing, says in one line what it is, and points to the two halves of it: a config
dataclass (the single source of its options, defaults, ranges and docs) and a lazy `build`
(``"module:attribute"``), so that listing a plugin imports nothing heavy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from maze_core.errors import PluginError

API_VERSION = 1
"""Version of the plugin interface. A plugin module may state the one it was written for as
``maze_api_version``; another number than this is reported and the plugin is not used."""

Build = str | Callable[..., Any]
"""A callable, or ``"module:attribute"`` that is imported when it is first needed."""


LIVE = "live_"
"""How the names of live objects begin: what a Python program gave to a run that it started."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a plugin can yield: something with a name.

    Args:
        name: What users write: ASCII letters, digits, ``_`` and ``-``; it does not begin with ``-`` or ``live_``.
        summary: One line for `maze list`.
        build: Leads to the thing itself; see each subclass.
    """

    kind: ClassVar[str] = ""

    name: str
    summary: str
    build: Build


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Offer):
    """A command ``maze <name>``: `build` is a ``click.Command``, or ``"module:attribute"`` of one."""

    kind = "command"


@dataclass(frozen=True, kw_only=True)
class Spec(Offer):
    """What a configuration selects, as in ``env=<name>``.

    Args:
        config: A ``@dataclass(kw_only=True)`` type, used by this spec only, whose fields all have
            defaults and a docstring below them. Ranges are checked with `maze_core.require`.
        check_foreign: ``(config) -> None``, called when the configuration comes from a run directory,
            perhaps a stranger's: raises `UserError` for values that would import or execute something.
    """

    group: ClassVar[str] = ""

    config: type
    check_foreign: Build | None = None


@dataclass(frozen=True, kw_only=True)
class EnvSpec(Spec):
    """An environment: ``build(config) -> gymnasium.Env``.

    Args:
        build_vector: ``(config, num_envs) -> gymnasium.vector.VectorEnv | None``, a form that
            computes many copies at once and keeps the contract of `maze_core.rl.vector_env`;
            None where there is no such form for this config.
        resolve: ``(config) -> list[str]``, called once before a run is recorded. It may replace
            values that stand for others, raises `UserError` for an env that cannot exist, and
            returns a line for each thing that the user should know.
        build_rendering: ``(config) -> gymnasium.Env``, the same env made so that ``render()`` returns
            an image [H, W, 3] uint8 or text; None where `build` makes such a one.
    """

    kind = "env"
    group = "env"
    build_vector: Build | None = None
    resolve: Build | None = None
    build_rendering: Build | None = None


@dataclass(frozen=True, kw_only=True)
class WrapperSpec(Spec):
    """A wrapper: ``build(env, config) -> Env``.

    Args:
        build_vector: ``(vector_env, config) -> VectorEnv``, the same for a vector env. With it
            the wrapper does not stand in the way of an env's fast vector form.
        changes_observation: False if observations pass through as they are.
        shares_state: True if it learns something that all copies of an env must share; no wrapper
            that has a scalar form only may then come after it.
        in_policy: True if it acts on what the networks see, inside the policy, instead of around the
            env; `build` is then ``(config, actors) -> ObservationNormalization``, and no wrapper
            that changes observations may come after it.
        training_only: True for what shapes the reward that is learned from: evaluations, and the
            threshold at which an env counts as solved, then keep to the env's own reward.
    """

    kind = "wrapper"
    group = "wrappers"
    build_vector: Build | None = None
    training_only: bool = False
    changes_observation: bool = True
    shares_state: bool = False
    in_policy: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """A network: ``build(config, observation_space, output_sizes) -> torch.nn.Module``.

    ``observation_space`` is the encoded space (a Dict of float32 Boxes, see `maze_core.rl.spaces`),
    ``output_sizes`` maps head to size. ``forward(observation)`` gets a mapping of ``[B, ...]``
    tensors and returns ``{head: [B, size]}``.
    """

    kind = "model"
    group = "model"


@dataclass(frozen=True, kw_only=True)
class CriticSpec(Spec):
    """What has a value: ``build(config, step_keys, make_model) -> maze_core.rl.Critic | None``.

    ``step_keys`` are those of the env, the one that env steps begin with first; ``make_model(step_key)``
    builds a network that puts out ``{"value": [B, 1]}``: the model that the config's field `model`
    chose, or where that is None another copy of the policy's.

    Args:
        in_policy: True if the policy's networks are asked for the value, as one more output.
    """

    kind = "critic"
    group = "critic"
    in_policy: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainerSpec(Spec):
    """An algorithm: ``build(config, job: TrainingJob) -> Trainer``.

    If the config has a field `box_distribution` (`maze_core.BoxDistribution`), it decides how the
    outputs of networks become Box actions.

    Args:
        actor_critic: True if it samples actions and learns values: the policy then has the standard
            deviations of its Gaussians among its weights, and the kernel's critic is what the group
            `critic` chose.
    """

    kind = "algorithm"
    group = "algorithm"
    actor_critic: bool = False


@dataclass(frozen=True, kw_only=True)
class RunnerSpec(Spec):
    """Where envs and evaluations execute: ``build(config) -> Runner``.

    The config derives from `maze_core.RunnerConfig`. What it adds says where work executes, and changes no result: a
    run that goes on may change it.

    Args:
        build_jobs: ``(config) -> maze_core.JobHost``, where whole runs execute side by side, as those of
            ``maze train --multirun`` and ``maze sweep``; None for processes of this machine.
    """

    kind = "runner"
    group = "runner"
    build_jobs: Build | None = None


@dataclass(frozen=True, kw_only=True)
class PolicySpec(Spec):
    """Who acts in a rollout, such as a heuristic: ``build(config, actors) -> maze_core.Acting``.

    One that draws its actions offers `maze_core.DrawsActions` too.

    Args:
        networks: True if it acts with the networks of a run; `build` is then ``(config, kernel) -> Acting``.
    """

    kind = "policy"
    group = "policy"
    networks: bool = False


@dataclass(frozen=True, kw_only=True)
class CallbackSpec(Spec):
    """Something that is told about a run: ``build(config) -> Callback``."""

    kind = "callback"
    group = "callbacks"


@dataclass(frozen=True, kw_only=True)
class SweeperSpec(Spec):
    """What proposes values for a sweep: ``build(config, space, directory, seed) -> maze_core.Sweeper``.

    ``space`` maps keys of the configuration to `maze_core.Parameter`; ``directory`` is that of the sweep, in which
    the sweeper keeps its state; ``seed`` is the root of its randomness. The config derives from
    `maze_core.SweeperConfig`.
    """

    kind = "sweeper"
    group = "sweeper"


SPEC_TYPES: tuple[type[Spec], ...] = (
    EnvSpec, WrapperSpec, ModelSpec, CriticSpec, TrainerSpec, RunnerSpec, PolicySpec, CallbackSpec, SweeperSpec,
)  # fmt: skip
"""All that a configuration selects."""


def resolve_build(build: Build) -> Callable[..., Any]:
    """Returns the callable that a spec's `build` names, importing its module if needed.

    Raises:
        PluginError: If the module cannot be imported, or has no such attribute.
    """
    if not isinstance(build, str):
        return build
    module, _, attribute = build.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{build!r}, which a plugin registered, cannot be imported: {reason}.") from error
