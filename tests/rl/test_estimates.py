"""What is told of the newest rollout as distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maze_core.rl.estimates import Estimates
from maze_core.rl.kernels import Samples
from maze_core.rl.rollouts import Experience, _Part


def make_samples(values: list[float], advantages: list[float], valued: list[bool] | None = None) -> Samples:
    n = len(values)
    zeros = np.zeros(n, np.float32)
    return Samples(
        "actor", np.zeros((n, 1), np.float32), None, zeros, zeros, np.array(advantages, np.float32),
        None if valued is None else np.array(valued), np.array(values, np.float32), zeros,
    )  # fmt: skip


def make_estimates(*samples: Samples) -> Estimates:
    estimates = Estimates()
    estimates.keep(Experience([_Part(part, None) for part in samples], 1))
    return estimates


def as_lists(estimates: Estimates) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in estimates.items()}


def test_all_actors_count_together() -> None:
    estimates = make_estimates(make_samples([1, 2], [3, 4]), make_samples([5], [6]))
    assert as_lists(estimates) == {"value": [1, 2, 5], "advantage": [3, 4, 6]}


def test_only_values_that_the_critic_learns_count() -> None:
    estimates = make_estimates(make_samples([1, 2], [3, 4], [True, False]), make_samples([5], [6], [False]))
    assert as_lists(estimates) == {"value": [1], "advantage": [3, 4, 6]}


def test_without_critic_there_are_no_values() -> None:
    assert as_lists(make_estimates(make_samples([0, 0], [3, 4], [False, False]))) == {"advantage": [3, 4]}


def test_before_the_first_rollout_there_is_nothing() -> None:
    assert as_lists(Estimates()) == {}
    assert Estimates().state_dict() == {}


def test_only_the_newest_rollout_counts() -> None:
    estimates = make_estimates(make_samples([1], [2]))
    estimates.keep(Experience([_Part(make_samples([7], [8]), None)], 1))
    assert as_lists(estimates) == {"value": [7], "advantage": [8]}


def test_they_go_on_from_their_state() -> None:
    again = Estimates()
    again.load_state_dict(make_estimates(make_samples([1, 2], [3, 4])).state_dict())
    assert as_lists(again) == {"value": [1, 2], "advantage": [3, 4]}


@pytest.mark.parametrize(
    "state",
    [
        {"value": [1.0]}, {"value": np.zeros(2)}, {"value": np.zeros((2, 2), np.float32)},
        {"value": np.array([np.nan], np.float32)}, {"other": np.zeros(2, np.float32)},
    ],
    ids=["list", "float64", "two axes", "nan", "name"],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"value is no array|value has values|no estimates of \['other'\]"):
        Estimates().load_state_dict(state)
