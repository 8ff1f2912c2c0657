"""From a Gymnasium id to an env, with every way that can fail told in a sentence."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.envs import registration
from gymnasium.vector import VectorEnv

from maze_core import EnvFaultError, MazeError, UserError, did_you_mean
from maze_gym_env.cartpole import CARTPOLE_ENTRY_POINT, SeededCartPoleVectorEnv
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.hidden_values import hide_in_chain, hide_values
from maze_gym_env.rebuild import RebuiltEnv, leaks

NAMESPACES = {"ALE": 'pip install "gymnasium[atari]" and add --plugin ale_py'}
"""How to get the envs of namespaces that other packages register."""

GYM_BRIDGES = frozenset({"GymV21Environment", "GymV26Environment"})
"""Envs that hand their arguments on to the ``make`` of old Gym."""

PLAIN_NAME = re.compile(r"[\w.:/-]+")
"""A name with nothing in it that a shell would run, so that a hint may repeat it."""

RENDER_MODES = ("rgb_array", "ansi")
"""In which an env shows what can be kept: an image, or text; the first that it has is used."""

IMPORTABLE = re.compile(r"\s*[^\W\d][\w.]*:")
"""What `gymnasium.make` would take for ``<module>:<id>``."""


def resolve(config: GymEnvConfig) -> list[str]:
    """Checks that the id exists, and replaces a retired one by the successor that Gymnasium names.

    Returns:
        A line for the user if the id was replaced or is out of date.

    Raises:
        UserError: If no env has this id.
    """
    requested = config.name
    _import_module_of(requested)
    namespace, name, version = _parse(requested)
    env_id = registration.get_env_id(namespace, name, version)
    newest = registration.find_highest_version(namespace, name)
    successor = registration.get_env_id(namespace, name, newest) if newest is not None else None
    if env_id in registration.registry:
        outdated = successor is not None and version is not None and newest is not None and newest > version
        return [f"{env_id} is out of date, {successor} is its current version; running {env_id}."] if outdated else []
    if successor is None or (version is not None and newest is not None and version > newest):
        raise UserError(_unknown_id(namespace, name, requested, successor))
    config.name = requested.replace(env_id, successor)
    why = "names no version; running the newest one," if version is None else "is retired; running its successor"
    return [f"{env_id} {why} {successor}."]


def _parse(env_id: str) -> tuple[str | None, str, int | None]:
    try:
        return registration.parse_env_id(env_id.rpartition(":")[2])
    except error.Error:
        raise UserError(f"{env_id!r} is no Gymnasium id; one looks like CartPole-v1 or ALE/Pong-v5.") from None


def _import_module_of(env_id: str) -> None:
    module = env_id.rpartition(":")[0]
    if module:
        try:
            importlib.import_module(module)
        except (ImportError, TypeError, ValueError) as problem:
            raise UserError(f"env.name={env_id}: the module {module!r} cannot be imported: {problem}.") from None


def _unknown_id(namespace: str | None, name: str, requested: str, successor: str | None) -> str:
    if successor is not None:
        return f"Gymnasium has no env {requested!r}. Its newest version is {successor!r}."
    if namespace in NAMESPACES:
        return f"Gymnasium has no env {requested!r}. Next: {NAMESPACES[namespace]}"
    newest = {spec.name: spec.id for spec in registration.registry.values() if spec.namespace == namespace}
    near = did_you_mean(name, newest)
    for short, full in newest.items():
        near = near.replace(repr(short), repr(full))
    return (
        f"Gymnasium has no env {requested!r}.{near}\n"
        "An env that a package registers at its import needs --plugin <package>; "
        "all ids: python -c 'import gymnasium; gymnasium.pprint_registry()'"
    )


def refuse_foreign(config: GymEnvConfig) -> None:
    """Refuses a configuration that somebody else may have written if it could import code of their choice.

    A module before the id is imported; the envs of old Gym import what their arguments name. Of envs that
    other packages register nobody knows what they do with an argument of the form ``<module>:<name>``;
    Gymnasium's own import nothing.

    Raises:
        UserError: If it could; naming the env on the own command line is how a user vouches for it.
    """
    if not PLAIN_NAME.fullmatch(config.name):
        raise UserError(f"{config.name!r} is no Gymnasium id; one looks like CartPole-v1 or ALE/Pong-v5.")
    namespace, name, _ = _parse(config.name)
    keys = list(_importable(config.kwargs, "env.kwargs"))
    if ":" in config.name:
        danger = f"imports the module {config.name.rpartition(':')[0]!r}"
    elif name in GYM_BRIDGES:
        danger = "can import what its env.kwargs name"
    elif keys and not _is_of_gymnasium(namespace, name):
        danger = f"may import what its {keys[0]!r} names"
    else:
        return
    raise UserError(
        f"env.name={config.name} {danger}, which the configuration of a run may not decide; "
        f"if you trust it, name it on your own command line: env.name={config.name}"
    )


def _is_of_gymnasium(namespace: str | None, name: str) -> bool:
    """True for an env whose class is Gymnasium's own."""
    specs = [spec for spec in registration.registry.values() if (spec.namespace, spec.name) == (namespace, name)]
    points = [spec.entry_point for spec in specs]
    return bool(points) and all(isinstance(point, str) and point.startswith("gymnasium.envs.") for point in points)


def _importable(value: Any, key: str) -> Iterator[str]:
    """Dotted keys at or below which there is a text of the form ``<module>:<name>``."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _importable(name, key)
            yield from _importable(entry, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _importable(entry, f"{key}.{index}")
    elif isinstance(value, str) and IMPORTABLE.match(value):
        yield key


def make_env(config: GymEnvConfig) -> gymnasium.Env[Any, Any]:
    """Builds one env, which builds itself anew for each episode where it is told to or known to need it.

    Raises:
        UserError: If a package is missing, or the env does not take an argument.
        EnvFaultError: If its constructor raises anything else.
    """
    env = _constructed(config)
    rebuild = leaks(env) if config.rebuild_each_episode is None else config.rebuild_each_episode
    return RebuiltEnv(env, partial(_constructed, config)) if rebuild else env


def make_rendering_env(config: GymEnvConfig) -> gymnasium.Env[Any, Any]:
    """Builds one env that gives images when it is rendered, or text if it has no images.

    A `render_mode` in the config or in the env's registration stays as it is.

    Raises:
        UserError: If the env has neither.
    """
    env = make_env(config)
    if env.render_mode is not None:
        return env
    env.close()
    modes = list(env.metadata.get("render_modes") or [])
    mode = next((mode for mode in RENDER_MODES if mode in modes), None)
    if mode is None:
        known = f"its render modes are {', '.join(map(str, modes))}" if modes else "it has no render modes"
        raise UserError(
            f"env {config.name!r} cannot be shown: {known}, and one of {', '.join(RENDER_MODES)} is needed."
        )
    return make_env(replace(config, kwargs={**config.kwargs, "render_mode": mode}))


def _constructed(config: GymEnvConfig) -> gymnasium.Env[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `resolve` has told what they would tell
            return gymnasium.make(config.name, disable_env_checker=True, **config.kwargs)
    except Exception as problem:
        raise _explained(problem, config) from hide_in_chain(problem, config.kwargs)


def _explained(problem: Exception, config: GymEnvConfig) -> MazeError:
    """What a user is told when an env cannot be constructed; of its arguments, the keys only."""
    text = str(problem).partition(" was raised from the environment creator")[0]  # Gymnasium adds all arguments
    reason = hide_values(text, config.kwargs)
    if isinstance(problem, error.DependencyNotInstalled):
        return UserError(_missing_package(config.name, reason))
    if isinstance(problem, (ImportError, error.Error)):
        return UserError(f"env {config.name!r} cannot be used: {' '.join(reason.split())}")
    if isinstance(problem, TypeError) and "argument" in text:
        keys = ", ".join(map(str, config.kwargs)) or "none"
        why = reason.partition(") ")[2] or reason
        return UserError(f"env {config.name!r} does not take env.kwargs ({keys}): {why}.")
    return EnvFaultError(f"env {config.name!r} raised {type(problem).__name__} in its constructor: {reason}")


def _missing_package(env_id: str, message: str) -> str:
    command = re.search(r"pip install [^`.]+", message)
    if command is None:
        return f"env {env_id!r} needs a package that is not installed: {' '.join(message.split())}"
    return f"env {env_id!r} needs a package that is not installed.\nNext: {command.group().strip()}"


def make_native_vector_env(config: GymEnvConfig, num_envs: int) -> VectorEnv[Any, Any, Any] | None:
    """Builds the form that computes all copies at once, for the ids that have one.

    Only forms that take one seed per env and equal the scalar env bit for bit are used; of
    Gymnasium's own that is CartPole, by the subclass here. It carries nothing from one episode into the
    next, so that ``rebuild_each_episode`` changes nothing.
    """
    spec = registration.registry.get(config.name)
    if spec is None or spec.entry_point != CARTPOLE_ENTRY_POINT or spec.additional_wrappers:
        return None
    kwargs = {**spec.kwargs, **config.kwargs}
    if spec.max_episode_steps is None or set(kwargs) - {"sutton_barto_reward"}:
        return None
    env = SeededCartPoleVectorEnv(num_envs, spec.max_episode_steps, **kwargs)
    env.spec = spec
    return env
