"""``maze board``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_directory
from maze_core.errors import printable


@click.command("board")
@click.argument("directory", default="outputs", shell_complete=complete_directory)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Where it listens; a free one from 6006 on if not given."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Any other address lets others read your runs.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(directory: str, port: int | None, host: str, debug: bool) -> int:
    """Show the runs below DIRECTORY (outputs/ if not given) in TensorBoard, until Ctrl-C.

    Only event files are read, and nothing in the directory is executed. Runs that begin later appear too.
    """
    from maze_core.board import Board, is_local

    with Board(directory, port, host) as board:
        if not is_local(host):
            click.echo(f"maze: whoever reaches this machine at {printable(host)} can read these runs.", err=True)
        if not board.n_runs:
            click.echo(f"There are no runs below {printable(directory)} yet. They appear when they begin.")
        try:
            click.echo(f"TensorBoard of {printable(directory)}: {board.url}  (Ctrl-C ends it)")
            board.wait()
        except KeyboardInterrupt:
            click.echo("")
    return 0
