"""Where configuration files are found, and which options a group has. Light: completion uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import maze_conf

from maze_core.registry import GROUPS, Registry

CORE_CONF = Path(str(maze_conf.__file__)).parent


@dataclass(frozen=True)
class ConfigSource:
    """Where an option of a group comes from.

    Args:
        name: What users write.
        file: The preset's file; empty if a plugin's code registers it.
        provider: Plugin or directory that brings it.
    """

    name: str
    file: str
    provider: str


def search_path(registry: Registry, config_dirs: Sequence[Path]) -> list[tuple[str, Path]]:
    """Config directories with their providers, first wins: user, local projects, core."""
    local = [(p.name, p.conf_dir) for p in registry.plugins if p.conf_dir and p.origin not in ("core", "package")]
    users = [("--config-dir", directory) for directory in config_dirs]
    return [*users, *local, ("maze-core", CORE_CONF)]


def package_dirs(registry: Registry) -> list[tuple[str, Path]]:
    """Config directories of installed packages with their providers."""
    return [(p.name, p.conf_dir) for p in registry.plugins if p.conf_dir and p.origin == "package"]


def contested(registry: Registry, group: str, name: str) -> list[str]:
    """The installed packages that offer a preset of the same name; empty if at most one does."""
    offers = [provider for provider, folder in package_dirs(registry) if (folder / group / f"{name}.yaml").is_file()]
    return offers if len(offers) > 1 else []


def group_options(registry: Registry, config_dirs: Sequence[Path], group: str) -> list[ConfigSource]:
    """All options of a group, presets included, sorted by name.

    What plugins register by code hides packages' files of the same name, and a name that two
    packages offer is left out: installing a package never changes an option that was there.
    """
    found: dict[str, ConfigSource] = {}
    for provider, directory in package_dirs(registry):
        for file in sorted((directory / group).glob("*.yaml")):
            if not contested(registry, group, file.stem):
                found[file.stem] = ConfigSource(file.stem, str(file), provider)
    for spec in registry.specs(GROUPS.get(group, "")):
        found[spec.name] = ConfigSource(spec.name, "", registry.owner(spec).name)
    for provider, directory in reversed(search_path(registry, config_dirs)):
        for file in sorted((directory / group).glob("*.yaml")):
            found[file.stem] = ConfigSource(file.stem, str(file), provider)
    return sorted(found.values(), key=lambda source: source.name)
