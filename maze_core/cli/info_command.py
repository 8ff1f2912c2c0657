"""``maze info``."""

from __future__ import annotations

import click

from maze_core.cli.options import json_option, plugin_options, print_json, registry_of
from maze_core.errors import unknown_name


@click.command("info")
@click.argument("kind")
@click.argument("name")
@plugin_options
@json_option
def command(kind: str, name: str, plugins: tuple[str, ...], no_local: bool, debug: bool, as_json: bool) -> None:
    """Explain one thing that can be selected, such as `maze info env gym_env`, with all its options."""
    from maze_core.console import print_options
    from maze_core.field_docs import field_docs
    from maze_core.registry import KINDS

    kind = kind.removesuffix("s") if kind.removesuffix("s") in KINDS else kind
    if kind not in KINDS:
        raise click.UsageError(unknown_name("kind", kind, KINDS))
    registry = registry_of(plugins, no_local)
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
    group = f"{spec.group}.{name}" if spec.group in ("wrappers", "callbacks") else spec.group
    click.echo(f"{kind} {name}: {spec.summary}")
    click.echo(f"Plugin: {registry.owner(spec).label}. Select it with {spec.group}={name}.")
    click.echo()
    if docs:
        print_options(group, docs)
    else:
        click.echo("It has no options.")
