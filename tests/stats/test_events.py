"""Events and KPIs of envs: from steps to episodes to epochs."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from support.build import env_factory, make_trainer, registry
from support.envs import CountdownEnv

from maze_core.env_factory import EnvFactory
from maze_core.errors import EnvFaultError, PluginError
from maze_core.rl import Actors, InProcessVectorEnv, run_episodes
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.runs.evaluate import evaluate
from maze_core.specs import EnvSpec
from maze_core.stats import EpisodeTotals, Event, EventGroup, EventRecorder

EVERY = ("sum", "mean", "min", "max", "count", "histogram")
SALES = EventGroup("SalesEvents", sold=Event("sum", "count"), price=Event(*EVERY), returned=Event("sum"))
FRUIT = ("apple", "pear")


def told(recorder, **options):
    """Values of the episode that a scalar env ends, by path."""
    return dict(recorder.episode(**options)[EPISODE_EVENTS].values)


def prices(*values):
    """Statistics of an episode in which `price` was fired with these values, by statistic."""
    recorder = EventRecorder(SALES)
    for value in values:
        recorder.fire(SALES, "price", value)
    prefix = "SalesEvents/price/"
    return {path.removeprefix(prefix): value for path, value in told(recorder).items() if path.startswith(prefix)}


class Shop(gymnasium.Env):
    """Sells in 1 to 6 steps, as the seed decides; fires every kind of event."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)

    def __init__(self):
        self.events = EventRecorder(SALES)

    def reset(self, *, seed=None, options=None):
        self.length, self.steps = 1 + seed % 6, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.events.fire(SALES, "price", self.length * 10 + self.steps)
        if self.steps % 2 == 0:
            self.events.fire(SALES, "sold", self.steps, by=FRUIT[self.length % 2])
        ended = self.steps == self.length
        info = self.events.episode(steps_per_length=self.steps / self.length, length=self.length) if ended else {}
        return np.full(1, self.steps, np.float32), 1.0, ended, False, info


class VectorShop(VectorEnv):
    """Many shops at once."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = Shop.observation_space, Shop.action_space
        self.observation_space = batch_space(Shop.observation_space, num_envs)
        self.action_space = batch_space(Shop.action_space, num_envs)
        self.events = EventRecorder(SALES, num_envs=num_envs)
        self.length, self.steps = np.zeros(num_envs, int), np.zeros(num_envs, int)

    def reset(self, *, seed=None, options=None):
        mask = options["reset_mask"]
        self.length[mask] = 1 + np.array(seed)[mask] % 6
        self.steps[mask] = 0
        return self.steps[:, None].astype(np.float32), {}

    def step(self, actions):
        live = self.steps < self.length
        self.steps += live
        self.events.fire(SALES, "price", (self.length * 10 + self.steps)[live], rows=live)
        for index, fruit in enumerate(FRUIT):
            sells = live & (self.steps % 2 == 0) & (self.length % 2 == index)
            if sells.any():
                self.events.fire(SALES, "sold", self.steps[sells], rows=np.flatnonzero(sells), by=fruit)
        ended = live & (self.steps == self.length)
        info = {}
        if ended.any():
            lengths = self.length[ended]
            info = self.events.episode(rows=ended, steps_per_length=self.steps[ended] / lengths, length=lengths)
        return self.steps[:, None].astype(np.float32), live.astype(float), ended, np.zeros_like(ended), info


def shop_factory(vector):
    spec = env_factory(Shop).spec
    build = (lambda _, num_envs: VectorShop(num_envs)) if vector else None
    return EnvFactory(
        EnvSpec(name="shop", summary="", config=spec.config, build=spec.build, build_vector=build), spec.config(), []
    )


def epoch(env, *rounds):
    """Statistics after running rounds of episodes, each with these seeds."""
    actors = Actors(Shop.observation_space, Shop.action_space)
    batches = [run_episodes(env, actors, lambda turn: np.zeros(len(turn.observation), int), seeds) for seeds in rounds]
    return EpisodeTotals().reduce("eval", batches)


# Declaring


def test_an_unknown_reduction_is_refused_with_those_that_exist():
    with pytest.raises(PluginError, match=r"no reduction 'median' of events\. Known: sum, mean, min, max, count, hist"):
        Event("sum", "median")


def test_an_event_without_reductions_is_summed():
    recorder = EventRecorder(EventGroup("G", e=Event()))
    assert told(recorder) == {"G/e/mean_episode_total": 0.0}


def test_an_event_that_was_not_declared_is_refused_with_those_that_were():
    with pytest.raises(PluginError, match=r"SalesEvents has no event 'sodl'\. Declared: sold, price, returned\."):
        EventRecorder(SALES).fire(SALES, "sodl")


def test_a_group_that_the_recorder_was_not_given_is_refused():
    with pytest.raises(PluginError, match="Other was not given"):
        EventRecorder(SALES).fire(EventGroup("Other", e=Event("sum")), "e", 2)


def test_two_groups_of_one_name_are_refused():
    with pytest.raises(PluginError, match="same name: A, A"):
        EventRecorder(EventGroup("A", e=Event()), EventGroup("A", f=Event()))


def test_a_split_by_a_name_with_a_slash_is_refused():
    group = EventGroup("A", e=Event())
    with pytest.raises(PluginError, match="has a '/'"):
        EventRecorder(group).fire(group, "e", by="x/y")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused_by_name(value):
    group = EventGroup("A", e=Event())
    recorder = EventRecorder(group)
    with pytest.raises(EnvFaultError, match=r"event A\.e was fired with the value"):
        recorder.fire(group, "e", value)
    with pytest.raises(EnvFaultError, match="KPI profit is"):
        recorder.episode(profit=value)


def test_episodes_that_told_nothing_beside_others_that_did_are_warned_of(caplog):
    from maze_core.stats.events import reduce_events

    reduce_events([EpisodeEvents({"A/e/mean_episode_total": 1.0}), None])
    assert "1 of 2 episodes told no events" in caplog.text


# From step to episode


def test_every_reduction_of_an_episode_has_its_statistic():
    result = prices(4, 1, 7)
    assert result.pop("histogram").tolist() == [4, 1, 7]
    assert result == {
        "mean_episode_total": 12,
        "mean_episode_mean": 4,
        "mean_episode_min": 1,
        "mean_episode_max": 7,
        "mean_episode_count": 3,
    }


def test_an_event_that_did_not_happen_counts_as_zero():
    result = prices()
    assert result.pop("histogram").tolist() == []
    assert set(result.values()) == {0.0}


def test_negative_values_have_a_negative_maximum():
    assert prices(-3, -2)["mean_episode_max"] == -2


def test_an_event_without_a_value_counts_one():
    recorder = EventRecorder(SALES)
    recorder.fire(SALES, "returned")
    recorder.fire(SALES, "returned")
    assert told(recorder)["SalesEvents/returned/mean_episode_total"] == 2


def test_by_splits_an_event():
    recorder = EventRecorder(SALES)
    recorder.fire(SALES, "sold", 3, by="apple")
    recorder.fire(SALES, "sold", 4, by="pear")
    recorder.fire(SALES, "sold", 5, by="apple")
    values = told(recorder)
    assert values["SalesEvents/sold:apple/mean_episode_total"] == 8
    assert values["SalesEvents/sold:pear/mean_episode_total"] == 4
    assert values["SalesEvents/sold:pear/mean_episode_count"] == 1


def test_an_episode_starts_with_nothing():
    recorder = EventRecorder(SALES)
    recorder.fire(SALES, "price", 5)
    first = told(recorder)
    assert first["SalesEvents/price/histogram"].tolist() == [5]
    second = told(recorder)
    assert second["SalesEvents/price/mean_episode_total"] == 0
    assert second["SalesEvents/price/histogram"].tolist() == []
    assert first["SalesEvents/price/histogram"].tolist() == [5]


def test_kpis_are_told_with_the_episode():
    values = told(EventRecorder(SALES), revenue=3, margin=np.float32(0.5))
    assert (values["KPIs/revenue/mean"], values["KPIs/margin/mean"]) == (3.0, 0.5)


def test_an_episode_is_told_in_plain_numbers():
    recorder = EventRecorder(SALES)
    recorder.fire(SALES, "price", np.float32(2))
    values = told(recorder, revenue=np.int64(3))
    assert {type(value) for path, value in values.items() if not path.endswith("histogram")} == {float}


# Many copies


def test_a_vector_env_fires_for_some_of_its_copies():
    recorder = EventRecorder(SALES, num_envs=3)
    recorder.fire(SALES, "price", [1, 2], rows=np.array([True, False, True]))
    recorder.fire(SALES, "price", [10], rows=[2])
    recorder.fire(SALES, "price", 100)
    episodes = recorder.episode()[EPISODE_EVENTS]
    assert [e.values["SalesEvents/price/mean_episode_total"] for e in episodes] == [101, 100, 112]


def test_only_the_copies_whose_episode_ended_are_told_and_forgotten():
    recorder = EventRecorder(SALES, num_envs=3)
    recorder.fire(SALES, "price", [1, 2, 3])
    first = recorder.episode(rows=np.array([False, True, False]))[EPISODE_EVENTS]
    assert [episode is None for episode in first] == [True, False, True]
    rest = recorder.episode()[EPISODE_EVENTS]
    assert [e.values["SalesEvents/price/mean_episode_total"] for e in rest] == [1, 0, 3]


def test_kpis_of_many_copies_are_one_for_each_that_ended():
    recorder = EventRecorder(SALES, num_envs=3)
    episodes = recorder.episode(rows=[0, 2], revenue=[5, 7], share=0.5)[EPISODE_EVENTS]
    assert [episodes[row].values["KPIs/revenue/mean"] for row in (0, 2)] == [5, 7]
    assert [episodes[row].values["KPIs/share/mean"] for row in (0, 2)] == [0.5, 0.5]


def test_a_reset_forgets_an_episode_that_was_cut_off():
    recorder = EventRecorder(SALES)
    recorder.fire(SALES, "price", 5)
    recorder.reset()
    assert told(recorder)["SalesEvents/price/histogram"].tolist() == []


def test_a_reset_forgets_only_the_copies_that_are_reset():
    recorder = EventRecorder(SALES, num_envs=2)
    recorder.fire(SALES, "price", [1, 2])
    recorder.reset(rows=np.array([True, False]))
    episodes = recorder.episode()[EPISODE_EVENTS]
    assert [e.values["SalesEvents/price/mean_episode_count"] for e in episodes] == [0, 1]


def test_histograms_of_long_episodes_are_complete():
    """Copies that fire at different times, some of them very often."""
    recorder, expected, generator = EventRecorder(SALES, num_envs=3), [[], [], []], np.random.default_rng(0)
    for step in range(500):
        rows = np.flatnonzero(generator.random(3) < (1.0, 0.5, 0.1))
        recorder.fire(SALES, "price", step + rows, rows=rows)
        for row in rows:
            expected[row].append(step + row)
        if step % 170 == 169:
            episode = recorder.episode(rows=[1])[EPISODE_EVENTS][1]
            assert episode.values["SalesEvents/price/histogram"].tolist() == expected[1]
            expected[1] = []
    episodes = recorder.episode()[EPISODE_EVENTS]
    assert [e.values["SalesEvents/price/histogram"].tolist() for e in episodes] == expected


# From episodes to epochs


def test_an_epoch_has_the_mean_over_its_episodes():
    statistics = epoch(InProcessVectorEnv(Shop, 2), [0, 3])  # of one and of four steps
    assert statistics.values["SalesEvents/price/mean_episode_total"] == (11 + 41 + 42 + 43 + 44) / 2
    assert statistics.values["SalesEvents/price/mean_episode_max"] == (11 + 44) / 2
    assert statistics.values["KPIs/length/mean"] == 2.5


def test_a_histogram_keeps_the_values_of_all_episodes():
    statistics = epoch(InProcessVectorEnv(Shop, 2), [0, 1], [2])
    assert statistics.histograms["SalesEvents/price/histogram"].values.tolist() == [11, 21, 22, 31, 32, 33]
    assert "SalesEvents/price/histogram" not in statistics.values


@pytest.mark.parametrize("rounds", [[range(6)], [range(6), range(6, 12)], [[3], [1, 2, 5], [4]], [[0], [3], [2]]])
def test_scalar_and_vector_envs_give_the_same_statistics(rounds):
    scalar, vector = epoch(InProcessVectorEnv(Shop, 6), *rounds), epoch(VectorShop(6), *rounds)
    assert scalar.values == pytest.approx(vector.values)
    assert scalar.histograms.keys() == vector.histograms.keys()
    for path, histogram in scalar.histograms.items():
        assert histogram.values.tolist() == vector.histograms[path].values.tolist()


@pytest.mark.parametrize("make_env", [VectorShop, lambda num_envs: InProcessVectorEnv(Shop, num_envs)])
def test_the_statistics_do_not_depend_on_which_copy_ran_which_episode(make_env):
    lock_step, one_by_one = epoch(make_env(6), range(6)), epoch(make_env(1), *([seed] for seed in range(6)))
    assert lock_step.values == pytest.approx(one_by_one.values)


def test_earlier_epochs_do_not_matter():
    env = InProcessVectorEnv(Shop, 1)
    alone = epoch(InProcessVectorEnv(Shop, 1), [0]).values
    epoch(env, [1], [2], [3])
    assert epoch(env, [0]).values == alone


def test_an_env_may_tell_only_some_episodes():
    totals = EpisodeTotals()
    batch = run_episodes(VectorShop(2), Actors(*_spaces()), lambda turn: np.zeros(len(turn.observation), int), [0, 1])
    some = type(batch)(batch.returns, batch.lengths, [None, batch.events[1]])
    assert totals.reduce("eval", [some]).values["KPIs/length/mean"] == 2


def _spaces():
    return Shop.observation_space, Shop.action_space


# Through a run


@pytest.mark.parametrize("vector", [False, True])
def test_training_and_evaluation_tell_the_events(vector):
    trainer = make_trainer(shop_factory(vector), n_rollouts_per_update=6)
    trainer.step()
    trained = EpisodeTotals().reduce("train", trainer.episodes)
    assert len(trained.histograms["SalesEvents/price/histogram"].values) == trainer.env_steps
    evaluation = evaluate(trainer.job.runner, trainer.job.streams, "eval", 20, EpisodeTotals())
    assert evaluation.values["KPIs/steps_per_length/mean"] == 1.0
    reward = "BaseEnvEvents/reward/mean"
    assert evaluation.values["KPIs/length/mean"] == evaluation.values[reward]


def test_an_episode_of_an_env_in_gymnasium_wrappers_tells_its_events():
    env = InProcessVectorEnv(lambda: gymnasium.wrappers.TransformReward(Shop(), lambda reward: 2 * reward), 2)
    assert epoch(env, [0, 2]).values["KPIs/length/mean"] == 2


def test_wrappers_pass_events_on():
    wrapper = registry().get("wrapper", "reward_scaling")
    factory = EnvFactory(shop_factory(True).spec, None, [(wrapper, wrapper.config(scale=2))])
    assert epoch(factory.vector(2), [0, 2]).values["KPIs/length/mean"] == 2


# What is not used costs nothing


def test_without_events_a_batch_carries_none():
    env = InProcessVectorEnv(CountdownEnv, 3)
    actors = Actors(env.single_observation_space, env.single_action_space)
    batch = run_episodes(env, actors, lambda turn: np.zeros(len(turn.observation), int), [1, 2, 3])
    assert list(batch.events) == []
    statistics = EpisodeTotals().reduce("eval", [batch])
    assert {path.split("/")[0] for path in statistics.values} == {"BaseEnvEvents"}
    assert statistics.histograms == {}


def test_nothing_is_told_before_an_episode_ends():
    env = VectorShop(2)
    env.reset(seed=[3, 4], options={"reset_mask": np.ones(2, bool)})
    assert env.step(np.zeros(2, int))[4] == {}


def test_what_an_episode_tells_is_picklable():
    events = EventRecorder(SALES).episode(revenue=1)[EPISODE_EVENTS]
    copied = pickle.loads(pickle.dumps(events))
    assert isinstance(copied, EpisodeEvents)
    assert copied.values.keys() == events.values.keys()
