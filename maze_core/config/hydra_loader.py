"""Hydra's config loader over what plugins registered.

`hydra.main` cannot sit under click, and the public compose function needs a global; so the loader behind both is used
directly. The ConfigStore is a process-wide singleton in which another program may have stored the same names: its
content is replaced for the time of composition only.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from packaging.version import Version

from maze_core.locks import ForkLock
from maze_core.presets import contested, package_dirs, search_path
from maze_core.registry import GROUPS, LIST_GROUPS, Registry
from maze_core.run_config import RolloutConfig, SweepConfig, TrainingConfig

LOCK = ForkLock()

ROOTS: dict[type, str] = {TrainingConfig: "training", RolloutConfig: "rollout", SweepConfig: "sweep"}
"""What a configuration can describe, and what that is called."""


class _Repository(ConfigRepository):
    """Where Hydra looks for options. It copies that, options and all, before it looks elsewhere: a new one will do."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self._path = config_search_path
        super().__init__(config_search_path)

    def __deepcopy__(self, memo: Any) -> _Repository:
        return _Repository(self._path)


class HydraLoader(ConfigLoaderImpl):
    """Hydra's loader, which remembers the options that it put together: it tells all but those of lists.

    How Hydra itself is configured, ten options that take as long as all others, is left out, unless that cannot be.
    """

    entries: Sequence[ResultDefault] = ()

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.config_search_path, self.repository = config_search_path, _Repository(config_search_path)

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        """Composes; see Hydra's own."""
        place = ConfigStore.instance().repo["hydra"]
        own = place["config.yaml"]
        place["config.yaml"] = _without_options(own)
        try:
            return super().load_configuration(*args, **kwargs)
        except HydraException:  # one of those options may be what is missing; else the same is said again
            place["config.yaml"] = own
            return super().load_configuration(*args, **kwargs)
        finally:
            place["config.yaml"] = own

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self.entries = defaults
        return super()._compose_config_from_defaults_list(defaults, repo)


def _without_options(node: ConfigNode) -> ConfigNode:
    """How Hydra is configured, as a class alone."""
    return ConfigNode(name=node.name, node=_bare(), group=node.group, package=node.package, provider=node.provider)


@functools.cache
def _bare() -> Any:
    return OmegaConf.structured(HydraConf(defaults=[]))


@contextlib.contextmanager
def hydra_loader(registry: Registry, config_dirs: Sequence[Path]) -> Iterator[HydraLoader]:
    """A config loader that sees what plugins registered, and leaves Hydra's globals as they were."""
    with LOCK:
        Plugins.instance()
        store = ConfigStore.instance()
        base = VersionBase.instance()
        saved_repo, saved_version = store.repo, base.version_base
        store.repo = {key: value for key, value in saved_repo.items() if key == "_dummy_empty_config_.yaml"}
        store.repo["hydra"] = dict(saved_repo["hydra"])
        try:
            base.setbase(Version("1.3"))
            _store_packaged_presets(store, registry)
            _store_specs(store, registry)
            path = ConfigSearchPathImpl()
            path.append("hydra", "pkg://hydra.conf")
            for provider, directory in search_path(registry, config_dirs):
                path.append(provider, f"file://{directory}")
            path.append("schema", "structured://")
            yield HydraLoader(path)
        finally:
            store.repo = saved_repo
            base.version_base = saved_version


def _store_packaged_presets(store: ConfigStore, registry: Registry) -> None:
    """Stores the presets of installed packages; specs are stored after them, so that none can hide one.

    As files on the search path they would come before what is registered by code.
    """
    for provider, folder in package_dirs(registry):
        for file in sorted(folder.glob("*/*.yaml")):
            group = file.parent.name
            own = [directory for _, directory in search_path(registry, ()) if (directory / group / file.name).is_file()]
            if own or contested(registry, group, file.stem):
                continue
            with contextlib.suppress(yaml.YAMLError, OSError):  # choosing it will say that it is missing
                node, package = _preset(file, file.stat().st_mtime_ns)
                _place(store.repo.setdefault(group, {}), file.stem, node, group, package, provider)


@functools.lru_cache(maxsize=256)
def _preset(file: Path, changed_ns: int) -> tuple[Any, str | None]:
    """A preset and the package that it names; read anew if it changed, since many configurations may be composed."""
    header = re.search(r"^#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return OmegaConf.load(file), header.group(1) if header else None


def _store_specs(store: ConfigStore, registry: Registry) -> None:
    for root, what in ROOTS.items():
        _store(store.repo, f"{what}_schema", root)
    for group, kind in GROUPS.items():
        for spec in registry.specs(kind):
            package = f"{group}.{spec.name}" if group in LIST_GROUPS else None
            try:
                _store(store.repo.setdefault(group, {}), spec.name, spec.config, group, package)
            except Exception as error:  # a type that OmegaConf does not know, or a default that raises
                registry.withdraw(spec, f"its config cannot be used: {str(error).splitlines()[0]}")


def _store(
    place: dict[str, Any], name: str, config: type, group: str | None = None, package: str | None = None
) -> None:
    """Stores a config class."""
    lasting = getattr(sys.modules.get(config.__module__), config.__name__, None) is config
    node = _structured(config) if lasting else OmegaConf.structured(config)
    _place(place, name, node, group, package)


def _place(
    place: dict[str, Any], name: str, node: Any, group: str | None, package: str | None, provider: str | None = None
) -> None:
    """Stores a tree as `ConfigStore.store` does, but no copy of it: whoever asks for it gets one."""
    place[f"{name}.yaml"] = ConfigNode(name=f"{name}.yaml", node=node, group=group, package=package, provider=provider)


@functools.cache
def _structured(config: type) -> Any:
    """The tree of a class that is part of a module: made once, since many configurations may be composed."""
    return OmegaConf.structured(config)


def check_specs(registry: Registry) -> None:
    """Takes specs whose config no configuration could hold out of use."""
    with hydra_loader(registry, ()):
        pass
