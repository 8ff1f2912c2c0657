"""``maze train``."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maze_core.cli.options import as_block, config_options, tell_problems
from maze_core.errors import EnvFaultError, MazeError, StorageError, masked

if TYPE_CHECKING:
    from maze_core.api import RunContext


@click.command("train")
@config_options("conf_train")
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
    from maze_core.api import RunContext
    from maze_core.api.multirun import in_own_directory
    from maze_core.config import expand_sweeps

    jobs = expand_sweeps(overrides) if multirun else [list(overrides)]
    arguments = {
        "config_name": config_name,
        "config_dir": config_dir,
        "plugins": plugins,
        "local_plugins": not no_local,
    }
    several = [in_own_directory({"overrides": job}, number) for number, job in enumerate(jobs, 1)]
    chosen = several if len(jobs) > 1 else [{"overrides": jobs[0]}]
    contexts = [RunContext(**{**job, **arguments}) for job in chosen]
    tell_problems(contexts[0].registry)
    if len(jobs) == 1:
        return train(contexts[0])
    return _train_all(contexts, jobs)


def train(context: RunContext) -> int:
    """Trains, and returns the exit code; says how a run that was stopped can go on."""
    with context:
        try:
            return context.train().exit_code
        except MazeError as error:
            if context.raw_errors:
                click.echo(masked(traceback.format_exc()), err=True, nl=False)
            if isinstance(error, (EnvFaultError, StorageError)) and context.resume_command is not None:
                click.echo(f"maze: the run can go on from its last checkpoint: {context.resume_command}", err=True)
            raise


def _train_all(contexts: list[RunContext], jobs: list[list[str]]) -> int:
    """Runs jobs one after the other; one that fails does not keep the others from running."""
    failures: list[MazeError] = []
    for number, (context, overrides) in enumerate(zip(contexts, jobs, strict=True), start=1):
        click.echo(f"maze: job {number} of {len(jobs)}: {' '.join(overrides)}", err=True)
        try:
            code = train(context)
        except MazeError as error:
            click.echo(as_block(f"job {number} failed: {error}"), err=True)
            failures.append(error)
            continue
        if code:
            return code
    if failures:
        click.echo(f"maze: {len(failures)} of {len(jobs)} jobs failed.", err=True)
        return failures[0].exit_code
    return 0
