"""``maze reproduce``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_directory, complete_file, complete_resume
from maze_core.cli.options import plugin_options, variable_option

DIFFERS = 7
"""Exit code for numbers that are not the same again."""


@click.command("reproduce")
@click.argument("run_dir", shell_complete=complete_directory)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_resume)
@click.option("--to", metavar="DIR", shell_complete=complete_file, help="Directory of the new run.")
@variable_option
@plugin_options
def command(
    run_dir: str,
    overrides: tuple[str, ...],
    to: str | None,
    variables: tuple[str, ...],
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
) -> int:
    """Run what RUN_DIR recorded again, and say whether the same numbers come out.

    Configuration and seed are those of RUN_DIR; the statistics of every epoch are compared bit by bit, up to the first
    one that differs. Nothing in RUN_DIR is executed or changed. KEY=VALUE changes where it executes, as in maze resume.
    The exit code is 0 if all is identical, and 7 if something differs.
    """
    from maze_core.api.reproduction import in_words, reproduce
    from maze_core.console import Output

    out = Output()
    try:
        result = reproduce(
            run_dir,
            overrides=overrides,
            to=to,
            plugins=plugins,
            local_plugins=not no_local,
            variables=variables,
            tell=lambda n, total: out.bar("rows that are identical", n, total),
        )
    finally:
        out.end_progress()
    for line in in_words(result):
        click.echo(line)
    if result.signal is not None:
        return 128 + result.signal
    return 0 if result.identical else DIFFERS
