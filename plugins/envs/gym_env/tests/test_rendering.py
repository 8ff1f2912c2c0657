"""Gymnasium envs that can be rendered."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_env, make_rendering_env
from maze_gym_env.rebuild import RebuiltEnv

from maze_core import EnvFaultError, UserError


class Shop(gymnasium.Env):
    """An env that renders how it was made."""

    metadata = {"render_modes": ["human"]}
    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)
    n_open = 0

    def __init__(self, render_mode=None, size=1):
        self.render_mode, self.size = render_mode, size
        Shop.n_open += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def render(self):
        return f"{self.render_mode} {self.size}"

    def close(self):
        Shop.n_open -= 1


class Drawn(Shop):
    metadata = {"render_modes": ["human", "ansi", "rgb_array"]}


class Written(Shop):
    metadata = {"render_modes": ["human", "ansi"]}


class Unstated(Shop):
    metadata = {}


class Always(Shop):
    """Takes no render mode, because it has one already."""

    def __init__(self):
        super().__init__("rgb_array")


class Stubborn(Drawn):
    def __init__(self):
        super().__init__()


@pytest.fixture(autouse=True)
def _registered():
    before, Shop.n_open = dict(gymnasium.registry), 0
    for env in (Shop, Drawn, Written, Unstated, Always, Stubborn):
        gymnasium.register(f"{env.__name__}-v0", env, disable_env_checker=True)
    gymnasium.register("Registered-v0", Drawn, kwargs={"render_mode": "ansi"}, disable_env_checker=True)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def rendered(name, **kwargs):
    config = GymEnvConfig(name=name, kwargs=kwargs)
    env = make_rendering_env(config)
    assert config.kwargs == kwargs
    env.reset(seed=0)
    frame = env.render()
    env.close()
    return frame


def refusal(name, **kwargs):
    with pytest.raises(UserError) as problem:
        make_rendering_env(GymEnvConfig(name=name, kwargs=kwargs))
    return str(problem.value)


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("Drawn-v0", {}, "rgb_array 1"),
        ("Drawn-v0", {"size": 3}, "rgb_array 3"),
        ("Drawn-v0", {"render_mode": None}, "rgb_array 1"),
        ("Drawn-v0", {"render_mode": "ansi"}, "ansi 1"),
        ("Written-v0", {}, "ansi 1"),
        ("Registered-v0", {}, "ansi 1"),
        ("Always-v0", {}, "rgb_array 1"),
    ],
)
def test_images_are_preferred_to_text_and_what_was_chosen_stays(name, kwargs, expected):
    assert rendered(name, **kwargs) == expected
    assert Shop.n_open == 0


def test_an_env_that_shows_neither_is_refused_with_what_it_has():
    assert refusal("Shop-v0") == (
        "env 'Shop-v0' cannot be shown: its render modes are human, and one of rgb_array, ansi is needed."
    )
    assert refusal("Unstated-v0") == (
        "env 'Unstated-v0' cannot be shown: it has no render modes, and one of rgb_array, ansi is needed."
    )
    assert Shop.n_open == 0


def test_an_env_that_takes_no_render_mode_is_refused():
    assert refusal("Stubborn-v0").startswith("env 'Stubborn-v0' does not take env.kwargs (render_mode): ")


@pytest.mark.parametrize("name", ["CartPole-v1", "MountainCar-v0", "LunarLander-v3", "FrozenLake-v1", "Taxi-v4"])
def test_envs_of_gymnasium_show_images(name):
    frame = rendered(name)
    assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
    assert len(np.unique(frame)) > 2


def test_text_is_shown_if_it_was_asked_for():
    assert "SFFF" in rendered("FrozenLake-v1", render_mode="ansi").replace("\x1b[41m", "").replace("\x1b[0m", "")


def test_an_env_that_is_rebuilt_for_each_episode_shows_each_of_them():
    config = GymEnvConfig(name="BipedalWalker-v3")
    env, plain = make_rendering_env(config), make_env(config)
    assert isinstance(env, RebuiltEnv)
    first = []
    for seed in (3, 4, 3):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], plain.reset(seed=seed)[0])
        assert env.render_mode == "rgb_array"
        first.append(env.render())
        for _ in range(5):
            for one, other in zip(env.step(np.ones(4, np.float32)), plain.step(np.ones(4, np.float32)), strict=True):
                np.testing.assert_array_equal(one, other)
        assert env.render().shape == (400, 600, 3)
    np.testing.assert_array_equal(first[0], first[2])
    assert (first[0] != first[1]).any()
    env.close()
    plain.close()


def test_an_env_that_raises_when_it_is_built_to_be_rendered_is_named(monkeypatch):
    def broken(self, render_mode=None):
        if render_mode:
            raise OSError("no display")
        Shop.__init__(self)

    monkeypatch.setattr(Drawn, "__init__", broken)
    with pytest.raises(EnvFaultError, match="env 'Drawn-v0' raised OSError in its constructor: no display"):
        make_rendering_env(GymEnvConfig(name="Drawn-v0"))
