"""From a Gymnasium id to an env."""

import sys
import types

import gymnasium
import pytest
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_env, resolve

from maze_core import ConfigError, EnvFaultError, UserError


def resolved(name):
    config = GymEnvConfig(name=name)
    return resolve(config), config.name


def refusal(name, **kwargs):
    config = GymEnvConfig(name=name, kwargs=kwargs)
    with pytest.raises(UserError) as problem:
        resolve(config)
        make_env(config)
    return str(problem.value)


@pytest.fixture
def register():
    """Registers env classes for one test."""
    before = dict(gymnasium.registry)
    yield lambda name, entry_point: gymnasium.register(name, entry_point, disable_env_checker=True)
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_a_current_id_is_used_as_it_is():
    assert resolved("CartPole-v1") == ([], "CartPole-v1")


def test_a_retired_id_is_replaced_by_its_successor_and_both_are_named():
    lines, name = resolved("LunarLander-v2")
    assert name == "LunarLander-v3"
    assert lines == ["LunarLander-v2 is retired; running its successor LunarLander-v3."]


def test_an_out_of_date_id_runs_and_its_current_version_is_named():
    lines, name = resolved("CartPole-v0")
    assert name == "CartPole-v0"
    assert lines == ["CartPole-v0 is out of date, CartPole-v1 is its current version; running CartPole-v0."]


def test_an_id_without_version_gets_the_newest():
    lines, name = resolved("Acrobot")
    assert name == "Acrobot-v1"
    assert "Acrobot-v1" in lines[0]


def test_a_version_that_does_not_exist_yet_is_refused_with_the_newest():
    assert refusal("CartPole-v7") == "Gymnasium has no env 'CartPole-v7'. Its newest version is 'CartPole-v1'."


@pytest.mark.parametrize(("wrong", "right"), [("CartPol-v1", "CartPole-v1"), ("lunarlander-v3", "LunarLander-v3")])
def test_a_misspelled_id_gets_the_nearest_full_id(wrong, right):
    assert refusal(wrong).startswith(f"Gymnasium has no env {wrong!r}. Did you mean {right!r}?")


def test_an_unknown_id_tells_how_to_see_all_and_how_to_add_packages():
    message = refusal("Zzyzx-v0")
    assert "Did you mean" not in message
    assert "--plugin <package>" in message
    assert "pprint_registry" in message


def test_atari_tells_the_package_and_the_plugin_option():
    assert 'pip install "gymnasium[atari]" and add --plugin ale_py' in refusal("ALE/Pong-v5")


@pytest.mark.parametrize("name", ["CartPole v1", "!", "a/b/c-v0"])
def test_what_cannot_be_an_id_is_refused_with_an_example(name):
    assert refusal(name) == f"{name!r} is no Gymnasium id; one looks like CartPole-v1 or ALE/Pong-v5."


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_id_is_out_of_range(name):
    with pytest.raises(ConfigError, match=r"^name=.*is not allowed: it must be the id of a Gymnasium env"):
        GymEnvConfig(name=name)


def test_a_module_before_the_id_is_imported_first(register, tmp_path, monkeypatch):
    code = "import gymnasium\ngymnasium.register('MazeTestImported-v0', gymnasium.spec('CartPole-v1').entry_point)\n"
    (tmp_path / "maze_test_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = GymEnvConfig(name="maze_test_module:MazeTestImported-v0")
    assert resolve(config) == []
    assert make_env(config).spec.id == "MazeTestImported-v0"


def test_a_module_that_does_not_exist_is_named():
    message = refusal("no_such_module:CartPole-v1")
    assert message.startswith("env.name=no_such_module:CartPole-v1: the module 'no_such_module' cannot be imported")


def test_the_module_stays_before_the_id_of_a_successor(monkeypatch):
    monkeypatch.setitem(sys.modules, "maze_test_empty", types.ModuleType("maze_test_empty"))
    assert resolved("maze_test_empty:LunarLander-v2")[1] == "maze_test_empty:LunarLander-v3"


def test_a_missing_package_is_named_with_its_install_command():
    assert refusal("HalfCheetah-v5") == (
        "env 'HalfCheetah-v5' needs a package that is not installed.\nNext: pip install \"gymnasium[mujoco]\""
    )


def test_an_unknown_argument_is_refused_with_its_key():
    message = refusal("CartPole-v1", gravity=3)
    assert message == (
        "env 'CartPole-v1' does not take env.kwargs (gravity): got an unexpected keyword argument 'gravity'."
    )


def test_arguments_reach_the_env():
    assert make_env(GymEnvConfig(name="Pendulum-v1", kwargs={"g": 5.0})).unwrapped.g == 5.0


def test_an_env_that_raises_in_its_constructor_is_a_fault_of_the_env(register):
    def broken():
        raise ValueError("the lamp is broken")

    register("MazeTestBroken-v0", broken)
    with pytest.raises(EnvFaultError, match="MazeTestBroken-v0' raised ValueError in its constructor: the lamp is"):
        make_env(GymEnvConfig(name="MazeTestBroken-v0"))


def test_an_out_of_date_env_is_built_without_further_warnings():
    make_env(GymEnvConfig(name="CartPole-v0")).close()
