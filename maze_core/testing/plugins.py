"""Checks of a plugin as a whole."""

from __future__ import annotations

from pathlib import Path

from maze_core.config import ConfigRequest, configure
from maze_core.config.overrides import EXPERIMENT, items_of_mapping
from maze_core.errors import MazeError, MissingPackageError
from maze_core.plugins import Plugin
from maze_core.presets import CORE_CONF
from maze_core.registry import GROUPS
from maze_core.specs import resolve_build
from maze_core.testing.configurations import composed
from maze_core.testing.conformance import Checks


class PluginConformance(Checks):
    """Checks of a plugin: ``name`` is that of its entry point, its module, or its folder."""

    what = "plugin"

    @property
    def plugin(self) -> Plugin:
        """The plugin."""
        with self.telling():
            return self.registry.plugin(self.name)

    def test_loads(self) -> None:
        """Every command can use it, all of it."""
        plugin = self.plugin
        self.expect(not plugin.error, (plugin.details or plugin.error).rstrip())
        taken = [f"{kind} {name}" for (kind, name), owners in self.registry.conflicts.items() if plugin in owners]
        self.expect(
            not taken, f"{', '.join(taken)} is offered by another plugin too, so that neither is used. Rename it."
        )

        self.expect(not plugin.notes, f"loading it changed the process: {'; '.join(plugin.notes)}.")

    def test_commands_can_be_imported(self) -> None:
        """Each is a command of click."""
        for spec in self.plugin.commands:
            with self.telling(f"command {spec.name}"):
                command = spec.build if not isinstance(spec.build, str) else resolve_build(spec.build)
            names = [f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(command).__mro__]
            self.expect(
                "click.Command" in names,
                f"command {spec.name} is a {type(command).__name__}; build must lead to a click.Command.",
            )

    def test_imports_are_light(self) -> None:
        """Listing and completing import its module and its configs."""
        plugin = self.plugin
        if not plugin.error:
            self.expect_light(plugin)

    def test_presets_and_experiments_compose(self) -> None:
        """Every file in its conf/ can be chosen."""
        folder = CORE_CONF if self.plugin.origin == "core" else self.plugin.conf_dir
        for file in sorted(folder.glob("*/*.yaml")) if folder else ():
            group = file.parent.name
            self.expect(
                group in (*GROUPS, EXPERIMENT),
                f"{_shown(file)} lies in no group; folders of conf/ are {', '.join((*GROUPS, EXPERIMENT))}.",
            )
            try:
                if group == EXPERIMENT:
                    items = items_of_mapping({EXPERIMENT: file.stem})
                    notes = configure(self.registry, ConfigRequest(items=items)).notes
                else:
                    notes = composed(self.registry, {group: file.stem}).notes
            except MissingPackageError as error:
                self.note(f"{_shown(file)} cannot be composed here: {error}")
                continue
            except MazeError as error:
                self.fail(f"{_shown(file)} cannot be composed: {error}")
            for note in notes:
                self.note(f"{_shown(file)}: {note}")


def _shown(file: Path) -> str:
    return "/".join(file.parts[-3:])
