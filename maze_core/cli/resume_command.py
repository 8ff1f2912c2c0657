"""``maze resume``."""

from __future__ import annotations

import click

from maze_core.cli.complete import complete_directory, complete_resume
from maze_core.cli.options import plugin_options, quiet_option, tell_problems, variable_option
from maze_core.cli.train_command import train


@click.command("resume")
@click.argument("run_dir", shell_complete=complete_directory)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_resume)
@variable_option
@plugin_options
@quiet_option
def command(
    run_dir: str,
    overrides: tuple[str, ...],
    variables: tuple[str, ...],
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    quiet: bool,
) -> int:
    """Go on with the run in RUN_DIR, exactly where its last checkpoint was.

    KEY=VALUE changes how long it goes on (runner.n_epochs, runner.total_env_steps, runner.stop_at_reward,
    runner.patience), how it is kept safe (runner.checkpoint.*, runner.on_env_error, runner.step_timeout,
    runner.raw_errors) and its callbacks; nothing else can change. Nothing in the directory is executed.
    """
    from maze_core.api import RunContext

    context = RunContext.resume(
        run_dir,
        overrides=overrides,
        plugins=plugins,
        local_plugins=not no_local,
        variables=variables,
        silent=quiet,
    )
    with context:
        tell_problems(context.registry)
        if context.finished is not None:
            click.echo(f"This run is finished: {context.finished}.")
            click.echo(f"To train it further, raise the limit that ended it: {context.ended_by}.")
            return 0
        return train(context, quiet)
