"""Checks of a runner."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from maze_core.blueprint import Blueprint
from maze_core.build import build_workspace, env_factory
from maze_core.errors import MazeError, UserError
from maze_core.protocols import Runner, Workspace
from maze_core.rl.streams import Streams
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.runs.evaluate import evaluate_slice
from maze_core.runs.threads import limited_threads
from maze_core.testing import toys
from maze_core.testing.configurations import composed
from maze_core.testing.conformance import Conformance
from maze_core.testing.leftovers import at_work, left_since
from maze_core.testing.playing import VectorPlay, forms_difference

TASKS = list(range(9))
BAD = 4


def squared(workspace: Workspace, task: int) -> int:
    """A task; earlier ones take longer."""
    time.sleep(0.002 * (len(TASKS) - task))
    return task * task


def failing(workspace: Workspace, task: int) -> int:
    """A task of which one is wrong.

    Raises:
        UserError: In one task.
    """
    if task == BAD:
        raise UserError(f"task {task} is wrong")
    return task


class RunnerConformance(Conformance):
    """Checks of a runner: ``name = "my_runner"``.

    Attributes:
        n_envs: Envs that are stepped together.
    """

    what = "runner"
    n_envs: int = 4

    @contextlib.contextmanager
    def started(self, env: str = toys.FLAT) -> Iterator[tuple[Runner, Any]]:
        """The runner at work, and its workspace."""
        with self.telling():
            choices = {"env": env, "model": toys.MODEL, "algorithm": toys.ALGORITHM, "runner": self.name}
            values = {f"runner.{key}": value for key, value in self.overrides.items()}
            configured = composed(self.registry, choices, {**values, "seed": 1})
            workspace = build_workspace(self.registry, configured.config)
            runner: Runner = self.make(self.config())
        try:
            with self.telling(), contextlib.closing(env_factory(self.registry, configured.config).vector(1)) as probe:
                said = runner.start(workspace, partial(Blueprint.of, self.registry, configured.config), probe)
                self.expect(isinstance(said, str), f"start returned {said!r}; return where what executes, as a phrase.")
            workspace.runner = runner
            yield runner, workspace
        finally:
            workspace.close()
            runner.close()

    def test_results_come_in_the_order_of_the_tasks(self) -> None:
        """Whichever ends first, with more and with fewer tasks than slots."""
        with self.started() as (runner, _), self.telling("map"):
            for tasks in (TASKS, TASKS[:1], []):
                results = runner.map(squared, tasks)
                expected = [task * task for task in tasks]
                self.expect(
                    list(results) == expected, f"map returned {results} for tasks {tasks}; it must be {expected}."
                )

    def test_an_error_arrives_with_its_message(self) -> None:
        """And the next work is done as if nothing had happened."""
        with self.started() as (runner, _):
            try:
                results: Any = runner.map(failing, TASKS)
            except MazeError as error:
                told = f"task {BAD} is wrong" in str(error)
                self.expect(told, f"a task raised 'task {BAD} is wrong', and map raised {error}. Keep the message.")
            except Exception as error:
                self.fail(f"a task raised UserError, and map raised {type(error).__name__}: {error}. Keep its type.")
            else:
                self.fail(f"a task raised, and map returned {results}. Raise what it raised.")
            self.expect(runner.map(squared, TASKS[:2]) == [0, 1], "after an error map does not work any more.")

    def test_results_do_not_depend_on_the_slots(self) -> None:
        """Episodes of an evaluation are those of one process, bit for bit."""
        for env in (toys.FLAT, toys.STRUCTURED):
            with self.started(env) as (runner, workspace):
                slots = [runner.n_slots(training) for training in (False, True)]
                whole = all(isinstance(number, int) and number >= 1 for number in slots)
                self.expect(whole, f"n_slots says {slots}; it must be a whole number >= 1.")
                seeds = Streams(1).episode_seeds("conformance", 0, 20)
                slices = [seeds[first : first + 8] for first in range(0, 20, 8)]
                with self.telling("map"):
                    for training in (False, True):
                        self._expect_same_episodes(runner, workspace, slices, training)

    def _expect_same_episodes(self, runner: Runner, workspace: Any, slices: Sequence[Any], training: bool) -> None:
        returned = [batch.returns.tolist() for batch, _ in runner.map(evaluate_slice, slices, training)]
        with limited_threads(True):
            here = [evaluate_slice(workspace, seeds)[0].returns.tolist() for seeds in slices]
        self.expect(
            returned == here,
            f"with training={training} episodes return {returned}, and in this process {here}. Each task must get the "
            "workspace's weights as they are now.",
        )

    def test_envs_elsewhere_are_like_those_here(self) -> None:
        """What `vector_env` steps shows the same bits."""
        with self.started() as (runner, workspace):
            elsewhere = runner.vector_env(self.n_envs, True)
            if elsewhere is None:
                self.skip("its envs step in this process")
            here = InProcessVectorEnv(workspace.factory, self.n_envs)
            with self.telling("vector_env"):
                found = forms_difference(VectorPlay(here).ticks(60), VectorPlay(elsewhere).ticks(60))
            self.expect(found is None, f"envs that it steps are not like those in this process, in {found}.")

    def test_close_leaves_nothing(self) -> None:
        """No process or thread; closing twice, or before the start, does no harm."""
        before = at_work()
        with self.started() as (runner, _):
            runner.map(squared, TASKS[:2])
        left = left_since(before)
        self.expect(not left, f"after close() there is still {', '.join(left)}. End it there.")
        for when, again in (("a second time", runner), ("before start", self.make(self.config()))):
            try:
                again.close()
            except Exception as error:  # whatever a runner raises
                self.fail(f"close() {when} raised {type(error).__name__}: {error}. It must always work.")
