"""``maze train``."""

from __future__ import annotations

import traceback
from pathlib import Path

import click

from maze_core.cli.options import config_options, tell_problems
from maze_core.errors import MazeError


@click.command("train")
@config_options
@click.option("--multirun", "-m", is_flag=True, help="Run every combination of the values named, one after the other.")
def command(
    overrides: tuple[str, ...],
    config_name: str,
    config_dir: Path | None,
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    multirun: bool,
) -> int:
    """Train a policy.

    KEY=VALUE selects an option of a group (algorithm=es, wrappers=a,b) or sets a value
    (algorithm.lr=0.01). Without any, Evolution Strategies train on CartPole-v1.
    """
    from maze_core.config import expand_sweeps

    jobs = expand_sweeps(overrides) if multirun else [list(overrides)]
    arguments = {
        "config_name": config_name,
        "config_dir": config_dir,
        "plugins": plugins,
        "local_plugins": not no_local,
    }
    if len(jobs) == 1:
        return _train(jobs[0], **arguments)
    return _train_all(jobs, **arguments)


def _train(overrides: list[str], **arguments: object) -> int:
    from maze_core.api import RunContext

    with RunContext(overrides=overrides, **arguments) as context:  # type: ignore[arg-type]
        tell_problems(context.registry)
        try:
            return context.train().exit_code
        except MazeError:
            if context.raw_errors:
                traceback.print_exc()
            raise


def _train_all(jobs: list[list[str]], **arguments: object) -> int:
    """Runs jobs one after the other; one that fails does not keep the others from running."""
    failures: list[tuple[int, MazeError]] = []
    for number, overrides in enumerate(jobs):
        click.echo(f"maze: job {number + 1} of {len(jobs)}: {' '.join(overrides)}", err=True)
        try:
            code = _train(_own_directory(overrides, number), **arguments)
        except MazeError as error:
            click.echo(f"maze: job {number + 1} failed: {error}", err=True)
            failures.append((number, error))
            continue
        if code:
            return code
    if failures:
        click.echo(f"maze: {len(failures)} of {len(jobs)} jobs failed.", err=True)
        return failures[0][1].exit_code
    return 0


def _own_directory(overrides: list[str], number: int) -> list[str]:
    """Gives each job a directory of its own below the one that was named."""
    return [f"{text}/{number}" if text.startswith("run_dir=") else text for text in overrides]
