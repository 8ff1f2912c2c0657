"""Reading and sorting overrides: users type what they mean."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from maze_core.config.overrides import (
    Normalised,
    expand_sweeps,
    group_overrides,
    items_of_mapping,
    keys_of,
    normalise,
    read_items,
)
from maze_core.errors import UserError


def sort(*texts: str) -> Normalised:
    return normalise(read_items(texts))


def values(*texts: str) -> list[tuple[str, Any, str]]:
    return [(item.key, item.value, item.operation) for item in sort(*texts).values]


@pytest.mark.parametrize("text", ["experiment=x", "+experiment=x", "experiment=[x]"])
def test_an_experiment_is_chosen_with_or_without_plus(text: str) -> None:
    assert sort(text).choices == {"experiment": ["x"]}


@pytest.mark.parametrize("text", ["wrappers=a,b", "wrappers=[a,b]"])
def test_a_list_of_wrappers_needs_no_brackets(text: str) -> None:
    assert sort(text).choices == {"wrappers": ["a", "b"]}


@pytest.mark.parametrize("text", ["wrappers=null", "wrappers=[]", "~wrappers"])
def test_a_list_can_be_emptied(text: str) -> None:
    assert sort(text).choices == {"wrappers": []}


def test_plus_appends_to_a_list() -> None:
    result = sort("+wrappers=a", "+wrappers=b,c")
    assert (result.choices, result.appended) == ({}, {"wrappers": ["a", "b", "c"]})


def test_a_list_named_after_something_was_appended_replaces_it() -> None:
    result = sort("+wrappers=a", "wrappers=b")
    assert (result.choices, result.appended) == ({"wrappers": ["b"]}, {})


def test_the_last_choice_of_a_group_counts() -> None:
    assert sort("algorithm=es", "algorithm=ppo").choices == {"algorithm": ["ppo"]}


@pytest.mark.parametrize("key", ["model.actors.cut_piece", "model.default"])
def test_a_models_key_chooses_a_model(key: str) -> None:
    assert sort(f"{key}=flatten_concat").nested == [("model", key, "flatten_concat")]


def test_a_field_of_an_actors_model_is_a_value() -> None:
    assert values("model.actors.cut_piece.hidden_sizes=[3]") == [("model.actors.cut_piece.hidden_sizes", [3], "set")]


def test_hydras_package_form_is_kept() -> None:
    assert sort("model@model.actors.cut_piece=vector_obs").nested == [("model", "model.actors.cut_piece", "vector_obs")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=1", 1),
        ("a.b=1.0", 1.0),
        ("a.b=1e-3", 0.001),
        ("a.b=true", True),
        ("a.b=null", None),
        ("a.b='1'", "1"),
        ("a.b=[6,4]", [6, 4]),
        ("a.b={x:1}", {"x": 1}),
        ("a.b=text with spaces", "text with spaces"),
        ("a.b=", ""),
        ("a.b=${oc.env:HOME}", "${oc.env:HOME}"),
    ],
)
def test_values_are_read_with_hydras_grammar(text: str, value: Any) -> None:
    ((_, read, operation),) = values(text)
    assert read == value
    assert type(read) is type(value) or str(read) == value
    assert operation == "set"


@pytest.mark.parametrize(("text", "operation"), [("+a.b=1", "add"), ("++a.b=1", "add"), ("~a.b", "delete")])
def test_operations_are_told_apart(text: str, operation: str) -> None:
    ((key, _, read),) = values(text)
    assert (key, read) == ("a.b", operation)


def test_values_keep_their_order() -> None:
    assert [key for key, _, _ in values("b=1", "a=2", "b=3")] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train", "'train' is no override: write <key>=<value>"),
        ("a=[1,2", "cannot be read. Quote special characters"),
        (
            "algorithm.lr=0.1,0.2",
            "maze train --multirun makes a run of each, or write a list as algorithm.lr=[...]",
        ),
        ("algorithm=es,ppo", "maze train --multirun makes a run of each."),
        ("wrappers=choice(a,b)", "maze train --multirun"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_items([text])
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["env=3", "env=[a,b]", "env={a:1}", "env=null", "algorithm=true", "wrappers=3"])
def test_a_group_takes_names_only(text: str) -> None:
    with pytest.raises(UserError, match="takes the name of one"):
        sort(text)


@pytest.mark.parametrize("text", ["env=", "wrappers=", "+wrappers="])
def test_an_empty_choice_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is empty"):
        sort(text)


def test_a_sweep_gives_every_combination_in_order() -> None:
    assert expand_sweeps(["a=1,2", "b=x", "c=choice(y,z)"]) == [
        ["a=1", "b=x", "c=y"],
        ["a=1", "b=x", "c=z"],
        ["a=2", "b=x", "c=y"],
        ["a=2", "b=x", "c=z"],
    ]


def test_a_list_of_wrappers_is_one_job_and_its_choices_are_several() -> None:
    assert expand_sweeps(["wrappers=a,b"]) == [["wrappers=a,b"]]
    assert expand_sweeps(["wrappers=choice(a,b)"]) == [["wrappers=a"], ["wrappers=b"]]


def test_ranges_are_swept() -> None:
    assert expand_sweeps(["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]


def test_nothing_to_sweep_is_one_job() -> None:
    assert expand_sweeps([]) == [[]]


def test_a_repeated_wrapper_gets_a_key_of_its_own() -> None:
    assert keys_of(["a", "b", "a", "a"]) == ["a", "b", "a_2", "a_3"]
    assert list(group_overrides("wrappers", ["a", "b", "a"])) == ["wrappers=[a,b]", "+wrappers@wrappers.a_2=a"]


class Colour(Enum):
    red = 1


@pytest.mark.parametrize(
    "value",
    [0.1, 1, True, None, "text", "a b", "it's", 'a "b" \\ c', "a\\", "a,b", "", "true", "1", [1, "a b"], {"a": [1]}],
)
def test_a_python_value_reads_back_from_its_text(value: Any) -> None:
    """The recorded command repeats a run that was started from Python."""
    (item,) = items_of_mapping({"a.b": value})
    assert (item.key, item.value, item.operation) == ("a.b", value, "set")
    (read,) = read_items([item.text])
    assert read.value == value
    assert type(read.value) is type(value) or isinstance(value, (list, dict, str))


def test_an_enum_is_written_by_its_name() -> None:
    assert items_of_mapping({"a": Colour.red})[0].text == "a=red"
