"""``maze runs``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maze_core.cli.complete import complete_directory
from maze_core.cli.options import json_option, print_json
from maze_core.errors import MazeError, NothingUsableError, printable

if TYPE_CHECKING:
    from maze_core.runs.stored_run import Condition, StoredRun

COLUMNS = ("run", "status", "best", "epochs", "env steps", "age")


@click.command("runs")
@click.argument("directory", default="outputs", shell_complete=complete_directory)
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(directory: str, as_json: bool, debug: bool) -> None:
    """List the runs below DIRECTORY (outputs/ if not given), or show one run in detail."""
    from maze_core.runs.stored_run import StoredRun, find_runs, is_run_directory

    folder = Path(directory).expanduser()
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError):
        where = "Runs are below outputs/ unless run_dir= named a place."
        raise NothingUsableError(f"{directory} is no directory. {where}") from None
    except OSError as error:
        raise NothingUsableError(f"{directory} cannot be read: {error.strerror}.") from None
    if is_run_directory(folder):
        run = StoredRun(folder)
        _show_one(run, run.condition(), as_json)
        return
    rows = [_row(path, folder) for path in find_runs(folder)]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"There are no runs below {directory}. Start one with: maze train")
    else:
        from maze_core.console import print_table

        print_table(COLUMNS, [_cells(row) for row in rows])


def _row(path: Path, folder: Path) -> dict[str, Any]:
    from maze_core.runs.stored_run import StoredRun

    name = printable(str(path.relative_to(folder)))
    try:
        condition = StoredRun(path).condition()
    except MazeError as error:
        return {"run": name, "status": "damaged", "problems": [str(error)]}
    return {"run": name, **_as_data(condition)}


def _as_data(condition: Condition) -> dict[str, Any]:
    return {
        "status": condition.status,
        **condition.summary,
        "changed_s": round(condition.age_s, 1),
        "holder": None if condition.holder is None else str(condition.holder),
        "problems": condition.problems,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    best, steps = row.get("best_reward"), row.get("env_steps")
    return [
        row["run"],
        row["status"],
        "-" if best is None else f"{best:.3f}",
        _or_dash(row.get("epoch")),
        "-" if steps is None else f"{steps:,}",
        _ago(row["changed_s"]) if "changed_s" in row else "-",
    ]


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _show_one(run: StoredRun, condition: Condition, as_json: bool) -> None:
    """One run in detail."""
    data = {"run": printable(str(run.path.resolve())), **_as_data(condition)}
    if as_json:
        print_json(data)
        return
    row = dict(zip(COLUMNS, _cells(data), strict=True))
    if data["stop_reason"] is not None:
        row["ended"] = data["stop_reason"]
    if data["holder"] is not None:
        row["held by"] = data["holder"]
    for key, value in row.items():
        click.echo(f"{key:<10}{value}")
    for problem in condition.problems:
        click.echo(f"{'damaged':<10}{problem}")
    if condition.status == "killed" and condition.summary["updates"] is not None:
        click.echo(f"{'next':<10}maze resume {shlex.quote(run.shown)}")
    elif condition.status == "finished":
        click.echo(f"{'next':<10}maze train input_dir={shlex.quote(run.shown)}  (and the env and model of this run)")
