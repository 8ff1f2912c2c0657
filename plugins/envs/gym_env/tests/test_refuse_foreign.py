"""A configuration that somebody else wrote cannot import what they chose."""

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import refuse_foreign

from maze_core import UserError


def refusal(name, **kwargs):
    with pytest.raises(UserError) as caught:
        refuse_foreign(GymEnvConfig(name=name, kwargs=kwargs))
    return str(caught.value)


@pytest.fixture
def third_party(monkeypatch):
    """An env that another package registered."""
    monkeypatch.setitem(gymnasium.registry, "Other/Env-v0", EnvSpec("Other/Env-v0", "other_package.envs:Env"))
    return "Other/Env-v0"


@pytest.mark.parametrize("name", sorted(gymnasium.registry))
def test_every_registered_env_is_accepted_but_for_the_bridges_to_old_gym(name):
    if name.startswith("GymV2"):
        assert "can import what its env.kwargs name" in refusal(name)
    else:
        refuse_foreign(GymEnvConfig(name=name, kwargs={"render_mode": "rgb_array"}))


def test_a_module_before_the_id_is_refused_unimported_and_the_message_tells_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda *_: pytest.fail("something was imported"))
    assert refusal("evil.module:Env-v0") == (
        "env.name=evil.module:Env-v0 imports the module 'evil.module', which the configuration of a run may not "
        "decide; if you trust it, name it on your own command line: env.name=evil.module:Env-v0"
    )


@pytest.mark.parametrize("name", [":CartPole-v1", "evil:other:CartPole-v1", "os:ALE/Pong-v5"])
def test_every_form_of_a_module_is_refused(name):
    assert f"env.name={name} imports the module" in refusal(name)


@pytest.mark.parametrize(
    "name",
    [
        "GymV21Environment-v0",
        "GymV26Environment-v0",
        "GymV26Environment",
        "GymV21Environment-v7",
        "x/GymV26Environment-v0",
    ],
)
def test_a_bridge_to_old_gym_is_refused_in_every_spelling(name):
    assert f"on your own command line: env.name={name}" in refusal(name, env_id="evil:Env-v0")


@pytest.mark.parametrize(
    "name", ["CartPole-v1\x1b[2J", "CartPole-v1;reboot", "$(reboot):CartPole-v1", "CartPole-v1\n", "evil:", "a/b/c"]
)
def test_what_is_no_id_is_refused_escaped_and_without_a_hint_to_copy(name):
    assert refusal(name) == f"{name!r} is no Gymnasium id; one looks like CartPole-v1 or ALE/Pong-v5."


@pytest.mark.parametrize(
    ("kwargs", "key"),
    [
        ({"env_id": "evil:Env-v0"}, "env.kwargs.env_id"),
        ({"inner": {"tasks": ["plain", "evil.module:make"]}}, "env.kwargs.inner.tasks.1"),
        ({"weights": {"evil:Env-v0": 1}}, "env.kwargs.weights"),
        ({"env_id": " evil:Env-v0"}, "env.kwargs.env_id"),
    ],
)
def test_an_argument_that_could_name_a_module_is_refused_for_an_env_of_another_package(third_party, kwargs, key):
    message = refusal(third_party, **kwargs)
    assert f"may import what its {key!r} names" in message
    assert "evil" not in message  # it may be a secret


def test_an_env_of_another_package_is_accepted_with_plain_arguments(third_party):
    refuse_foreign(GymEnvConfig(name=third_party, kwargs={"size": 3, "mode": "hard", "at": "12:30", "names": ["a"]}))


def test_an_env_that_is_not_registered_counts_as_one_of_another_package():
    assert "'env.kwargs.env_id'" in refusal("Nowhere-v0", env_id="evil:Env-v0")


def test_envs_of_gymnasium_import_nothing_whatever_their_arguments_are():
    refuse_foreign(GymEnvConfig(name="FrozenLake-v1", kwargs={"map_name": "evil:Env-v0"}))
