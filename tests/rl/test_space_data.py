"""Spaces as JSON values: all of them come back, and a stranger's description can do no harm."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.spaces import any_space

from maze_core.errors import UserError
from maze_core.rl.space_data import DTYPES, INTEGERS, MAX_DEPTH, MAX_ELEMENTS, MAX_PARTS, space_data, space_from_data

FLOATS = ("float16", "float32", "float64")


def text_of(space: spaces.Space[Any]) -> str:
    return json.dumps(space_data(space), allow_nan=False)


def there_and_back(space: spaces.Space[Any]) -> Any:
    return space_from_data(json.loads(text_of(space)))


def bits(space: Any) -> Any:
    """All that makes a space, to the last bit."""
    if isinstance(space, spaces.Dict):
        return [(key, bits(part)) for key, part in space.spaces.items()]
    if isinstance(space, spaces.Tuple):
        return [bits(part) for part in space.spaces]
    names = ("low", "high", "bounded_below", "bounded_above", "nvec", "start", "n")
    values = [np.asarray(getattr(space, name)) for name in names if hasattr(space, name)]
    return type(space), space.shape, space.dtype, [(value.dtype, value.shape, value.tobytes()) for value in values]


def box(**other: Any) -> dict[str, Any]:
    return {"kind": "Box", "dtype": "float32", "shape": [2], "low": -1.0, "high": 1.0, **other}


def discrete(**other: Any) -> dict[str, Any]:
    return {"kind": "Discrete", "dtype": "int64", "n": 3, "start": 0, **other}


def multi_discrete(**other: Any) -> dict[str, Any]:
    return {"kind": "MultiDiscrete", "dtype": "int64", "shape": [2], "nvec": 3, "start": 0, **other}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,)),
        spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
        spaces.Box(np.array([-np.inf, 0.1], np.float32), np.array([0.3, np.inf], np.float32)),
        spaces.Box(0, 255, (84, 84, 4), np.uint8),
        spaces.Box(-5, 5, (), np.float16),
        spaces.Box(0, 1, (0, 3)),
        spaces.Box(0, 1, (3,), np.bool_),
        spaces.Box(-np.inf, np.inf, (2,), np.int64),
        spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
        spaces.Box(np.array([-np.inf, 3]), np.array([7, np.inf]), dtype=np.int32),
        spaces.Box(np.array([0, 2**63], np.uint64), np.array([2**63 + 1, 2**64 - 1], np.uint64), dtype=np.uint64),
        spaces.Box(np.array([0.0, -0.0]), np.array([0.1, 1e-310]), dtype=np.float64),
        spaces.Discrete(4), spaces.Discrete(4, start=-2), spaces.Discrete(255, dtype=np.uint8),
        spaces.MultiDiscrete([3, 4], start=[1, -1]), spaces.MultiDiscrete([[3, 3], [3, 3]], dtype=np.int32),
        spaces.MultiBinary(4), spaces.MultiBinary((4,)), spaces.MultiBinary([2, 3]),
        spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Discrete(3))]),
        spaces.Dict({}), spaces.Tuple([]), spaces.Dict([("", spaces.Discrete(2)), ("ü/ %", spaces.Discrete(2))]),
        spaces.Tuple([spaces.Dict({"a": spaces.Tuple([spaces.MultiBinary(2)])}), spaces.Box(0, 1)]),
    ],
    ids=str,
)  # fmt: skip
def test_a_space_comes_back(space: spaces.Space[Any]) -> None:
    again = there_and_back(space)
    assert again == space
    assert bits(again) == bits(space)


@given(any_space())
def test_every_space_that_maze_supports_comes_back(space: spaces.Space[Any]) -> None:
    again = there_and_back(space)
    assert again == space
    assert bits(again) == bits(space)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_bounds_keep_all_bits(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(array_shapes(max_dims=2, max_side=3))
    one, other = (data.draw(arrays(dtype, shape, elements={"allow_nan": False})) for _ in range(2))
    space = spaces.Box(np.minimum(one, other), np.maximum(one, other), dtype=DTYPES[dtype].type)
    assert bits(there_and_back(space)) == bits(space)


@pytest.mark.parametrize("dtype", INTEGERS)
@given(data=st.data())
def test_bounds_of_integers_are_exact(dtype: str, data: st.DataObject) -> None:
    one, other = (data.draw(arrays(dtype, (3,))) for _ in range(2))
    space = spaces.Box(np.minimum(one, other), np.maximum(one, other), dtype=DTYPES[dtype].type)
    assert bits(there_and_back(space)) == bits(space)


def test_the_order_of_keys_is_kept() -> None:
    space = spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Discrete(2))])
    assert list(there_and_back(space).spaces) == ["z", "a"]


def test_bounds_that_are_the_same_everywhere_are_one_number() -> None:
    assert space_data(spaces.Box(0, 255, (84, 84, 4), np.uint8)) == {
        "kind": "Box", "dtype": "uint8", "shape": [84, 84, 4], "low": 0, "high": 255,
    }  # fmt: skip


def test_a_member_of_the_one_is_a_member_of_the_other() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Tuple([spaces.MultiDiscrete([2, 3], start=[4, 5])])})
    space.seed(0)
    assert all(there_and_back(space).contains(space.sample()) for _ in range(20))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(5), "Text.* Allowed: Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple"),
        (spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}), r"Sequence\(.* cannot be written down. Allowed: Box"),
        (spaces.Dict({"a\n": spaces.Discrete(2)}), r"no key of a Dict"),
        (spaces.Dict([(1, spaces.Discrete(2))]), r"1 is no key of a Dict"),  # type: ignore[list-item]
        (spaces.Box(0, 1, (2,), np.dtype(">f4")), r"'>f4' is no dtype of a Box"),  # type: ignore[arg-type]
        (spaces.Box(0, 1, (2,), np.longdouble), r"is no dtype of a Box"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_down_is_said(space: spaces.Space[Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        space_data(space)


def deep(levels: int) -> Any:
    data: Any = discrete()
    for _ in range(levels):
        data = {"kind": "Tuple", "spaces": [data]}
    return data


HUGE = 10**400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "is no space"),
        ([], "is no space"),
        ("Box", "is no space"),
        ({}, "unknown kind None"),
        ({"kind": "Graph"}, "unknown kind 'Graph'"),
        ({"kind": ["Box"]}, "unknown kind a value of type list"),
        ({"kind": "Box"}, "a Box has dtype, shape, low, high"),
        (box(seed=1), "a Box has"),
        (discrete(n=None), "None is no int64"),
        (box(dtype="object"), "'object' is no dtype of a Box"),
        (box(dtype="float128"), "is no dtype"),
        (box(dtype="O"), "is no dtype"),
        (box(dtype=["f4"]), "is no dtype"),
        (box(dtype="str"), "is no dtype"),
        (box(dtype=">f4"), "is no dtype"),
        (box(dtype="datetime64"), "is no dtype"),
        (box(dtype="__class__"), "is no dtype"),
        (box(shape=3), "is no list"),
        (box(shape=[-1]), "is no shape"),
        (box(shape=[1.0]), "is no shape"),
        (box(shape=[True]), "is no shape"),
        (box(shape=[HUGE]), "is no shape"),
        (box(shape=[2**40]), "is no shape"),
        (box(shape=[2**13, 2**13]), "more than"),
        (box(shape=[0, 2**20, 2**20]), "more than"),
        (box(shape=[1] * 33), "is no shape"),
        (box(shape="12"), "is no list"),
        (box(low=1.0, high=-1.0), "low > high"),
        (box(low=[0.0, 2.0]), "low > high"),
        (box(low="inf"), "low > high"),
        (box(low=[0.0]), "1 numbers for the shape"),
        (box(low=[[0.0, 0.0]]), "1 numbers"),
        (box(low=[[0.0], [0.0]]), "type list is no"),
        (box(low=math.nan), "nan is no float32"),
        (box(high=math.inf), "inf is no float32"),
        (box(high="nan"), "'nan' is no"),
        (box(high=1e39), "is no float32"),
        (box(high=HUGE), "type int is no float32"),
        (box(low="0"), "'0' is no float32"),
        (box(low=True), "True is no float32"),
        (box(low={}), "type dict is no float32"),
        (box(low=None), "None is no float32"),
        (box(dtype="uint8", low=0, high=256), "256 is no uint8"),
        (box(dtype="uint8", low=-1, high=1), "-1 is no uint8"),
        (box(dtype="uint8", low="-inf", high=1), "'-inf' is no uint8"),
        (box(dtype="int8", low="inf", high=1), "'inf' is no int8"),
        (box(dtype="int64", low=0.0, high=1), "0.0 is no int64"),
        (box(dtype="int64", low=0, high=2**63), "is no int64"),
        (box(dtype="bool", low=0, high=1), "0 is no bool"),
        (discrete(n=0), "no choices"),
        (discrete(n=-1), "no choices"),
        (discrete(n=2.0), "2.0 is no int64"),
        (discrete(n=HUGE), "is no int64"),
        (discrete(start=2**63 - 2), "more than int64 can count"),
        (discrete(dtype="float32"), "'float32' is no dtype of a Discrete"),
        (discrete(dtype="bool"), "is no dtype"),
        (discrete(n=[3]), "1 numbers"),
        (multi_discrete(nvec=[3]), "1 numbers"),
        (multi_discrete(nvec=[3, 0]), "no choices"),
        (multi_discrete(start=[0, 2**63 - 2]), "more than int64"),
        (multi_discrete(shape=[2**26]), "is no shape"),
        ({"kind": "MultiBinary", "n": 0}, "the size 0"),
        ({"kind": "MultiBinary", "n": [2, 0]}, "the size 0"),
        ({"kind": "MultiBinary", "n": -1}, "is no shape"),
        ({"kind": "MultiBinary", "n": 2**40}, "is no shape"),
        ({"kind": "MultiBinary", "n": "3"}, "is no shape"),
        ({"kind": "MultiBinary", "n": True}, "is no shape"),
        ({"kind": "Dict", "spaces": {"a": discrete()}}, "is no list"),
        ({"kind": "Dict", "spaces": ["ab"]}, "no pairs"),
        ({"kind": "Dict", "spaces": [["a", discrete(), 1]]}, "no pairs"),
        ({"kind": "Dict", "spaces": [["a", discrete()], ["a", discrete()]]}, "a key twice"),
        ({"kind": "Dict", "spaces": [[1, discrete()]]}, "1 is no key"),
        ({"kind": "Dict", "spaces": [[["a"], discrete()]]}, "no key"),
        ({"kind": "Dict", "spaces": [["\x1b[31m", discrete()]]}, r"'\\x1b\[31m' is no key"),
        ({"kind": "Dict", "spaces": [["a" * 1001, discrete()]]}, "is no key"),
        ({"kind": "Dict", "spaces": [["\ud800", discrete()]]}, "is no key"),
        ({"kind": "Tuple", "spaces": [1]}, "1 is no space"),
        ({"kind": "Tuple", "spaces": None}, "None is no list"),
        (deep(MAX_DEPTH), "more than 20 levels"),
        (deep(900), "more than 20 levels"),
        ({"kind": "Tuple", "spaces": [discrete()] * MAX_PARTS}, "10000 parts"),
        ({"kind": "Tuple", "spaces": [{"kind": "MultiBinary", "n": MAX_ELEMENTS // 4}] * 5}, "more than"),
    ],
)
def test_what_describes_no_space_is_refused(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        space_from_data(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_limits_are_those_that_are_told() -> None:
    assert space_from_data(deep(MAX_DEPTH - 1))
    assert len(space_from_data({"kind": "Tuple", "spaces": [discrete()] * (MAX_PARTS - 1)})) == MAX_PARTS - 1  # type: ignore[arg-type]
    with pytest.raises(UserError, match="20 levels"):
        space_data(space_from_data(deep(MAX_DEPTH - 1)) and spaces.Tuple([space_from_data(deep(MAX_DEPTH - 1))]))


def test_a_short_description_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than"):
            space_from_data({"kind": "Tuple", "spaces": [box(shape=[2**14, 2**12]), box()]})
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_whole_numbers_of_another_program_may_bound_floats() -> None:
    assert space_from_data(box(low=-1, high=1)) == spaces.Box(-1, 1, (2,))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@given(any_space(), st.data())
def test_whatever_stands_in_place_of_a_value_is_a_space_or_refused(
    space: spaces.Space[Any], data: st.DataObject
) -> None:
    described = space_data(space)
    place: Any = described
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    try:
        found = space_from_data(described)
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert isinstance(found, gymnasium.Space)
