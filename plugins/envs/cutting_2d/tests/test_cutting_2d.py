"""The cutting problem: its rules by hand, its known numbers, and the vector form against the scalar one."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from maze_cutting_2d.config import (
    Cut,
    Demand,
    FlatCuttingConfig,
    GreedyConfig,
    MaskedCuttingConfig,
    SizeScalingConfig,
    StructuredCuttingConfig,
)
from maze_cutting_2d.envs import FlatCutting, StructuredCutting
from maze_cutting_2d.policies import GreedyPolicy
from maze_cutting_2d.vector_envs import VectorFlatCutting, VectorStructuredCutting
from maze_cutting_2d.world import CuttingWorld, draw_orders
from maze_cutting_2d.wrappers import SizeScaling, VectorSizeScaling
from PIL import Image

from maze_core import ConfigError, RunContext, UserError
from maze_core.rl import Actors, InProcessVectorEnv, RandomPolicy, reset_envs, run_episodes
from maze_core.rl.spaces import repeat, unbatch
from maze_core.testing import check_env as check_structure

FORMS = {
    "flat": (FlatCuttingConfig, FlatCutting, VectorFlatCutting),
    "structured": (StructuredCuttingConfig, StructuredCutting, VectorStructuredCutting),
    "masked": (MaskedCuttingConfig, StructuredCutting, VectorStructuredCutting),
}
LARGE = {"raw_piece_size": [100, 100], "max_pieces_in_inventory": 200, "max_steps": 200, "demand": Demand.random,
         "random_sides": [10, 60]}  # fmt: skip
INSTANCES = {
    "fixed": {"demand": Demand.fixed},
    "cycle": {},
    "random": {"demand": Demand.random},
    "large": LARGE,
    "crowded": {"max_pieces_in_inventory": 2, "max_steps": 20},
}


def make_world(inventory=(), **options):
    world = CuttingWorld(FlatCuttingConfig(**options))
    world.reset(np.random.default_rng(0))
    world.inventory = list(inventory) or world.inventory
    return world


def told(world):
    return world.events.episode()["episode_events"].values


def test_the_width_first_leaves_a_strip_beside_and_a_rest_below():
    world = make_world([(4, 3)], raw_piece_size=[5, 5], orders=[[1, 2]])
    world.step(0, 0, 0)
    assert world.inventory == [(3, 3), (1, 1)]


def test_the_height_first_leaves_a_strip_below_and_a_rest_beside():
    world = make_world([(4, 3)], raw_piece_size=[5, 5], orders=[[1, 2]])
    world.step(0, 0, 1)
    assert world.inventory == [(4, 1), (3, 2)]


def test_a_rotated_order_is_cut_with_its_sides_swapped():
    world = make_world([(4, 3)], raw_piece_size=[5, 5], orders=[[1, 2]])
    world.step(0, 1, 0)
    assert world.inventory == [(2, 3), (2, 2)]


def test_a_raw_piece_that_was_cut_is_replaced_and_charged_the_first_with_the_reset():
    world = make_world()
    assert world.step(0, 0, 0) == -2.0
    assert world.inventory[-1] == (4, 3)
    assert world.step(0, 0, 0) == 0.0


def test_an_empty_slot_and_a_piece_that_is_too_small_cost_and_change_nothing():
    world = make_world([(1, 1), (4, 3)], orders=[[1, 2], [2, 2]])
    assert world.step(2, 0, 0) == -3.0
    assert world.step(0, 1, 0) == -2.0
    assert world.inventory == [(1, 1), (4, 3)]
    assert world.order == (1, 2)
    events = told(world)
    assert events["CuttingEvents/invalid_piece_selected/mean_episode_total"] == 1
    assert events["CuttingEvents/invalid_cut/mean_episode_total"] == 1
    assert events["CuttingEvents/valid_cut/mean_episode_total"] == 0


def test_a_full_inventory_drops_the_oldest_piece():
    world = make_world([(1, 1), (2, 3)], max_pieces_in_inventory=2, orders=[[1, 1]])
    world.step(1, 0, 0)
    assert world.inventory == [(1, 3), (1, 2)]
    assert told(world)["InventoryEvents/piece_discarded/mean_episode_total"] == 1


def test_where_no_piece_fits_a_raw_one_is_taken():
    world = make_world([(1, 2)], orders=[[1, 2], [2, 2]])
    assert world.step(0, 0, 0) == -2.0
    assert world.inventory == [(4, 3)]


EVERY_FORM = pytest.mark.parametrize("form", FORMS)
EVERY_INSTANCE = pytest.mark.parametrize("instance", INSTANCES)


@EVERY_FORM
@EVERY_INSTANCE
def test_the_vector_form_is_the_scalar_form_step_by_step(form, instance):
    walk_both(form, instance, 3, n_ticks=450)


@pytest.mark.long
@pytest.mark.timeout(600)
@EVERY_FORM
@EVERY_INSTANCE
def test_the_vector_form_is_the_scalar_form_over_100_000_env_steps(form, instance):
    walk_both(form, instance, 20, n_ticks=5_000 * (1 if form == "flat" else 2))


def walk_both(form, instance, n, n_ticks):
    """Lets n envs of each form take the same random steps, and compares all they return."""
    config_type, scalar_type, vector_type = FORMS[form]
    config = config_type(**INSTANCES[instance])
    scalar, vector = InProcessVectorEnv(lambda: scalar_type(config), n), vector_type(config, n)
    actors = Actors(scalar.single_observation_space, scalar.single_action_space)
    policy, everyone, seed = RandomPolicy(actors, np.random.default_rng(0)), np.ones(n, bool), 0
    seen = [reset_envs(env, np.arange(n), list(range(1, n + 1))) for env in (scalar, vector)]
    for step in range(n_ticks):
        assert_same(*seen)
        decisions = [(turn, policy.act(turn)) for turn in actors.turns(seen[0], None, everyone)]
        results = [env.step(actors.env_actions(n, decisions)) for env in (scalar, vector)]
        seen = [result[0] for result in results]
        for part in (1, 2, 3):
            np.testing.assert_array_equal(results[0][part], results[1][part])
        ended = results[0][3].copy()
        if ended.any():
            assert_same(*seen)
            events = [result[4]["episode_events"] for result in results]
            for one, other in zip(*events, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    assert_same(*({path: np.array(value) for path, value in of.values.items()} for of in (one, other)))
        if step == 100:  # some begin anew in the middle of an env step, and leave lock-step
            ended = np.arange(n) % 2 == 0
        if ended.any():
            seed += n
            rows = np.flatnonzero(ended)
            seen = [reset_envs(env, rows, [seed + int(row) for row in rows]) for env in (scalar, vector)]


def assert_same(one, other):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def play(policy_of, form="masked", n=100, scaled=False, **options):
    config_type, _, vector_type = FORMS[form]
    env = vector_type(config_type(**options), n)
    env = VectorSizeScaling(env, SizeScalingConfig()) if scaled else env
    actors = Actors(env.single_observation_space, env.single_action_space)
    return run_episodes(env, actors, policy_of(actors).act, range(n)).returns


def randomly(actors):
    return RandomPolicy(actors, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("form", "options", "expected", "tolerance"),
    [
        ("flat", {}, -340, 5),
        ("structured", {}, -340, 5),
        ("masked", {"demand": Demand.fixed}, -35.4, 0.4),
        ("masked", {}, -33.7, 0.4),
        ("masked", LARGE, -36.2, 0.6),
    ],
)
def test_random_actions_have_the_known_returns(form, options, expected, tolerance):
    assert play(randomly, form, **options).mean() == pytest.approx(expected, abs=tolerance)


def test_the_optimum_takes_31_raw_pieces_in_180_steps():
    env = VectorFlatCutting(FlatCuttingConfig(), 1)
    actors = Actors(env.single_observation_space, env.single_action_space)
    (told,) = run_episodes(env, actors, GreedyPolicy(GreedyConfig(), actors).act, [0]).events
    assert told.values["KPIs/raw_piece_usage_per_step/mean"] == 31 / 180


def test_no_policy_can_do_better_on_the_large_instance_than_its_area_allows():
    """What is ordered has to be cut out of raw pieces, and a whole one always stays in the inventory."""
    config = MaskedCuttingConfig(**LARGE)
    orders = np.stack([draw_orders(config, np.random.default_rng(seed))[:200] for seed in range(150)])
    bounds = -1 - orders.prod(axis=2).sum(axis=1) / 100**2
    assert bounds.mean() == pytest.approx(-25.5, abs=0.4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("demand", "cut", "expected"),
    [("fixed", "x_first", -46), ("fixed", "y_first", -31), ("cycle", "x_first", -31), ("cycle", "y_first", -31)],
)
def test_the_greedy_policy_has_the_known_returns(form, scaled, demand, cut, expected):
    def greedy(actors):
        return GreedyPolicy(GreedyConfig(cut=Cut(cut)), actors)

    assert set(play(greedy, form, 2, scaled, demand=Demand(demand))) == {expected}


@pytest.mark.parametrize(("cut", "expected"), [("x_first", -30.9), ("best", -29.5)])
def test_the_greedy_policy_on_the_large_instance(cut, expected):
    returns = play(lambda actors: GreedyPolicy(GreedyConfig(cut=Cut(cut)), actors), n=150, **LARGE)
    assert returns.mean() == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")  # gymnasium's checker warns about the unusual form of the spaces
def test_gymnasium_accepts_the_env(form):
    config_type, scalar_type, _ = FORMS[form]
    check_env(scalar_type(config_type()), skip_render_check=True)
    check_structure(scalar_type(config_type()))


@pytest.mark.parametrize("form", FORMS)
def test_sizes_can_be_scaled_in_both_forms(form):
    config_type, scalar_type, vector_type = FORMS[form]
    scalar = SizeScaling(scalar_type(config_type()), SizeScalingConfig())
    vector = VectorSizeScaling(vector_type(config_type(), 1), SizeScalingConfig())
    one, _ = scalar.reset(seed=3)
    other = reset_envs(vector, np.arange(1), [3])
    assert scalar.observation_space.contains(one)
    part, parts = (one, other) if form == "flat" else (one["select_piece"], other["select_piece"])
    np.testing.assert_array_equal(part["inventory"], parts["inventory"][0])
    np.testing.assert_allclose(part["inventory"][0], [1, 0.75])
    np.testing.assert_allclose(part["inventory_size"], [1 / 50])


def test_the_picture_shows_the_first_state_and_a_cut():
    env = FlatCutting(FlatCuttingConfig())
    env.reset(seed=0)
    first = env.render()
    env.step({"piece_idx": 0, "cut_rotation": 0, "cut_order": 0})
    assert first.shape == env.render().shape == (480, 640, 3)
    assert not np.array_equal(first, env.render())


def test_the_picture_shows_the_piece_that_is_selected():
    env = StructuredCutting(MaskedCuttingConfig())
    env.reset(seed=0)
    first = env.render()
    env.step({"select_piece": {"piece_idx": 0}})
    assert not np.array_equal(first, env.render())


@pytest.mark.parametrize("instance", ["fixed", "large"])
def test_the_pictures_of_an_episode_make_an_animation(instance, tmp_path):
    env = StructuredCutting(MaskedCuttingConfig(**{**INSTANCES[instance], "max_steps": 8}))
    actors = Actors(env.observation_space, env.action_space)
    policy = GreedyPolicy(GreedyConfig(), actors)
    observation, _ = env.reset(seed=0)
    frames, ended = [env.render()], False
    while not ended:
        (turn,) = actors.turns(repeat(observation, 1), None, np.ones(1, bool))
        action = unbatch(actors.env_actions(1, [(turn, policy.act(turn))]), 0)
        observation, _, _, ended, _ = env.step(action)
        frames.append(env.render())
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "episode.gif", save_all=True, append_images=images[1:], duration=250)
    with Image.open(tmp_path / "episode.gif") as animation:
        assert (animation.n_frames, animation.size) == (2 * 8 + 1, (640, 480))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"orders": [[5, 1]]}, "sizes that fit into raw_piece_size"),
        ({"orders": [[0, 1]]}, "a list of sizes"),
        ({"raw_piece_size": [0, 3]}, "two whole numbers from 1"),
        ({**LARGE, "demand": Demand.cycle, "orders": [[200, 200]]}, "sizes that fit into raw_piece_size"),
        ({"invalid_action_penalty": float("nan")}, "a finite number"),
        ({"raw_piece_penalty": float("-inf")}, "a finite number"),
        ({"random_sides": [1, 4]}, "the shorter side of raw_piece_size"),
    ],
)
def test_an_instance_that_cannot_be_solved_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        FlatCuttingConfig(**options)


@pytest.mark.parametrize("vector", [False, True])
def test_an_action_outside_its_space_is_refused(vector):
    env = VectorFlatCutting(FlatCuttingConfig(), 1) if vector else FlatCutting(FlatCuttingConfig())
    env.reset(seed=[0] if vector else 0)
    action = {"piece_idx": 50, "cut_rotation": 0, "cut_order": 0}
    with pytest.raises(UserError, match="piece_idx=50 is not allowed: it must be a whole number from 0 to 49"):
        env.step({key: np.array([value]) for key, value in action.items()} if vector else action)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({}, "select_piece|piece_idx=None"),
        ({"select_piece": {}}, "piece_idx=None"),
        ({"select_piece": {"piece_idx": "x"}}, "piece_idx=x"),
        ({"select_piece": {"piece_idx": 0.7}}, "piece_idx=0.7"),
        ({"select_piece": {"piece_idx": np.zeros(2, int)}}, "piece_idx="),
    ],
)
def test_an_action_that_is_no_number_is_refused(action, words):
    env = StructuredCutting(StructuredCuttingConfig())
    env.reset(seed=0)
    with pytest.raises(UserError, match=f"action ({words}).* is not allowed: it must be a whole number from 0 to 49"):
        env.step(action)


@pytest.mark.parametrize("algorithm", ["es", "ppo", "a2c"])
@pytest.mark.parametrize("form", ["flat", "struct", "struct_masked"])
def test_every_algorithm_trains_every_form_with_its_presets(algorithm, form, tmp_path):
    small = {
        "es": {"n_rollouts_per_update": 4},
        "ppo": {"n_envs": 4, "n_rollout_steps": 8, "batch_size": 16},
        "a2c": {"n_envs": 4},
    }[algorithm]
    overrides = {f"algorithm.{key}": value for key, value in {**small, "epoch_length": 1}.items()}
    overrides |= {"env.max_steps": 20, "runner.n_epochs": 1, "runner.evaluation.n_episodes": 2}
    name = f"tutorial_cutting_2d_{form}"
    with RunContext(
        env=name, wrappers="tutorial_cutting_2d", model=name, algorithm=algorithm, overrides=overrides, seed=1,
        run_dir=tmp_path / "run", callbacks=[],
    ) as rc:  # fmt: skip
        statistics = rc.train().final.stages[0].values
    assert 0 < statistics["KPIs/raw_piece_usage_per_step/mean"] <= 21 / 20
    if form == "struct_masked":
        assert statistics["CuttingEvents/invalid_cut/mean_episode_total"] == 0
        assert statistics["CuttingEvents/valid_cut/mean_episode_total"] == 20


@pytest.mark.parametrize("critic", ["shared", "per_sub_step", "shared_embedding", "none"])
@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_every_critic_serves_the_models_of_the_presets(algorithm, critic, tmp_path):
    name = "tutorial_cutting_2d_struct_masked"
    overrides = {"algorithm.n_envs": 4, "algorithm.n_rollout_steps": 8, "algorithm.epoch_length": 1}
    overrides |= {"algorithm.batch_size": 16} if algorithm == "ppo" else {}
    overrides |= {"env.max_steps": 20, "runner.n_epochs": 1, "runner.evaluation.n_episodes": 1}
    with RunContext(
        env=name, wrappers="tutorial_cutting_2d", model=name, algorithm=algorithm, critic=critic, overrides=overrides,
        seed=1, run_dir=tmp_path / "run", callbacks=[],
    ) as rc:  # fmt: skip
        metrics = rc.train().final.stages[0].values
    assert metrics["CuttingEvents/invalid_cut/mean_episode_total"] == 0
