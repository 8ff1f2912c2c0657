"""From steps to episodes to epochs."""

import numpy as np
import pytest
from gymnasium import spaces
from support.build import gym_factory, make_job
from support.envs import PICK, TwoStepEnv

from maze_core.rl import FLAT, Actors, EpisodeBatch, InProcessVectorEnv, Streams, Turn, run_episodes
from maze_core.runs.evaluate import evaluate
from maze_core.stats import ActionCounter, EpisodeTotals, Histogram, trainer_statistics

VECTOR = spaces.Box(-1, 1, (1,))


def episodes(returns, lengths):
    return EpisodeBatch(np.array(returns, float), np.array(lengths, np.int64))


def reward_values(totals, *batches):
    return {
        path.removeprefix("BaseEnvEvents/reward/"): value
        for path, value in totals.reduce("eval", batches).values.items()
    }


def counted(action_space, *calls):
    """Histograms after telling (actions, live) of a flat env, as lists."""
    counter = ActionCounter(Actors(VECTOR, action_space))
    for actions, live in calls:
        counter.observe(Turn(FLAT, None, None), actions, np.array(live))
    return {path: histogram.values.tolist() for path, histogram in counter.histograms().items()}


def test_episodes_are_reduced_to_the_statistics_of_their_returns_and_lengths():
    assert reward_values(EpisodeTotals(), episodes([1, 5], [10, 20]), episodes([3], [60])) == {
        "median_step_count": 20,
        "mean_step_count": 30,
        "total_step_count": 90,
        "total_episode_count": 3,
        "episode_count": 3,
        "std": pytest.approx(np.std([1, 5, 3])),
        "mean": 3,
        "min": 1,
        "max": 5,
    }


def test_totals_count_over_the_whole_run_and_the_rest_over_the_epoch():
    totals = EpisodeTotals()
    totals.reduce("eval", [episodes([1, 1], [10, 10])])
    values = reward_values(totals, episodes([7], [5]))
    assert (values["total_step_count"], values["total_episode_count"]) == (25, 3)
    assert (values["episode_count"], values["mean"]) == (1, 7)


def test_an_epoch_without_episodes_has_only_totals():
    totals = EpisodeTotals()
    totals.reduce("eval", [episodes([1], [10])])
    assert reward_values(totals) == {"total_step_count": 10, "total_episode_count": 1, "episode_count": 0}


def test_statistics_are_plain_floats():
    assert {type(value) for value in EpisodeTotals().reduce("eval", [episodes([1], [2])]).values.values()} == {float}


def test_the_mean_reward_of_a_stage_is_the_mean_return():
    assert EpisodeTotals().reduce("eval", [episodes([1, 4], [1, 1])]).mean_reward == 2.5


def test_a_histogram_has_the_mean_of_its_values():
    assert Histogram(np.array([1, 2, 6])).mean == 3.0
    assert Histogram(np.array([])).mean == 0.0


def test_discrete_actions_are_counted_under_their_sub_step():
    values = counted(spaces.Discrete(3), (np.array([0, 2]), [True, True]), (np.array([1, 1]), [True, True]))
    assert values == {"DiscreteActionEvents/action/substep_0/action": [0, 2, 1, 1]}


def test_rows_that_are_not_live_do_not_count():
    values = counted(spaces.Discrete(3), (np.array([0, 2, 1]), [True, False, True]))
    assert values == {"DiscreteActionEvents/action/substep_0/action": [0, 1]}


def test_a_vector_of_actions_is_counted_part_by_part():
    actions = (np.array([[0.5, 1.5], [2.5, 3.5]]), [True, True])
    assert counted(spaces.Box(0, 9, (2,)), actions) == {
        "BoxActionEvents/action/substep_0/action_0": [0.5, 2.5],
        "BoxActionEvents/action/substep_0/action_1": [1.5, 3.5],
    }


def test_a_vector_of_one_action_needs_no_number():
    values = counted(spaces.Box(0, 9, (1,)), (np.array([[0.5]]), [True]))
    assert values == {"BoxActionEvents/action/substep_0/action": [0.5]}


@pytest.mark.parametrize(
    ("space", "group"),
    [(spaces.MultiBinary(2), "BinaryActionEvents"), (spaces.MultiDiscrete([2, 2]), "DiscreteActionEvents")],
)
def test_the_group_says_what_kind_of_action_it_is(space, group):
    assert list(counted(space, (np.array([[0, 1]]), [True]))) == [
        f"{group}/action/substep_0/action_{i}" for i in (0, 1)
    ]


def test_the_parts_of_a_dict_are_counted_by_their_keys_and_those_of_a_tuple_by_position():
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1,))])})
    actions = {"a": np.array([1]), "b": (np.array([0]), np.array([[0.5]]))}
    assert counted(space, (actions, [True])) == {
        "DiscreteActionEvents/action/substep_0/a": [1],
        "DiscreteActionEvents/action/substep_0/b/0": [0],
        "BoxActionEvents/action/substep_0/b/1": [0.5],
    }


def test_parts_of_the_same_name_in_different_places_are_counted_apart():
    space = spaces.Dict({hand: spaces.Dict({"x": spaces.Discrete(5)}) for hand in ("left", "right")})
    values = counted(space, ({"left": {"x": np.array([1])}, "right": {"x": np.array([4])}}, [True]))
    assert sorted(values.values()) == [[1], [4]]


def test_what_was_counted_is_not_changed_by_later_steps():
    actions = np.array([0, 1])
    counter = ActionCounter(Actors(VECTOR, spaces.Discrete(2)))
    counter.observe(Turn(FLAT, None, None), actions, np.array([True, True]))
    actions[:] = 9
    (histogram,) = counter.histograms().values()
    assert histogram.values.tolist() == [0, 1]


def test_the_actions_of_a_structured_env_are_counted_by_actor():
    env = InProcessVectorEnv(lambda: TwoStepEnv(varied=True), 4)
    counter = ActionCounter(actors := Actors(env.single_observation_space, env.single_action_space))

    def act(turn):
        return turn.observation["values"].argmax(axis=1) if turn.step_key == PICK else turn.observation

    batch = run_episodes(env, actors, act, range(4), counter.observe)
    sizes = {path: len(histogram.values) for path, histogram in counter.histograms().items()}
    steps = int(batch.lengths.sum())
    assert sizes == {
        "DiscreteActionEvents/action/pick/action": steps,
        "BoxActionEvents/action/place/action": steps,
    }


def test_trainer_metrics_are_averaged_over_the_updates_that_have_them():
    values = trainer_statistics([{"loss": 1.0, "kl": 4.0}, {"loss": 3.0}])
    assert values == {"TrainerEvents/loss/mean": 2.0, "TrainerEvents/kl/mean": 4.0}


@pytest.fixture(scope="module")
def job():
    return make_job(gym_factory("CartPole-v1"))


def evaluated(job, n_episodes, stage="eval", totals=None):
    return evaluate(job.runner, job.streams, stage, n_episodes, totals or EpisodeTotals())


@pytest.mark.parametrize("n_episodes", [1, 15, 16, 17, 40])
def test_an_evaluation_has_exactly_the_episodes_asked_for(job, n_episodes):
    statistics = evaluated(job, n_episodes)
    assert statistics.values["BaseEnvEvents/reward/episode_count"] == n_episodes


def test_an_evaluation_counts_every_action_of_every_episode(job):
    statistics = evaluated(job, 20)
    (histogram,) = statistics.histograms.values()
    assert len(histogram.values) == statistics.values["BaseEnvEvents/reward/total_step_count"]


def test_an_evaluation_repeats_itself(job):
    assert evaluated(job, 20).values == evaluated(job, 20).values


def test_each_stage_has_episodes_of_its_own(job):
    assert evaluated(job, 20).values != evaluated(job, 20, "final_eval").values


def test_an_evaluation_equals_episodes_one_by_one(job):
    env = gym_factory("CartPole-v1").vector(1)
    seeds = Streams(0).episode_seeds("eval", 0, 20)
    single = [run_episodes(env, job.actors, job.kernel.act, [seed]) for seed in seeds]
    expected = EpisodeBatch.joined(single)
    values = evaluated(job, 20).values
    assert values["BaseEnvEvents/reward/mean"] == expected.returns.mean()
    assert values["BaseEnvEvents/reward/max"] == expected.returns.max()
