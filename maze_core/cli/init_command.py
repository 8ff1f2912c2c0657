"""``maze init``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from maze_core.cli.complete import complete_directory


@click.command("init")
@click.argument("directory", default=".", type=click.Path(path_type=Path), shell_complete=complete_directory)
@click.option("--name", default="my_env", show_default=True, help="Name of its env.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(directory: Path, name: str, debug: bool) -> None:
    """Make a project in DIRECTORY (here if not given): an env, a wrapper, a model, a run that trains them, and tests.

    Everything in it works, and is there to be changed. No file is replaced.
    """
    from maze_core.registry import load_registry
    from maze_core.scaffold import check_free, check_name, project_files, write_new

    check_name(name)
    registry = load_registry(local_plugins=False)
    offers = {"env": name, "experiment": name, "wrapper": f"{name}_trend", "model": f"{name}_linear"}
    for kind, offered in offers.items():
        check_free(offered, kind, registry)
    files = project_files(name)
    write_new(directory, files)
    click.echo(f"Project: {directory.resolve()}")
    for path in files:
        click.echo(f"         {path}")
    moves = [] if directory.resolve() == Path.cwd() else [f"cd {shlex.quote(str(directory))}"]
    show_next([*moves, f"maze train env={name}", f"maze train experiment={name}", "pytest"])


def show_next(commands: list[str]) -> None:
    """Prints what to run next."""
    for number, line in enumerate(commands):
        click.echo(f"{'' if number else 'Next:':<9}{line}")
