"""What another process needs to build the same envs and policy."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle

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
    """

    path: list[str]
    folder: str
    sources: PluginSources
    modules: dict[str, str]
    config: bytes

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
            _pickled(config, registry),
        )  # fmt: skip

    def load(self) -> tuple[Registry, RunConfig]:
        """Loads plugins and configuration in another process, which becomes like the one that is described.

        Raises:
            PluginError: If a plugin that was named is not there.
        """
        os.chdir(self.folder)  # of the worker alone: local plugins and relative paths are found from there
        sys.path[:] = self.path
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
