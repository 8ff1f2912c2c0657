"""Where work executes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from maze_core.blueprint import Blueprint
from maze_core.errors import MazeError
from maze_core.protocols import Workspace
from maze_core.rl.actors import Actors
from maze_core.rl.policy import RandomPolicy
from maze_core.rl.replay import layers
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv, reset_envs
from maze_core.run_config import RunnerConfig
from maze_core.runs.threads import limited_threads, n_cores
from maze_core.workers.host import WorkerHost
from maze_core.workers.pool import WorkerPool, as_arrays
from maze_core.workers.process import ProcessHost
from maze_core.workers.vector_env import WorkerVectorEnv

PAYS_FROM_S = 0.0005
"""Env steps that take longer are worth a worker; below, talking to it takes longer than the step."""

MEASURED_STEPS, MEASURED_S = 50, 0.1


class LocalRunner:
    """Executes everything on this machine: in this process, or in workers.

    Args:
        config: Options.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self.config = config
        self._workspace: Workspace | None = None
        self._pool: WorkerPool | None = None
        self._spaces: tuple[Any, Any] | None = None  # of one env in a worker; None if envs step in this process
        self._tasks_here = dict.fromkeys((False, True), True)

    def start(
        self, workspace: Workspace, blueprint: Callable[[], Blueprint] | None = None, probe: AnyVectorEnv | None = None
    ) -> str:
        """Decides how many workers there are, and starts them; see `maze_core.protocols.Runner`.

        Without blueprint and probe everything executes in this process.
        """
        self._workspace = workspace
        if blueprint is None or probe is None:
            return ""
        n_workers, why = self.choose_workers(workspace.actors, probe)
        if n_workers == 0:
            return why
        base = probe.unwrapped
        learns = isinstance(base, InProcessVectorEnv) and any(
            hasattr(layer, "state_dict") for env in base.envs for layer in layers(env)
        )
        if learns:
            return "in this process, because they learn over episodes"
        host = self.host(blueprint(), n_workers)
        self._pool = WorkerPool(host, n_workers, self.config.step_timeout, self.config.max_worker_restarts)
        self._pool.start()
        if self.config.device == "cpu":
            self._tasks_here = {training: workspace.learns(training) for training in (False, True)}
        workers = f"{n_workers} worker{'s' if n_workers > 1 else ''}{why}"
        if not isinstance(base, InProcessVectorEnv):
            return f"in this process; populations and evaluations in {workers}"
        here, remark = self.steps_here(workspace.actors, probe)
        if here:
            return f"in this process{remark}; populations and evaluations in {workers}"
        self._spaces = base.single_observation_space, base.single_action_space
        return f"in {workers}{remark}"

    def host(self, blueprint: Blueprint, n_workers: int) -> WorkerHost:
        """Where workers are that build this; a runner whose workers are elsewhere says so here."""
        return ProcessHost(blueprint)

    def choose_workers(self, actors: Actors, probe: AnyVectorEnv) -> tuple[int, str]:
        """How many workers there are to be, and why; none for everything in this process."""
        if self.config.n_workers is not None:
            return self.config.n_workers, ""
        cores = n_cores()
        if cores == 1:
            return 0, "in this process, because there is one core"
        step_s = self.step_s(actors, probe)
        if step_s is None:
            return 0, ""
        if step_s < PAYS_FROM_S:
            return 0, f"in this process, because a step takes {1000 * step_s:.2g} ms"
        return cores, f", because a step takes {1000 * step_s:.2g} ms"

    def step_s(self, actors: Actors, probe: AnyVectorEnv) -> float | None:
        """Seconds that an env step takes; None if the env cannot be stepped."""
        try:
            return step_time(probe, actors)
        except MazeError:  # training will tell
            return None

    def steps_here(self, actors: Actors, probe: AnyVectorEnv) -> tuple[bool, str]:
        """Whether envs of training step in this process although there are workers, and a remark on it."""
        return False, ""

    def vector_env(self, num_envs: int, training: bool) -> AnyVectorEnv | None:
        """Copies of the env that step in workers, if there are workers."""
        if self._pool is None or self._spaces is None:
            return None
        return WorkerVectorEnv(self._pool, num_envs, training, *self._spaces)

    def n_slots(self, training: bool) -> int:
        """How many tasks execute at the same time."""
        return 1 if self._pool is None or self._tasks_here[training] else len(self._pool)

    def map(self, function: Callable[[Workspace, Any], Any], tasks: Sequence[Any], training: bool = False) -> list[Any]:
        """Executes ``function(workspace, task)`` for each task."""
        assert self._workspace is not None
        if self._pool is None or self._tasks_here[training]:
            with limited_threads(True):  # as in workers: bits of large products depend on it
                return [function(self._workspace, task) for task in tasks]
        return self._pool.map(function, tasks, as_arrays(self._workspace.weights()))

    def close(self) -> None:
        """Ends the workers."""
        self._workspace = None
        if self._pool is not None:
            self._pool.close()


def step_time(env: AnyVectorEnv, actors: Actors) -> float:
    """Seconds that a step of an env takes, with random actions.

    Args:
        env: A vector env of one env.
        actors: Its actors.
    """
    sampler, seconds = RandomPolicy(actors, np.random.default_rng(0)), list[float]()
    live, deadline = np.ones(1, bool), time.perf_counter() + MEASURED_S
    observation = reset_envs(env, np.arange(1), [0])
    while len(seconds) < 3 or (len(seconds) < MEASURED_STEPS and time.perf_counter() < deadline):
        decided = [(turn, sampler.act(turn)) for turn in actors.turns(observation, None, live)]
        start = time.perf_counter()
        observation, _, terminated, truncated, _ = env.step(actors.env_actions(1, decided))
        seconds.append(time.perf_counter() - start)
        if (terminated | truncated).any():
            observation = reset_envs(env, np.arange(1), [len(seconds)])
    return median(seconds[1:])
