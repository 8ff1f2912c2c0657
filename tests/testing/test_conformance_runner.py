"""What the kit finds of runners and policies, and that it finds nothing where there is nothing."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.conformance import failures, options

from maze_core import LocalRunner, PolicySpec, RunnerConfig, RunnerSpec, UserError
from maze_core.rl import InProcessVectorEnv, RandomPolicy
from maze_core.testing import PolicyConformance, RunnerConformance


class InProcess(LocalRunner):
    """Executes everything in this process."""

    def start(self, workspace: Any, blueprint: Any = None, probe: Any = None) -> str:
        return super().start(workspace)


class Reversed(InProcess):
    """Returns results in the wrong order."""

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        return super().map(function, tasks, training)[::-1]


class OtherError(InProcess):
    """Loses the message."""

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        try:
            return super().map(function, tasks, training)
        except UserError:
            raise UserError("something went wrong") from None


class OtherType(InProcess):
    """Loses the type."""

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        try:
            return super().map(function, tasks, training)
        except UserError as error:
            raise RuntimeError(str(error)) from None


class Swallows(InProcess):
    """Loses the error."""

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        try:
            return super().map(function, tasks, training)
        except UserError:
            return []


class NoSlots(InProcess):
    """Has no slots."""

    def n_slots(self, training: bool) -> int:
        return 0


class OtherSeeds(InProcess):
    """Runs other episodes than it is asked to."""

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        shifted = [[seed + 1 for seed in task] if isinstance(task, list) else task for task in tasks]
        return super().map(function, shifted, training)


class PaysMore(InProcess):
    """Steps envs that pay more."""

    def vector_env(self, num_envs: int, training: bool) -> Any:
        class Generous(InProcessVectorEnv):
            def step(self, actions: Any) -> Any:
                observation, rewards, *rest = super().step(actions)
                return observation, rewards + 1, *rest

        return Generous(self._workspace.factory, num_envs)


class LeavesThread(InProcess):
    """Leaves a thread."""

    ended = threading.Event()

    def start(self, *arguments: Any) -> str:
        self.ended.clear()
        threading.Thread(target=self.ended.wait, args=(60,), daemon=True, name="left").start()
        return super().start(*arguments)


class ClosesOnce(InProcess):
    """Cannot be closed twice."""

    def close(self) -> None:
        assert self._workspace is not None
        super().close()


def runner(build: Any) -> RunnerSpec:
    namespace = {"__doc__": "Options.", "__module__": __name__}
    config = dataclass(kw_only=True)(type("OwnConfig", (RunnerConfig,), namespace))
    return RunnerSpec(name="subject", summary="A runner.", config=config, build=build)


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (Reversed, "test_results_come_in_the_order_of_the_tasks", "it must be [0, 1, 4, 9"),
        (OtherError, "test_an_error_arrives_with_its_message", "Keep the message"),
        (OtherType, "test_an_error_arrives_with_its_message", "map raised RuntimeError"),
        (Swallows, "test_an_error_arrives_with_its_message", "map returned []. Raise what it raised"),
        (NoSlots, "test_results_do_not_depend_on_the_slots", "n_slots says [0, 0]"),
        (OtherSeeds, "test_results_do_not_depend_on_the_slots", "episodes return"),
        (PaysMore, "test_envs_elsewhere_are_like_those_here", "are not like those in this process, in tick 0"),
        (LeavesThread, "test_close_leaves_nothing", "there is still thread left"),
        (ClosesOnce, "test_close_leaves_nothing", "close() a second time raised AssertionError"),
    ],
    ids=lambda value: None,
)
def test_of_a_runner_it_finds(build: Any, check: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maze_core.testing.leftovers.PATIENCE_S", 0.05)
    found = failures(RunnerConformance, runner(build), only=check)
    LeavesThread.ended.set()
    assert words in found.get(check, "nothing")


def test_a_runner_that_keeps_the_contract_passes() -> None:
    assert failures(RunnerConformance, runner(InProcess)) == {}


class Good(RandomPolicy):
    """Draws valid actions from what it is given."""

    def __init__(self, config: Any, actors: Any) -> None:
        super().__init__(actors, np.random.default_rng(0))


class NotAllowed(Good):
    """Reads no masks."""

    def act(self, turn: Any) -> Any:
        heads = self.actors.by_key[turn.step_key].heads
        return heads.random(self._generator, len(turn.observation["values"]), None)


class TooFew(Good):
    """Decides for the first row only."""

    def act(self, turn: Any) -> Any:
        return super().act(turn)[:1]


class OutOfSpace(Good):
    """Leaves the action space."""

    def act(self, turn: Any) -> Any:
        return super().act(turn) + 9


class Careless(Good):
    """Draws from a generator of its own."""

    def begin(self, generator: Any) -> None:
        self._generator = np.random.default_rng(np.random.randint(1000))


class CannotAct:
    """Has no act."""

    def __init__(self, config: Any, actors: Any) -> None:
        pass


VALID = "test_actions_are_valid"


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (NotAllowed, VALID, "is not allowed by its mask, of actor 'substep_0'"),
        (TooFew, VALID, "has no row 1 of"),
        (OutOfSpace, VALID, "the action does not lie in its space Discrete(4)"),
        (CannotAct, VALID, "has no method act(turn)"),
        (Careless, "test_its_generator_says_all", "it acts another time otherwise, in tick"),
    ],
    ids=lambda value: None,
)
def test_of_a_policy_it_finds(build: Any, check: str, words: str) -> None:
    subject = PolicySpec(name="subject", summary="A policy.", config=options(), build=build)
    assert words in failures(PolicyConformance, subject, only=check, env="toy_flat").get(check, "nothing")


def test_a_policy_that_keeps_the_contract_passes() -> None:
    assert (
        failures(PolicyConformance, PolicySpec(name="subject", summary="A policy.", config=options(), build=Good)) == {}
    )
