"""Values that change over a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maze_core import Schedule, UserError
from maze_core.rl import check_horizon, scheduled

CONSTANT, LINEAR = Schedule.constant, Schedule.linear


@pytest.mark.parametrize("horizon", [None, 1, 10])
def test_a_constant_stays(horizon):
    assert [scheduled(0.3, CONSTANT, update, horizon) for update in (0, 5, 99)] == [0.3] * 3


def test_linear_falls_in_equal_steps_and_would_reach_zero_after_the_last_update():
    assert [scheduled(8.0, LINEAR, update, 4) for update in range(4)] == [8, 6, 4, 2]


@given(st.floats(1e-8, 1e3), st.integers(1, 10**7))
def test_linear_begins_with_the_whole_value_and_ends_above_zero(value, horizon):
    assert scheduled(value, LINEAR, 0, horizon) == value
    assert scheduled(value, LINEAR, horizon - 1, horizon) == pytest.approx(value / horizon, rel=1e-6)


@given(st.integers(1, 100), st.integers(0, 300))
def test_linear_never_rises(horizon, update):
    assert scheduled(1.0, LINEAR, update + 1, horizon) <= scheduled(1.0, LINEAR, update, horizon)


@pytest.mark.parametrize("update", [4, 5, 1000])
def test_beyond_the_horizon_the_last_value_stays(update):
    assert scheduled(8.0, LINEAR, update, 4) == 2


def test_linear_without_a_horizon_is_an_error_that_says_what_to_set():
    with pytest.raises(UserError) as error:
        check_horizon([CONSTANT, LINEAR], None)
    assert str(error.value) == (
        "a linear schedule needs to know when it ends. Set runner.n_epochs or runner.total_env_steps, "
        "or use the schedule constant."
    )


@pytest.mark.parametrize(("schedules", "horizon"), [([CONSTANT], None), ([], None), ([LINEAR, CONSTANT], 1)])
def test_a_horizon_is_needed_by_linear_only(schedules, horizon):
    check_horizon(schedules, horizon)
