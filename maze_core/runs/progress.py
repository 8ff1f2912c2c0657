"""Where a run stands, for people who watch it: what its time is spent on, and how much of its budget is used."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from maze_core.protocols import Callback, RunProgress, Trainer

TELL_EVERY_S = 0.5
"""Seconds between updates after which callbacks are told where the run stands."""


class Teller:
    """Tells those callbacks that want to know where the run stands.

    Args:
        callbacks: All of them.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._listeners = [one for one in callbacks if type(one).on_update is not Callback.on_update]
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time to tell it; asked between any two updates, so it costs next to nothing."""
        return time.perf_counter() >= self._next and bool(self._listeners)

    def tell(self, progress: RunProgress) -> None:
        """Tells it."""
        self._next = time.perf_counter() + TELL_EVERY_S
        for callback in self._listeners:
            callback.on_update(progress)

    def expect_news(self) -> None:
        """Something happened that is to be told at once."""
        self._next = 0.0


def phases(trainer: Trainer, now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Seconds in this process, by what they were spent on.

    Args:
        trainer: Its attribute ``seconds``, if it has one, says it of training.
        now: ``train_s``, ``evaluation_s``, ``wall_s``: seconds of the run so far.
        before: The same, before this process.
    """
    here = {name: seconds - before[name] for name, seconds in now.items()}
    found = dict(getattr(trainer, "seconds", None) or {"training": here["train_s"]})
    found["evaluation"] = here["evaluation_s"]
    return {**found, "other": max(0.0, here["wall_s"] - sum(found.values()))}


def used_share(epochs: float, n_epochs: int | None, env_steps: int, total_env_steps: int | None) -> float | None:
    """How much of a run's budget is used, from 0 to 1, by what ends first; None without a budget.

    Args:
        epochs: Epochs so far, with the part of the one under way.
        n_epochs: How many there are to be.
        env_steps: Env steps so far.
        total_env_steps: How many there are to be.
    """
    shares = [] if n_epochs is None else [epochs / n_epochs]
    shares += [] if total_env_steps is None else [env_steps / total_env_steps]
    return min(1.0, max(shares)) if shares else None
