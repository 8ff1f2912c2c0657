"""Encoding of observations: what models receive."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st
from support.spaces import any_space, sample_batch

from maze_core import EnvFaultError, UserError
from maze_core.rl.autograd_kernel import tensors
from maze_core.rl.blocks import concat_leaves
from maze_core.rl.spaces import ObservationEncoder, any_member, flat_size, flatten, put_rows, repeat, take_rows, unbatch


def test_a_box_becomes_float32_under_the_key_observation():
    encoder = ObservationEncoder(spaces.Box(-1, 1, (2,), np.float64))
    encoded = encoder.encode(np.array([[0.5, -1.0]]))
    assert encoded["observation"].dtype == np.float32
    np.testing.assert_array_equal(encoded["observation"], [[0.5, -1.0]])


def test_a_discrete_becomes_one_hot_counted_from_its_start():
    encoder = ObservationEncoder(spaces.Discrete(3, start=-1))
    np.testing.assert_array_equal(encoder.encode(np.array([-1, 1]))["observation"], [[1, 0, 0], [0, 0, 1]])


def test_a_multi_discrete_becomes_one_hots_side_by_side():
    encoder = ObservationEncoder(spaces.MultiDiscrete([2, 3], start=[5, 0]))
    np.testing.assert_array_equal(
        encoder.encode(np.array([[6, 2], [5, 0]]))["observation"], [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    )


def test_a_matrix_of_choices_is_encoded_row_by_row():
    encoder = ObservationEncoder(spaces.MultiDiscrete([[2, 2], [2, 3]]))
    encoded = encoder.encode(np.array([[[1, 0], [0, 2]]]))["observation"]
    np.testing.assert_array_equal(encoded, [[0, 1, 1, 0, 1, 0, 0, 0, 1]])


def test_a_multi_binary_keeps_its_shape_and_becomes_float32():
    encoder = ObservationEncoder(spaces.MultiBinary((2, 2)))
    encoded = encoder.encode(np.array([[[1, 0], [0, 1]]], np.int8))["observation"]
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [[[1, 0], [0, 1]]])


def test_a_tuple_becomes_a_dict_keyed_by_position():
    encoder = ObservationEncoder(spaces.Dict({"pair": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1,))])}))
    encoded = encoder.encode({"pair": (np.array([1]), np.array([[0.25]], np.float32))})
    np.testing.assert_array_equal(encoded["pair"]["0"], [[0, 1]])
    np.testing.assert_array_equal(encoded["pair"]["1"], [[0.25]])


def test_a_plain_tuple_lies_under_the_key_observation():
    encoder = ObservationEncoder(spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]))
    assert list(encoder.encode((np.array([1]), np.array([0])))["observation"]) == ["0", "1"]


def test_the_action_mask_is_no_input():
    space = spaces.Dict({"x": spaces.Box(0, 1, (2,)), "action_mask": spaces.MultiBinary(3)})
    encoder = ObservationEncoder(space)
    encoded = encoder.encode({"x": np.zeros((1, 2), np.float32), "action_mask": np.ones((1, 3), np.int8)})
    assert list(encoded) == list(encoder.space) == ["x"]


def test_flatten_puts_the_leaves_side_by_side_in_the_order_of_the_space():
    encoder = ObservationEncoder(spaces.Dict({"b": spaces.Box(0, 9, (2, 1)), "a": spaces.Discrete(2)}))
    encoded = encoder.encode({"a": np.array([1]), "b": np.array([[[7.0], [8.0]]])})
    order = {"a": [0, 1], "b": [7, 8]}
    np.testing.assert_array_equal(flatten(encoded), [[x for key in encoder.space for x in order[key]]])


def test_a_single_float32_box_is_not_copied():
    batch = np.zeros((4, 3), np.float32)
    encoder = ObservationEncoder(spaces.Box(-1, 1, (3,)))
    assert np.shares_memory(flatten(encoder.encode(batch)), batch)


@pytest.mark.parametrize(
    "space", [spaces.Text(5), spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)]
)
def test_a_space_without_encoding_is_refused_with_its_path_and_what_is_allowed(space):
    with pytest.raises(UserError, match=r"observation\.x\.1 has the space .*Allowed: Box, Discrete"):
        ObservationEncoder(spaces.Dict({"x": spaces.Tuple([spaces.Discrete(2), space])}))


def test_a_scalar_box_reaches_both_kernels_as_one_input():
    encoder = ObservationEncoder(spaces.Dict({"scalar": spaces.Box(-1, 1, ()), "x": spaces.Box(-1, 1, (2,))}))
    encoded = encoder.encode({"scalar": np.zeros(5, np.float32), "x": np.ones((5, 2), np.float32)})
    np.testing.assert_array_equal(flatten(encoded), concat_leaves(tensors(encoded, "cpu")).numpy())


@given(any_space(), st.integers(1, 4), st.integers(0, 99))
def test_every_encoded_batch_lies_in_the_encoded_space(space, count, seed):
    encoder = ObservationEncoder(space)
    encoded = encoder.encode(sample_batch(space, count, seed))
    assert batch_space(encoder.space, count).contains(encoded)


@given(any_space(), st.integers(1, 4), st.integers(0, 99))
def test_flattened_the_encoding_has_flat_size_inputs(space, count, seed):
    encoder = ObservationEncoder(space)
    flat = flatten(encoder.encode(sample_batch(space, count, seed)))
    assert flat.shape == (count, flat_size(encoder.space))
    assert flat.dtype == np.float32


@given(any_space())
def test_any_member_is_a_member(space):
    assert space.contains(any_member(space))


@given(any_space(), st.integers(1, 3))
def test_a_repeated_member_is_a_batch_whose_rows_are_the_member(space, count):
    batch = repeat(any_member(space), count)
    assert batch_space(space, count).contains(batch)
    assert space.contains(unbatch(batch, count - 1))


@given(any_space(), st.integers(0, 99))
def test_rows_that_are_put_back_where_they_were_taken_change_nothing_else(space, seed):
    target, source = sample_batch(space, 4, seed), sample_batch(space, 4, seed + 1)
    expected = [unbatch(source if row in (0, 3) else target, row) for row in range(4)]
    target = take_rows(target, np.arange(4))
    put_rows(target, np.array([3, 0]), take_rows(source, np.array([3, 0])))
    for row in range(4):
        np.testing.assert_equal(unbatch(target, row), expected[row])


def test_an_action_space_without_members_of_its_own_is_refused():
    with pytest.raises(UserError, match=r"action space Text.* is not supported"):
        any_member(spaces.Text(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_a_fault(value):
    encoder = ObservationEncoder(spaces.Dict({"speed": spaces.Box(-np.inf, np.inf, (2,))}))
    with pytest.raises(EnvFaultError, match=r"observation\.speed is not finite"):
        encoder.encode({"speed": np.array([[0.0, 1.0], [value, 1.0]])})


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Discrete(4, start=5), np.array([5, 2])),
        (spaces.Discrete(4, start=5), np.array([9, 5])),
        (spaces.MultiDiscrete([2, 3]), np.array([[0, 0], [2, 0]])),
    ],
    ids=str,
)
def test_a_choice_outside_of_its_space_is_a_fault(space, value):
    with pytest.raises(EnvFaultError, match="leaves its space"):
        ObservationEncoder(space).encode(value)


@pytest.mark.parametrize(
    "space", [spaces.Dict({"action_mask": spaces.MultiBinary(3)}), spaces.Box(0, 1, (0,)), spaces.Dict({})], ids=str
)
def test_a_space_without_anything_to_observe_is_refused(space):
    with pytest.raises(UserError, match="nothing to observe"):
        ObservationEncoder(space)
