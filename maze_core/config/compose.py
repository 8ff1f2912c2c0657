"""Composes a configuration: checks what was asked for, lets Hydra compose it, says in sentences what is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from maze_core.config.hydra_loader import ROOTS, HydraLoader, hydra_loader
from maze_core.config.overrides import (
    EXPERIMENT,
    Item,
    Normalised,
    group_overrides,
    keys_of,
    normalise,
)
from maze_core.errors import ConfigError, UserError
from maze_core.presets import contested, group_options, search_path
from maze_core.registry import GROUPS, LIST_GROUPS, Registry
from maze_core.run_config import RunConfig, TrainingConfig


@dataclass(frozen=True)
class ConfigRequest:
    """What to compose.

    Args:
        config_name: Root configuration, a file in one of the config directories.
        items: Overrides.
        config_dirs: The user's own config directories, first wins.
        root: What it must describe, one of `ROOTS`; None for any of them.
    """

    config_name: str = "conf_train"
    items: Sequence[Item] = ()
    config_dirs: Sequence[Path] = ()
    root: type | None = TrainingConfig


@dataclass
class Composition:
    """A composed configuration.

    Args:
        cfg: The tree, typed nodes for the chosen options.
        choices: Options chosen by group; a list for a list group.
        values: Overrides of values, not applied yet.
        asked: Groups of which an option was asked for by name.
        appended: List groups to which options were appended.
        root: What it describes.
    """

    cfg: DictConfig
    choices: dict[str, Any]
    values: list[Item] = field(default_factory=list)
    asked: Collection[str] = ()
    appended: Collection[str] = ()
    root: type[RunConfig] = TrainingConfig


def compose(registry: Registry, request: ConfigRequest) -> Composition:
    """Composes groups and presets; overrides of values come back unapplied.

    Raises:
        UserError: If an option, a root configuration or a directory does not exist, or an
            experiment is contradicted.
        ConfigError: If a configuration file is wrong.
    """
    for directory in request.config_dirs:
        if not directory.is_dir():
            raise UserError(f"--config-dir {directory}: there is no such directory.")
    with hydra_loader(registry, request.config_dirs) as loader:
        return _Composer(registry, loader, request).compose()


class _Composer:
    """One composition: checks what was asked for, lets Hydra compose it, puts lists into order.

    Args:
        registry: All specs.
        loader: Hydra's loader, which sees them.
        request: What to compose.
    """

    def __init__(self, registry: Registry, loader: HydraLoader, request: ConfigRequest) -> None:
        self.registry, self.loader, self.request = registry, loader, request
        self.wanted = normalise(request.items)

    def compose(self) -> Composition:
        """Checks and composes."""
        self._check_root()
        self._check_options()
        self._check_carried_fields()
        asked = set(self.wanted.choices)
        self._resolve_appended()
        self._check_nested()
        composition = self._load(self.wanted.choices, self.wanted.nested)
        composition.root = self._root(composition)
        _order_lists(composition, self.wanted)
        composition.values = self.wanted.values
        composition.asked, composition.appended = asked, set(self.wanted.appended)
        return composition

    def _root(self, composition: Composition) -> type[RunConfig]:
        """What the configuration describes, which must be what was asked for."""
        found: Any = OmegaConf.get_type(composition.cfg)
        wanted: Any = self.request.root
        if found not in ROOTS:
            return wanted or TrainingConfig
        if wanted not in (None, found):
            raise UserError(
                f"configuration {self.request.config_name!r} describes a {ROOTS[found]}, and a {ROOTS[wanted]} needs "
                f"another, such as {wanted.config_name}."
            )
        return found  # type: ignore[no-any-return]

    def _check_root(self) -> None:
        name = self.request.config_name.removesuffix(".yaml")
        directories = [directory for _, directory in search_path(self.registry, self.request.config_dirs)]
        if "/" in name or not any((directory / f"{name}.yaml").is_file() for directory in directories):
            known = sorted({file.stem for directory in directories for file in directory.glob("*.yaml")})
            raise UserError(f"--config-name {name}: there is no {name}.yaml. Known: {', '.join(known)}.")

    def _check_options(self) -> None:
        wanted = self.wanted
        lists = [*wanted.choices.items(), *wanted.appended.items()]
        chosen = [(group, name) for group, names in lists for name in names]
        for group, name in chosen + [(group, name) for group, _, name in wanted.nested]:
            known = [source.name for source in group_options(self.registry, self.request.config_dirs, group)]
            rivals = contested(self.registry, group, name) if name not in known else []
            if rivals:
                raise UserError(
                    f"preset {group}={name} is offered by plugins {' and '.join(rivals)}, so that neither is used.\n"
                    "Switch one off with MAZE_DISABLE_PLUGINS=<plugin>."
                )
            if name not in known:
                raise UserError(self.registry.explain_missing(GROUPS.get(group, group), name, known))

    def _check_carried_fields(self) -> None:
        """Refuses fields that an experiment or a root file sets for an option that is not chosen.

        Hydra would silently carry them into the option that is.
        """
        names = self.wanted.choices.get(EXPERIMENT, [])
        others = [group for group in self.wanted.choices if group != EXPERIMENT]
        sources = [(f"{EXPERIMENT} {name!r}", f"{EXPERIMENT}/{name}") for name in names]
        sources.append((f"configuration {self.request.config_name!r}", self.request.config_name))
        for label, file in sources if others else []:
            content: Any = getattr(self.loader.repository.load_config(file), "config", {})
            carried = [group for group in others if isinstance(content.get(group), DictConfig) and content[group]]
            own = self._load({EXPERIMENT: names} if names else {}).choices if carried else {}
            for group in carried:
                chosen = self.wanted.choices[group]
                if own[group] != (chosen if group in LIST_GROUPS else chosen[0]):
                    keys = ", ".join(f"{group}.{key!s}" for key in content[group])
                    raise UserError(
                        f"{label} sets {keys} for {group}={own[group]}, and the command line selects "
                        f"{group}={','.join(chosen)}. Leave out one of the two."
                    )

    def _resolve_appended(self) -> None:
        """Turns options that are appended into the whole list."""
        wanted = self.wanted
        if not wanted.appended:
            return
        base = self._load({group: names for group, names in wanted.choices.items() if group not in wanted.appended})
        for group, names in wanted.appended.items():
            wanted.choices[group] = [*wanted.choices.get(group, base.choices[group]), *names]

    def _check_nested(self) -> None:
        """Refuses a model for one actor where the chosen model has no such place."""
        if not self.wanted.nested:
            return
        base = self._load(self.wanted.choices)
        for _, path, name in self.wanted.nested:
            top, field_name, *_ = path.split(".")
            if field_name not in (base.cfg.get(top) or ()):
                raise ConfigError(
                    f"{path}={name}: {top}={base.choices.get(top)} has no {field_name!r}. "
                    + (
                        "Add model=per_actor to give actors models."
                        if top == "model"
                        else "Choose critic=shared or critic=per_sub_step, whose networks are their own."
                    )
                )

    def _load(self, choices: Mapping[str, Sequence[str]], nested: Sequence[tuple[str, str, str]] = ()) -> Composition:
        """Composes with Hydra, whose errors become sentences."""
        name = self.request.config_name
        groups = [line for group, names in choices.items() for line in group_overrides(group, names)]
        below = [f"{group}@{path}={option}" for group, path, option in nested]
        try:
            try:
                return self._load_once(groups + below)
            except ConfigCompositionException:
                if not below:
                    raise
                return self._load_once(groups + [f"+{line}" for line in below])  # not in the preset so far
        except MissingConfigException as error:
            group, _, missing = str(error.missing_cfg_file).rpartition("/")
            known = group in GROUPS
            reason = self.registry.explain_missing(GROUPS[group], missing) if known else _reason(error)
            raise ConfigError(f"the configuration {name!r} cannot be composed: {reason}") from error
        except RecursionError:
            chosen = ", ".join(f"{group}={','.join(names)}" for group, names in choices.items())
            raise ConfigError(
                f"the configuration {name!r} cannot be composed: a preset builds on itself"
                f"{f' ({chosen})' if chosen else ''}. Give it another name than the option that it varies."
            ) from None
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            unused = re.search(r"Could not override '(\w+)'", str(error))
            if unused and unused[1] in choices:
                group = unused[1]
                raise UserError(f"{group}={','.join(choices[group])}: configuration {name!r} has no {group}.") from None
            raise ConfigError(f"the configuration {name!r} cannot be composed: {_reason(error)}") from error

    def _load_once(self, overrides: list[str]) -> Composition:
        """Composes, and finds which options were chosen."""
        name = self.request.config_name
        cfg = self.loader.load_configuration(name, overrides, run_mode=RunMode.RUN, from_shell=False)
        choices = {group: cfg.hydra.runtime.choices.get(group) for group in (*GROUPS, EXPERIMENT)}
        entries = self.loader.entries
        for group in LIST_GROUPS:
            prefix = f"{group}/"
            choices[group] = [
                str(entry.config_path).removeprefix(prefix)
                for entry in entries
                if str(entry.config_path).startswith(prefix) and not str(entry.parent).startswith(prefix)
            ]
            inside = [str(entry.config_path) for entry in entries if str(entry.parent).startswith(prefix)]
            repeated = {
                path for path in inside if inside.count(path) > 1 or path.removeprefix(prefix) in choices[group]
            }
            if repeated:
                name = repeated.pop().removeprefix(prefix)
                raise ConfigError(
                    f"{name} is part of a preset in {group}={','.join(choices[group])}, and is named twice."
                )
        with open_dict(cfg):
            del cfg["hydra"]
        return Composition(cfg, choices)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: Hydra hides what matters below several layers."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}"
    return " ".join(str(error).partition("Config search path:")[0].split())


def _order_lists(composition: Composition, wanted: Normalised) -> None:
    """Puts a list group's entries into the order in which they were named."""
    for group in LIST_GROUPS:
        names = wanted.choices.get(group, [])
        node = composition.cfg.get(group)
        if node is None or len(set(names)) == len(names):
            continue
        named = keys_of(names)
        first_preset = next((key for key in named if key not in node), None)
        order: list[Any] = []
        for key in named:
            if key in node:
                order.append(key)
            elif key == first_preset:
                order += [other for other in node if other not in named]
        with open_dict(composition.cfg):
            entries = {key: node._get_node(key) for key in order}
            composition.cfg[group] = {}
            for key, entry in entries.items():
                composition.cfg[group][key] = entry
