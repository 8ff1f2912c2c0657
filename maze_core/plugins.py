"""Finds plugins, loads each in isolation, and remembers what went wrong with which.

The order is: the core's own plugin, entry points of the group ``maze``, those named with
``--plugin`` or ``MAZE_PLUGINS``, and ``maze_plugins.py`` in the current directory. The loop is ours
rather than pluggy's loader because there one broken distribution ends every command; here it
costs itself only.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pluggy

from maze_core import hookspecs
from maze_core.errors import PluginError, did_you_mean, unknown_name
from maze_core.hookspecs import HOOKS, PROJECT_NAME
from maze_core.run_config import RunnerConfig
from maze_core.specs import API_VERSION, RunnerSpec, Spec

LOCAL_FILE = "maze_plugins.py"
"""A file of this name makes a folder a local project."""

RUN_FILES = ("command.txt", "config.yaml", "environment.json")
"""A folder with all of these is a run directory."""

BUILTINS = "maze_core.builtins.plugin"


@dataclass
class Plugin:
    """A plugin that was found, loaded or not.

    Args:
        name: Entry-point name, module name, or name of the local project's folder.
        origin: ``core``, ``package``, ``option`` (--plugin), ``environment`` or ``local``.
        distribution: Name and version of the package that brings it; empty if it is none.
        location: Module name or file.
        conf_dir: Folder with its presets, or None.
        specs: What it offers; empty when it failed.
        error: Why it cannot be used, in one line; empty when it can.
        details: The traceback behind `error`; empty when there is none.
    """

    name: str
    origin: str
    distribution: str
    location: str
    conf_dir: Path | None = None
    specs: list[Spec] = field(default_factory=list)
    error: str = ""
    details: str = ""

    @property
    def version(self) -> str:
        """Version of the distribution; empty for a local plugin."""
        return self.distribution.partition(" ")[2]

    @property
    def label(self) -> str:
        """The distribution, or what else tells the user where the plugin comes from."""
        return self.distribution or self.location


@dataclass(frozen=True, kw_only=True)
class PluginSources:
    """Which plugins to look for.

    Args:
        named: Modules, files or folders, as given with ``--plugin``.
        local_dir: Folder whose ``maze_plugins.py`` is loaded; None for no local project.
        foreign: A run directory that is about to be opened; none is loaded from inside it.
        environ: Where ``MAZE_PLUGINS``, ``MAZE_DISABLE_PLUGINS``, ``MAZE_LOAD_PLUGINS`` and
            ``MAZE_STRICT`` are looked up.
    """

    named: Sequence[str] = ()
    local_dir: Path | None = None
    foreign: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def load_plugins(sources: PluginSources) -> list[Plugin]:
    """Loads all plugins that `sources` names and returns them, the broken ones included.

    Raises:
        PluginError: If one named by the user does not exist, or any is broken and
            ``MAZE_STRICT=1``.
    """
    plugins: list[Plugin] = []
    for candidate in _candidates(sources):
        plugin = candidate.plugin
        if not plugin.error:
            _load(candidate)
        plugins.append(plugin)
    if sources.environ.get("MAZE_STRICT") == "1":
        for plugin in plugins:
            if plugin.error:
                raise PluginError(f"plugin {plugin.name!r} ({plugin.label}) is unusable: {plugin.error}")
    return plugins


@dataclass
class _Candidate:
    plugin: Plugin
    module: str | Path


def _names(sources: PluginSources, variable: str) -> list[str]:
    return [name.strip() for name in sources.environ.get(variable, "").split(",") if name.strip()]


def _candidates(sources: PluginSources) -> Iterator[_Candidate]:
    core = importlib.metadata.version("maze-core")
    yield _Candidate(Plugin("builtins", "core", f"maze-core {core}", BUILTINS), BUILTINS)
    seen: set[str] = set()
    for entry in _entry_points(sources):
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
        seen.add(entry.value)
        yield _Candidate(Plugin(entry.name, "package", distribution, entry.value), entry.value)
    for origin, names in (("environment", _names(sources, "MAZE_PLUGINS")), ("option", sources.named)):
        for name in names:
            candidate = _named(name, origin, sources.foreign)
            if candidate.plugin.location not in seen:
                seen.add(candidate.plugin.location)
                yield candidate
    if sources.local_dir is not None:
        file = sources.local_dir / LOCAL_FILE
        if file.is_file() and str(file.resolve()) not in seen:
            candidate = _local(file, "local")
            run_directory = _run_directory_of(file, sources.foreign)
            if run_directory is not None:
                candidate.plugin.error = f"it lies in the run directory {run_directory}, from which none is loaded"
            yield candidate


def _entry_points(sources: PluginSources) -> list[importlib.metadata.EntryPoint]:
    """The entry points of installed plugins that are switched on, sorted by name."""
    disabled, only = _names(sources, "MAZE_DISABLE_PLUGINS"), _names(sources, "MAZE_LOAD_PLUGINS")
    found = sorted(importlib.metadata.entry_points(group=PROJECT_NAME), key=lambda entry: (entry.name, entry.value))
    for name in only:
        if name not in [entry.name for entry in found]:
            raise PluginError(f"MAZE_LOAD_PLUGINS: {unknown_name('plugin', name, [entry.name for entry in found])}")
    return [entry for entry in found if entry.name not in disabled and (not only or entry.name in only)]


def _named(name: str, origin: str, foreign: Path | None) -> _Candidate:
    path = Path(name).expanduser()
    if path.is_dir() and (path / LOCAL_FILE).is_file():
        path = path / LOCAL_FILE
    if path.is_file() and path.suffix == ".py":
        if _run_directory_of(path, foreign) is not None:
            raise PluginError(f"--plugin {name} lies in a run directory; plugins are not loaded from there.")
        return _local(path, origin)
    if path.exists() or os.sep in name or name.endswith(".py"):
        raise PluginError(f"--plugin {name}: there is no such file, or no {LOCAL_FILE} in that folder.")
    if not all(part.isidentifier() for part in name.split(".")):
        raise PluginError(f"--plugin {name!r} is neither a module, nor a file, nor a folder with a {LOCAL_FILE}.")
    return _Candidate(Plugin(name, origin, "", name), name)


def _local(file: Path, origin: str) -> _Candidate:
    file = file.resolve()
    return _Candidate(Plugin(file.parent.name or "local", origin, "", str(file)), file)


def _run_directory_of(file: Path, foreign: Path | None = None) -> Path | None:
    """The run directory that a file lies in: whoever made that directory could run code here."""
    opened = None if foreign is None else foreign.resolve()
    folders = (*file.absolute().parents, *file.resolve().parents)  # of a link too
    return next(
        (
            folder
            for folder in folders
            if folder.resolve() == opened or all((folder / name).exists() for name in RUN_FILES)
        ),
        None,
    )


def _load(candidate: _Candidate) -> None:
    plugin = candidate.plugin
    try:
        module = _import(candidate.module)
        plugin.conf_dir = _conf_dir(module)
        plugin.specs = list(_collect_specs(module))
    except PluginError as error:
        plugin.error = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything at import, SystemExit included
        if isinstance(error, ModuleNotFoundError) and _is_named_itself(error, candidate):
            raise PluginError(f"--plugin {plugin.location}: there is no module of this name.") from None
        plugin.error = " ".join(f"{type(error).__name__}: {error}".split())
        plugin.details = traceback.format_exc()


def _is_named_itself(error: ModuleNotFoundError, candidate: _Candidate) -> bool:
    """True if what is missing is the very module that the user named, rather than one that it needs."""
    named = candidate.plugin.origin in ("option", "environment") and isinstance(candidate.module, str)
    return named and f"{candidate.module}.".startswith(f"{error.name}.")


def _import(module: str | Path) -> ModuleType:
    if isinstance(module, str):
        return importlib.import_module(module.partition(":")[0])
    folder = str(module.parent)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    name = _module_name(module)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, module)
    assert spec is not None and spec.loader is not None
    created = importlib.util.module_from_spec(spec)
    sys.modules[name] = created
    try:
        spec.loader.exec_module(created)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return created


def _module_name(file: Path) -> str:
    """``maze_plugins``, or a name of its own for a file of another project in the same process."""
    loaded = sys.modules.get(file.stem)
    if loaded is None or getattr(loaded, "__file__", None) == str(file):
        return file.stem
    return f"{file.stem}_{zlib.crc32(str(file).encode()):08x}"


def _conf_dir(module: ModuleType) -> Path | None:
    folder = Path(module.__file__).parent / "conf" if module.__file__ else None
    return folder if folder is not None and folder.is_dir() else None


def _collect_specs(module: ModuleType) -> Iterator[Spec]:
    version = getattr(module, "maze_api_version", API_VERSION)
    if version != API_VERSION:
        raise PluginError(
            f"it was written for version {version} of the plugin interface, this is version {API_VERSION}; "
            "install a release of the plugin that matches this maze-core"
        )
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    found = [name for name in dir(module) if manager.parse_hookimpl_opts(module, name) is not None]
    for name in found:
        if name not in HOOKS:
            raise PluginError(f"it implements {name!r}, which is no hook.{did_you_mean(name, HOOKS)}")
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a hook has the wrong arguments (hooks take none): {' '.join(str(error).split())}") from None
    for name in found:
        yield from _specs_of_hook(getattr(module, name), name)


def _specs_of_hook(hook: object, name: str) -> Iterable[Spec]:
    expected = HOOKS[name]
    specs = list(hook())  # type: ignore[operator]
    for spec in specs:
        if not isinstance(spec, expected):
            raise PluginError(f"{name} yields {type(spec).__name__} instead of {expected.__name__}")
        _check_spec(spec)
    return specs


def _check_spec(spec: Spec) -> None:
    if not isinstance(spec.name, str) or not spec.name.replace("_", "").replace("-", "").isalnum():
        raise PluginError(f"the name {spec.name!r} is not allowed: letters, digits, '_' and '-' only")
    if not isinstance(spec.config, type) or not hasattr(spec.config, "__dataclass_fields__"):
        raise PluginError(f"the config of {spec.kind} {spec.name!r} is not a dataclass type")
    if spec.config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError(f"the config of {spec.kind} {spec.name!r} is frozen, so that no option could be set")
    for option in dataclasses.fields(spec.config):
        if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
            raise PluginError(f"the option {option.name!r} of {spec.kind} {spec.name!r} has no default")
    if isinstance(spec, RunnerSpec) and not issubclass(spec.config, RunnerConfig):
        raise PluginError(f"the config of runner {spec.name!r} does not derive from maze_core.RunnerConfig")
    if not callable(spec.build) and (not isinstance(spec.build, str) or ":" not in spec.build):
        raise PluginError(f"build of {spec.kind} {spec.name!r} is neither callable nor 'module:attribute'")
