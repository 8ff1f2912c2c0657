"""From a name to the spec behind it, with conflicts withdrawn and misses explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from maze_core.errors import PluginError, UserError, unknown_name
from maze_core.plugins import Plugin, PluginSources, load_plugins
from maze_core.specs import SPEC_TYPES, Spec

INSTALL_HINTS = {
    ("env", "gym_env"): "maze-gym-env",
    ("algorithm", "es"): "maze-es",
    ("algorithm", "ppo"): "maze-ppo",
    ("algorithm", "a2c"): "maze-a2c",
    ("model", "flatten_concat"): "maze-perception",
    ("model", "vector_obs"): "maze-perception",
}
"""Distributions behind the names that the default configuration uses."""

KINDS = tuple(spec_type.kind for spec_type in SPEC_TYPES)
GROUPS = {spec_type.group: spec_type.kind for spec_type in SPEC_TYPES}

LIST_GROUPS = ("wrappers", "callbacks")
"""Groups of which any number of options can be chosen, in order."""


LIVE = "live_"
"""How the names of live objects begin: what a Python program gave to a run that it started."""


def kind_of(path: str) -> str | None:
    """The kind of component that stands at a path of a configuration, such as ``critic.model``; None for none."""
    group, *rest = path.split(".")
    if len(rest) == (group in LIST_GROUPS):
        return GROUPS.get(group)
    return "model" if group in ("model", "critic") else None


class Registry:
    """All specs of all usable plugins, by kind and name.

    Args:
        plugins: What was loaded. A name that two of them offer is withdrawn from both, and both
            are named when it is asked for; the rest of each stays usable.
        sources: What they were looked for in.
    """

    def __init__(self, plugins: Sequence[Plugin], sources: PluginSources | None = None) -> None:
        self.plugins, self.sources = list(plugins), sources or PluginSources()
        self.conflicts: dict[tuple[str, str], list[Plugin]] = {}
        self._owners: dict[tuple[str, str], Plugin] = {}
        self._specs: dict[tuple[str, str], Spec] = {}
        self._by_config: dict[type, Spec] = {}
        self._register_all()

    def _register_all(self) -> None:
        offers: dict[tuple[str, str], list[tuple[Plugin, Spec]]] = {}
        for plugin in self.plugins:
            for spec in plugin.specs:
                offers.setdefault((spec.kind, spec.name), []).append((plugin, spec))
        single: list[tuple[Plugin, Spec]] = []
        for key, offered in offers.items():
            if len(offered) > 1:
                self.conflicts[key] = [plugin for plugin, _ in offered]
            else:
                single += offered
        for plugin, spec in sorted(single, key=lambda offer: not _is_at_home(*offer)):
            other = self._by_config.setdefault(spec.config, spec)
            if other is not spec:
                plugin.error = plugin.error or (
                    f"{spec.kind} {spec.name!r} uses the config class of {other.kind} {other.name!r}; "
                    "each spec needs its own"
                )
                continue
            self._owners[(spec.kind, spec.name)] = plugin
            self._specs[(spec.kind, spec.name)] = spec

    def specs(self, kind: str) -> list[Spec]:
        """All usable specs of a kind, sorted by name."""
        return sorted((s for (k, _), s in self._specs.items() if k == kind), key=lambda s: s.name)

    def names(self, kind: str) -> list[str]:
        """Names of all usable specs of a kind, sorted."""
        return [spec.name for spec in self.specs(kind)]

    def owner(self, spec: Spec) -> Plugin:
        """The plugin that brought a spec."""
        return self._owners[(spec.kind, spec.name)]

    def get(self, kind: str, name: str) -> Spec:
        """Returns the spec of this kind and name.

        Raises:
            UserError: If there is none; the message says why as far as it can be known.
        """
        spec = self._specs.get((kind, name))
        if spec is None:
            raise UserError(self.explain_missing(kind, name))
        return spec

    def of_config(self, config_type: type) -> Spec | None:
        """The spec that a config class belongs to, or None."""
        return self._by_config.get(config_type)

    def withdraw(self, spec: Spec, reason: str) -> None:
        """Takes a spec out of use; its plugin counts as broken from now on."""
        plugin = self._owners.pop((spec.kind, spec.name))
        plugin.error = plugin.error or f"{spec.kind} {spec.name!r}: {reason}"
        del self._specs[(spec.kind, spec.name)], self._by_config[spec.config]

    def explain_missing(self, kind: str, name: str, known: Iterable[str] | None = None) -> str:
        """Says why a name cannot be used: conflict, broken plugin, not installed, or misspelt."""
        if (kind, name) in self.conflicts:
            labels = " and ".join(sorted(plugin.label for plugin in self.conflicts[(kind, name)]))
            return (
                f"{kind} {name!r} is offered by {labels}, so that neither is used.\n"
                "Uninstall one of them, or switch one off with MAZE_DISABLE_PLUGINS=<plugin>."
            )
        return unknown_name(kind, name, self.names(kind) if known is None else known, self._reason(kind, name))

    def _reason(self, kind: str, name: str) -> str:
        if name.startswith(LIVE):
            return f"It stands for an object that a Python program gives: {needs_live([name])}"
        for plugin in self.plugins:
            if plugin.error and name in (plugin.name, plugin.name.replace("-", "_")):
                return (
                    f"Plugin {plugin.name!r} ({plugin.label}) failed to load:\n  {plugin.error}\n"
                    f"Next: see the traceback with: maze plugins check {plugin.name}"
                )
        if (kind, name) in INSTALL_HINTS:
            return f"It comes with a plugin that is not installed. Next: pip install {INSTALL_HINTS[(kind, name)]}"
        broken = [plugin.name for plugin in self.plugins if plugin.error]
        return f"Plugins that failed to load: {', '.join(broken)} (see: maze plugins check)." if broken else ""

    def problems(self) -> list[str]:
        """One line for each broken plugin and each withdrawn name."""
        lines = [f"plugin {p.name!r} ({p.label}) is not used: {p.error}" for p in self.plugins if p.error]
        for (kind, name), plugins in sorted(self.conflicts.items()):
            labels = " and ".join(sorted(plugin.label for plugin in plugins))
            lines.append(f"{kind} {name!r} is offered by {labels}, so that neither is used")
        return lines

    def plugin(self, name: str) -> Plugin:
        """Returns the plugin of this name.

        Raises:
            PluginError: If there is none.
        """
        for plugin in self.plugins:
            if plugin.name == name:
                return plugin
        raise PluginError(unknown_name("plugin", name, [plugin.name for plugin in self.plugins]))


def needs_live(names: Iterable[str]) -> str:
    """How to go on with a run that was given live objects of these names."""
    groups = {kind: group for group, kind in GROUPS.items()}
    needed = dict.fromkeys(groups.get(name.removeprefix(LIVE).split("_")[0], "") for name in names)
    return f"RunContext.resume(run_dir{''.join(f', {group}=...' for group in needed if group)})"


def load_registry(
    plugins: Sequence[str] = (), local_plugins: bool = True, foreign: str | Path | None = None
) -> Registry:
    """Loads all plugins.

    Args:
        plugins: Modules, files or folders, besides the installed packages.
        local_plugins: Whether ``maze_plugins.py`` in the current directory is loaded.
        foreign: A run directory that is about to be opened; none is loaded from inside it.
    """
    local_dir = Path.cwd() if local_plugins else None
    opened = None if foreign is None else Path(foreign).expanduser()
    sources = PluginSources(named=plugins, local_dir=local_dir, foreign=opened)
    return Registry(load_plugins(sources), sources)


def _is_at_home(plugin: Plugin, spec: Spec) -> bool:
    """True if the config class comes from the plugin's own package, rather than borrowed from another."""
    return spec.config.__module__.split(".")[0] == plugin.location.split(".")[0]
