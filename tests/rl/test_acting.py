"""Who acts: errors that name a policy, and what a policy with networks draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from support.build import make_policy
from support.spaces import sample_batch

from maze_core.enums import BoxDistribution
from maze_core.errors import EnvRowError, PluginError, UserError
from maze_core.protocols import DrawsActions
from maze_core.rl import Actors, RandomPolicy, Turn, make_kernel
from maze_core.rl.acting import KernelPolicy, checked_policy
from maze_core.rl.actors import FLAT

SEEN = spaces.Box(-1.0, 1.0, (3,))
CHOICE, VECTOR = spaces.Discrete(4), spaces.Box(-2.0, 2.0, (2,))
NESTED = spaces.Dict({"choice": CHOICE, "pair": spaces.Tuple([VECTOR, spaces.MultiBinary(2)])})


class Says:
    """Acts as it is told to."""

    def __init__(self, actions: Any) -> None:
        self.actions = actions

    def act(self, turn: Turn) -> Any:
        if isinstance(self.actions, Exception):
            raise self.actions
        return self.actions


def turn_of(space: spaces.Space[Any] = SEEN, n: int = 5) -> Turn:
    return Turn(FLAT, None, sample_batch(space, n, 0))


def acted(actions: Any, decided: spaces.Space[Any] = CHOICE) -> Any:
    return checked_policy(Says(actions), Actors(SEEN, decided), "policy 'says'").act(turn_of())


# Somebody's own policy


@pytest.mark.parametrize("actions", [
    np.zeros(5, int), np.zeros(5, np.uint8), [0, 1, 2, 3, 0], np.zeros(5, bool),
])  # fmt: skip
def test_a_batch_of_choices_is_passed_on_as_it_is(actions: Any) -> None:
    assert acted(actions) is actions


@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_numbers_of_any_kind_may_be_a_vector(dtype: Any) -> None:
    assert acted(np.zeros((5, 2), dtype), VECTOR).shape == (5, 2)


def test_parts_are_nested_as_the_space() -> None:
    actions = {"choice": np.zeros(5, int), "pair": (np.zeros((5, 2)), np.zeros((5, 2), np.int8))}
    assert acted(actions, NESTED) is actions


NO_ACTIONS: dict[str, tuple[Any, spaces.Space[Any], str]] = {
    "nothing": (None, CHOICE, "object"),
    "one number": (0, CHOICE, r"its actions are int64 \[\] for 5 observations; needed: whole numbers \[5\]"),
    "too few": (np.zeros(4, int), CHOICE, r"int64 \[4\]"),
    "too many parts": (np.zeros((5, 1), int), CHOICE, r"int64 \[5, 1\]"),
    "no whole numbers": (np.zeros(5), CHOICE, r"float64 \[5\]"),
    "text": (np.array(["a"] * 5), VECTOR, "<U1"),
    "too few numbers": (np.zeros((5, 1)), VECTOR, r"needed: numbers \[5, 2\]"),
    "no mapping": (np.zeros(5, int), NESTED, "IndexError"),
    "a part that is missing": ({"choice": np.zeros(5, int)}, NESTED, "KeyError: 'pair'"),
    "a wrong part": ({"choice": np.zeros(5, int), "pair": (np.zeros((5, 2)), np.zeros(5, int))}, NESTED,
                     r"its actions\['pair'\]\[1\] are int64 \[5\]"),
    "an error": (ZeroDivisionError("by zero"), CHOICE, "ZeroDivisionError: by zero"),
}  # fmt: skip


@pytest.mark.parametrize(("actions", "decided", "words"), NO_ACTIONS.values(), ids=NO_ACTIONS)
def test_what_are_no_actions_is_told_by_name(actions: Any, decided: spaces.Space[Any], words: str) -> None:
    with pytest.raises(PluginError, match=rf"^policy 'says' cannot act as actor 'substep_0': .*{words}"):
        acted(actions, decided)


@pytest.mark.parametrize("error", [EnvRowError("the mask allows nothing", 2), MemoryError("no room")])
def test_errors_that_say_enough_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        acted(error)
    assert caught.value is error


def test_what_cannot_act_is_told_when_it_is_built() -> None:
    with pytest.raises(PluginError, match=r"^policy 'three' cannot act: int has no method act; maze_core\.Acting"):
        checked_policy(3, Actors(SEEN, CHOICE), "policy 'three'")


def test_it_draws_actions_if_the_policy_does() -> None:
    actors = Actors(SEEN, CHOICE)
    assert not isinstance(checked_policy(Says(0), actors, ""), DrawsActions)
    random = checked_policy(RandomPolicy(actors, np.random.default_rng(0)), actors, "")
    assert isinstance(random, DrawsActions)
    found = []
    for seed in (1, 1, 2):
        random.begin(np.random.default_rng(seed))
        found.append(random.act(turn_of(n=50)).tolist())
    assert found[0] == found[1] != found[2]


# A policy with networks


def kernel_policy(
    decided: spaces.Space[Any], deterministic: bool, box: BoxDistribution = BoxDistribution.gaussian
) -> Any:
    policy = make_policy(Actors(SEEN, decided, box))
    return KernelPolicy(make_kernel(policy, torch.device("cpu")), deterministic)


def test_drawn_choices_follow_the_probabilities() -> None:
    n, policy = 4000, kernel_policy(CHOICE, deterministic=False)
    same = Turn(FLAT, None, np.tile(sample_batch(SEEN, 1, 0), (n, 1)))
    with torch.no_grad():
        for parameter in policy._kernel.policy.parameters():
            parameter *= 100  # else all choices are about as probable
    outputs = policy._kernel.outputs(FLAT, policy._kernel.policy.encode(same))[0]
    shares = np.bincount(policy.act(same), minlength=4) / n
    assert shares == pytest.approx(np.exp(outputs) / np.exp(outputs).sum(), abs=0.03)
    assert shares.max() > 2 * shares.min()


def test_deviations_that_were_never_learned_cannot_be_drawn_from() -> None:
    with pytest.raises(UserError, match="learned no deviations"):
        kernel_policy(VECTOR, deterministic=False)
    assert kernel_policy(VECTOR, deterministic=True).act(turn_of()).shape == (5, 2)
