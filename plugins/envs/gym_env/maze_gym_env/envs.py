"""From a Gymnasium id to an env, with every way that can fail told in a sentence."""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.envs import registration
from gymnasium.vector import VectorEnv

from maze_core import EnvFaultError, UserError, did_you_mean
from maze_gym_env.cartpole import CARTPOLE_ENTRY_POINT, SeededCartPoleVectorEnv
from maze_gym_env.config import GymEnvConfig

NAMESPACES = {"ALE": 'pip install "gymnasium[atari]" and add --plugin ale_py'}
"""How to get the envs of namespaces that other packages register."""


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


def make_env(config: GymEnvConfig) -> gymnasium.Env[Any, Any]:
    """Builds one env.

    Raises:
        UserError: If a package is missing, or the env does not take an argument.
        EnvFaultError: If its constructor raises anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `resolve` has told what they would tell
            return gymnasium.make(config.name, disable_env_checker=True, **config.kwargs)
    except error.DependencyNotInstalled as problem:
        raise UserError(_missing_package(config.name, str(problem))) from problem
    except (ImportError, error.Error) as problem:
        raise UserError(f"env {config.name!r} cannot be used: {' '.join(str(problem).split())}") from problem
    except TypeError as problem:
        if "argument" in str(problem):
            reason = str(problem).partition(" was raised")[0].partition(") ")[2]
            raise UserError(f"env {config.name!r} does not take env.kwargs={config.kwargs}: {reason}.") from problem
        raise
    except Exception as problem:
        raise EnvFaultError(
            f"env {config.name!r} raised {type(problem).__name__} in its constructor: {problem}"
        ) from problem


def _missing_package(env_id: str, message: str) -> str:
    command = re.search(r"pip install [^`.]+", message)
    if command is None:
        return f"env {env_id!r} needs a package that is not installed: {' '.join(message.split())}"
    return f"env {env_id!r} needs a package that is not installed.\nNext: {command.group().strip()}"


def make_native_vector_env(config: GymEnvConfig, num_envs: int) -> VectorEnv[Any, Any, Any] | None:
    """Builds the form that computes all copies at once, for the ids that have one.

    Only forms that take one seed per env and equal the scalar env bit for bit are used; of
    Gymnasium's own that is CartPole, by the subclass here.
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
