"""A wrapper around a native vector env gives the numbers that it gives around each scalar env."""

import numpy as np
import pytest
from support.build import env_factory, gym_factory, registry
from support.envs import CountdownEnv, TwoStepEnv

from maze_core.env_factory import EnvFactory
from maze_core.rl import InProcessVectorEnv
from maze_core.rl.episodes import EPISODE_EVENTS
from maze_core.specs import resolve_build

SCALING = ("reward_scaling", {"scale": -2.5})
CLIPPING = ("reward_clipping", {"low": -0.25, "high": 0.5})
LIMIT = ("time_limit", {"max_env_steps": 11})
SHORT_LIMIT = ("time_limit", {"max_env_steps": 5})
STACKING = ("observation_stacking", {"n_observations": 3})
REPEAT = ("action_repeat", {"n_repeats": 3})
MONITORING = ("monitoring", {})
RETURNS = ("return_normalization", {"gamma": 0.9})

SINGLE = [SCALING, CLIPPING, LIMIT, STACKING, REPEAT, MONITORING]
STACKS = [
    [wrapper] for wrapper in SINGLE
] + [
    [LIMIT, REPEAT], [REPEAT, LIMIT], [LIMIT, SHORT_LIMIT], [STACKING, REPEAT], [REPEAT, STACKING],
    [LIMIT, MONITORING], [MONITORING, REPEAT], [STACKING, LIMIT, SCALING], [LIMIT, STACKING, MONITORING, REPEAT],
    [MONITORING, LIMIT],
]  # fmt: skip


def name_of(wrappers):
    return "-".join(name for name, _ in wrappers)


def wrapped(factory, wrappers):
    """The factory with wrappers around its env, the first innermost."""
    specs = [(registry().get("wrapper", name), options) for name, options in wrappers]
    return EnvFactory(factory.spec, factory.config, [(spec, spec.config(**options)) for spec, options in specs])


def cartpole(wrappers):
    return wrapped(gym_factory("CartPole-v1", sutton_barto_reward=True), wrappers)


def countdown(wrappers):
    """Episodes that terminate or are truncated, with rewards that all differ."""
    return wrapped(env_factory(CountdownEnv), wrappers)


def scalar_form(factory, num_envs=1):
    return InProcessVectorEnv(factory, num_envs)


def vector_form(factory, num_envs=1):
    """The vector form of the wrappers, around the env's own vector form or copies of it."""
    env = EnvFactory(factory.spec, factory.config, []).vector(num_envs)
    for spec, config in factory.wrappers:
        env = resolve_build(spec.build_vector)(env, config)
    return env


ENVS = pytest.mark.parametrize("make_factory", [cartpole, countdown])


def both_forms(factory, num_envs):
    vector, scalar = vector_form(factory, num_envs), scalar_form(factory, num_envs)
    assert vector.single_observation_space == scalar.single_observation_space
    assert vector.num_envs == scalar.num_envs
    return vector, scalar


def play(env, seed=0, n_steps=150, abort=0.0):
    """Random play with resets of some ended envs; yields (live, result of the step) of each step.

    An env whose episode ended idles until it is reset, half of them at each step. With `abort`, a running
    episode is given up with this probability.
    """
    generator = np.random.default_rng(seed)
    live = np.zeros(env.num_envs, bool)
    for _ in range(n_steps):
        chosen = ~live & (generator.random(env.num_envs) < 0.5) | live & (generator.random(env.num_envs) < abort)
        if not live.any():
            chosen[generator.integers(env.num_envs)] = True
        seeds = generator.integers(1000, size=env.num_envs).tolist()
        if chosen.any():
            observation = env.reset(seed=seeds, options={"reset_mask": chosen})[0]
            yield chosen, (np.array(observation),)
        live |= chosen
        actions = generator.integers(2, size=env.num_envs)
        observation, reward, terminated, truncated, info = env.step(actions)
        told = info.get(EPISODE_EVENTS, [None] * env.num_envs)
        ended = terminated | truncated
        yield live.copy(), (np.array(observation), reward.copy(), terminated, truncated, told)
        assert not (ended & ~live).any()
        live &= ~ended


def assert_same(one, other, **options):
    for (live, (seen, *rest)), (also_live, (also_seen, *also_rest)) in zip(
        play(one, **options), play(other, **options), strict=True
    ):
        np.testing.assert_array_equal(live, also_live)
        np.testing.assert_array_equal(seen[live], also_seen[live])
        if rest:
            assert_same_step(live, rest, also_rest)


def assert_same_step(live, step, other):
    *numbers, told = step
    *also_numbers, also_told = other
    for values, also_values in zip(numbers, also_numbers, strict=True):
        np.testing.assert_allclose(values, also_values, rtol=1e-12)
    for row in np.flatnonzero(live & (numbers[1] | numbers[2])):
        assert_same_events(told[row], also_told[row])


def assert_same_events(told, also_told):
    if told is None or also_told is None:
        assert told is also_told
        return
    assert told.values.keys() == also_told.values.keys()
    for path, value in told.values.items():
        np.testing.assert_allclose(value, also_told.values[path], rtol=1e-12, err_msg=path)


def test_a_factory_uses_the_vector_form_where_all_wrappers_have_one():
    assert not isinstance(cartpole(SINGLE).vector(2).unwrapped, InProcessVectorEnv)


@ENVS
@pytest.mark.parametrize("wrappers", STACKS, ids=name_of)
def test_both_forms_give_the_same_episodes(wrappers, make_factory):
    assert_same(*both_forms(make_factory(wrappers), 4))


@ENVS
@pytest.mark.parametrize("wrappers", [[wrapper] for wrapper in SINGLE], ids=name_of)
def test_both_forms_give_the_same_episodes_when_some_are_given_up(wrappers, make_factory):
    assert_same(*both_forms(make_factory(wrappers), 4), abort=0.05)


@pytest.mark.parametrize("longest", [30, 900])
def test_both_forms_of_monitoring_agree_on_long_play(longest):
    factory = wrapped(env_factory(lambda: CountdownEnv(longest)), [MONITORING])
    assert_same(*both_forms(factory, 3), n_steps=1500, abort=0.001)


@ENVS
@pytest.mark.parametrize("wrappers", [[RETURNS], [SHORT_LIMIT, RETURNS], [RETURNS, SHORT_LIMIT]], ids=name_of)
def test_both_forms_normalise_the_rewards_of_one_env_by_the_same_deviation(wrappers, make_factory):
    assert_same(*both_forms(make_factory(wrappers), 1))


@ENVS
def test_both_forms_of_return_normalization_forget_the_return_of_an_episode_that_is_given_up(make_factory):
    assert_same(*both_forms(make_factory([RETURNS]), 1), abort=0.2)


@pytest.mark.parametrize("wrappers", [*STACKS, [RETURNS]], ids=name_of)
def test_an_idle_env_has_no_reward_and_no_flags(wrappers):
    for live, (_, *step) in play(cartpole(wrappers).vector(4)):
        if step:
            reward, terminated, truncated, _ = step
            assert not reward[~live].any()
            assert not (terminated | truncated)[~live].any()


@pytest.mark.parametrize("wrappers", [[LIMIT], [SCALING], [REPEAT], [MONITORING]], ids=name_of)
def test_the_last_observation_of_an_episode_is_its_final_one(wrappers):
    vector, bare = cartpole(wrappers).vector(1), cartpole([]).vector(1)
    repeats = 3 if wrappers == [REPEAT] else 1
    vector.reset(seed=[5])
    bare.reset(seed=[5])
    ended = False
    while not ended:
        observation, _, terminated, truncated, _ = vector.step(np.ones(1, np.int64))
        for _ in range(repeats):
            expected = bare.step(np.ones(1, np.int64))
            if expected[2].any():
                break
        ended = bool((terminated | truncated)[0])
    assert expected[2].all() or wrappers == [LIMIT]
    np.testing.assert_array_equal(observation, expected[0])


# A structured env


def structured_steps(limit, form):
    """Sub-steps and flags of an episode of a structured env of 9 env steps, limited."""
    factory = wrapped(env_factory(lambda: TwoStepEnv(9)), [("time_limit", {"max_env_steps": limit})])
    env = form(factory)
    observation = env.reset(seed=[3])[0]
    for count in range(1, 100):
        action = {"pick": np.zeros(1, np.int64), "place": np.zeros((1, 1), np.float32)}
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated[0] or truncated[0]:
            return count, bool(terminated[0]), bool(truncated[0]), int(observation["new_step"][0])
    raise AssertionError("the episode does not end")


@pytest.mark.parametrize("form", [scalar_form, vector_form])
def test_a_time_limit_counts_the_env_steps_of_a_structured_env(form):
    assert structured_steps(4, form) == (8, False, True, 1)


@pytest.mark.parametrize("form", [scalar_form, vector_form])
def test_a_time_limit_leaves_a_shorter_structured_episode_alone(form):
    assert structured_steps(10, form) == (18, False, True, 1)


def test_both_forms_of_a_time_limit_agree_on_uneven_structured_episodes():
    factory = wrapped(
        env_factory(lambda: TwoStepEnv(9, varied=True, uneven=True)), [("time_limit", {"max_env_steps": 4})]
    )
    for seed in range(8):
        lengths = []
        for form in (scalar_form, vector_form):
            env, generator = form(factory), np.random.default_rng(seed)
            env.reset(seed=[seed])
            ended, rewards = False, []
            while not ended:
                action = {"pick": generator.integers(4, size=1), "place": np.zeros((1, 1), np.float32)}
                _, reward, terminated, truncated, _ = env.step(action)
                rewards.append(float(reward[0]))
                ended = bool((terminated | truncated)[0])
            lengths.append(rewards)
        assert lengths[0] == lengths[1]


def test_a_limited_env_idles_although_the_env_below_goes_on():
    env = vector_form(wrapped(env_factory(lambda: CountdownEnv(50)), [("time_limit", {"max_env_steps": 1})]))
    env.reset(seed=[1])
    assert env.step(np.ones(1, np.int64))[3].tolist() == [True]
    for _ in range(60):
        _, reward, terminated, truncated, _ = env.step(np.ones(1, np.int64))
        assert (reward[0], terminated[0], truncated[0]) == (0.0, False, False)


def test_a_limited_env_is_reset_while_the_others_go_on():
    env = cartpole([("time_limit", {"max_env_steps": 3})]).vector(2)
    env.reset(seed=[1, 2])
    env.step(np.array([0, 1]))
    env.reset(seed=[7, 8], options={"reset_mask": np.array([True, False])})
    assert env.step(np.array([0, 1]))[3].tolist() == [False, False]
    assert env.step(np.array([0, 1]))[3].tolist() == [False, True]
    assert env.step(np.array([0, 1]))[3].tolist() == [True, False]
