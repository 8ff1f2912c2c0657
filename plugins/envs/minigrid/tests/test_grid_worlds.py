"""Grid worlds: what is seen, how an episode is told, and what is refused."""

import sys

import gymnasium
import numpy as np
import pytest
from maze_minigrid.config import MiniGridConfig, Observation
from maze_minigrid.envs import known_ids, make_env, make_rendering_env, refuse_foreign, resolve

from maze_core import EnvFaultError, UserError
from maze_core.testing import check_env

LEFT, RIGHT, FORWARD = 0, 1, 2
EMPTY = "MiniGrid-Empty-5x5-v0"
NEEDS_MORE = "WFC"


def made(name=EMPTY, **options):
    return make_env(MiniGridConfig(name=name, **options))


def played(actions, name=EMPTY):
    """What the last step returned."""
    env = made(name)
    env.reset(seed=1)
    for action in actions:
        returned = env.step(action)
    env.close()
    return returned


def success(info):
    return info["episode_events"].values["KPIs/success/mean"]


def test_cells_are_seen_as_kind_colour_and_state_and_the_direction_beside_them():
    observation, _ = made().reset(seed=1)
    assert set(observation) == {"image", "direction"}
    assert observation["image"].shape == (7, 7, 3)
    assert observation["image"][2, 6].tolist() == [2, 5, 0]  # a grey wall, left of the agent in its corner
    assert observation["direction"] == 0


def test_the_cells_can_be_seen_alone():
    alone, _ = made(observation=Observation.image).reset(seed=1)
    np.testing.assert_array_equal(alone, made().reset(seed=1)[0]["image"])


def test_what_the_agent_sees_can_be_drawn():
    env = made(observation=Observation.rgb)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert observation.shape == (56, 56, 3)
    assert len(np.unique(observation)) > 5


def test_who_reaches_the_goal_has_succeeded():
    _, reward, terminated, truncated, info = played([FORWARD, FORWARD, RIGHT, FORWARD, FORWARD])
    assert (terminated, truncated, success(info)) == (True, False, 1.0)
    assert reward == pytest.approx(1 - 0.9 * 5 / 100)


def test_who_runs_out_of_time_has_not():
    _, reward, terminated, truncated, info = played([LEFT] * 100)
    assert (reward, terminated, truncated, success(info)) == (0.0, False, True, 0.0)


def test_who_falls_into_lava_has_not():
    _, reward, terminated, _, info = played([FORWARD], "MiniGrid-LavaGapS5-v0")
    assert (reward, terminated, success(info)) == (0.0, True, 0.0)


def test_nothing_is_told_of_an_episode_that_goes_on():
    assert "episode_events" not in played([LEFT])[4]


@pytest.mark.parametrize("name", ["MiniGrid-Fetch-5x5-N2-v0", "BabyAI-GoToObj-v0"])
def test_that_a_mission_is_not_seen_is_said_where_it_differs(name):
    (line,) = resolve(MiniGridConfig(name=name))
    assert line.startswith(f"{name} says in words what is to be done")


def test_nothing_is_said_where_the_mission_is_always_the_same():
    assert resolve(MiniGridConfig()) == []


def test_a_misspelt_id_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"no env 'MiniGrid-DorKey-5x5-v0'\. Did you mean 'MiniGrid-DoorKey-5x5-v0'\?"):
        resolve(MiniGridConfig(name="MiniGrid-DorKey-5x5-v0"))


@pytest.mark.parametrize("name", ["CartPole-v1", "evil:MiniGrid-Empty-5x5-v0", "evil.module:Env-v0"])
def test_nothing_else_is_made_or_imported(name, monkeypatch):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: pytest.fail("something was made"))
    for refuse in (refuse_foreign, resolve, make_env, make_rendering_env):
        with pytest.raises(UserError, match="minigrid has no env"):
            refuse(MiniGridConfig(name=name))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UserError, match=r"env minigrid needs a package that cannot be imported.*\nNext: pip install"):
        resolve(MiniGridConfig())


def test_a_grid_world_that_needs_a_further_package_says_which(monkeypatch):
    def make(*_, **__):
        raise gymnasium.error.DependencyNotInstalled("imageio is missing, please run `pip install imageio`")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(UserError, match=r"'MiniGrid-Empty-5x5-v0' cannot be used: imageio is missing, please run"):
        made()


def test_a_grid_world_that_raises_when_it_is_made_is_named(monkeypatch):
    def make(*_, **__):
        raise RuntimeError("too small")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(
        EnvFaultError, match="'MiniGrid-Empty-5x5-v0' raised RuntimeError in its constructor: too small"
    ):
        made()


def test_the_whole_grid_is_rendered():
    env = make_rendering_env(MiniGridConfig())
    env.reset(seed=1)
    frame = env.render()
    assert (frame.dtype, frame.shape[2]) == (np.uint8, 3)
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 3


def test_drawing_missions_in_vain_prints_nothing(capsys):
    env = made("BabyAI-PutNextS7N4Carrying-v0")
    for seed in range(20):
        env.reset(seed=seed)
    assert capsys.readouterr().out == ""


@pytest.mark.long
@pytest.mark.parametrize("name", [env_id for env_id in known_ids() if NEEDS_MORE not in env_id])
def test_every_grid_world_keeps_the_contract(name):
    check_env(made(name), n_env_steps=50)
