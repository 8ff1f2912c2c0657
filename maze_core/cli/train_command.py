"""``maze train``."""

from __future__ import annotations

import shlex
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maze_core.cli.options import (
    as_block,
    config_options,
    quiet_option,
    registry_of,
    tell_nothing,
    tell_problems,
    tell_results,
)
from maze_core.errors import EnvFaultError, MazeError, StorageError, masked

if TYPE_CHECKING:
    from maze_core.api import RunContext
    from maze_core.api.jobs import Multirun


@click.command("train")
@config_options("conf_train")
@click.option("--multirun", "-m", is_flag=True, help="Run every combination of the values named.")
@click.option("--zip", "zipped", is_flag=True, help="With --multirun: the n-th values belong together.")
@click.option(
    "--parallel", "-p", type=click.IntRange(1), metavar="N",
    help="With --multirun: how many runs at the same time; one for each core if not given.",
)  # fmt: skip
@quiet_option
def command(
    overrides: tuple[str, ...],
    config_name: str,
    config_dir: Path | None,
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    multirun: bool,
    zipped: bool,
    parallel: int | None,
    quiet: bool,
) -> int:
    """Train a policy.

    KEY=VALUE selects an option of a group (algorithm=es, wrappers=a,b) or sets a value
    (algorithm.lr=0.01). Without any, Evolution Strategies train on CartPole-v1.

    With --multirun a value may be several (a=1,2 b=range(3)), and there is a run for each combination, all of them
    below one directory. The same command with its run_dir= goes on with those that are not finished.
    """
    from maze_core.api import RunContext, jobs

    if (zipped or parallel) and not multirun:
        raise click.UsageError(f"{'--zip' if zipped else '--parallel'} is for several runs; add --multirun.")
    sources: dict[str, Any] = {
        "config_name": config_name,
        "config_dir": config_dir,
        "plugins": plugins,
        "local_plugins": not no_local,
    }  # fmt: skip
    if multirun:
        registry_of(plugins, no_local)
        tell = tell_nothing if quiet else click.echo
        return _show_jobs(jobs.multirun(overrides, zipped=zipped, n_parallel=parallel, tell=tell, **sources))
    context = RunContext(overrides=list(overrides), silent=quiet, **sources)
    tell_problems(context.registry)
    return train(context, quiet)


def train(context: RunContext, quiet: bool = False) -> int:
    """Trains, and returns the exit code; says how a run that was stopped can go on."""
    with context:
        try:
            summary = context.train()
            if quiet:
                tell_results(summary.directory)
                if summary.signal is not None and summary.final is None and context.resume_command is not None:
                    click.echo(f"Go on where it ended:  {context.resume_command}")
            return summary.exit_code
        except MazeError as error:
            if context.raw_errors:
                click.echo(masked(traceback.format_exc()), err=True, nl=False)
            if isinstance(error, (EnvFaultError, StorageError)) and context.resume_command is not None:
                click.echo(f"maze: the run can go on from its last checkpoint: {context.resume_command}", err=True)
            raise


def _show_jobs(done: Multirun) -> int:
    """Tells which jobs failed and how all of them go on; returns the exit code."""
    for result in done.failures:
        click.echo(as_block(f"job {result.job.number} failed: {result.job.what}\n{result.problem}"), err=True)
        click.echo(f"      log: {shlex.quote(str(result.job.log))}", err=True)
    counts = Counter(result.status for result in done.results)
    click.echo(f"{len(done.results)} jobs: {', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}.")
    if counts["finished"] < len(done.results):
        click.echo(f"Go on with those that are not finished:  {done.again}")
    if counts["finished"] > 1:
        click.echo(f"Compare them:  maze compare {shlex.quote(str(done.directory))}")
    return done.exit_code
