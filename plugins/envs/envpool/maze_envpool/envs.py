"""From an id of EnvPool to envs, with every way that can fail told in a sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.envs.registration import EnvSpec

from maze_core import EnvFaultError, MissingPackageError, UserError, did_you_mean
from maze_envpool.config import EnvPoolConfig
from maze_envpool.vector_env import PoolEnv, PoolVectorEnv

OWN = frozenset(
    {"num_envs", "batch_size", "num_threads", "max_num_players", "seed", "env_seed", "gym_reset_return_info"}
)
"""Options of EnvPool that are set here."""

OF_MATPLOTLIB = ("MPLBACKEND", "MPLCONFIGDIR")
"""Variables of the environment that EnvPool sets when it is imported, for the whole process."""

SHORTEST = {np.dtype(kind): float(np.finfo(kind).tiny) for kind in (np.float32, np.float64)}
"""The smallest positive number, which EnvPool gives as lower bound where there is none."""


def _imported() -> ModuleType:
    """The package EnvPool.

    Raises:
        MissingPackageError: If it is missing.
    """
    before = {name: os.environ.get(name) for name in OF_MATPLOTLIB}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its spaces say of their precision
            import envpool
    except (ImportError, OSError) as problem:  # without the packages of its assets it does not find a file
        raise MissingPackageError(
            f"env envpool needs a package that cannot be imported: {problem}.\n"
            "Next: pip install envpool (there are wheels for Linux, macOS and Windows, not for every Python)"
        ) from None
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    return envpool


def resolve(config: EnvPoolConfig) -> list[str]:
    """Checks that the id exists and takes the options, and that the env is one for a single player.

    Raises:
        UserError: If not.
    """
    _spec(config)
    return []


def refuse_foreign(config: EnvPoolConfig) -> None:
    """Refuses a configuration that somebody else may have written if it could make EnvPool read a file.

    Raises:
        UserError: If an option is neither a number nor true or false, or no env has this id.
    """
    _check_name(config)
    for key, value in config.kwargs.items():
        if not isinstance(value, (bool, int, float)):
            raise UserError(
                f"the option {key!r} of env.kwargs may name a file, which the configuration of a run may not decide; "
                "if you trust it, give it on your own command line."
            )


def _check_name(config: EnvPoolConfig) -> None:
    known = _imported().list_all_envs()
    if config.name not in known:
        raise UserError(
            f"EnvPool has no env {config.name!r}.{did_you_mean(config.name, known)}\n"
            "All ids: python -c 'import envpool; print(*envpool.list_all_envs())'"
        )


def make_vector_env(config: EnvPoolConfig, num_envs: int) -> PoolVectorEnv:
    """Builds the form that computes all copies at once.

    Raises:
        UserError: If no env has this id, it does not take an option, or it is one for several players.
        EnvFaultError: If EnvPool raises anything else.
    """
    return _vector(config, num_envs)


def make_env(config: EnvPoolConfig) -> gymnasium.Env[Any, Any]:
    """Builds one env; raises as `make_vector_env`."""
    return PoolEnv(_vector(config, 1))


def make_rendering_env(config: EnvPoolConfig) -> gymnasium.Env[Any, Any]:
    """Builds one env that gives images; raises as `make_vector_env`, too if EnvPool cannot draw the env."""
    _check_name(config)
    if _family(config.name).startswith("mujoco"):  # without a screen it would end the process, and say little
        raise UserError(
            f"env {config.name!r} is not drawn by EnvPool's MuJoCo. Gymnasium's of the same name can be, with the same "
            "policy: env=gym_env."
        )
    env = PoolEnv(_vector(config, 1, render_mode="rgb_array"), "rgb_array")
    env.reset(seed=0)
    try:
        env.render()
    except RuntimeError as problem:
        env.close()
        raise UserError(f"env {config.name!r} cannot be shown: {problem}.") from None
    return env


def _family(name: str) -> str:
    """Of which part of EnvPool an env is, such as ``mujoco.gym``."""
    from envpool.registration import registry

    return str(registry.specs[name][0]).removeprefix("envpool.")


def _vector(config: EnvPoolConfig, num_envs: int, **more: Any) -> PoolVectorEnv:
    spec = _spec(config)
    observation_space, action_space = _space(spec, "observation"), _space(spec, "action")
    return PoolVectorEnv(
        partial(_pool, config, more), num_envs, observation_space, action_space, _record(config.name, spec.config)
    )


def _spec(config: EnvPoolConfig) -> Any:
    """What EnvPool says of an env with these options, without making one."""
    envpool = _imported()
    _check_name(config)
    known = [key for key in _told(config, partial(envpool.make_spec, config.name)).config._fields if key not in OWN]
    unknown = next((key for key in config.kwargs if key not in known), None)
    if unknown is not None:
        raise UserError(
            f"env {config.name!r} has no option {unknown!r} in env.kwargs.{did_you_mean(str(unknown), known)} "
            f"Known: {', '.join(known)}."
        )
    spec = _told(config, partial(envpool.make_spec, config.name, **config.kwargs))
    if getattr(spec.config, "max_num_players", 1) > 1:
        raise UserError(f"env {config.name!r} is for several players, and Maze plays envs of EnvPool for one.")
    return spec


def _pool(config: EnvPoolConfig, more: Mapping[str, Any], seeds: Sequence[int]) -> Any:
    n_threads = min(config.n_threads, len(seeds))
    make = partial(
        _imported().make_gymnasium, config.name, num_envs=len(seeds), seed=list(seeds), num_threads=n_threads
    )
    return _told(config, lambda: _with_spaces(make(**config.kwargs, **more)))


def _with_spaces(pool: Any) -> Any:
    """The pool, which makes its spaces now that nobody sees what they warn of, instead of in its first reset."""
    assert pool.observation_space is not None
    return pool


def _told(config: EnvPoolConfig, make: Callable[[], Any]) -> Any:
    """What a call of EnvPool gives; what it raises, as a sentence that names the keys of options but no values."""
    keys = f"env.kwargs ({', '.join(map(str, config.kwargs))})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except (ImportError, error.Error) as problem:
        raise UserError(f"env {config.name!r} cannot be used: {' '.join(str(problem).split())}") from problem
    except TypeError as problem:
        raise UserError(f"env {config.name!r} does not take the values of its {keys}.") from problem
    except Exception as problem:
        what = f"raised {type(problem).__name__} when it was made"
        told = f"{what}, with {keys}." if config.kwargs else f"{what}: {problem}"
        raise EnvFaultError(f"env {config.name!r} {told}") from problem


def _record(name: str, config: Any) -> EnvSpec:
    """The id, and the return at which the env counts as solved."""
    threshold = getattr(config, "reward_threshold", None)
    return EnvSpec(name, reward_threshold=threshold, max_episode_steps=getattr(config, "max_episode_steps", None))


def _space(spec: Any, which: str) -> spaces.Space[Any]:
    """The space of an env's observations or actions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return with_true_bounds(getattr(spec, f"gymnasium_{which}_space"))


def with_true_bounds(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """A space with -inf and inf where EnvPool gives the smallest and the largest positive number for no bound."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: with_true_bounds(part) for key, part in space.spaces.items()})
    if not isinstance(space, spaces.Box) or space.dtype not in SHORTEST:
        return space
    largest = np.finfo(space.dtype).max
    low = np.where(np.abs(space.low) == SHORTEST[space.dtype], -np.inf, space.low)
    low, high = np.where(low <= -largest, -np.inf, low), np.where(space.high >= largest, np.inf, space.high)
    return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype)
