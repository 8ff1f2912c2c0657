"""``maze plugins new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from maze_core.cli.complete import complete_directory
from maze_core.cli.init_command import show_next
from maze_core.cli.options import plugin_options
from maze_core.scaffold import KINDS, check_free, check_name, check_package, distribution_files, write_new

TRY = {
    "env": "maze train env={name}",
    "wrapper": "maze train wrappers={name}",
    "model": "maze train model={name}",
    "critic": "maze train critic={name} algorithm=ppo",
    "algorithm": "maze train algorithm={name}",
    "runner": "maze train runner={name}",
    "policy": "maze rollout policy={name}",
    "callback": "maze train +callbacks={name}",
    "sweeper": "maze sweep sweeper={name} algorithm.lr=0.05,0.1,0.2",
    "command": "maze {name} --help",
}
"""The first thing that one does with what is new."""


@click.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it offers.")
@click.option(
    "--dir",
    "parent",
    default=".",
    type=click.Path(path_type=Path),
    shell_complete=complete_directory,
    help="Where its folder is made; here if not given.",
)
@plugin_options
def new(name: str, kind: str, parent: Path, plugins: tuple[str, ...], no_local: bool, debug: bool) -> None:
    """Make a package maze-NAME that offers one thing, called NAME, with its tests.

    It works, and is there to be changed. No file is replaced.
    """
    from maze_core.cli.main import COMMANDS
    from maze_core.registry import load_registry

    check_name(name)
    registry = load_registry(plugins, not no_local)
    check_package(name, registry)
    check_free(name, kind, registry, [*COMMANDS, *registry.names("command")])
    files = distribution_files(name, kind)
    folder = parent / f"maze-{name.replace('_', '-')}"
    write_new(folder, files)
    click.echo(f"Package: {folder.resolve()}")
    for path in files:
        click.echo(f"         {path}")
    where = shlex.quote(str(folder))
    where = where if "/" in where else f"./{where}"  # pip would take it for the name of a package
    show_next([f"pip install -e {where}", TRY[kind].format(name=name), f"pytest {where}"])
