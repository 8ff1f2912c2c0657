"""``maze export``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_directory, complete_file
from maze_core.cli.options import plugin_options, variable_option
from maze_core.enums import ExportForm


@click.command("export")
@click.argument("run_dir", shell_complete=complete_directory)
@click.option("--to", "path", metavar="PATH", shell_complete=complete_file, help="Where to; nothing is replaced.")
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in ExportForm]),
    default=ExportForm.maze.value,
    show_default=True,
    help="One file that maze_core.load_policy loads, or a folder with an ONNX model for each actor.",
)
@variable_option
@plugin_options
def command(
    run_dir: str,
    path: str | None,
    form: str,
    variables: tuple[str, ...],
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
) -> None:
    """Write the best policy of the run in RUN_DIR for use elsewhere, with its normalisation and spaces.

    The file needs the plugin of its model, but not those of its env and algorithm. Nothing in RUN_DIR is executed.
    """
    from maze_core.api import export

    written = export(run_dir, path, form, plugins=plugins, local_plugins=not no_local, variables=variables)
    click.echo(f"Policy: {written}")
    if form == ExportForm.maze.value:
        click.echo(f"Use:    maze_core.load_policy({str(written)!r}).compute_action(observation)")
    else:
        for file in sorted(written.iterdir()):
            click.echo(f"Model:  {file}")
