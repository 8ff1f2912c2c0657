"""Values that change over a run."""

from __future__ import annotations

from collections.abc import Iterable

from maze_core.enums import Schedule
from maze_core.errors import UserError


def scheduled(value: float, schedule: Schedule, update: int, horizon: int | None) -> float:
    """The value of an update.

    Args:
        value: Of the first update.
        schedule: constant, or linear: zero would be reached by the update after the last.
        update: Number of the update, from 0.
        horizon: Updates of the whole run; needed for linear. Beyond it the last value stays.
    """
    if schedule is Schedule.constant:
        return value
    assert horizon is not None
    return value * (1 - min(update, horizon - 1) / horizon)


def check_horizon(schedules: Iterable[Schedule], horizon: int | None) -> None:
    """Checks that schedules know when they end.

    Raises:
        UserError: If one is linear and there is no horizon.
    """
    if horizon is None and Schedule.linear in schedules:
        raise UserError(
            "a linear schedule needs to know when it ends. Set runner.n_epochs or runner.total_env_steps, "
            "or use the schedule constant."
        )
