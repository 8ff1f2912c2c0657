"""The command: what a trained policy bakes."""

from __future__ import annotations

import click

from maze_bakery.config import WEEKDAYS


@click.command("bakery")
@click.argument("run_dir")
def command(run_dir: str) -> None:
    """Show what the best policy of the run in RUN_DIR bakes on each weekday."""
    from maze_core import UserError, rollout

    played = rollout(input_dir=run_dir, n_episodes=1, max_env_steps=len(WEEKDAYS), save=False, silent=True, seed=0)
    (episode,) = played.trajectories
    days, loaves = episode.observations["substep_0"], episode.actions["substep_0"]
    if set(days.tolist()) != set(range(len(WEEKDAYS))):
        raise UserError(f"the policy of {run_dir} does not see the weekday.")
    for day, baked in sorted(zip(days.tolist(), loaves.tolist(), strict=False)):  # of the final observation none
        click.echo(f"{WEEKDAYS[day]}  {baked:3}")
