"""The contract of vector envs, kept by the one for scalar envs."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    OrderEnforcing,
    RecordEpisodeStatistics,
    TimeLimit,
)
from support.build import env_factory, gym_factory, make_job
from support.envs import PICK, CountdownEnv, FaultyEnv, TwoStepEnv

from maze_core import EnvFaultError, PluginError, UserError
from maze_core.build import RunWorkspace
from maze_core.rl.vector_env import InProcessVectorEnv, check_vector_env, reset_envs


def countdown(count, seeds=None):
    env = InProcessVectorEnv(CountdownEnv, count)
    env.reset(seed=list(seeds if seeds is not None else range(count)))
    return env


def ones(count):
    return np.ones(count, np.int64)


def length_of(seed):
    env = CountdownEnv()
    env.reset(seed=seed)
    return env.length


def seeds_of_length(length, count):
    return list(itertools.islice((seed for seed in itertools.count() if length_of(seed) == length), count))


def test_every_env_starts_with_its_own_seed():
    observation, _ = InProcessVectorEnv(CountdownEnv, 5).reset(seed=[9, 8, 7, 6, 5])
    assert observation[:, 1].tolist() == [length_of(seed) for seed in (9, 8, 7, 6, 5)]


def test_reset_starts_exactly_the_chosen_envs_each_with_its_own_seed():
    env = countdown(3, seeds_of_length(9, 3))
    env.step(ones(3))
    (seed,) = seeds_of_length(4, 1)
    observation = reset_envs(env, np.array([1]), [seed])
    np.testing.assert_array_equal(observation, [[1, 9], [0, 4], [1, 9]])


def test_reset_envs_takes_rows_in_any_order():
    env = InProcessVectorEnv(CountdownEnv, 4)
    one, other = seeds_of_length(2, 1) + seeds_of_length(7, 1)
    observation = reset_envs(env, np.array([3, 0]), [one, other])
    assert observation[[3, 0], 1].tolist() == [2, 7]


def test_an_episode_repeats_with_its_seed_whatever_its_env_did_before():
    env = countdown(1, seeds_of_length(9, 1))
    env.step(ones(1))
    env.reset(seed=seeds_of_length(5, 1))
    again = env.step(ones(1))[1].tolist()
    assert again == countdown(1, seeds_of_length(5, 1)).step(ones(1))[1].tolist()


def test_the_observation_that_ends_an_episode_is_the_true_final_one():
    env = countdown(2, [seeds_of_length(1, 1)[0], seeds_of_length(3, 1)[0]])
    observation, _, terminated, truncated, _ = env.step(ones(2))
    np.testing.assert_array_equal(observation, [[1, 1], [1, 3]])
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [True, False])


def test_terminated_is_not_truncated():
    env = countdown(2, [seeds_of_length(2, 1)[0], seeds_of_length(1, 1)[0]])
    assert env.step(ones(2))[3].tolist() == [False, True]
    assert env.step(ones(2))[2].tolist() == [True, False]


def test_an_env_whose_episode_ended_is_idle_until_it_is_reset():
    env = countdown(2, [seeds_of_length(1, 1)[0], seeds_of_length(9, 1)[0]])
    env.step(ones(2))
    for _ in range(3):
        observation, rewards, terminated, truncated, _ = env.step(ones(2))
        assert (rewards[0], terminated[0], truncated[0]) == (0.0, False, False)
        np.testing.assert_array_equal(observation[0], [1, 1])
    assert rewards[1] > 0
    reset_envs(env, np.array([0]), seeds_of_length(5, 1))
    assert env.step(ones(2))[1][0] > 0


def test_envs_that_were_never_reset_are_idle():
    env = InProcessVectorEnv(CountdownEnv, 3)
    reset_envs(env, np.array([1]), [0])
    observation, rewards, terminated, truncated, _ = env.step(ones(3))
    assert env.observation_space.contains(observation)
    assert (rewards > 0).tolist() == [False, True, False]
    assert not (terminated | truncated)[[0, 2]].any()


def test_a_reset_of_all_ends_the_idleness_of_all():
    env = countdown(2, seeds_of_length(1, 2))
    env.step(ones(2))
    env.reset(seed=seeds_of_length(9, 2))
    assert (env.step(ones(2))[1] > 0).all()


def test_the_action_of_an_idle_env_is_ignored():
    class Strict(CountdownEnv):
        def step(self, action):
            if int(action) != 1:
                raise ValueError("only 1")
            return super().step(action)

    env = InProcessVectorEnv(Strict, 2)
    reset_envs(env, np.array([1]), seeds_of_length(9, 1))
    assert env.step(np.array([0, 1]))[1][1] > 0


def test_rewards_and_flags_of_a_step_are_not_overwritten_by_the_next():
    env = countdown(2, [seeds_of_length(1, 1)[0], seeds_of_length(9, 1)[0]])
    _, rewards, _, truncated, _ = env.step(ones(2))
    kept = rewards.copy()
    env.step(ones(2))
    np.testing.assert_array_equal(rewards, kept)
    assert truncated.tolist() == [True, False]


def test_nested_observations_are_batched_leaf_by_leaf():
    env = InProcessVectorEnv(TwoStepEnv, 3)
    observation, _ = env.reset(seed=[1, 2, 3])
    assert observation["pick"]["values"].shape == (3, 4)
    assert env.observation_space.contains(observation)


def test_infos_are_gathered_by_env():
    class Informed(CountdownEnv):
        def reset(self, **options):
            return super().reset(**options)[0], {"length": self.length}

    _, info = InProcessVectorEnv(Informed, 2).reset(seed=seeds_of_length(4, 2))
    assert info["length"].tolist() == [4, 4]


def test_other_reset_options_reach_the_envs_and_the_mask_does_not():
    seen = []

    class Listening(CountdownEnv):
        def reset(self, *, seed=None, options=None):
            seen.append(options)
            return super().reset(seed=seed)

    env = InProcessVectorEnv(Listening, 2)
    env.reset(seed=[0, 0], options={"reset_mask": np.array([True, False]), "level": 3})
    assert seen == [{"level": 3}]


@pytest.mark.parametrize(
    ("where", "doing"),
    [
        ("reset", r"reset \(env 0 of 1, episode seed 11\)"),
        ("step", r"step 0 with action 1 \(env 0 of 1, episode seed 11\)"),
    ],
)
def test_an_env_that_raises_is_named_with_what_it_did_and_its_seed(where, doing):
    env = InProcessVectorEnv(lambda: FaultyEnv(where), 1)
    with pytest.raises(EnvFaultError, match=rf"env 'FaultyEnv' raised ValueError in {doing}: the lamp is broken"):
        env.reset(seed=[11])
        env.step(ones(1))


def test_the_env_that_raises_is_named_by_its_id_and_by_its_own_seed():
    class OneBad(CountdownEnv):
        def step(self, action):
            if self.length == 9:
                raise ValueError("nine")
            return super().step(action)

    gymnasium.register("MazeTest/OneBad-v0", OneBad, disable_env_checker=True)
    try:
        env = InProcessVectorEnv(lambda: gymnasium.make("MazeTest/OneBad-v0"), 3)
        seeds = seeds_of_length(4, 2) + seeds_of_length(9, 1)
        env.reset(seed=seeds)
        with pytest.raises(
            EnvFaultError, match=rf"env 'MazeTest/OneBad-v0' raised.*\(env 2 of 3, episode seed {seeds[2]}\)"
        ):
            env.step(ones(3))
    finally:
        del gymnasium.registry["MazeTest/OneBad-v0"]


def test_an_env_that_raises_in_its_constructor_is_told_as_a_fault():
    with pytest.raises(EnvFaultError, match="constructor: the lamp is broken"):
        InProcessVectorEnv(lambda: FaultyEnv("constructor"), 1)


def test_an_env_of_a_spec_that_raises_in_its_constructor_is_named():
    factory = env_factory(lambda: FaultyEnv("constructor"))
    with pytest.raises(EnvFaultError, match=r"'test_env' raised ValueError in its constructor: the lamp is broken"):
        factory.vector(2)


def test_errors_that_maze_raises_on_purpose_pass_unchanged():
    class Refusing(CountdownEnv):
        def step(self, action):
            raise UserError("no steps on Sundays")

    env = InProcessVectorEnv(Refusing, 1)
    env.reset(seed=[0])
    with pytest.raises(UserError, match=r"^no steps on Sundays$"):
        env.step(ones(1))


def test_a_vector_env_that_resets_by_itself_is_refused():
    with pytest.raises(PluginError, match=r"vector form of env 'mine' resets by itself.*reset_mask"):
        check_vector_env(SyncVectorEnv([CountdownEnv]), "mine")


def test_a_vector_env_that_keeps_the_contract_is_passed_on():
    env = InProcessVectorEnv(CountdownEnv, 1)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert check_vector_env(env, "mine") is env


def test_actions_of_nested_spaces_reach_their_envs():
    received = []

    class Nested(CountdownEnv):
        action_space = spaces.Dict({"a": spaces.Discrete(5), "b": spaces.Tuple([spaces.Box(0, 1, (1,))])})

        def step(self, action):
            received.append((int(action["a"]), float(action["b"][0][0])))
            return super().step(0)

    env = InProcessVectorEnv(Nested, 2)
    env.reset(seed=seeds_of_length(9, 2))
    env.step({"a": np.array([3, 4]), "b": (np.float32([[0.25], [0.5]]),)})
    assert received == [(3, 0.25), (4, 0.5)]


def test_training_and_evaluation_never_share_a_vector_env():
    factory = env_factory(CountdownEnv)
    workspace = RunWorkspace(factory, make_job(factory).kernel)
    training, evaluation = workspace.vector_env(16, training=True), workspace.vector_env(16, training=False)
    assert training is not evaluation
    assert not set(map(id, training.envs)) & set(map(id, evaluation.envs))
    assert workspace.vector_env(16, training=True) is training
    assert workspace.vector_env(16, training=False) is evaluation


@pytest.mark.parametrize(
    "wrap", [lambda env: TimeLimit(env, 3), RecordEpisodeStatistics, lambda env: OrderEnforcing(TimeLimit(env, 3))]
)
def test_wrappers_that_would_count_sub_steps_are_refused_around_a_structured_env(wrap):
    factory = env_factory(lambda: wrap(TwoStepEnv()))
    with pytest.raises(UserError, match=r"'test_env' is structured, and Gymnasium's .* counts sub-steps"):
        factory.vector(2)
    env_factory(lambda: wrap(CountdownEnv())).vector(2)


@pytest.mark.parametrize("wrap", [FlattenObservation, lambda env: FrameStackObservation(env, 2)])
def test_wrappers_that_would_hide_who_acts_are_refused_around_a_structured_env(wrap):
    with pytest.raises(UserError, match=r"'test_env' is structured, and Gymnasium's F\w+ around it hides who acts"):
        env_factory(lambda: wrap(TwoStepEnv())).vector(2)


class RememberingEnv(CountdownEnv):
    """Keeps its last action, and pays how far the next one is from it."""

    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.last = np.zeros(1, np.float32)
        return super().reset(seed=seed)

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(0)
        distance, self.last = float(abs(action - self.last)[0]), action
        return observation, distance, terminated, truncated, info


def test_an_env_may_keep_its_action():
    env = InProcessVectorEnv(RememberingEnv, 2)
    env.reset(seed=seeds_of_length(9, 2))
    actions = np.zeros((2, 1), np.float32)  # one buffer for all, as whoever acts may have
    for value in (1.0, -1.0, 0.5):
        actions[:] = value
        rewards = env.step(actions)[1]
    assert rewards.tolist() == [1.5, 1.5]


def test_an_observation_that_does_not_fit_is_told_with_env_seed_and_part():
    class Broken(TwoStepEnv):
        def _pick_turn(self):
            observation = super()._pick_turn()
            observation[PICK]["action_mask"] = np.ones(3, np.int8)
            return observation

    env = InProcessVectorEnv(Broken, 2)
    message = r"'Broken' broke its contract \(episode seed 5\): observation.pick.action_mask does not lie in its space"
    with pytest.raises(EnvFaultError, match=message):
        env.reset(seed=[5, 6])


def test_a_structured_env_registered_with_max_episode_steps_is_refused():
    gymnasium.register("MazeTest/TwoStep-v0", TwoStepEnv, max_episode_steps=3, disable_env_checker=True)
    try:
        with pytest.raises(UserError, match=r"TimeLimit around it counts sub-steps.*max_episode_steps"):
            gym_factory("MazeTest/TwoStep-v0").vector(2)
    finally:
        del gymnasium.registry["MazeTest/TwoStep-v0"]


class Flaky(CountdownEnv):
    """Raises at chosen calls of all envs of its kind together, and only there."""

    calls, bad = 0, ()

    def _called(self):
        type(self).calls += 1
        if type(self).calls in self.bad:
            raise ConnectionError("the line is dead")

    def reset(self, *, seed=None, options=None):
        self._called()
        return super().reset(seed=seed)

    def step(self, action):
        self._called()
        return super().step(action)


def played(repeats, bad):
    """What three episodes of two envs show, with failures at some calls."""
    kind = type("Flaky", (Flaky,), {"calls": 0, "bad": bad})
    env, seen = InProcessVectorEnv(kind, 2, repeats), []
    seeds = [seeds_of_length(6, 1)[0], seeds_of_length(9, 1)[0]]
    seen.append(env.reset(seed=seeds)[0].copy())
    for step in range(5):
        observation, rewards, terminated, truncated, _ = env.step(np.array([step % 2, 1]))
        seen += [observation.copy(), rewards, terminated, truncated]
    return seen


@pytest.mark.parametrize("bad", [(1,), (2,), (3,), (8,), (2, 5, 11), (12,)])
def test_an_episode_is_repeated_in_a_new_env_with_the_same_bits(bad, caplog):
    reference = played(False, ())
    for one, other in zip(played(True, bad), reference, strict=True):
        assert np.array_equal(one, other)
    assert "The episode is repeated in a new env" in caplog.text
    assert "the line is dead" in caplog.text


def test_an_env_that_raises_again_fails():
    with pytest.raises(EnvFaultError, match=r"in step 1 with action 1, and again in a new env \(env 0 of 2, episode"):
        played(True, (5, *range(6, 20)))


def test_nothing_is_repeated_unless_it_is_asked_for():
    with pytest.raises(EnvFaultError, match="raised ConnectionError in step 1"):
        played(False, (5,))
