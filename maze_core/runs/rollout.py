"""Rollouts: a policy acts in episodes, which are counted, recorded and shown; nothing is learned."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper
from numpy.typing import NDArray

from maze_core.animations import Film
from maze_core.build import BuiltRollout
from maze_core.errors import MazeError
from maze_core.protocols import DrawsActions
from maze_core.rl.episodes import EpisodeBatch, run_episodes
from maze_core.rl.streams import Streams
from maze_core.rl.trajectories import RecordingVectorEnv, Trajectory, event_values
from maze_core.rl.vector_env import AnyVectorEnv
from maze_core.run_config import RolloutConfig
from maze_core.runs.evaluate import SLICE, merged
from maze_core.runs.filming import FilmingVectorEnv
from maze_core.stats import ActionCounter, EpisodeTotals, Histogram, StageStatistics
from maze_core.workers.pool import WorkerTracebackError

STAGE = "rollout"

N_EPISODES = 10
"""How many there are if nobody says."""

SLICES_AT_ONCE = 4
"""How many slices each of several workers gets before what they brought is written."""


@dataclass(frozen=True)
class Episode:
    """What came out of one episode.

    Args:
        number: Its number, from 0.
        seed: Of the episode.
        episode_return: Undiscounted sum of its rewards.
        env_steps: Its length.
        terminated: Whether the process ended.
        truncated: Whether it was cut off.
        events: What the env told about it, by path of the statistic: numbers, or arrays for histograms.
        trajectory: Its steps, if they were recorded.
        film: Its frames, if it was rendered.
    """

    number: int
    seed: int
    episode_return: float
    env_steps: int
    terminated: bool
    truncated: bool
    events: Mapping[str, Any] = field(default_factory=dict)
    trajectory: Trajectory | None = None
    film: Film | None = None


@dataclass(frozen=True)
class _Slice:
    """Some episodes, to be run in lock-step.

    Args:
        root: Root seed.
        first: Number of the first one.
        seeds: Of all of them.
        recorded: Whether their steps are.
        n_filmed: How many are, from the first on.
    """

    root: int
    first: int
    seeds: Sequence[int]
    recorded: bool
    n_filmed: int


@dataclass(frozen=True)
class _Outcome:
    episodes: list[Episode]
    batch: EpisodeBatch
    actions: dict[str, Histogram]


class _Endings(VectorWrapper[Any, Any, Any]):
    """Remembers how the present episode of each env ended."""

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        self.terminated, self.truncated = np.zeros(env.num_envs, bool), np.zeros(env.num_envs, bool)

    def step(self, actions: Any) -> Any:
        outcome = self.env.step(actions)
        self.terminated |= outcome[2]
        self.truncated |= outcome[3]
        return outcome


def episode_seeds(config: RolloutConfig, streams: Streams, stage: str = STAGE) -> list[int]:
    """The seed of each episode of a rollout."""
    if config.episode_seeds is not None:
        return config.episode_seeds
    return streams.episode_seeds(stage, 0, N_EPISODES if config.n_episodes is None else config.n_episodes)


@dataclass(frozen=True)
class _Fault:
    """What a slice raised, in place of its outcome: so the others of the same time are not lost.

    Args:
        error: The error.
        trace: Its traceback as text, which an error from a worker does not bring.
    """

    error: MazeError
    trace: str


def run_rollout(
    built: BuiltRollout, seeds: Sequence[int], recorded: bool, n_filmed: int, tell: Callable[[Episode], None]
) -> StageStatistics:
    """Runs one episode for each seed, in slices of a fixed size.

    Args:
        built: The live objects.
        seeds: Of the episodes.
        recorded: Whether their steps are recorded.
        n_filmed: How many are rendered, from the first on.
        tell: Is told each episode, in order, soon after it ended; nothing of it is kept here.

    Returns:
        Statistics of all.

    Raises:
        MazeError: If an env, a policy or a worker fails. Of an env and a policy, all slices before were told.
    """
    slices = [
        _Slice(built.streams.root, first, seeds[first : first + SLICE], recorded, max(0, n_filmed - first))
        for first in range(0, len(seeds), SLICE)
    ]
    outcomes = []
    for outcome in _outcomes(built, slices):
        for episode in outcome.episodes:
            tell(episode)
        outcomes.append((outcome.batch, outcome.actions))
    statistics = EpisodeTotals().reduce(STAGE, [batch for batch, _ in outcomes])
    actions = merged([actions for _, actions in outcomes])
    return StageStatistics(STAGE, statistics.values, {**actions, **statistics.histograms})


def _outcomes(built: BuiltRollout, slices: Sequence[_Slice]) -> Iterator[_Outcome]:
    n_slots = built.runner.n_slots(False)
    at_once = 1 if n_slots == 1 else SLICES_AT_ONCE * n_slots
    for first in range(0, len(slices), at_once):
        for outcome in built.runner.map(_run_guarded, slices[first : first + at_once]):
            if isinstance(outcome, _Fault):
                own = outcome.error.__traceback__ is not None
                raise outcome.error from (outcome.error.__cause__ if own else WorkerTracebackError(outcome.trace))
            yield outcome


def _run_guarded(workspace: Any, task: _Slice) -> _Outcome | _Fault:
    try:
        return _run_slice(workspace, task)
    except MazeError as error:
        return _Fault(error, traceback.format_exc())


def _run_slice(workspace: Any, task: _Slice) -> _Outcome:
    n = len(task.seeds)
    rendering = workspace.factory.rendering(n) if task.n_filmed else None
    try:
        filming = None if rendering is None else FilmingVectorEnv(rendering, min(task.n_filmed, n))
        endings = _Endings(workspace.vector_env(n, training=False) if filming is None else filming)
        recording = RecordingVectorEnv(endings) if task.recorded else None
        if isinstance(workspace.acting, DrawsActions):
            workspace.acting.begin(Streams(task.root).generator("policy", task.first))
        counter = ActionCounter(workspace.actors)
        env = endings if recording is None else recording
        batch = run_episodes(env, workspace.actors, workspace.acting.act, task.seeds, counter.observe)
        films = [] if filming is None else filming.films
        trajectories = {} if recording is None else recording.finished
        episodes = [
            _episode(task, row, batch, (endings.terminated, endings.truncated), trajectories.get(row), films)
            for row in range(n)
        ]
        return _Outcome(episodes, batch, counter.histograms())
    finally:
        if rendering is not None:
            rendering.close()


def _episode(
    task: _Slice, row: int, batch: EpisodeBatch, endings: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    trajectory: Trajectory | None, films: Sequence[Film],
) -> Episode:  # fmt: skip
    events = event_values(batch.events[row] if batch.events else None)
    return Episode(
        task.first + row, task.seeds[row], float(batch.returns[row]), int(batch.lengths[row]),
        bool(endings[0][row]), bool(endings[1][row]), events,
        trajectory, films[row] if row < len(films) else None,
    )  # fmt: skip
