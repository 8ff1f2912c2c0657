"""What completes what when TAB is pressed: options, keys, values and names of plugins.

An answer must come at once, so nothing here imports torch, Gymnasium, NumPy or Hydra: configuration
files are read with a few regular expressions, and options from the registered config classes.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import click
from click.shell_completion import CompletionItem

from maze_core.errors import NothingUsableError, PluginError
from maze_core.field_docs import FieldDoc, field_docs
from maze_core.plugins import PluginSources, load_plugins
from maze_core.presets import group_options, search_path
from maze_core.registry import GROUPS, KINDS, LIST_GROUPS, Registry
from maze_core.run_config import CHANGEABLE, CheckpointConfig, RolloutConfig, SweepConfig, TrainingConfig
from maze_core.runs.files import read_file
from maze_core.specs import Spec

Items = list[CompletionItem[str]]
Candidates = Iterable[tuple[str, str]]
"""What can be written, each with what it means."""

EXPERIMENT = "experiment"
NESTED_MODEL = re.compile(r"(critic\.)?model\.(actors\.\w+|default)|critic\.model")
"""The same as in `maze_core.config.overrides`, whose import takes too long here; a test compares them."""

SCHEMAS: dict[str, type] = {"training_schema": TrainingConfig, "rollout_schema": RolloutConfig,
                             "sweep_schema": SweepConfig}  # fmt: skip
ADOPTED, TRAINED = ("env", "wrappers", "model", "critic", "algorithm"), "trained"
"""The same as in `maze_core.config`, for the same reason: what a configuration describes, and what a rollout takes over
from a run."""


def complete_overrides(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes ``KEY=VALUE``: keys of what is selected so far, then the values that can be named."""
    line = Line.of(ctx)
    sign = incomplete[:1] if incomplete[:1] in ("+", "~") else ""
    key, equals, value = incomplete.removeprefix(sign).partition("=")
    if sign == "~":
        return _matching(((f"~{name}", doc) for name, doc in line.removable()), incomplete)
    if not equals:
        return _matching(((f"{sign}{name}", doc) for name, doc in line.keys(added=bool(sign))), incomplete)
    if key.endswith(("_dir", "_file")):
        return [CompletionItem(value, type="dir" if key.endswith("_dir") else "file")]
    given, comma, _ = value.rpartition(",") if line.takes_several(key) else ("", "", value)
    written = f"{sign}{key}={given}{comma}"
    candidates = ((name, doc) for name, doc in line.values(key) if name not in given.split(","))
    return _matching(((f"{written}{name}", doc) for name, doc in candidates), incomplete)


def complete_resume(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes the keys that may change when a run goes on."""
    parts = {"runner.checkpoint": [f"runner.checkpoint.{field.name}" for field in dataclasses.fields(CheckpointConfig)]}
    return _matching(((f"{key}=", "") for group in CHANGEABLE for key in parts.get(group, [group])), incomplete)


def complete_list_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes what `maze list` lists."""
    from maze_core.cli.list_command import KINDS as PLURALS

    return _matching(((plural, "") for plural in (*PLURALS, "presets")), incomplete)


def complete_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes the kind of a spec."""
    return _matching(((kind, "") for kind in KINDS), incomplete)


def complete_spec(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes the name of a spec, of the kind that stands before it."""
    kind = str(ctx.params.get("kind"))
    specs = _registry(ctx).specs(kind if kind in KINDS else kind.removesuffix("s"))
    return _matching(((spec.name, spec.summary) for spec in specs), incomplete)


def complete_plugin(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes the name of a plugin; those that failed to load have names too."""
    plugins = _registry(ctx).plugins
    return _matching(((p.name, f"failed: {p.error}" if p.error else p.label) for p in plugins), incomplete)


def complete_config_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Completes the name of a root configuration."""
    files = {file.stem: file for folder in reversed(Line.of(ctx).directories) for file in sorted(folder.glob("*.yaml"))}
    return _matching(((name, _first_comment(file)) for name, file in files.items()), incomplete)


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Lets the shell complete a file."""
    return [CompletionItem(incomplete, type="file")]


def complete_directory(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Lets the shell complete a directory."""
    return [CompletionItem(incomplete, type="dir")]


def _matching(candidates: Candidates, incomplete: str) -> Items:
    return [CompletionItem(text, help=doc or None) for text, doc in candidates if text.startswith(incomplete)]


def _registry(ctx: click.Context) -> Registry:
    """All plugins that the line names; where that fails, those that are found without it."""
    environ = {name: value for name, value in os.environ.items() if name != "MAZE_STRICT"}
    local = None if ctx.params.get("no_local") else Path.cwd()
    for named in (tuple(ctx.params.get("plugins") or ()), ()):
        try:
            return Registry(load_plugins(PluginSources(named=named, local_dir=local, environ=environ)))
        except PluginError:
            continue
    return Registry(())


@dataclass(frozen=True)
class Line:
    """What stands on a command line before the word that is completed.

    Args:
        registry: All specs.
        config_dirs: The user's own config directories.
        config_name: Root configuration.
        overrides: Complete overrides.
        multirun: Whether every value may be a list of values to run.
        run: Directory of the run that is named with ``--run``; empty if none is.
    """

    registry: Registry
    config_dirs: tuple[Path, ...]
    config_name: str
    overrides: tuple[str, ...]
    multirun: bool
    run: str = ""

    @classmethod
    def of(cls, ctx: click.Context) -> Line:
        """Reads what click has parsed so far."""
        defaults = {param.name: param.default for param in ctx.command.params}
        directory, name = ctx.params.get("config_dir"), ctx.params.get("config_name") or defaults.get("config_name")
        swept = name is None  # only `maze sweep` has overrides and no name of a root configuration
        return cls(
            _registry(ctx),
            () if directory is None else (Path(directory).expanduser(),),
            SweepConfig.config_name if swept else str(name).removesuffix(".yaml"),
            tuple(ctx.params.get("overrides") or ()),
            swept or bool(ctx.params.get("multirun")),
            str(ctx.params.get("run") or ""),
        )

    @cached_property
    def directories(self) -> list[Path]:
        """Where configuration files are found, first wins."""
        return [directory for _, directory in search_path(self.registry, self.config_dirs)]

    @cached_property
    def root(self) -> type:
        """What the configuration describes."""
        return root_of(self.config_name, self.directories) or TrainingConfig

    def takes_several(self, key: str) -> bool:
        """True if a comma separates values of this key."""
        return self.multirun or key in LIST_GROUPS

    def keys(self, added: bool) -> Iterator[tuple[str, str]]:
        """All keys that can be set and are not set yet.

        Args:
            added: Whether ``+`` stands before the key; then only what one can append to or invent.
        """
        given = {text.partition("=")[0] for text in self.overrides}
        if not {EXPERIMENT, f"+{EXPERIMENT}"} & given:
            yield f"{EXPERIMENT}=", "A complete run by name."
        configs = {"": self.root} | {f"{place}.": spec.config for place, spec in self.places().items()}
        for doc in [doc for prefix, config in configs.items() for doc in _docs(config, prefix)]:
            is_mapping = isinstance(doc.default, dict) and doc.name not in GROUPS
            if (is_mapping or doc.name in LIST_GROUPS) if added else doc.name not in given:
                yield f"{doc.name}{'.' if is_mapping else '='}", doc.doc

    def removable(self) -> Iterator[tuple[str, str]]:
        """Keys that ``~`` can leave out."""
        yield from ((place, spec.summary) for place, spec in self.places().items() if _group(place) in LIST_GROUPS)
        yield from ((group, f"No {group} at all.") for group in self._groups() if group in LIST_GROUPS)

    def values(self, key: str) -> Iterator[tuple[str, str]]:
        """All values of a key, as far as they can be named."""
        group = "model" if NESTED_MODEL.fullmatch(key) else key
        if group in GROUPS or group == EXPERIMENT:
            for source in group_options(self.registry, self.config_dirs, group):
                spec = None if source.file else self.registry.get(GROUPS[group], source.name)
                yield source.name, spec.summary if spec else _first_comment(Path(source.file))
            return
        configs = {f"{place}.": spec.config for place, spec in self.places().items()}
        owner = max((place for place in configs if key.startswith(place)), key=len, default="")
        yield from ((value, "") for value in _values(configs.get(owner, self.root), key.removeprefix(owner)))

    def places(self) -> dict[str, Spec]:
        """The spec chosen at each place of the configuration: ``env``, ``wrappers.<key>``, ``model.default``."""
        found: dict[str, Spec] = {}
        choices = self._choices()
        for group in self._groups():
            specs = [spec for name in choices.get(group, []) for spec in self._specs(group, name)]
            for number, spec in enumerate(specs):
                copies = specs[:number].count(spec)
                key = f"{group}.{spec.name}_{copies + 1}" if copies else f"{group}.{spec.name}"
                found[key if group in LIST_GROUPS else group] = spec
        for text in self.overrides:
            key, _, name = text.removeprefix("+").partition("=")
            if text.startswith("~"):
                found.pop(key.removeprefix("~"), None)
            elif NESTED_MODEL.fullmatch(key):
                for spec in self._specs("model", name):
                    found[key] = spec
        return found

    def _choices(self) -> dict[str, list[str]]:
        """Options chosen by group: by the root configuration, by an experiment, then by hand."""
        by_hand: dict[str, list[str]] = {}
        appended: dict[str, list[str]] = {}
        for text in self.overrides:
            key, _, value = text.partition("=")
            if key.startswith("+") and key[1:] in LIST_GROUPS:
                appended.setdefault(key[1:], []).extend(_names(value))
            else:
                by_hand[key.lstrip("+~")] = _names(value)
        chosen = self._chosen_by(self.config_name) | self._adopted()
        for name in by_hand.get(EXPERIMENT, chosen.get(EXPERIMENT, [])):
            chosen |= self._chosen_by(f"{EXPERIMENT}/{name}")
        chosen |= by_hand
        return chosen | {group: chosen.get(group, []) + names for group, names in appended.items()}

    def _groups(self) -> Iterator[str]:
        """The groups of the configuration."""
        return (field.name for field in dataclasses.fields(self.root) if field.name in GROUPS)

    def _adopted(self) -> dict[str, list[str]]:
        """What a rollout takes over from the run that is named."""
        named = [text.removeprefix("input_dir=") for text in self.overrides if text.startswith("input_dir=")]
        run = self.run or (named[-1] if named else "")
        if self.root is not RolloutConfig or not run:
            return {}
        recorded = recorded_choices(Path(run).expanduser())
        return {"policy": [TRAINED]} | {group: recorded.get(group, []) for group in ADOPTED} if recorded else {}

    def _chosen_by(self, name: str, seen: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """Options chosen by a configuration file and by those that it builds on."""
        files = (directory / f"{name}.yaml" for directory in self.directories)
        file = next((file for file in files if file.is_file()), None)
        chosen: dict[str, list[str]] = {}
        if file is None or name in seen:
            return chosen
        for group, names in read_defaults(file):
            if group:
                chosen[group] = names
                continue
            for other in names:
                chosen |= self._chosen_by(str(PurePosixPath(name).parent / other), (*seen, name))
        return chosen

    def _specs(self, group: str, name: str, seen: tuple[str, ...] = ()) -> list[Spec]:
        """The specs behind an option: its own, or those that a preset varies."""
        sources = {source.name: source for source in group_options(self.registry, self.config_dirs, group)}
        if name in sources and sources[name].file and name not in seen:
            below = [n for key, names in read_defaults(Path(sources[name].file)) if key in ("", group) for n in names]
            return [spec for other in below for spec in self._specs(group, other, (*seen, name))]
        return [spec for spec in self.registry.specs(GROUPS[group]) if spec.name == name]


def _group(place: str) -> str:
    return place.partition(".")[0]


def _docs(config: type, prefix: str) -> list[FieldDoc]:
    """The options of a config; a class that cannot be read costs only its own."""
    try:
        return field_docs(config, prefix)
    except Exception:  # whatever the defaults of a plugin's config raise
        return []


def _values(config: Any, path: str) -> list[str]:
    """The values of a field, given by its dotted path, if its type names them all."""
    for part in path.split("."):
        hints = typing.get_type_hints(config) if dataclasses.is_dataclass(config) else {}
        config = hints.get(part)
    return [value for hint in typing.get_args(config) or (config,) for value in _named_values(hint)]


def _named_values(hint: Any) -> list[str]:
    if hint is bool:
        return ["true", "false"]
    if hint is type(None):
        return ["null"]
    return [member.name for member in hint] if isinstance(hint, type) and issubclass(hint, enum.Enum) else []


def root_of(name: str, directories: Sequence[Path], seen: tuple[str, ...] = ()) -> type | None:
    """What a root configuration describes, by the schema that it builds on; None if that cannot be seen.

    Args:
        name: Of the configuration.
        directories: Where configuration files are, first wins.
        seen: Those that build on it.
    """
    file = next((file for file in (directory / f"{name}.yaml" for directory in directories) if file.is_file()), None)
    if file is None or name in seen:
        return None
    own = [other for group, names in read_defaults(file) if not group for other in names]
    found = (SCHEMAS.get(other) or root_of(other, directories, (*seen, name)) for other in own)
    return next((root for root in found if root is not None), None)


def recorded_choices(run: Path) -> dict[str, list[str]]:
    """Names of the components of a run, by group, as its configuration lists them; empty if it has none."""
    try:
        lines = read_file(run / "config.yaml", 2**20).decode(errors="replace").splitlines()
    except NothingUsableError:
        return {}
    found: dict[str, list[str]] = {}
    start = lines.index("components:") + 1 if "components:" in lines else len(lines)
    for line in takewhile(lambda line: line.startswith("  "), lines[start:]):
        entry = re.fullmatch(r"  (\w+)(\.\w+)?: (\w+)", line)
        if entry and bool(entry[2]) == (entry[1] in LIST_GROUPS):
            found.setdefault(entry[1], []).append(entry[3])
    return found


def read_defaults(file: Path) -> list[tuple[str, list[str]]]:
    """The defaults list of a configuration file, as (group, names); an own entry has an empty group.

    It knows the form in which such lists are written, one entry in a line or all in brackets;
    what it does not know it leaves out.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("defaults:")), len(lines))
    found = [("", _names(line.removeprefix("defaults:"))) for line in lines[start : start + 1]]
    for line in takewhile(lambda line: line.lstrip()[:1] in ("", "-", "#"), lines[start + 1 :]):
        entry = re.fullmatch(r"\s*-\s*(?:override\s+)?(?:/?(\w+)\s*:)?(.*)", line)
        if entry:
            found.append((entry[1] or "", _names(entry[2])))
    return found


def _names(text: str) -> list[str]:
    """The names in ``a``, ``a,b`` or ``[a, b]``; none in ``null``."""
    names = [name.strip(" '\"") for name in text.partition("#")[0].strip(" []").split(",")]
    return [name for name in names if name not in ("", "null", "~")]


def _first_comment(file: Path) -> str:
    """What a configuration file says about itself in its first line that is no directive."""
    comments = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return next((text for text in (line.strip("# ") for line in comments) if not text.startswith("@")), "")
