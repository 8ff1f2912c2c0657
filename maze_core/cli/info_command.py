"""``maze info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from maze_core.cli.complete import complete_kind, complete_spec
from maze_core.cli.options import json_option, plugin_options, print_json, registry_of
from maze_core.errors import unknown_name

if TYPE_CHECKING:
    from maze_core.registry import Registry


@click.command("info")
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name", shell_complete=complete_spec)
@plugin_options
@json_option
def command(kind: str, name: str, plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> None:
    """Explain one thing that can be selected, such as `maze info env gym_env`, with all its options."""
    from maze_core.console import print_options
    from maze_core.field_docs import field_docs
    from maze_core.registry import KINDS, LIST_GROUPS

    kind = kind.removesuffix("s") if kind.removesuffix("s") in KINDS else kind
    if kind not in KINDS:
        raise click.UsageError(unknown_name("kind", kind, KINDS))
    registry = registry_of(plugins, no_local)
    if name not in registry.names(kind) and _print_preset(registry, kind, name):
        return
    spec = registry.get(kind, name)
    docs = field_docs(spec.config)
    if as_json:
        fields = [
            {"name": d.name, "type": d.type, "default": d.default, "allowed": d.allowed, "doc": d.doc} for d in docs
        ]
        print_json(
            {
                "kind": kind,
                "name": name,
                "plugin": registry.owner(spec).label,
                "summary": spec.summary,
                "fields": fields,
            }
        )
        return
    group = f"{spec.group}.{name}" if spec.group in LIST_GROUPS else spec.group
    click.echo(f"{kind} {name}: {spec.summary}")
    click.echo(f"Plugin: {registry.owner(spec).label}. Select it with {spec.group}={name}.")
    click.echo()
    if docs:
        print_options(group, docs)
    else:
        click.echo("It has no options.")


def _print_preset(registry: Registry, kind: str, name: str) -> bool:
    """Prints the file of a preset; False if there is none of this name."""
    from maze_core.presets import group_options
    from maze_core.registry import GROUPS

    group = next(group for group, of_kind in GROUPS.items() if of_kind == kind)
    file = next((source.file for source in group_options(registry, (), group) if source.name == name), "")
    if file:
        click.echo(f"{kind} {name}: a preset, {file}\n\n{Path(file).read_text(encoding='utf-8').rstrip()}")
    return bool(file)
