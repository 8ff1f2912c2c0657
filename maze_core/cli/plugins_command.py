"""``maze plugins``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from maze_core.cli.complete import complete_plugin
from maze_core.cli.options import json_option, plugin_options, print_json
from maze_core.errors import PluginError

if TYPE_CHECKING:
    from maze_core.plugins import Plugin
    from maze_core.registry import Registry


@click.group("plugins")
def command() -> None:
    """List, show and check plugins."""


@command.command("list")
@plugin_options
@json_option
def list_plugins(plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> None:
    """List all plugins that were found, and which of them work."""
    from maze_core.console import print_table

    registry = _registry(plugins, no_local)
    rows = [_row(registry, plugin) for plugin in registry.plugins]
    if as_json:
        print_json(rows)
        return
    print_table(list(rows[0]), [[str(cell) for cell in row.values()] for row in rows])


@command.command("show")
@click.argument("name", shell_complete=complete_plugin)
@plugin_options
@json_option
def show(name: str, plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> None:
    """Show one plugin: where it comes from, and what it offers."""
    from maze_core.console import print_table

    registry = _registry(plugins, no_local)
    plugin = registry.plugin(name)
    offers = [{"kind": spec.kind, "name": spec.name, "summary": spec.summary} for spec in plugin.specs]
    if as_json:
        print_json({**_row(registry, plugin), "location": plugin.location, "conf": plugin.conf_dir, "offers": offers})
        return
    click.echo(f"{plugin.name}: {plugin.distribution or 'no package'}, found as {plugin.origin}, {plugin.location}")
    click.echo(f"status: {_row(registry, plugin)['status']}")
    if plugin.conf_dir is not None:
        click.echo(f"presets: {plugin.conf_dir}")
    if offers:
        click.echo()
        print_table(["kind", "name", "summary"], [list(offer.values()) for offer in offers])


@command.command("check")
@click.argument("name", required=False, shell_complete=complete_plugin)
@plugin_options
@json_option
def check(name: str | None, plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> int:
    """Check that plugins load, and that what they offer can be built and is documented."""
    from maze_core.config import check_specs

    registry = _registry(plugins, no_local)
    check_specs(registry)
    chosen = [registry.plugin(name)] if name else registry.plugins
    problems = {plugin.name: _problems(registry, plugin) for plugin in chosen}
    failed = sum(map(bool, problems.values()))
    if as_json:
        print_json([{"plugin": name, "ok": not found, "problems": found} for name, found in problems.items()])
        return 2 if failed else 0
    for plugin in chosen:
        found = problems[plugin.name]
        click.echo(f"{'FAILED' if found else 'ok':6}  {plugin.name} ({plugin.label})")
        for problem in found:
            click.echo("\n".join(f"        {line}" for line in problem.rstrip().splitlines()))
    click.echo(f"{len(chosen) - failed} of {len(chosen)} plugins work.")
    return 2 if failed else 0


def _registry(plugins: tuple[str, ...], no_local: bool) -> Registry:
    from maze_core.registry import load_registry

    return load_registry(plugins, not no_local)


def _conflicts(registry: Registry, plugin: Plugin) -> list[str]:
    return [f"{kind} {name}" for (kind, name), owners in registry.conflicts.items() if plugin in owners]


def _row(registry: Registry, plugin: Plugin) -> dict[str, Any]:
    conflicts = _conflicts(registry, plugin)
    status = f"failed: {plugin.error}" if plugin.error else "ok"
    if conflicts and not plugin.error:
        status = f"conflict: {', '.join(conflicts)} also offered by another plugin"
    offers = ", ".join(f"{spec.kind} {spec.name}" for spec in plugin.specs)
    return {
        "plugin": plugin.name, "version": plugin.version or "-", "from": plugin.origin,
        "offers": offers or "-", "status": status,
    }  # fmt: skip


def _problems(registry: Registry, plugin: Plugin) -> list[str]:
    from maze_core.field_docs import field_docs
    from maze_core.specs import resolve_build

    found = [plugin.details or plugin.error] if plugin.error else []
    found += [
        f"{what} is offered by another plugin too, so that neither is used" for what in _conflicts(registry, plugin)
    ]
    for spec in plugin.specs:
        label = f"{spec.kind} {spec.name}"
        for build in (spec.build, getattr(spec, "build_vector", None), getattr(spec, "resolve", None)):
            try:
                resolve_build(build) if build is not None else None
            except Exception as error:  # whatever the import of a plugin's module raises
                found.append(f"{label}: {build!r}: {type(error).__name__}: {error}")
        try:
            spec.config()
        except Exception as error:  # whatever a plugin's own check raises
            found.append(f"{label}: its config has no valid defaults: {type(error).__name__}: {error}")
        try:
            bare = [doc.name for doc in field_docs(spec.config) if not doc.doc]
            found += [f"{label}: the option {name!r} has no docstring" for name in bare]
        except PluginError as error:
            found.append(f"{label}: {error}")
    return found
