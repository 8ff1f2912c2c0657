"""``maze config``."""

from __future__ import annotations

from pathlib import Path

import click

from maze_core.cli.options import config_options, json_option, print_json, registry_of


@click.command("config")
@config_options("conf_train")
@click.option("--diff", is_flag=True, help="Only what differs from the defaults.")
@json_option
def command(
    overrides: tuple[str, ...],
    config_name: str,
    config_dir: Path | None,
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    diff: bool,
    as_json: bool,
) -> None:
    """Show the configuration that `maze train` would run with, or `maze rollout` with -cn conf_rollout.

    Nothing is built or written.
    """
    from maze_core.config import ConfigRequest, configure
    from maze_core.config.overrides import read_items
    from maze_core.field_docs import as_text

    registry = registry_of(plugins, no_local)
    directories = () if config_dir is None else (config_dir,)
    configured = configure(registry, ConfigRequest(config_name, read_items(overrides), directories, None))
    for note in configured.notes:
        click.echo(f"maze: {note}", err=True)
    if not diff:
        print_json(configured.to_data()) if as_json else click.echo(configured.to_yaml(), nl=False)
        return
    defaults = configure(registry, ConfigRequest(config_name, [], directories, None))
    changes = configured.differences(defaults)
    if as_json:
        print_json([{"key": key, "default": default, "value": value} for key, default, value in changes])
        return
    for key, default, value in changes:
        click.echo(f"{key}: {as_text(default)} -> {as_text(value)}")
    if not changes:
        click.echo("Nothing differs from the defaults.")
