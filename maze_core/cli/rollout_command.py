"""``maze rollout``."""

from __future__ import annotations

import traceback
from pathlib import Path

import click

from maze_core.cli.complete import complete_directory
from maze_core.cli.options import config_options, quiet_option, tell_problems, tell_results, variable_option
from maze_core.errors import MazeError, masked


@click.command("rollout")
@config_options("conf_rollout")
@click.option(
    "--run",
    "run",
    metavar="RUN_DIR",
    shell_complete=complete_directory,
    help="Use the env, the wrappers and the best policy of this run; the same as input_dir=RUN_DIR.",
)
@variable_option
@quiet_option
def command(
    overrides: tuple[str, ...],
    config_name: str,
    config_dir: Path | None,
    run: str | None,
    variables: tuple[str, ...],
    plugins: tuple[str, ...],
    no_local: bool,
    debug: bool,
    quiet: bool,
) -> int:
    """Run a policy in episodes, and tell, record or show what it does.

    KEY=VALUE selects an option of a group (env=..., policy=random, runner=dev) or sets a value (n_episodes=100,
    max_env_steps=500, trajectories=true, render=gif, policy.deterministic=false). Without --run, random actions
    play CartPole-v1. Nothing in RUN_DIR is executed.
    """
    from maze_core.api.rollout_request import RolloutRequest, prepare
    from maze_core.api.rollouts import perform
    from maze_core.console import Output

    directories = () if config_dir is None else (config_dir,)
    request = RolloutRequest(
        {}, {"input_dir": run}, overrides, config_name, directories, plugins, not no_local, variables
    )
    prepared = prepare(request)
    tell_problems(prepared.registry)
    try:
        result = perform(prepared, record=False, save=True, out=Output(terminal=not quiet))
        if quiet:
            tell_results(result.directory)
    except MazeError:
        if getattr(prepared.config.runner, "raw_errors", False):
            click.echo(masked(traceback.format_exc()), err=True, nl=False)
        raise
    return 0
