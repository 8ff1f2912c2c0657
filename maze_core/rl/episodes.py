"""Runs whole episodes in lock-step: evaluation and evolution strategies share this loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError, EnvRowError, NonFiniteError
from maze_core.rl.actors import Actors, Rows, Turn
from maze_core.rl.saved import saved_array
from maze_core.rl.vector_env import AnyVectorEnv, reset_envs

Act = Callable[[Turn], Any]
"""From one turn of a batch to its actions, leaves [len(turn.rows), ...]."""

Observe = Callable[[Turn, Any, NDArray[np.bool_]], None]
"""Is told each turn, its actions, and which of its rows [len(rows)] are in an episode."""


EPISODE_EVENTS = "episode_events"
"""Key of an episode's `EpisodeEvents` in the info of its last step; None for other envs of a batch."""


@dataclass(frozen=True)
class EpisodeEvents:
    """What an env tells about an episode besides its return; see `maze_core.stats.EventRecorder`.

    Args:
        values: By path of the statistic: a number, or an array for a histogram.
    """

    values: Mapping[str, Any]


@dataclass(frozen=True)
class EpisodeBatch:
    """Finished episodes.

    Args:
        returns: Undiscounted sum of rewards of each, [n], float64.
        lengths: Env steps of each, [n].
        events: What the env told about each, [n]; empty if it told nothing.
        observed: Moments of the observations of each, for running normalisation, [n]; empty without.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    events: Sequence[EpisodeEvents | None] = ()
    observed: Sequence[Any] = ()

    def state_dict(self) -> dict[str, Any]:
        """All but the moments of observations, which were learned from already: one array for each event."""
        rows: dict[str, list[int]] = {}
        values: dict[str, list[NDArray[Any]]] = {}
        for row, event in enumerate(self.events):
            for path, value in {} if event is None else event.values.items():
                rows.setdefault(path, []).append(row)
                values.setdefault(path, []).append(np.asarray(value))
        events = {
            path: {
                "rows": np.array(rows[path]),
                "sizes": np.array([part.size if part.ndim else -1 for part in parts]),  # -1: a number
                "values": np.concatenate([np.atleast_1d(part) for part in parts]),
            }
            for path, parts in values.items()
        }
        told = np.array([event is not None for event in self.events], bool)
        return {"returns": self.returns, "lengths": self.lengths, "told": told, "events": events}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> EpisodeBatch:
        """The batch that `state_dict` described.

        Raises:
            ValueError: If it is none.
        """
        n, told = len(state["lengths"]), state["told"]
        returns = saved_array(state, "returns", (n,), np.float64)
        lengths = saved_array(state, "lengths", (n,), np.int64)
        saved_array(state, "told", (n if len(told) else 0,), np.bool_)
        values: list[dict[str, Any]] = [{} for _ in told]
        for path, event in state["events"].items():
            ends = np.cumsum(np.abs(event["sizes"]))
            if len(ends) and ends[-1] != len(event["values"]):
                raise ValueError(f"the event {path} has other sizes")
            for row, size, end in zip(event["rows"].tolist(), event["sizes"].tolist(), ends.tolist(), strict=True):
                values[row][path] = event["values"][end - size : end] if size >= 0 else event["values"][end - 1].item()
        events = [EpisodeEvents(own) if tells else None for own, tells in zip(values, told, strict=True)]
        return EpisodeBatch(returns, lengths, events)

    @staticmethod
    def joined(batches: Sequence[EpisodeBatch]) -> EpisodeBatch:
        """All episodes of several batches, in order."""
        if not batches:
            return EpisodeBatch(np.zeros(0), np.zeros(0, np.int64))
        return EpisodeBatch(
            np.concatenate([batch.returns for batch in batches]),
            np.concatenate([batch.lengths for batch in batches]),
            [event for batch in batches for event in batch.events],
            [moments for batch in batches for moments in batch.observed],
        )


def run_episodes(
    env: AnyVectorEnv, actors: Actors, act: Act, seeds: Sequence[int], observe: Observe | None = None
) -> EpisodeBatch:
    """Runs one episode in each of the first ``len(seeds)`` envs, to its end.

    Envs whose episode ended idle. `act` always sees the live ones among its rows, and a few ended
    ones besides: the rows shrink each time half of them have ended, so that whoever keeps something
    per row, such as the parameters of a population, need not copy it at every step.

    Args:
        env: The vector env, B >= ``len(seeds)``.
        actors: Its actors.
        act: Chooses actions.
        seeds: Seed of each episode; episode i runs in env i.
        observe: Is told every decision, or None.

    Raises:
        EnvFaultError: If an env raises, or its mask allows nothing.
        NonFiniteError: If an episode's return is not finite.
    """
    n = len(seeds)
    live = np.arange(env.num_envs) < n
    rows: Rows = None if n == env.num_envs else np.arange(n)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    events: list[EpisodeEvents | None] = [None] * env.num_envs
    observation = reset_envs(env, np.arange(n), seeds)
    n_live = n_rows = n
    while n_live:
        try:
            decisions = _decide(actors.turns(observation, rows, live), act, observe, live)
        except EnvRowError as error:
            where = f"in env step {lengths[error.env]} of the episode with seed {seeds[error.env]}"
            raise EnvFaultError(f"{error}, {where} (env {error.env} of {env.num_envs})") from None
        observation, rewards, terminated, truncated, infos = env.step(actors.env_actions(env.num_envs, decisions))
        returns += rewards
        ended = terminated | truncated
        begins = actors.step_begins(observation)
        lengths += live if begins is None else live & (begins | ended)
        if ended.any():
            _take_events(events, infos, ended)
            live &= ~ended
            n_live = int(live.sum())
            if n_live <= n_rows // 2:
                rows, n_rows = np.flatnonzero(live), n_live
    _check_returns(returns[:n], seeds)
    return EpisodeBatch(returns[:n], lengths[:n], events[:n] if any(events) else ())


def _decide(
    turns: Sequence[Turn], act: Act, observe: Observe | None, live: NDArray[np.bool_]
) -> list[tuple[Turn, Any]]:
    decisions = []
    for turn in turns:
        try:
            decisions.append((turn, act(turn)))
        except EnvRowError as error:  # counted within the turn
            raise EnvRowError(str(error), error.env if turn.rows is None else int(turn.rows[error.env])) from None
    if observe is not None:
        for turn, actions in decisions:
            observe(turn, actions, live if turn.rows is None else live[turn.rows])
    return decisions


def _take_events(events: list[EpisodeEvents | None], infos: Mapping[str, Any], ended: NDArray[np.bool_]) -> None:
    told = infos.get(EPISODE_EVENTS)
    if told is not None:
        for row in np.flatnonzero(ended):
            events[row] = told[row]


def _check_returns(returns: NDArray[np.float64], seeds: Sequence[int]) -> None:
    bad = np.flatnonzero(~np.isfinite(returns))
    if len(bad):
        raise NonFiniteError(
            f"the env gave rewards that sum to {returns[bad[0]]} in the episode with seed {seeds[bad[0]]}; "
            "rewards must be finite numbers."
        )
