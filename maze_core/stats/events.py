"""Events and KPIs: what an env wants known about an episode besides its return.

An env declares groups of events, fires them while it steps, and hands the episode's values over in
the info of the ending step; they are reduced from step to episode in the env, and from episode to
epoch by the run. Nothing travels per step.

```python
SALES = EventGroup("SalesEvents", sold=Event("sum"), stock=Event("mean", "max"))

class Shop(gymnasium.Env):
    def __init__(self, config):
        self.events = EventRecorder(SALES)
    def reset(self, *, seed=None, options=None):
        self.events.reset()
        ...
    def step(self, action):
        self.events.fire(SALES, "sold", 3)
        ...
        info = self.events.episode(revenue_per_step=...) if terminated or truncated else {}
```
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError, PluginError
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents

LOG = logging.getLogger("maze")

HISTOGRAM = "histogram"
REDUCTIONS = {"sum": "total", "mean": "mean", "min": "min", "max": "max", "count": "count", HISTOGRAM: HISTOGRAM}
"""From step to episode: how one says it in a declaration, and in the name of the statistic."""

Figure = Callable[[NDArray[np.float64]], Any]
"""From all values of an event in an evaluation, [n], to a picture of them."""

_FIGURES: dict[tuple[str, str], Figure | str] = {}
"""How events are drawn, by group and event. What an env declares is known to each process that builds it, as the main
process always does: nothing of it has to travel, and a run directory cannot name a function.
"""


class Event:
    """One thing that may happen in a step, with a value.

    Args:
        reductions: From step to episode: any of ``sum``, ``mean``, ``min``, ``max``, ``count``,
            ``histogram``. The statistic of an epoch is the mean over its episodes, named
            ``mean_episode_total`` for a sum; a histogram keeps all values. A ``mean`` is over the
            times it was fired; an episode without any has 0.
        figure: Draws all values [n] of an evaluation, if there is a histogram: returns an image [H, W, 3] of
            uint8, or a figure of Matplotlib. A function, or ``module:function``, which is imported when it
            is needed. Callbacks that show pictures call it once per evaluation, in the main process.

    Raises:
        PluginError: If a reduction is unknown, or a figure has no values to draw.
    """

    def __init__(self, *reductions: str, figure: Figure | str | None = None) -> None:
        for reduction in reductions:
            if reduction not in REDUCTIONS:
                raise PluginError(f"no reduction {reduction!r} of events. Known: {', '.join(REDUCTIONS)}.")
        self.reductions = reductions or ("sum",)
        self.figure = figure
        if figure is not None and HISTOGRAM not in reductions:
            raise PluginError("a figure shows the values of an event, so that needs the reduction 'histogram' too.")


class EventGroup:
    """Events that belong together, under one heading in every table.

    Args:
        name: The heading, such as ``CuttingEvents``.
        events: By name.
    """

    def __init__(self, name: str, **events: Event) -> None:
        self.name, self.events = name, events


class _Tally:
    """Sum, count, smallest, largest and, if wanted, all values of one event, for each of B envs."""

    def __init__(self, event: Event, num_envs: int) -> None:
        self.event = event
        self.sum, self.count = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self.min, self.max = np.full(num_envs, np.inf), np.full(num_envs, -np.inf)
        self.values = Trace(num_envs, ()) if HISTOGRAM in event.reductions else None
        self._has_min, self._has_max = ("min" in event.reductions), ("max" in event.reductions)

    def add(self, rows: NDArray[np.intp], values: NDArray[Any]) -> None:
        self.sum[rows] += values
        self.count[rows] += 1
        if self._has_min:
            self.min[rows] = np.minimum(self.min[rows], values)
        if self._has_max:
            self.max[rows] = np.maximum(self.max[rows], values)
        if self.values is not None:
            self.values.add(rows, values)

    def clear(self, rows: NDArray[Any]) -> None:
        self.sum[rows], self.count[rows], self.min[rows], self.max[rows] = 0.0, 0, np.inf, -np.inf
        if self.values is not None:
            self.values.clear(rows)

    def reduced(self, reduction: str, row: int) -> Any:
        if reduction == HISTOGRAM:
            assert self.values is not None
            return self.values.of(row)
        count = int(self.count[row])
        if reduction == "mean":
            return float(self.sum[row] / count) if count else 0.0
        return float(getattr(self, reduction)[row]) if count else 0.0


class Trace:
    """All values of something in the present episode of each of B envs, written without a Python loop.

    Args:
        num_envs: Envs, B.
        shape: Shape of one value.
    """

    def __init__(self, num_envs: int, shape: tuple[int, ...]) -> None:
        self._values = np.zeros((num_envs, 64, *shape))
        self._count = np.zeros(num_envs, np.int64)
        self._longest = 0

    def add(self, rows: NDArray[Any], values: NDArray[Any]) -> None:
        """Adds a value [len(rows), ...] for each of these envs."""
        self._longest += 1  # at least as long as the longest
        if self._longest > self._values.shape[1]:
            self._longest = int(self._count.max()) + 1
            if self._longest > self._values.shape[1]:
                self._values = np.concatenate((self._values, np.zeros_like(self._values)), axis=1)
        self._values[rows, self._count[rows]] = values
        self._count[rows] += 1

    def clear(self, rows: NDArray[Any]) -> None:
        """Starts anew in these envs."""
        self._count[rows] = 0

    def of(self, row: int) -> NDArray[np.float64]:
        """The values of one env so far, [T, ...]."""
        values: NDArray[np.float64] = self._values[row, : self._count[row]].copy()
        return values


class EventRecorder:
    """Collects the events of an env, or of all copies of a vector env.

    Args:
        groups: The events that may be fired.
        num_envs: Copies of a vector env, B; None for a scalar env.
    """

    def __init__(self, *groups: EventGroup, num_envs: int | None = None) -> None:
        self.scalar, self.num_envs = num_envs is None, num_envs or 1
        self._tallies: dict[tuple[str, str, str], _Tally] = {
            (group.name, name, ""): _Tally(event, self.num_envs)
            for group in groups
            for name, event in group.events.items()
        }
        self._groups = groups
        names = [group.name for group in groups]
        if len(set(names)) < len(names):
            raise PluginError(f"two groups of events have the same name: {', '.join(names)}.")
        self._all = np.arange(self.num_envs)
        for group in groups:
            for name, event in group.events.items():
                if event.figure is None:
                    _FIGURES.pop((group.name, name), None)
                else:
                    _FIGURES[group.name, name] = event.figure

    def reset(self, rows: Any = None) -> None:
        """Forgets what happened in episodes that somebody else cut off; call it in the env's `reset`.

        Args:
            rows: In which copies, as indices or a mask [B]; None for all.
        """
        for tally in self._tallies.values():
            tally.clear(self._all if rows is None else self._all[rows])

    def fire(self, group: EventGroup, event: str, value: Any = 1.0, *, rows: Any = None, by: str = "") -> None:
        """Records an event.

        Args:
            group: Its group.
            event: Its name.
            value: Its value; for a vector env one for each of `rows`, or one for all.
            rows: In which copies it happened, each once, as indices or a mask [B]; None for all.
            by: Splits the statistic, for instance by product; the name becomes ``event:by``, and its
                mean is over the episodes in which it happened.

        Raises:
            PluginError: If the event was not declared.
            EnvFaultError: If a value is not finite.
        """
        key = (group.name, event, by)
        if key not in self._tallies:
            if group not in self._groups:
                raise PluginError(f"{group.name} was not given to this EventRecorder.")
            if "/" in by:
                raise PluginError(
                    f"by={by!r} of event {group.name}.{event} has a '/', which separates the parts of a path."
                )
            if event not in group.events:
                raise PluginError(f"{group.name} has no event {event!r}. Declared: {', '.join(group.events)}.")
            self._tallies[key] = _Tally(group.events[event], self.num_envs)
        chosen = self._all if rows is None else self._all[rows]
        values = np.broadcast_to(np.asarray(value, float), chosen.shape)
        if not np.isfinite(values).all():
            raise EnvFaultError(f"event {group.name}.{event} was fired with the value {value}; it must be finite.")
        self._tallies[key].add(chosen, values)

    def episode(self, rows: Any = None, **kpis: Any) -> dict[str, Any]:
        """Ends the episodes of some copies, and returns the info that tells their events.

        Args:
            rows: Whose episode ended, as indices or a mask [B]; None for all.
            kpis: Key figures of the episode by name; for a vector env one for each of `rows`.

        Returns:
            For a scalar env the info of its last step; for a vector env the infos of all copies.
        """
        chosen = self._all if rows is None else self._all[rows]
        by_env = [self._values_of(int(row)) for row in chosen]
        for name, figures in kpis.items():
            for values, figure in zip(by_env, np.broadcast_to(figures, chosen.shape), strict=True):
                if not np.isfinite(figure):
                    raise EnvFaultError(f"KPI {name} is {figure}; it must be finite.")
                values[f"KPIs/{name}/mean"] = float(figure)
        self.reset(chosen)
        if self.scalar:
            return {EPISODE_EVENTS: EpisodeEvents(by_env[0])}
        told = np.full(self.num_envs, None, dtype=object)
        for row, values in zip(chosen, by_env, strict=True):
            told[row] = EpisodeEvents(values)
        return {EPISODE_EVENTS: told}

    def _values_of(self, row: int) -> dict[str, Any]:
        return {
            statistic_path(group, event, by, reduction): tally.reduced(reduction, row)
            for (group, event, by), tally in self._tallies.items()
            if not by or tally.count[row]  # else it would depend on what this copy saw in earlier episodes
            for reduction in tally.event.reductions
        }


def statistic_path(group: str, event: str, by: str, reduction: str) -> str:
    """Path of an event's statistic, such as ``CuttingEvents/valid_cut/mean_episode_total``."""
    name = f"{event}:{by}" if by else event
    return f"{group}/{name}/{HISTOGRAM if reduction == HISTOGRAM else f'mean_episode_{REDUCTIONS[reduction]}'}"


def figure_of(path: str) -> Figure | None:
    """What draws the values of a histogram with this path, if its env declared that.

    Raises:
        Exception: Whatever importing its module raises.
    """
    group, event, statistic = path.split("/", 2)
    figure = _FIGURES.get((group, event.partition(":")[0])) if statistic == HISTOGRAM else None
    if isinstance(figure, str):
        module, _, name = figure.partition(":")
        loaded: Figure = getattr(importlib.import_module(module), name)
        return loaded
    return figure


def reduce_events(episodes: Sequence[EpisodeEvents | None]) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """From episodes to epoch: means of values, and all values of histograms; by path.

    Args:
        episodes: The events of each episode. A path that an episode does not have is left out of
            its mean.
    """
    silent = sum(episode is None for episode in episodes)
    if 0 < silent < len(episodes):
        LOG.warning(
            "%d of %d episodes told no events: a limit outside the env cut them off, and statistics of events "
            "leave them out. Put the limit into the env.", silent, len(episodes),
        )  # fmt: skip
    values: dict[str, list[Any]] = {}
    for episode in episodes:
        for path, value in episode.values.items() if episode is not None else ():
            values.setdefault(path, []).append(value)
    histograms = {path: np.concatenate(parts) for path, parts in values.items() if path.endswith(f"/{HISTOGRAM}")}
    means = {path: float(np.mean(parts)) for path, parts in values.items() if path not in histograms}
    return means, {path: collected for path, collected in histograms.items() if len(collected)}
