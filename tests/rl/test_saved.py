"""What is read of a saved state is what was saved, or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from maze_core.rl.saved import (
    MAX_COUNT,
    saved_array,
    saved_count,
    saved_counts,
    saved_horizon,
    saved_number,
    saved_numbers,
    saved_tensor,
)


@pytest.mark.parametrize("value", [-1, MAX_COUNT + 1, 10**400, 1.0, True, None, "1", [1]])
def test_what_is_no_counter_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"n=.* is no whole number"):
        saved_count({"n": value}, "n")
    with pytest.raises(ValueError, match=r"n=.* is no whole number"):
        saved_counts({"n": [0, value]}, "n", 2)


def test_counters_are_taken_over() -> None:
    assert (saved_count({"n": MAX_COUNT}, "n"), saved_count({"n": -1}, "n", least=-1)) == (MAX_COUNT, -1)
    assert saved_counts({"n": [1, 2]}, "n", 2).tolist() == [1, 2]
    assert [saved_horizon({"horizon": value}, 7) for value in (None, 3)] == [7, 3]
    with pytest.raises(ValueError, match=r"horizon=0"):
        saved_horizon({"horizon": 0}, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, "1", -0.5])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is no finite number"):
        saved_number({"x": value}, "x", least=0.0)


@pytest.mark.parametrize("value", [1, [1.0], [1.0, 2.0, 3.0], None])
def test_a_list_of_another_length_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"x is no list of 2"):
        saved_numbers({"x": value}, "x", 2)


@pytest.mark.parametrize(
    "value", [torch.zeros(3), torch.zeros(2, dtype=torch.uint8), torch.full((2,), float("nan")), [0.0, 0.0], None]
)
def test_a_tensor_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^w "):
        saved_tensor({"w": value}, "w", torch.zeros(2))


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(2, np.float32), np.full(2, np.nan), [0.0, 0.0], None])
def test_an_array_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^w "):
        saved_array({"w": value}, "w", (2,), np.float64)
