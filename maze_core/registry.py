"""From a name to the spec behind it, with conflicts withdrawn and misses explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from maze_core.errors import PluginError, UserError, unknown_name
from maze_core.plugins import Plugin, PluginSources, load_plugins
from maze_core.specs import LIVE as LIVE
from maze_core.specs import SPEC_TYPES, CommandSpec, Offer, Spec

INSTALL_HINTS = {
    "maze-cutting-2d": ("* *cutting_2d*",),
    "maze-minigrid": ("* *minigrid*",),
    "maze-envpool": ("* *envpool*",),
    "maze-gym-env": ("env gym_env",),
    "maze-pettingzoo": ("env pettingzoo", "experiment *tictactoe*"),
    "maze-perception": ("model flatten_concat", "model vector_obs", "model pixel_obs"),
    "maze-es": ("algorithm es", "experiment es_*"),
    "maze-ppo": ("algorithm ppo", "experiment ppo_*"),
    "maze-a2c": ("algorithm a2c", "experiment a2c_*"),
    "maze-optuna": ("sweeper optuna",),
    "maze-ray": ("runner ray",),
}
"""Our own distributions, and patterns of what each brings, as ``<kind> <name>``; the first that fits counts."""

KINDS = tuple(spec_type.kind for spec_type in SPEC_TYPES)
GROUPS = {spec_type.group: spec_type.kind for spec_type in SPEC_TYPES}

LIST_GROUPS = ("wrappers", "callbacks")
"""Groups of which any number of options can be chosen, in order."""


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
        self._offers: dict[tuple[str, str], Offer] = {}
        self._by_config: dict[type, Spec] = {}
        self._register_all()

    def _register_all(self) -> None:
        offers: dict[tuple[str, str], list[tuple[Plugin, Offer]]] = {}
        for plugin in self.plugins:
            for offer in plugin.offers:
                offers.setdefault((offer.kind, offer.name), []).append((plugin, offer))
        single: list[tuple[Plugin, Offer]] = []
        for key, offered in offers.items():
            if len(offered) > 1:
                self.conflicts[key] = [plugin for plugin, _ in offered]
            else:
                single += offered
        for plugin, offer in sorted(single, key=lambda pair: not _is_at_home(*pair)):
            if not isinstance(offer, Spec) or self._has_own_config(plugin, offer):
                self._owners[(offer.kind, offer.name)] = plugin
                self._offers[(offer.kind, offer.name)] = offer

    def _has_own_config(self, plugin: Plugin, spec: Spec) -> bool:
        other = self._by_config.setdefault(spec.config, spec)
        if other is not spec:
            plugin.error = plugin.error or (
                f"{spec.kind} {spec.name!r} uses the config class of {other.kind} {other.name!r}; "
                "each spec needs its own"
            )
        return other is spec

    def offers(self, kind: str) -> list[Offer]:
        """All usable offers of a kind, sorted by name."""
        return sorted((offer for (k, _), offer in self._offers.items() if k == kind), key=lambda offer: offer.name)

    def specs(self, kind: str) -> list[Spec]:
        """All usable specs of a kind that a configuration selects, sorted by name."""
        return [offer for offer in self.offers(kind) if isinstance(offer, Spec)]

    def names(self, kind: str) -> list[str]:
        """Names of all usable offers of a kind, sorted."""
        return [offer.name for offer in self.offers(kind)]

    def owner(self, offer: Offer) -> Plugin:
        """The plugin that brought something."""
        return self._owners[(offer.kind, offer.name)]

    def get(self, kind: str, name: str) -> Spec:
        """Returns the spec of this kind and name.

        Raises:
            UserError: If there is none; the message says why as far as it can be known.
        """
        spec = self._offers.get((kind, name))
        if not isinstance(spec, Spec):
            raise UserError(self.explain_missing(kind, name))
        return spec

    def command(self, name: str) -> CommandSpec | None:
        """The command of a plugin, or None."""
        found = self._offers.get((CommandSpec.kind, name))
        return found if isinstance(found, CommandSpec) else None

    def of_config(self, config_type: type) -> Spec | None:
        """The spec that a config class belongs to, or None."""
        return self._by_config.get(config_type)

    def withdraw(self, spec: Spec, reason: str) -> None:
        """Takes a spec out of use; its plugin counts as broken from now on."""
        plugin = self._owners.pop((spec.kind, spec.name))
        plugin.error = plugin.error or f"{spec.kind} {spec.name!r}: {reason}"
        del self._offers[(spec.kind, spec.name)], self._by_config[spec.config]

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
            return f"It stands for an object that a Python program gives: {live_arguments([name])}"
        for plugin in self.plugins:
            if plugin.error and name in (plugin.name, plugin.name.replace("-", "_")):
                return (
                    f"Plugin {plugin.name!r} ({plugin.label}) failed to load:\n  {plugin.error}\n"
                    f"Next: see the traceback with: maze plugins check {plugin.name}"
                )
        package = distribution_of(kind, name)
        if package:
            return f"It comes with a plugin that is not installed, or switched off. Next: pip install {package}"
        broken = [plugin.name for plugin in self.plugins if plugin.error]
        return f"Plugins that failed to load: {', '.join(broken)} (see: maze plugins check)." if broken else ""

    def problems(self) -> list[str]:
        """One line for each plugin that is broken or changed the process, and for each withdrawn name."""
        lines = [f"plugin {p.name!r} ({p.label}) is not used: {p.error}" for p in self.plugins if p.error]
        lines += [f"plugin {p.name!r} ({p.label}): {'; '.join(p.notes)}" for p in self.plugins if p.notes]
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


def distribution_of(kind: str, name: str) -> str:
    """The distribution of ours that brings something; empty for what is not ours."""
    fits = (
        package
        for package, patterns in INSTALL_HINTS.items()
        if any(fnmatchcase(f"{kind} {name}", pattern) for pattern in patterns)
    )
    return next(fits, "")


def live_arguments(names: Iterable[str]) -> str:
    """The arguments by which a Python program gives live objects of these names, such as ``env=..., model=...``."""
    groups = {kind: group for group, kind in GROUPS.items()}
    needed = dict.fromkeys(groups.get(name.removeprefix(LIVE).split("_")[0], "") for name in names)
    return ", ".join(f"{group}=..." for group in needed if group)


def unknown_live(registry: Registry, config: Mapping[str, Any]) -> list[str]:
    """Names of the live objects in a recorded configuration, perhaps a stranger's, that nothing here stands for."""
    named = config.get("components")
    pairs = [(str(path), str(name)) for path, name in named.items()] if isinstance(named, dict) else []
    return [name for path, name in pairs if name.startswith(LIVE) and name not in registry.names(kind_of(path) or "")]


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


def _is_at_home(plugin: Plugin, offer: Offer) -> bool:
    """True if its config class comes from the plugin's own package, rather than borrowed from another."""
    return not isinstance(offer, Spec) or offer.config.__module__.split(".")[0] == plugin.location.split(".")[0]
