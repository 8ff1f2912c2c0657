"""``maze sweep``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maze_core.cli.complete import complete_directory, complete_overrides
from maze_core.cli.options import as_block, plugin_options, quiet_option, registry_of, tell_nothing

if TYPE_CHECKING:
    from maze_core.api.sweep import Sweep
    from maze_core.sweeps import EndedTrial

N_SHOWN = 5


@click.command("sweep")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_overrides)
@click.option(
    "-cd",
    "--config-dir",
    type=click.Path(path_type=Path),
    shell_complete=complete_directory,
    help="Directory with configuration files of your own.",
)
@quiet_option
@plugin_options
def command(
    overrides: tuple[str, ...],
    config_dir: Path | None,
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    quiet: bool,
) -> int:
    """Look for good values of options: a sweeper proposes them, and runs show what they are worth.

    KEY=VALUE is as in maze train. What varies is written 'algorithm.lr=tag(log,interval(1e-4,1e-1))',
    'algorithm.n_envs=int(interval(4,32))' or algorithm.n_envs=4,8,16, or stands in sweeper.space of a preset. The same
    command with its run_dir= goes on with a sweep that was interrupted, or with more trials (sweeper.n_trials).
    """
    from maze_core.api.sweep import sweep

    registry_of(plugins, no_local)
    tell = tell_nothing if quiet else click.echo
    done = sweep(overrides, config_dir=config_dir, plugins=plugins, local_plugins=not no_local, tell=tell)
    _show(done)
    return done.exit_code


def _show(done: Sweep) -> None:
    from maze_core.console import print_table

    for number, problem in sorted(done.failures.items()):
        click.echo(as_block(f"trial {number} failed: {problem}"), err=True)
        click.echo(f"      log: {shlex.quote(str(done.directory / 'logs' / f'{number}.log'))}", err=True)
    if done.trials:
        keys = list(done.trials[0].trial.values)
        print_table(("trial", "outcome", "value", *keys), [_cells(trial, keys) for trial in done.trials[:N_SHOWN]])
    if done.signal is not None:
        click.echo(f"Go on:  {done.again}")
    if done.best is not None:
        values = [f"{key}={_text(value)}" for key, value in done.best.trial.values.items()]
        command = shlex.join(["maze", "train", "--multirun", *done.overrides, *values, "seed=range(5)"])
        click.echo(f"The best of many is lucky, too. See what it is worth with other seeds:\n  {command}")


def _cells(ended: EndedTrial, keys: list[str]) -> list[str]:
    value = "-" if ended.value is None else f"{ended.value:.3f}"
    return [str(ended.trial.number), ended.outcome.value, value, *(_text(ended.trial.values.get(key)) for key in keys)]


def _text(value: object) -> str:
    from maze_core.field_docs import as_text

    return as_text(value)
