"""``maze list``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_list_kind
from maze_core.cli.options import json_option, plugin_options, print_json, registry_of
from maze_core.errors import unknown_name

KINDS = {
    "envs": "env",
    "wrappers": "wrapper",
    "models": "model",
    "critics": "critic",
    "algorithms": "algorithm",
    "runners": "runner",
    "policies": "policy",
    "callbacks": "callback",
    "sweepers": "sweeper",
    "commands": "command",
}


@click.command("list")
@click.argument("what", metavar="|".join([*KINDS, "presets"]), default="all", shell_complete=complete_list_kind)
@plugin_options
@json_option
def command(what: str, plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> None:
    """List what can be selected, of one kind or of all."""
    if what not in (*KINDS, "presets", "all"):
        raise click.UsageError(unknown_name("kind", what, [*KINDS, "presets"]))
    from maze_core.console import print_table

    registry = registry_of(plugins, no_local)
    kinds = list(KINDS) if what == "all" else [what]
    rows = _presets(registry) if what == "presets" else [row for kind in kinds for row in _specs(registry, kind)]
    if as_json:
        print_json(rows)
    elif rows:
        columns = [column for column in rows[0] if what == "all" or column != "kind"]
        print_table(columns, [[row[column] for column in columns] for row in rows])
    else:
        hint = "a YAML file in conf/<group>/" if what == "presets" else f"the hook maze_{_hook(what)}"
        click.echo(f"There are no {what} yet. A plugin adds one with {hint}.")


def _hook(what: str) -> str:
    return "trainers" if what == "algorithms" else what


def _specs(registry: object, what: str) -> list[dict[str, str]]:
    from maze_core.registry import Registry

    assert isinstance(registry, Registry)
    return [
        {"kind": offer.kind, "name": offer.name, "plugin": registry.owner(offer).label, "summary": offer.summary}
        for offer in registry.offers(KINDS[what])
    ]


def _presets(registry: object) -> list[dict[str, str]]:
    from maze_core.config.overrides import EXPERIMENT
    from maze_core.presets import group_options
    from maze_core.registry import GROUPS, Registry

    assert isinstance(registry, Registry)
    return [
        {"group": group, "name": source.name, "plugin": source.provider, "file": source.file}
        for group in (*GROUPS, EXPERIMENT)
        for source in group_options(registry, (), group)
        if source.file
    ]
