"""Objects of a Python program as parts of a run: specs of a plugin that only this run knows.

So a live object is selected, built, sent to workers and recorded like everything else. What is
recorded of it is its name; to go on, the run needs the object again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maze_core.errors import UserError
from maze_core.plugins import Plugin
from maze_core.registry import GROUPS, LIVE, Registry, needs_live
from maze_core.run_config import RunnerConfig
from maze_core.specs import CallbackSpec, EnvSpec, ModelSpec, PolicySpec, RunnerSpec, Spec, WrapperSpec

MAX_SHOWN = 200


class LiveObjects:
    """The live objects of one run, each under a name by which a configuration selects it."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self._specs: list[Spec] = []

    def add(self, group: str, value: Any, part: str = "") -> str:
        """Takes an object, and returns the name of the option that it becomes.

        Args:
            group: What it is given for.
            value: The object.
            part: Of which actor it is the network; empty for all.

        Raises:
            UserError: If it is no such thing.
        """
        kind = GROUPS[group]
        name = self._free_name(f"{LIVE}{kind}{f'_{part}' if part else ''}")
        spec_type, build = self._build(group, value)
        spec = {"build": build, **({"networks": False} if spec_type is PolicySpec else {})}
        config = _config_class(kind, describe(value))
        self._specs.append(spec_type(name=name, summary=f"{describe(value)}, a live object", config=config, **spec))
        self.by_name[name] = value
        return name

    def _free_name(self, name: str) -> str:
        free, number = name, 2
        while free in self.by_name:
            free, number = f"{name}_{number}", number + 1
        return free

    def _build(self, group: str, value: Any) -> tuple[Any, Callable[..., Any]]:
        if group == "env":
            return EnvSpec, _env(value)
        if group == "wrappers":
            return WrapperSpec, _wrapper(value)
        if group in ("model", "critic"):
            return ModelSpec, _model(group, value)
        if group == "policy":
            return PolicySpec, _policy(value)
        if group == "callbacks":
            return CallbackSpec, _callback(value)
        if group == "runner" and all(callable(getattr(value, name, None)) for name in ("start", "map", "close")):
            return RunnerSpec, lambda config: value
        raise not_allowed(group, value)

    def known_to(self, registry: Registry) -> Registry:
        """The registry with these objects in it."""
        return Registry([*registry.plugins, self.plugin()], registry.sources) if self._specs else registry

    def plugin(self) -> Plugin:
        """The plugin that offers them."""
        return Plugin("live objects", "live", "", "", specs=list(self._specs))

    @staticmethod
    def again(arguments: Mapping[str, Any]) -> LiveObjects:
        """The live objects of an earlier run, given as they were given to it.

        Args:
            arguments: Objects by group.

        Raises:
            UserError: If there is no such group, or an object is no such thing.
        """
        live = LiveObjects()
        for group, value in arguments.items():
            if group not in GROUPS:
                raise UserError(f"resume takes no argument {group!r}; live objects are given for {', '.join(GROUPS)}.")
            for part, entry in _parts(group, value):
                if not isinstance(entry, (str, Mapping)):  # those are part of the configuration
                    live.add(group, entry, part)
        return live

    @property
    def resume_command(self) -> Callable[[Path], str] | None:
        """From a run directory to what goes on with it in Python; None without live objects."""
        if not self.by_name:
            return None
        return lambda path: needs_live(self.by_name).replace("run_dir", repr(str(path)), 1)

    def commented(self, command: str) -> str:
        """A command, and what it lacks."""
        return f"{command}  # with live objects, from Python only" if self._specs else command

    def note(self) -> str:
        """What the user should know of them, in one line."""
        shown = ", ".join(f"{name} ({describe(value)})" for name, value in self.by_name.items())
        return f"Live objects, which going on with this run needs again: {shown}."


def _parts(group: str, value: Any) -> list[tuple[str, Any]]:
    """The objects of an argument, with the actors whose networks they are."""
    if group in ("model", "critic") and isinstance(value, Mapping):
        return [(str(key), entry) for key, entry in value.items()]
    return [("", entry) for entry in (value if isinstance(value, (list, tuple)) else [value])]


def live_plugin(registry: Registry) -> Plugin | None:
    """What workers need of the live objects of a registry; None if there are none."""
    found = next((plugin for plugin in registry.plugins if plugin.origin == "live"), None)
    if found is None:
        return None
    specs = [spec for spec in found.specs if spec.kind in ("env", "wrapper", "model", "policy")]
    return dataclasses.replace(found, specs=specs)


def is_network(value: Any) -> bool:
    """True for a torch module."""
    torch = sys.modules.get("torch")  # who gives a network has imported it
    return torch is not None and isinstance(value, torch.nn.Module)


def describe(value: Any) -> str:
    """What an object is, in words that mean the same in another process."""
    named = value if hasattr(value, "__qualname__") else type(value)
    text = f"{named.__module__}.{named.__qualname__}".removeprefix("builtins.")
    return text[:MAX_SHOWN] if named is value else f"a {text}"[:MAX_SHOWN]


def not_allowed(group: str, value: Any) -> UserError:
    """Says what a group takes."""
    also = {
        "env": ", or a function that makes one env", "model": ", or a network", "critic": ", or a network",
        "policy": ", or an object with a method act", "wrappers": ", or a function from env to env",
        "callbacks": ", or a maze_core.Callback", "runner": ", or a maze_core.Runner",
    }.get(group, "")  # fmt: skip
    return UserError(
        f"{group}={value!r} is not allowed: give a name, or {{name: {{field: value}}}}, or a config{also}."
    )


def _config_class(kind: str, described: str) -> type:
    """A config of its own, since each spec needs one."""
    bases = (RunnerConfig,) if kind == "runner" else ()
    namespace = {"__doc__": "A live object."}
    field = dataclasses.field(default=described)
    name = f"Live{kind.capitalize()}Config"
    return dataclasses.make_dataclass(name, [("object", str, field)], bases=bases, namespace=namespace, kw_only=True)


def _env(value: Any) -> Callable[[Any], Any]:
    from gymnasium import Env

    if isinstance(value, Env):
        raise UserError(
            f"env={describe(value)} is one env, and several are needed. Give a function that makes one: env=lambda: ..."
        )
    if not callable(value):
        raise not_allowed("env", value)

    def build(config: Any) -> Any:
        env = value()
        if not isinstance(env, Env):
            raise UserError(f"env={describe(value)} returned {describe(env)}; it must return a gymnasium.Env.")
        return env

    return build


def _wrapper(value: Any) -> Callable[[Any, Any], Any]:
    if not callable(value):
        raise not_allowed("wrappers", value)

    def build(env: Any, config: Any) -> Any:
        from gymnasium import Env

        wrapped = value(env)
        if not isinstance(wrapped, Env):
            raise UserError(f"wrapper {describe(value)} returned {describe(wrapped)}; it must return a gymnasium.Env.")
        return wrapped

    return build


def _model(group: str, value: Any) -> Callable[[Any, Any, Mapping[str, int]], Any]:
    if not is_network(value):
        if not callable(value):
            raise not_allowed(group, value)
        return lambda config, observation_space, output_sizes: value(observation_space, output_sizes)
    from torch import nn

    from maze_core.rl.blocks import FlattenedModel

    def build(config: Any, observation_space: Any, output_sizes: Mapping[str, int]) -> Any:
        return FlattenedModel(value, output_sizes) if isinstance(value, nn.Sequential) else value

    return build


def _policy(value: Any) -> Callable[[Any, Any], Any]:
    if callable(getattr(value, "act", None)) and not isinstance(value, type):
        return lambda config, actors: value
    if not callable(value):
        raise not_allowed("policy", value)
    return lambda config, actors: value(actors)


def _callback(value: Any) -> Callable[[Any], Any]:
    from maze_core.protocols import Callback

    if not isinstance(value, Callback):
        raise not_allowed("callbacks", value)
    return lambda config: value
