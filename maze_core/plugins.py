"""Finds plugins, loads each in isolation, and remembers what went wrong with which.

The order is: the core's own plugin, entry points of the group ``maze``, those named with
``--plugin`` or ``MAZE_PLUGINS``, and ``maze_plugins.py`` in the current directory. The loop is ours
rather than pluggy's loader because there one broken distribution ends every command; here it
costs itself only, and leaves the process as it was (`maze_core.isolation`).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import itertools
import math
import os
import sys
import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from maze_core import hookspecs
from maze_core.errors import PluginError, did_you_mean, one_line, printable, unknown_name
from maze_core.hookspecs import HOOKS, PROJECT_NAME
from maze_core.isolation import PluginTimeout, isolated
from maze_core.spec_checks import FILE_NAME, check_name, check_presets, checked
from maze_core.specs import API_VERSION, CommandSpec, Offer, Spec

LOCAL_FILE = "maze_plugins.py"
"""A file of this name makes a folder a local project."""

RUN_FILES = ("command.txt", "config.yaml", "environment.json")
"""A folder with all of these is a run directory."""

BUILTINS = "maze_core.builtins.plugin"

TIMEOUT = "MAZE_PLUGIN_TIMEOUT"
DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S = 10.0, 86400.0

MAX_OFFERS = 1000
"""Specs that one hook may yield."""

MAX_TEXT, MAX_DETAILS = 500, 20_000
"""Characters that are kept of an error, and of its traceback."""


@dataclass
class Plugin:
    """A plugin that was found, loaded or not.

    Args:
        name: Entry-point name, module name, or name of the local project's folder.
        origin: ``core``, ``package``, ``option`` (--plugin), ``environment`` or ``local``.
        distribution: Name and version of the package that brings it; empty if it is none.
        location: Module name or file.
        conf_dir: Folder with its presets, or None.
        specs: What of it a configuration can select; empty when it failed.
        commands: The commands it brings; empty when it failed.
        notes: What it changed of the process while it was loaded, each in a sentence.
        error: Why it cannot be used, in one line; empty when it can.
        details: The traceback behind `error`; empty when there is none.
    """

    name: str
    origin: str
    distribution: str
    location: str
    conf_dir: Path | None = None
    specs: list[Spec] = field(default_factory=list)
    commands: list[CommandSpec] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    details: str = ""

    @property
    def version(self) -> str:
        """Version of the distribution; empty for a local plugin."""
        return self.distribution.partition(" ")[2]

    @property
    def label(self) -> str:
        """The distribution, or what else tells the user where the plugin comes from."""
        return self.distribution or printable(self.location)

    @property
    def offers(self) -> list[Offer]:
        """All that it offers."""
        return [*self.specs, *self.commands]


@dataclass(frozen=True, kw_only=True)
class PluginSources:
    """Which plugins to look for.

    Args:
        named: Modules, files or folders, as given with ``--plugin``.
        local_dir: Folder whose ``maze_plugins.py`` is loaded; None for no local project.
        foreign: A run directory that is about to be opened; none is loaded from inside it.
        environ: Where ``MAZE_PLUGINS``, ``MAZE_DISABLE_PLUGINS``, ``MAZE_LOAD_PLUGINS``,
            ``MAZE_STRICT`` and ``MAZE_PLUGIN_TIMEOUT`` are looked up.
    """

    named: Sequence[str] = ()
    local_dir: Path | None = None
    foreign: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def load_plugins(sources: PluginSources) -> list[Plugin]:
    """Loads all plugins that `sources` names and returns them, the broken ones included.

    Raises:
        PluginError: If one named by the user does not exist, any is broken and
            ``MAZE_STRICT=1``, or the time that each may take is none.
    """
    plugins: list[Plugin] = []
    seconds = _timeout(sources)
    for candidate in _candidates(sources):
        if not candidate.plugin.error:
            _load(candidate, seconds)
        plugins.append(candidate.plugin)
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


def _timeout(sources: PluginSources) -> float:
    """Seconds that each plugin may take."""
    text = sources.environ.get(TIMEOUT, "").strip()
    try:
        seconds = float(text) if text else DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise PluginError(
            f"{TIMEOUT}={one_line(text, MAX_TEXT)} is not allowed: it must be a number of seconds > 0, "
            f"at most {MAX_TIMEOUT_S:g}."
        )
    return seconds


def _candidates(sources: PluginSources) -> Iterator[_Candidate]:
    core = importlib.metadata.version("maze-core")
    yield _Candidate(Plugin("builtins", "core", f"maze-core {core}", BUILTINS), BUILTINS)
    seen: set[str] = set()
    for plugin in _packages(sources):
        seen.add(plugin.location)
        yield _Candidate(plugin, plugin.location)
    for origin, names in (("environment", _names(sources, "MAZE_PLUGINS")), ("option", sources.named)):
        for name in names:
            candidate = _named(name, origin, sources.foreign)
            if candidate.plugin.location not in seen:
                seen.add(candidate.plugin.location)
                yield candidate
    if sources.local_dir is not None:
        file = sources.local_dir / LOCAL_FILE
        known = {*seen, *map(_module_file, seen)}  # installed in place, it is the package that was loaded already
        if file.is_file() and str(file.resolve()) not in known:
            candidate = _local(file, "local")
            run_directory = _run_directory_of(file, sources.foreign)
            if run_directory is not None:
                candidate.plugin.error = f"it lies in the run directory {run_directory}, from which none is loaded"
            yield candidate


def _module_file(name: str) -> str | None:
    """The file of a module that is loaded."""
    return getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)


def _packages(sources: PluginSources) -> list[Plugin]:
    """The plugins of installed packages that are switched on, sorted by name."""
    disabled, only = _names(sources, "MAZE_DISABLE_PLUGINS"), _names(sources, "MAZE_LOAD_PLUGINS")
    found = sorted(_installed(), key=lambda plugin: (plugin.name, plugin.location))
    for name in only:
        if name not in [plugin.name for plugin in found]:
            raise PluginError(f"MAZE_LOAD_PLUGINS: {unknown_name('plugin', name, [plugin.name for plugin in found])}")
    return [plugin for plugin in found if plugin.name not in disabled and (not only or plugin.name in only)]


def _installed() -> list[Plugin]:
    try:
        return [_packaged(entry) for entry in importlib.metadata.entry_points(group=PROJECT_NAME)]
    except Exception:  # one package with a file that cannot be read costs all others their entry points
        found, seen = [], set[str]()
        for distribution in importlib.metadata.distributions():
            found += [plugin for plugin in _plugins_of(distribution) if plugin.distribution not in seen]
            seen.update(plugin.distribution for plugin in found)
        return found


def _plugins_of(distribution: importlib.metadata.Distribution) -> list[Plugin]:
    try:
        return [_packaged(entry) for entry in distribution.entry_points if entry.group == PROJECT_NAME]
    except Exception as error:
        folder = str(getattr(distribution, "_path", "a package"))  # its name may not be readable either
        reason = f"its entry points cannot be read: {type(error).__name__}: {error}"
        name = one_line(Path(folder).name.partition("-")[0], MAX_TEXT)
        return [Plugin(name, "package", one_line(folder, MAX_TEXT), folder, error=one_line(reason, MAX_TEXT))]


def _packaged(entry: importlib.metadata.EntryPoint) -> Plugin:
    """The plugin of an entry point; with an error if its name or that of its package is not allowed."""
    plugin = Plugin(one_line(entry.name, MAX_TEXT), "package", "", one_line(entry.value, MAX_TEXT))
    try:
        if entry.dist is not None:
            name, version = entry.dist.name, entry.dist.version
            plugin.distribution = f"{one_line(str(name), MAX_TEXT)} {one_line(str(version), MAX_TEXT)}"
            check_name("the name of its package", name, FILE_NAME)
        check_name("the name of the entry point", entry.name)
        if not all(part.isidentifier() for part in entry.value.partition(":")[0].split(".")):
            raise PluginError(f"its entry point leads to {plugin.location!r}, which is no module")
    except PluginError as error:
        plugin.error = str(error)
    except Exception as error:  # metadata that cannot be read
        plugin.error = one_line(f"its package cannot be read: {type(error).__name__}: {error}", MAX_TEXT)
    return plugin


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
    return _Candidate(Plugin(one_line(file.parent.name, MAX_TEXT) or "local", origin, "", str(file)), file)


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


def _load(candidate: _Candidate, seconds: float) -> None:
    plugin, missing = candidate.plugin, False
    if isinstance(candidate.module, Path):
        _put_first(str(candidate.module.parent))
    try:
        with isolated(plugin.name, plugin.notes, seconds):
            try:
                _take_in(candidate)
            except (KeyboardInterrupt, PluginTimeout):
                raise
            except BaseException as error:  # a plugin may raise anything, SystemExit included
                missing = isinstance(error, ModuleNotFoundError) and _is_named_itself(error, candidate)
                _explain(plugin, error)
    except PluginTimeout:
        plugin.error = (
            f"it was given up because it did not come to an end, and imported nothing more, for {seconds:g} s. "
            f"If it needs longer: {TIMEOUT}={max(60, 3 * seconds):g}"
        )
        plugin.details = _printable_lines(traceback.format_exc())
    except KeyboardInterrupt:
        raise
    except BaseException:
        plugin.error = "it raised an error that cannot be shown"
    if missing:
        raise PluginError(f"--plugin {plugin.location}: there is no module of this name.")


def _put_first(folder: str) -> None:
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]


def _take_in(candidate: _Candidate) -> None:
    """Imports a plugin and takes over what it offers, if all of it can be used."""
    module = _import(candidate.module)
    if not isinstance(module, ModuleType):
        raise PluginError(f"it replaced itself in sys.modules by {type(module).__name__}, which is no module")
    offers, conf_dir = list(_collect_offers(module)), _conf_dir(module)
    plugin = candidate.plugin
    plugin.specs = [offer for offer in offers if isinstance(offer, Spec)]
    plugin.commands = [offer for offer in offers if isinstance(offer, CommandSpec)]
    plugin.conf_dir = conf_dir


def _explain(plugin: Plugin, error: BaseException) -> None:
    """Remembers why a plugin cannot be used."""
    if isinstance(error, PluginError):
        plugin.error = one_line(str(error), MAX_TEXT)
        return
    plugin.details = _printable_lines(traceback.format_exc())
    plugin.error = one_line(f"{type(error).__name__}: {error}", MAX_TEXT)


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text[-MAX_DETAILS:].splitlines()))


def _is_named_itself(error: ModuleNotFoundError, candidate: _Candidate) -> bool:
    """True if what is missing is the very module that the user named, rather than one that it needs."""
    named = candidate.plugin.origin in ("option", "environment") and isinstance(candidate.module, str)
    return named and f"{candidate.module}.".startswith(f"{error.name}.")


def _import(module: str | Path) -> ModuleType:
    if isinstance(module, str):
        return importlib.import_module(module.partition(":")[0])
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
    file = getattr(module, "__file__", None)
    folder = Path(file).parent / "conf" if file else None
    if folder is None or not folder.is_dir():
        return None
    check_presets(folder)
    return folder


def _collect_offers(module: ModuleType) -> Iterator[Offer]:
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
        yield from _offers_of_hook(getattr(module, name), name)


def _offers_of_hook(hook: Any, name: str) -> Iterator[Offer]:
    expected = HOOKS[name]
    offers = list(itertools.islice(hook(), MAX_OFFERS + 1))
    if len(offers) > MAX_OFFERS:
        raise PluginError(f"{name} yields more than {MAX_OFFERS} specs")
    for offer in offers:
        if type(offer) is not expected:  # a type of its own could say one thing now and another later
            raise PluginError(f"{name} yields {type(offer).__name__} instead of {expected.__name__}")
        yield checked(offer)
