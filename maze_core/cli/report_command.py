"""``maze report``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_directory, complete_file
from maze_core.cli.options import plugin_options, variable_option


@click.command("report")
@click.argument("run_dirs", nargs=-1, required=True, metavar="RUN_DIR...", shell_complete=complete_directory)
@click.option(
    "--to", "path", metavar="FILE", shell_complete=complete_file, help="Where to; an older report is replaced."
)
@click.option("--png", metavar="FILE", shell_complete=complete_file, help="The curves as a picture; also .svg, .pdf.")
@click.option("--csv", metavar="FILE", shell_complete=complete_file, help="All statistics as a table.")
@click.option("--no-animation", is_flag=True, help="Do not play an episode.")
@variable_option
@plugin_options
def command(
    run_dirs: tuple[str, ...],
    path: str | None,
    png: str | None,
    csv: str | None,
    no_animation: bool,
    variables: tuple[str, ...],
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
) -> None:
    """Write a page about one run, or several side by side: one HTML file that needs no network.

    It goes to report.html in RUN_DIR, of several runs in the current directory. A run may be going on, killed or
    damaged. Nothing in RUN_DIR is executed; an episode is played with the plugins that are installed here.
    """
    from maze_core.api.reports import report

    written = report(
        run_dirs, path, png=png, csv=csv, animation=not no_animation, plugins=plugins, local_plugins=not no_local,
        variables=variables,
    )  # fmt: skip
    for label, file in (("Report", written), ("Picture", png), ("Table", csv)):
        if file is not None:
            click.echo(f"{label + ':':<9}{file}")
