"""What another process needs to build the same envs and policy."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from maze_core.errors import UserError
from maze_core.live import live_plugin
from maze_core.plugins import PluginSources, load_plugins
from maze_core.registry import Registry
from maze_core.run_config import RunConfig
from maze_core.specs import Spec

UNSENT, INSTEAD = "a live object", "Use runner.n_workers=0."


@dataclass(frozen=True)
class Blueprint:
    """A run, as far as its envs and its policy go, to be built in a process of the same user.

    Args:
        path: `sys.path`, so that the same modules are found.
        folder: Current directory.
        sources: Which plugins are loaded.
        modules: Names under which local plugins are loaded, by file.
        config: The configuration and the plugin of live objects, if there is one, pickled: classes of the
            configuration exist only once plugins are loaded.
        plugins: Versions of the distributions whose plugins the configuration names.
        versions: What else the process has, as far as the last bits of a result depend on it.
    """

    path: list[str]
    folder: str
    sources: PluginSources
    modules: dict[str, str]
    config: bytes
    plugins: dict[str, str]
    versions: dict[str, str]

    @staticmethod
    def of(registry: Registry, config: RunConfig) -> Blueprint:
        """Describes a run of this process.

        Raises:
            UserError: If the current directory is gone.
        """
        try:
            folder = str(Path.cwd())
        except OSError as error:
            raise UserError(f"workers need the current directory: {error}. Use runner.n_workers=0.") from None
        local = {plugin.location for plugin in registry.plugins if not plugin.version}
        files = {name: getattr(module, "__dict__", {}).get("__file__") for name, module in list(sys.modules.items())}
        return Blueprint(
            [str(entry) for entry in sys.path], folder,
            replace(registry.sources, environ=dict(registry.sources.environ)),
            {str(file): name for name, file in files.items() if file in local},
            _pickled(config, registry), _distributions(registry, config), _versions(),
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """For another process, which makes it anew with `cloudpickle.loads`."""
        return cloudpickle.dumps(self)  # type: ignore[no-any-return]

    def moved(self, folder: str) -> Blueprint:
        """The same where the content of its folder lies in another one."""
        old = Path(self.folder)

        def there(path: str | Path) -> str:
            return str(Path(folder, Path(path).relative_to(old))) if Path(path).is_relative_to(old) else str(path)

        sources = replace(
            self.sources, named=[there(name) for name in self.sources.named],
            local_dir=None if self.sources.local_dir is None else Path(there(self.sources.local_dir)),
        )  # fmt: skip
        modules = {there(file): name for file, name in self.modules.items()}
        return replace(self, path=[there(p) for p in self.path], folder=folder, sources=sources, modules=modules)

    def check(self) -> list[str]:
        """Whether this process has the same plugins; returns what else differs, in words.

        Raises:
            UserError: If a plugin is not installed here, or in another version.
        """
        wrong = [f"{name} {_installed(name) or 'none'} instead of {version}" for name, version in self.plugins.items()
                 if _installed(name) != version]  # fmt: skip
        if wrong:
            raise UserError(
                f"a worker on {platform.node()} has {', '.join(wrong)}. Install the same versions there: "
                f"pip install {' '.join(f'{name}=={version}' for name, version in self.plugins.items())}"
            )
        here = _versions()
        return [f"{name} {here[name]} instead of {version}" for name, version in self.versions.items()
                if here[name] != version]  # fmt: skip

    def load(self) -> tuple[Registry, RunConfig]:
        """Loads plugins and configuration in another process, which becomes like the one that is described.

        Raises:
            PluginError: If a plugin that was named is not there.
            UserError: If its folder is not there, or what it holds cannot be made here.
        """
        try:
            os.chdir(self.folder)  # of the worker alone: local plugins and relative paths are found from there
        except OSError as error:
            raise UserError(
                f"a worker on {platform.node()} needs the folder {self.folder}: {error.strerror}."
            ) from None
        sys.path[:] = [*self.path, *(entry for entry in sys.path if entry not in self.path)]
        warnings.simplefilter("ignore")  # they were shown by the process that this one works for
        registry = Registry(load_plugins(self.sources), self.sources)
        for plugin in registry.plugins:
            name = self.modules.get(plugin.location)
            loaded = list(sys.modules.values())
            own = next(
                (module for module in loaded if getattr(module, "__dict__", {}).get("__file__") == plugin.location),
                None,
            )
            if name is not None and own is not None:
                sys.modules.setdefault(name, own)  # pickles name it so
        config: RunConfig
        try:
            config, live = cloudpickle.loads(self.config)  # from the parent process, never from a file
        except Exception as error:  # whatever an object raises that is made anew
            raise UserError(f"workers cannot take over {UNSENT}: {type(error).__name__}: {error}. {INSTEAD}") from error
        return registry if live is None else Registry([*registry.plugins, live], self.sources), config


def _distributions(registry: Registry, config: object) -> dict[str, str]:
    """Distributions of the core and of the plugins that a configuration names, with their versions."""
    found = {"maze-core": str(_installed("maze-core"))}
    for component in _components(config):
        spec = registry.of_config(type(component))
        name, _, version = ("" if spec is None else registry.owner(spec).distribution).partition(" ")
        if version:
            found[name] = version
    return found


def _components(value: Any) -> Iterator[object]:
    """Dataclass instances within a configuration."""
    if is_dataclass(value):
        yield value
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _components(part)


def _versions() -> dict[str, str]:
    """What the last bits of a result depend on."""
    numeric = {name: str(_installed(name)) for name in ("torch", "numpy", "gymnasium")}
    processor = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return {"python": platform.python_version(), **numeric, "processor": processor}


def _installed(distribution: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _pickled(config: RunConfig, registry: Registry) -> bytes:
    """Configuration and live objects.

    Raises:
        UserError: If an object cannot be sent.
    """
    live = live_plugin(registry)
    try:
        return cloudpickle.dumps((config, live))  # type: ignore[no-any-return]
    except Exception as error:  # whatever an object raises that is pickled
        specs = [] if live is None else live.specs
        names = [f"{spec.name} ({spec.summary})" for spec in specs if not _can_be_sent(spec)]
        raise UserError(f"{', '.join(names) or UNSENT} cannot be sent to workers: {error}. {INSTEAD}") from error


def _can_be_sent(spec: Spec) -> bool:
    try:
        cloudpickle.dumps(spec)
    except Exception:
        return False
    return True
