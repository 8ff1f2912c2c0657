"""``maze plugins``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maze_core.cli.complete import complete_plugin
from maze_core.cli.options import json_option, plugin_options, print_json
from maze_core.cli.plugins_new import new
from maze_core.errors import masked, printable

if TYPE_CHECKING:
    from maze_core.plugins import Plugin
    from maze_core.registry import Registry
    from maze_core.testing.checks import Report
    from maze_core.testing.conformance import Checks

CLEAR_LINE = "\r\x1b[K"
"""Clears the line of a terminal on which the cursor is."""


@click.group("plugins")
def command() -> None:
    """List, show, check and begin plugins."""


command.add_command(new)


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
    offers = [{"kind": offer.kind, "name": offer.name, "summary": offer.summary} for offer in plugin.offers]
    if as_json:
        print_json({**_row(registry, plugin), "location": plugin.location, "conf": plugin.conf_dir, "offers": offers})
        return
    where = printable(plugin.location)
    click.echo(f"{plugin.name}: {plugin.distribution or 'no package'}, found as {plugin.origin}, {where}")
    click.echo(f"status: {_row(registry, plugin)['status']}")
    if plugin.conf_dir is not None:
        click.echo(f"presets: {plugin.conf_dir}")
    if offers:
        click.echo()
        print_table(["kind", "name", "summary"], [list(offer.values()) for offer in offers])


@command.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_plugin)
@plugin_options
@click.option("--fast", is_flag=True, help="Leave out the checks that train for some seconds.")
@json_option
def check(
    names: tuple[str, ...], plugins: tuple[str, ...], no_local: bool, debug: bool, fast: bool, as_json: bool
) -> int:
    """Check plugins, all or those named: that they load, and that all they offer does what it must.

    These are the checks of maze_core.testing, which run under pytest too.
    """
    from maze_core.testing.checks import classes_for
    from maze_core.testing.conformance import loaded

    known = _registry(plugins, no_local)
    chosen = [known.plugin(name).name for name in names] or [plugin.name for plugin in known.plugins]
    loaded.cache_clear()
    registry = loaded(plugins, not no_local, str(Path.cwd()))
    rows = []
    for plugin in [registry.plugin(name) for name in dict.fromkeys(chosen)]:
        reports = [
            _checked(checks, plugin.name, fast) for checks in classes_for(registry, plugin, plugins, not no_local)
        ]
        problems = [problem for report in reports for problem in report.problems]
        rows.append({"plugin": plugin.name, "ok": not problems, "problems": problems})
        if not as_json:
            click.echo(f"{_verdict(not problems)}  {plugin.name} ({plugin.label})")
            told: set[str] = set()
            for report in reports:
                _print_report(report, told)
    n_failed = sum(not row["ok"] for row in rows)
    if as_json:
        print_json(rows)
    else:
        click.echo(f"{len(rows) - n_failed} of {len(rows)} plugins work.")
    return 2 if n_failed else 0


def _checked(checks: type[Checks], plugin: str, fast: bool) -> Report:
    """Runs the checks of one thing; a terminal shows how far they are."""
    from maze_core.testing.checks import checks_of, run_checks

    terminal, total = _on_terminal(), len(checks_of(checks, fast))
    for report in run_checks(checks, fast):
        if terminal:
            click.echo(
                f"{CLEAR_LINE}checking {plugin}: {report.what}, {report.n_checks} of {total}", err=True, nl=False
            )
    if terminal:
        click.echo(CLEAR_LINE, err=True, nl=False)
    return report


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _verdict(works: bool) -> str:
    return "ok    " if works else "FAILED"


def _print_report(report: Report, told: set[str]) -> None:
    """One line for a thing, and below it what is wrong and what is worth knowing, each once for a plugin."""
    skipped = f", {report.n_skipped} do not apply" if report.n_skipped else ""
    n_problems = f", {len(report.problems)} problems" if len(report.problems) > 1 else ""
    click.echo(f"        {_verdict(not report.problems)}  {report.what}: {report.n_checks} checks{skipped}{n_problems}")
    for text in (*report.problems, *(f"note: {note}" for note in report.notes)):
        if text in told:
            continue
        told.add(text)
        click.echo("\n".join(f"                {printable(line)}" for line in masked(text).rstrip().splitlines()))


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
    offers = ", ".join(f"{offer.kind} {offer.name}" for offer in plugin.offers)
    return {
        "plugin": plugin.name, "version": plugin.version or "-", "from": plugin.origin,
        "offers": offers or "-", "status": "; ".join([status, *plugin.notes]),
    }  # fmt: skip
