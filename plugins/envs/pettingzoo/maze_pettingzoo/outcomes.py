"""How a game ended, as key figures whose means over episodes are rates."""

from __future__ import annotations

from collections.abc import Mapping


def outcome_of(episode_return: float, finished: bool) -> dict[str, float]:
    """Whether one agent won, lost or neither.

    Args:
        episode_return: The sum of its rewards in a zero-sum game.
        finished: False for a game that a limit cut off, which is none of these.
    """
    return {
        "win_rate": float(finished and episode_return > 0),
        "draw_rate": float(finished and episode_return == 0),
        "loss_rate": float(finished and episode_return < 0),
    }


def outcomes_of_all(returns: Mapping[str, float], finished: bool) -> dict[str, float]:
    """Who of all agents won, or that nobody did.

    Args:
        returns: The sum of the rewards of each in a zero-sum game.
        finished: False for a game that a limit cut off.
    """
    won = {agent: finished and value > 0 for agent, value in returns.items()}
    rates = {f"{agent}_win_rate": float(wins) for agent, wins in won.items()}
    return {**rates, "draw_rate": float(finished and not any(won.values()))}
