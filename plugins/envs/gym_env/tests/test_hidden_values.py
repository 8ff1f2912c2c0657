"""Values of env.kwargs may be secrets: no message and no traceback shows them."""

import traceback

import gymnasium
import pytest
from gymnasium import error
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_env
from maze_gym_env.hidden_values import hide_values

from maze_core import EnvFaultError, MazeError, UserError

SECRET = "pa'ss\n\\w0rd"


@pytest.fixture
def failing(monkeypatch):
    """Registers an env whose constructor raises what a function of its arguments returns."""

    def register(problem_of):
        def constructor(**kwargs):
            raise problem_of(kwargs)

        spec = gymnasium.envs.registration.EnvSpec("MazeTestFailing-v0", constructor)
        monkeypatch.setitem(gymnasium.registry, "MazeTestFailing-v0", spec)
        return "MazeTestFailing-v0"

    return register


def failure(name, **kwargs):
    with pytest.raises(MazeError) as caught:
        make_env(GymEnvConfig(name=name, kwargs=kwargs))
    return caught.value


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ValueError, EnvFaultError),
        (TypeError, EnvFaultError),
        (KeyError, EnvFaultError),
        (ImportError, UserError),
        (error.Error, UserError),
        (error.DependencyNotInstalled, UserError),
    ],
)
def test_what_an_env_raises_is_told_without_the_values_of_its_arguments(failing, kind, expected):
    name = failing(lambda kwargs: kind(f"no entry for {kwargs['token']} in {kwargs}"))
    problem = failure(name, token=SECRET, size=3)
    assert type(problem) is expected
    assert "no entry for *** in {" in str(problem)
    shown = "".join(traceback.format_exception(problem))
    assert "w0rd" not in str(problem)
    assert "w0rd" not in shown


def test_an_argument_that_an_env_does_not_take_is_told_by_its_key():
    problem = failure("CartPole-v1", token=SECRET, gravity=3)
    assert str(problem).startswith("env 'CartPole-v1' does not take env.kwargs (token, gravity): got an unexpected")
    assert "w0rd" not in "".join(traceback.format_exception(problem))


def test_an_argument_that_is_missing_is_told_as_well(failing, monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("MazeTestNeedy-v0", lambda size: None)
    monkeypatch.setitem(gymnasium.registry, "MazeTestNeedy-v0", spec)
    assert "does not take env.kwargs (none): missing 1 required" in str(failure("MazeTestNeedy-v0"))


def test_a_traceback_without_values_is_the_original_one(failing):
    name = failing(lambda kwargs: ValueError("the lamp is broken"))
    cause = failure(name, token=SECRET).__cause__
    assert type(cause) is ValueError


def test_a_traceback_with_values_keeps_its_lines_and_the_kinds_of_all_its_exceptions(failing):
    def problem_of(kwargs):
        try:
            raise KeyError(kwargs["token"])
        except KeyError as problem:
            raise ValueError("second") from problem

    shown = "".join(traceback.format_exception(failure(failing(problem_of), token=SECRET)))
    assert 'KeyError: "***"' in shown
    assert "ValueError: second" in shown
    assert 'raise KeyError(kwargs["token"])' in shown
    assert "w0rd" not in shown


def test_nested_values_are_hidden_the_longest_first_and_keys_are_not():
    kwargs = {"login": {"user": "ann", "keys": ["ann*", "anna"]}, "retries": 3, "empty": ""}
    assert hide_values("login of ann with anna, ann* or 3", kwargs) == "login of *** with ***, *** or 3"


@pytest.mark.parametrize("value", [SECRET, "a\\", "\\\\", "'\"'", "tab\t\x1b\xa0", "a.b*(c", "ü€"])
def test_a_value_is_hidden_as_a_whole_however_often_it_was_escaped(value):
    text = f"[{value}]"
    for _ in range(3):
        assert "[***]" in hide_values(text, {"token": value})
        text = repr(("it's", text))


def test_without_values_a_text_stays():
    assert hide_values("plain", {"size": 3, "empty": ""}) == "plain"
