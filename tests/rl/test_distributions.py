"""From network outputs to actions."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.spaces import allowed, any_space, random_mask

from maze_core import UserError
from maze_core.enums import BoxDistribution
from maze_core.rl.heads import ActionHeads
from maze_core.rl.spaces import unbatch

SQUASHED = BoxDistribution.squashed_gaussian


def mode(space, mask=None, distribution=BoxDistribution.gaussian, **outputs):
    heads = ActionHeads(space, distribution)
    assert outputs.keys() == heads.output_sizes.keys()
    side_by_side = np.concatenate([np.array(outputs[head], np.float32) for head in heads.output_sizes], axis=1)
    return heads.to_env(heads.mode(side_by_side, mask))


def test_discrete_takes_the_largest_logit_and_respects_the_start():
    np.testing.assert_array_equal(mode(spaces.Discrete(3, start=10), action=[[0, 2, 1], [5, 0, 1]]), [11, 10])


def test_multi_discrete_takes_the_largest_logit_of_each_choice():
    space = spaces.MultiDiscrete([2, 3], start=[1, -1])
    np.testing.assert_array_equal(mode(space, action=[[0, 1, 9, 0, 1]]), [[2, -1]])


def test_a_matrix_of_choices_keeps_its_shape():
    space = spaces.MultiDiscrete([[2, 2], [2, 2]])
    np.testing.assert_array_equal(mode(space, action=[[0, 1, 1, 0, 0, 1, 0, 1]]), [[[1, 0], [1, 1]]])


def test_multi_binary_is_one_where_the_logit_is_positive():
    actions = mode(spaces.MultiBinary((2, 2)), action=[[0.1, -0.1, 0.0, 3]])
    np.testing.assert_array_equal(actions, [[[1, 0], [0, 1]]])


def test_a_gaussian_gives_its_mean_clipped_to_the_box():
    space = spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32))
    np.testing.assert_array_equal(mode(space, action=[[-3, -3], [0.5, 99]]), [[-1, -3], [0.5, 99]])


def test_an_integer_box_gets_the_nearest_integer():
    np.testing.assert_array_equal(mode(spaces.Box(0, 9, (3,), np.uint8), action=[[-2, 4.6, 300]]), [[0, 5, 9]])


def test_a_squashed_gaussian_maps_zero_to_the_middle_and_never_leaves_the_bounds():
    actions = mode(spaces.Box(-1, 3, (3,)), None, SQUASHED, action=[[0, -100, 100]])
    np.testing.assert_allclose(actions, [[1, -1, 3]])


def test_a_squashed_gaussian_is_tanh_scaled_into_the_bounds():
    actions = mode(spaces.Box(-2, 2, (1,)), None, SQUASHED, action=[[0.3]])
    np.testing.assert_allclose(actions, [[2 * np.tanh(0.3)]], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-np.inf, 1), (0, np.inf), (-np.inf, np.inf)])
def test_a_squashed_gaussian_without_bounds_is_an_error_that_names_the_way_out(low, high):
    space = spaces.Dict({"push": spaces.Box(low, high, (2,))})
    with pytest.raises(UserError, match=r"finite bounds.*'push'.*box_distribution=gaussian"):
        ActionHeads(space, SQUASHED)


def test_a_mask_forbids_the_largest_logit_of_a_discrete():
    mask = np.array([[1, 0, 1], [1, 1, 1]], np.int8)
    np.testing.assert_array_equal(mode(spaces.Discrete(3), mask, action=[[0, 9, 1], [0, 9, 1]]), [2, 1])


def test_a_mask_forbids_in_each_choice_of_a_multi_discrete():
    mask = np.array([[0, 1, 1, 0, 1]], np.int8)
    np.testing.assert_array_equal(mode(spaces.MultiDiscrete([2, 3]), mask, action=[[9, 0, 0, 9, 1]]), [[1, 2]])


def test_the_masks_of_a_dict_are_found_by_key_and_may_be_left_out():
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2), "c": spaces.MultiBinary(1)})
    actions = mode(space, {"b": np.array([[1, 0]], np.int8)}, a=[[0, 1]], b=[[0, 1]], c=[[1]])
    assert {key: value.tolist() for key, value in actions.items()} == {"a": [1], "b": [0], "c": [[1]]}


def test_the_masks_of_a_tuple_are_found_by_position():
    space = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
    actions = mode(space, {"1": np.array([[1, 0]], np.int8)}, **{"0": [[0, 1]], "1": [[0, 1]]})
    assert [value.tolist() for value in actions] == [[1], [0]]


def test_masks_are_found_in_nested_spaces():
    space = spaces.Dict({"hand": spaces.Tuple([spaces.Dict({"finger": spaces.Discrete(2)}), spaces.Discrete(2)])})
    mask = {"hand": {"0": {"finger": np.array([[1, 0]], np.int8)}}}
    actions = mode(space, mask, **{"hand/0/finger": [[0, 1]], "hand/1": [[0, 1]]})
    assert actions["hand"][0]["finger"].tolist() == [0]
    assert actions["hand"][1].tolist() == [1]


def test_an_action_key_with_a_slash_is_refused():
    with pytest.raises(UserError, match="'left/right' contains '/'"):
        ActionHeads(spaces.Dict({"left/right": spaces.Discrete(2)}))


def test_output_sizes_are_those_of_the_parts():
    space = spaces.Dict(
        {"a": spaces.MultiDiscrete([2, 3]), "b": spaces.Tuple([spaces.Box(0, 1, (2, 2)), spaces.Discrete(3)])}
    )
    assert ActionHeads(space).output_sizes == {"a": 5, "b/0": 4, "b/1": 3}


def test_a_plain_space_has_one_head_named_action():
    assert ActionHeads(spaces.MultiBinary((2, 3))).output_sizes == {"action": 6}


def test_blocked_finds_the_rows_in_which_some_choice_allows_nothing():
    heads = ActionHeads(spaces.Dict({"m": spaces.MultiDiscrete([2, 2]), "free": spaces.Discrete(2)}))
    mask = {"m": np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]], np.int8)}
    assert [(head, rows.tolist()) for head, rows in heads.blocked(mask)] == [("m", [False, True, True])]


def test_a_mask_of_the_wrong_size_is_told():
    with pytest.raises(UserError, match=r"mask of 'action' has 2 entries instead of 3"):
        list(ActionHeads(spaces.Discrete(3)).blocked(np.ones((1, 2), np.int8)))


def test_a_space_without_distribution_is_refused_with_its_path_and_what_is_allowed():
    with pytest.raises(UserError, match=r"'word' with the space Text.*Allowed: Discrete"):
        ActionHeads(spaces.Dict({"word": spaces.Text(3)}))


@st.composite
def decisions(draw, bounded):
    space, count = draw(any_space(bounded)), draw(st.integers(1, 4))
    numbers = st.floats(-1000, 1000, width=32)
    outputs = draw(hnp.arrays(np.float32, (count, ActionHeads(space).size), elements=numbers))
    return space, outputs, random_mask(space, count, np.random.default_rng(draw(st.integers(0, 999)))), count


@given(decisions(bounded=False), st.booleans())
def test_every_mode_is_an_allowed_member_of_the_space(case, masked):
    space, outputs, mask, count = case
    heads = ActionHeads(space)
    actions = heads.to_env(heads.mode(outputs, mask if masked else None))
    for row in range(count):
        assert space.contains(unbatch(actions, row))
        assert allowed(space, unbatch(mask, row) if masked and mask is not None else None, unbatch(actions, row))


@given(decisions(bounded=True))
def test_every_squashed_mode_is_a_member_of_the_space(case):
    space, outputs, mask, count = case
    heads = ActionHeads(space, SQUASHED)
    actions = heads.to_env(heads.mode(outputs, mask))
    assert all(space.contains(unbatch(actions, row)) for row in range(count))


@given(decisions(bounded=False))
def test_a_mask_that_allows_everywhere_blocks_no_row(case):
    space, _, mask, _ = case
    assert not any(rows.any() for _, rows in ActionHeads(space).blocked(mask))
