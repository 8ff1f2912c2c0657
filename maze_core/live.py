"""Objects of a Python program as parts of a run: specs of a plugin that only this run knows.

So a live object is selected, built, sent to workers and recorded like everything else. What is
recorded of it is its name; to go on, the run needs the object again.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import typing
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from maze_core.errors import UserError
from maze_core.plugins import Plugin
from maze_core.protocols import Callback
from maze_core.registry import GROUPS, LIVE, Registry, live_arguments
from maze_core.run_config import RunnerConfig
from maze_core.specs import CallbackSpec, EnvSpec, ModelSpec, PolicySpec, RunnerSpec, Spec, WrapperSpec

ORIGIN = "live"
MAX_SHOWN = 200
RUNNER_METHODS = ("start", "vector_env", "n_slots", "map", "close")
Build = Callable[..., Any]


class LiveObjects:
    """The live objects of one run, each under a name by which a configuration selects it.

    Args:
        registry: What is known already; its live objects keep their names.

    Attributes:
        given: For `again`, all that was given, by group.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self.by_name: dict[str, Any] = {}
        self.given: Mapping[str, Any] = {}
        earlier = None if registry is None else _plugin_in(registry)
        self._specs: list[Spec] = [] if earlier is None else list(earlier.specs)

    def add(self, key: str, value: Any) -> str:
        """Takes an object, and returns the name of the option that it becomes.

        Args:
            key: What it is given for, such as ``env`` or ``model.actors.<step key>``.
            value: The object.

        Raises:
            UserError: If it is no such thing.
        """
        kind, part = GROUPS[key.split(".")[0]], _part(key)
        name = self._free_name(f"{LIVE}{kind}{f'_{part}' if part else ''}")
        spec_type, build = _spec_of(key, value)
        summary, config = f"{describe(value)}, a live object", _config_class(kind, value)
        self._specs.append(spec_type(name=name, summary=summary, config=config, build=build))
        self.by_name[name] = value
        return name

    def _free_name(self, name: str) -> str:
        taken, free, number = {spec.name for spec in self._specs}, name, 2
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        return free

    def known_to(self, registry: Registry, others: Sequence[Spec] = ()) -> Registry:
        """The registry with these objects in it, and what else is given besides."""
        specs = [*self._specs, *others]
        plugins = [plugin for plugin in registry.plugins if plugin.origin != ORIGIN]
        if not specs:
            return registry
        return Registry([*plugins, Plugin("live objects", ORIGIN, "", "", specs=specs)], registry.sources)

    @staticmethod
    def again(arguments: Mapping[str, Any]) -> LiveObjects:
        """The live objects of an earlier run, given as they were given to it.

        Args:
            arguments: Objects by group; what else stands there is part of the configuration.

        Raises:
            UserError: If there is no such group, or an object is no such thing.
        """
        live = LiveObjects()
        live.given = arguments
        for group, value in arguments.items():
            if group not in GROUPS:
                raise UserError(f"there is no argument {group!r}; live objects are given for {', '.join(GROUPS)}.")
            for key, entry in _given(group, value):
                live.add(key, entry)
        return live

    @property
    def resume_command(self) -> Callable[[Path], str] | None:
        """From a run directory to what goes on with it in Python; None without live objects."""
        if not self.by_name:
            return None
        return lambda path: f"RunContext.resume({str(path)!r}, {live_arguments(self.by_name)})"

    def commented(self, command: str) -> str:
        """A command, and what it lacks."""
        return f"{command}  # with live objects, from Python only" if self.by_name else command

    def notes(self) -> list[str]:
        """What the user should know of them, in one line."""
        shown = ", ".join(f"{name} ({describe(value)})" for name, value in self.by_name.items())
        return [f"Live objects, which going on with this run needs again: {shown}."] if shown else []

    def refuse_unused(self, named: Collection[str], shown: str) -> None:
        """Refuses objects that a run does not use.

        Args:
            named: All options that it names.
            shown: What it is called.

        Raises:
            UserError: If there is one.
        """
        for name, value in self.by_name.items():
            if name not in named:
                argument = live_arguments([name]).replace("...", describe(value))
                raise UserError(f"{shown} was not given {argument}, and cannot use it. Leave it out.")


def _part(key: str) -> str:
    """Of which actor something is, by its key; empty for all."""
    last = key.rpartition(".")[2] if "." in key else ""
    return "" if last in ("model", "default") else last


def _given(group: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The live objects of an argument, and what is no choice at all, with their keys."""
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        choice = entry is None or isinstance(entry, (str, Mapping)) or dataclasses.is_dataclass(entry)
        if is_live(entry) or not choice:
            yield group, entry
        elif group in ("model", "critic"):
            yield from objects_below(group, entry)


def objects_below(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The live objects in mappings and in the fields of configs, with their keys."""
    if is_live(value):
        yield key, value
        return
    parts = list(value.items()) if isinstance(value, Mapping) else []
    if dataclasses.is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    for name, part in parts:
        yield from objects_below(f"{key}.{name}", part)


def _plugin_in(registry: Registry) -> Plugin | None:
    return next((plugin for plugin in registry.plugins if plugin.origin == ORIGIN), None)


def live_plugin(registry: Registry) -> Plugin | None:
    """What workers need of the live objects of a registry; None if there are none."""
    found = _plugin_in(registry)
    if found is None:
        return None
    specs = [spec for spec in found.specs if spec.kind in ("env", "wrapper", "model", "policy")]
    return dataclasses.replace(found, specs=specs)


def is_live(value: Any) -> bool:
    """True for what can only be a live object: no name, no mapping, no config."""
    return callable(value) or callable(getattr(value, "act", None)) or isinstance(value, Callback) or is_runner(value)


def is_runner(value: Any) -> bool:
    """True for a runner, rather than for what makes one."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in RUNNER_METHODS)


def is_network(value: Any) -> bool:
    """True for a torch module."""
    torch = sys.modules.get("torch")  # who gives a network has imported it
    return torch is not None and isinstance(value, torch.nn.Module)


def describe(value: Any) -> str:
    """What an object is, in words that mean the same in another process."""
    named = value if hasattr(value, "__qualname__") else type(value)
    text = f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}".removeprefix("builtins.")
    return text[:MAX_SHOWN] if named is value else f"a {text}"[:MAX_SHOWN]


def not_allowed(key: str, value: Any) -> UserError:
    """Says what an argument takes."""
    also = {
        "env": ", or a function that makes one env", "model": ", or a network", "critic": ", or a network",
        "policy": ", or an object with a method act", "wrappers": ", or a function from env to env",
        "callbacks": ", or an instance of maze_core.Callback", "runner": ", or a maze_core.Runner",
    }.get(key.split(".")[0], "")  # fmt: skip
    shown = " ".join(repr(value).split())[:MAX_SHOWN]
    return UserError(f"{key}={shown} is not allowed: give a name, or {{name: {{field: value}}}}, or a config{also}.")


def _config_class(kind: str, value: Any) -> type:
    """A config of its own, since each spec needs one; a runner's has the options that the runner was made with."""
    fields: list[Any] = [("object", str, dataclasses.field(default=describe(value)))]
    bases: tuple[type, ...] = ()
    if kind == "runner":
        own = getattr(value, "config", None)
        config = own if isinstance(own, RunnerConfig) else RunnerConfig()
        bases, hints = (type(config),), typing.get_type_hints(type(config))
        for name in [field.name for field in dataclasses.fields(config)]:
            default = dataclasses.field(default_factory=partial(copy.deepcopy, getattr(config, name)))
            fields.append((name, hints[name], default))
    name, namespace = f"Live{kind.capitalize()}Config", {"__doc__": "A live object."}
    return dataclasses.make_dataclass(name, fields, bases=bases, namespace=namespace, kw_only=True)


def _spec_of(key: str, value: Any) -> tuple[Any, Build]:
    """What offers an object, and how it is built."""
    group = key.split(".")[0]
    if group == "callbacks" and isinstance(value, Callback):
        return CallbackSpec, lambda config: value
    makers: dict[str, tuple[Any, Callable[[str, Any], Build]]] = {
        "env": (EnvSpec, lambda key, make: _Envs(make)), "wrappers": (WrapperSpec, _wrapped),
        "model": (ModelSpec, _models), "critic": (ModelSpec, _models), "policy": (PolicySpec, _policies),
        "runner": (RunnerSpec, _runners),
    }  # fmt: skip
    gymnasium = sys.modules.get("gymnasium")  # who has an env has imported it
    if group == "env" and gymnasium is not None and isinstance(value, gymnasium.Env):
        raise UserError(
            f"env={describe(value)} is one env, and several are needed. Give a function that makes one: env=lambda: ..."
        )
    if group not in makers or not is_live(value):
        raise not_allowed(key, value)
    spec_type, build_of = makers[group]
    return spec_type, build_of(key, value)


class _Envs:
    """Makes envs with a function of the user, and sees that each is a new one.

    Args:
        make: The function.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __call__(self, config: Any) -> Any:
        from gymnasium import Env

        env = self._make()
        if not isinstance(env, Env):
            raise UserError(f"env={describe(self._make)} returned {describe(env)}; it must return a gymnasium.Env.")
        inner = env.unwrapped
        if self._made.get(id(inner)) is inner:
            raise UserError(
                f"env={describe(self._make)} returned the same env again, and several are needed at the same time. "
                "Let it make a new one with every call."
            )
        self._made[id(inner)] = inner
        return env

    def __reduce__(self) -> Any:
        return _Envs, (self._make,)


def _wrapped(key: str, value: Any) -> Build:
    def build(env: Any, config: Any) -> Any:
        from gymnasium import Env

        wrapped = value(env)
        if not isinstance(wrapped, Env):
            raise UserError(f"wrapper {describe(value)} returned {describe(wrapped)}; it must return a gymnasium.Env.")
        return wrapped

    return build


class GivenNetwork:
    """Builds a model of the network that the user made: always the same one, which is trained in place.

    Args:
        network: The network.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, config: Any, observation_space: Any, output_sizes: Mapping[str, int]) -> Any:
        """The model."""
        return _model_of(self._network, output_sizes)


def _model_of(network: Any, output_sizes: Mapping[str, int]) -> Any:
    from torch import nn

    from maze_core.rl.blocks import FlattenedModel

    return FlattenedModel(network, output_sizes) if isinstance(network, nn.Sequential) else network


def _models(key: str, value: Any) -> Build:
    def build(config: Any, observation_space: Any, output_sizes: Mapping[str, int]) -> Any:
        network = value(observation_space, output_sizes)
        if not is_network(network):
            raise UserError(f"{key}={describe(value)} returned {describe(network)}; it must return a torch.nn.Module.")
        return _model_of(network, output_sizes)

    return GivenNetwork(value) if is_network(value) else build


def _policies(key: str, value: Any) -> Build:
    given = callable(getattr(value, "act", None)) and not isinstance(value, type)
    return lambda config, actors: value if given else value(actors)


class GivenRunner:
    """Lends a run the runner that the user made, which is at work for one run at a time.

    Args:
        runner: The runner.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def __call__(self, config: RunnerConfig) -> _LentRunner:
        """The runner, for one run."""
        return _LentRunner(self._runner, config)


class _LentRunner:
    """A runner of the user, at work for one run at a time, whose options become its own.

    Args:
        runner: The runner.
        config: Options of the run.
    """

    def __init__(self, runner: Any, config: RunnerConfig) -> None:
        self._runner, self._config = runner, config

    def start(self, workspace: Any, blueprint: Any, probe: Any) -> str:
        """Starts it.

        Raises:
            UserError: If it is at work for another run.
        """
        if any(other._runner is self._runner for other in _AT_WORK):
            raise UserError(
                f"runner={describe(self._runner)} is at work for another run. Close that one, or give what makes a "
                f"runner for each: runner={type(self._runner).__name__}."
            )
        _AT_WORK.add(self)
        if isinstance(getattr(self._runner, "config", None), RunnerConfig):
            self._runner.config = self._config
        return self._runner.start(workspace, blueprint, probe)  # type: ignore[no-any-return]

    def vector_env(self, num_envs: int, training: bool) -> Any:
        """Envs that step elsewhere, or None."""
        return self._runner.vector_env(num_envs, training)

    def n_slots(self, training: bool) -> int:
        """How many tasks execute at the same time."""
        return self._runner.n_slots(training)  # type: ignore[no-any-return]

    def map(self, function: Callable[[Any, Any], Any], tasks: Any, training: bool = False) -> Any:
        """Executes tasks."""
        return self._runner.map(function, tasks, training)

    def close(self) -> None:
        """Ends its work for this run."""
        if self in _AT_WORK:
            _AT_WORK.discard(self)
            self._runner.close()


_AT_WORK: weakref.WeakSet[_LentRunner] = weakref.WeakSet()


def _runners(key: str, value: Any) -> Build:
    def build(config: RunnerConfig) -> Any:
        runner = value(config)
        if not is_runner(runner):
            raise UserError(
                f"runner={describe(value)} returned {describe(runner)}; it must return a maze_core.Runner, which has "
                f"the methods {', '.join(RUNNER_METHODS)}."
            )
        return runner

    if is_runner(value):
        return GivenRunner(value)
    if not callable(value):
        raise not_allowed(key, value)
    return build
