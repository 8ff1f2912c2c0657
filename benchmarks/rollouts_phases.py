"""Where the time of `maze rollout` goes: a clock around the parts of the code that it runs."""

import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

PHASES = ("env", "policy", "statistics", "recording", "writing", "building")


class Clock:
    """Adds up how long calls take, by phase; a call within another counts for its own phase alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._within: list[float] = []  # of each call under way, seconds in calls that it made

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is timed."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._within.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - start
                self.seconds[phase] += took - self._within.pop()
                if self._within:
                    self._within[-1] += took

        return call

    def watch(self, phase: str, owner: Any, *names: str) -> None:
        """Time the named functions of a module, a class or an object from now on."""
        for name in names:
            setattr(owner, name, self.timed(phase, getattr(owner, name)))


def take_times(clock: Clock) -> None:
    """Have a clock time all rollouts of this process from now on."""
    from maze_core.api import rollouts
    from maze_core.rl.trajectories import RecordingVectorEnv
    from maze_core.runs import rollout
    from maze_core.runs.rollout_files import RolloutFiles
    from maze_core.stats import ActionCounter, EpisodeTotals

    build = rollouts.build_rollout

    def build_timed(*args: Any) -> Any:
        built = build(*args)
        clock.watch("policy", built.workspace.acting, "act")
        _watch_envs(clock, built.workspace.factory)
        return built

    rollouts.build_rollout = clock.timed("building", build_timed)
    clock.watch("statistics", ActionCounter, "observe", "histograms")
    clock.watch("statistics", EpisodeTotals, "reduce")
    clock.watch("statistics", rollout, "merged")
    clock.watch("recording", RecordingVectorEnv, "reset", "step")
    clock.watch("writing", rollouts, "_files")
    clock.watch("writing", RolloutFiles, "add", "end", "close")


def _watch_envs(clock: Clock, factory: Any) -> None:
    """Time all vector envs that a factory makes."""
    make = factory.vector

    def make_timed(*args: Any, **kwargs: Any) -> Any:
        env = make(*args, **kwargs)
        clock.watch("env", env, "reset", "step")
        return env

    factory.vector = clock.timed("building", make_timed)
