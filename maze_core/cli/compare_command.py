"""``maze compare``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from maze_core.cli.complete import complete_directory, complete_file
from maze_core.cli.options import json_option, print_json
from maze_core.errors import UserError
from maze_core.run_config import MEAN_RETURN

if TYPE_CHECKING:
    from maze_core.api.comparison_results import Comparison, TaskResult

MAX_REASONS, MAX_ROWS = 10, 50


@click.command("compare")
@click.argument("run_dirs", nargs=-1, required=True, metavar="RUN_DIR...", shell_complete=complete_directory)
@click.option(
    "--by", "by", multiple=True, metavar="KEY",
    help="What makes a group: algorithm, model, wrappers ..., or any setting such as algorithm.lr. May be repeated. "
    "Without it: the one setting that the runs differ in.",
)  # fmt: skip
@click.option(
    "--stage", type=click.Choice(("final_eval", "eval", "train")), default="final_eval", show_default=True,
    help="Which statistics are compared: of the final evaluation of the best policy, of evaluations, of training.",
)  # fmt: skip
@click.option(
    "--at", type=click.Choice(("last", "best")), default="last", show_default=True,
    help="Which of several evaluations or epochs stands for a run; for eval and train.",
)  # fmt: skip
@click.option("--metric", default=MEAN_RETURN, show_default=True, help="What is compared.")
@click.option("--lower-is-better", is_flag=True, help="Small numbers of that are good, as of costs.")
@click.option("--threshold", type=float, metavar="X", help="What counts as reached; the env's own if it is known.")
@click.option(
    "--normalize", "scales", multiple=True, metavar="ENV=LOW,HIGH",
    help="What counts as 0 and as 1 in an env. Given for each, the envs are also taken together.",
)  # fmt: skip
@click.option(
    "--html", "page", metavar="FILE", shell_complete=complete_file,
    help="Write all of it as a page, with curves to zoom into; an older page there is replaced.",
)  # fmt: skip
@click.option(
    "--png", "chart", metavar="FILE", shell_complete=complete_file,
    help="Draw learning curves into FILE, which is replaced; .svg and .pdf work too.",
)  # fmt: skip
@click.option("--csv", "table", metavar="FILE", shell_complete=complete_file, help="Write a row for each group.")
@click.option("--runs-csv", "runs", metavar="FILE", shell_complete=complete_file, help="Write a row for each run.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    run_dirs: tuple[str, ...],
    by: tuple[str, ...],
    stage: str,
    at: str,
    metric: str,
    lower_is_better: bool,
    threshold: float | None,
    scales: tuple[str, ...],
    page: str | None,
    chart: str | None,
    table: str | None,
    runs: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Compare the runs in and below each RUN_DIR over their seeds, and say whether that tells them apart.

    Runs that differ only in their seed are a group. Each gets the interquartile mean of its scores with a 95 %
    interval (stratified bootstrap), and every two the probability that one is better. Nothing in RUN_DIR is executed.
    """
    from maze_core.api.comparison import compare
    from maze_core.reports.charts import form_of
    from maze_core.reports.targets import check_targets

    if chart is not None:
        form_of(chart)
    check_targets(page, chart, table, runs)
    comparison = compare(
        list(run_dirs), by=list(by), stage=stage, at=at, metric=metric, lower_is_better=lower_is_better,
        threshold=threshold, normalize=dict(map(_scale, scales)),
    )  # fmt: skip
    written = [
        save(path)
        for save, path in (
            (comparison.save_page, page),
            (comparison.save_chart, chart),
            (comparison.save_table, table),
            (comparison.save_runs, runs),
        )
        if path is not None
    ]
    if as_json:
        print_json(comparison.as_data())
        return
    _show(comparison)
    for path in written:
        click.echo(f"Written: {path}")


def _scale(text: str) -> tuple[str, tuple[float, float]]:
    """ENV=LOW,HIGH."""
    name, _, ends = text.rpartition("=")
    try:
        low, high = map(float, ends.split(","))
    except ValueError:
        raise UserError(f"--normalize {text}: it must be ENV=LOW,HIGH, such as CartPole-v1=0,500.") from None
    return name, (low, high)


def _show(comparison: Comparison) -> None:
    """The whole comparison, for people."""
    for task in comparison.tasks:
        _show_task(comparison, task)
    if len(comparison.pairs) == 1:
        _say(comparison.pairs[0].sentence)
    if comparison.note:
        _say(comparison.note)
    for warning in comparison.warnings:
        _say(f"Warning: {warning}")
    n = len(comparison.left_out)
    if n:
        _say(f"Left out: {n} run{'s' * (n > 1)}. If they failed at what they ran, the rest looks too good.")
    for reason in comparison.left_out[:MAX_REASONS]:
        _say(f"  {reason}")
    if n > MAX_REASONS:
        _say(f"  and {n - MAX_REASONS} more; --json lists them.")


def _say(text: str) -> None:
    """A sentence, whose lines end between words where a person reads it."""
    if sys.stdout.isatty():
        text = textwrap.fill(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    click.echo(text)


def _show_task(comparison: Comparison, task: TaskResult) -> None:
    """What is to be read of one env."""
    from maze_core.console import print_table

    for table in comparison.tables(task):
        _say(table.title)
        print_table(table.columns, table.rows[:MAX_ROWS])
        hidden = len(table.rows) - MAX_ROWS
        click.echo(f"and {hidden} more; --json lists them.\n" if hidden > 0 else "")
