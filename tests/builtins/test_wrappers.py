"""What each wrapper does to an env."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from support.build import env_factory, make_trainer, registry
from support.envs import CountdownEnv, TwoStepEnv

from maze_core.builtins.config import (
    ActionRepeatConfig,
    MonitoringConfig,
    ObservationStackingConfig,
    ReturnNormalizationConfig,
    RewardClippingConfig,
    RewardScalingConfig,
    TimeLimitConfig,
)
from maze_core.builtins.wrappers.monitoring import VectorMonitoring
from maze_core.builtins.wrappers.observations import VectorObservationStacking
from maze_core.builtins.wrappers.steps import VectorActionRepeat
from maze_core.env_factory import EnvFactory
from maze_core.errors import ConfigError, EnvFaultError, UserError
from maze_core.rl import InProcessVectorEnv
from maze_core.rl.episodes import EPISODE_EVENTS
from maze_core.runs.evaluate import evaluate_slice
from maze_core.stats import EpisodeTotals, Event, EventGroup, EventRecorder

LINE = spaces.Box(-1000, 1000, (1,))
SALES = EventGroup("SalesEvents", sold=Event("sum"))


class ListEnv(gymnasium.Env):
    """Pays the listed rewards one after the other, and terminates; the observation counts the steps."""

    observation_space, action_space = LINE, spaces.Discrete(3)

    def __init__(self, rewards, infos=None):
        self.rewards, self.infos = rewards, infos or [{}] * (len(rewards) + 1)
        self.events = EventRecorder(SALES)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), self.infos[0]

    def step(self, action):
        reward = self.rewards[self.steps]
        self.steps += 1
        self.events.fire(SALES, "sold", self.steps)
        ended = self.steps == len(self.rewards)
        return (
            self._observation(),
            reward,
            ended,
            False,
            {**self.infos[self.steps], **(self.events.episode() if ended else {})},
        )

    def _observation(self):
        return np.array([self.steps], np.float32)


def factory_of(make_env, *wrappers):
    """The factory of an env in wrappers, each a name or a pair of name and options."""
    specs = []
    for wrapper in wrappers:
        name, options = (wrapper, {}) if isinstance(wrapper, str) else wrapper
        spec = registry().get("wrapper", name)
        specs.append((spec, spec.config(**options)))
    plain = env_factory(make_env)
    return EnvFactory(plain.spec, plain.config, specs)


def wrapped(env, name, **options):
    return factory_of(lambda: env, (name, options))()


def rewards_of(env, seed=0):
    """Rewards of an episode."""
    env.reset(seed=seed)
    rewards, ended = [], False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(0)
        rewards.append(reward)
        ended = terminated or truncated
    return rewards


def evaluated(trainer, n_episodes):
    """Episodes of an evaluation of the trainer's policy."""
    (batch, _), *_ = trainer.job.runner.map(evaluate_slice, [list(range(n_episodes))])
    return batch


# Rewards


def test_every_reward_is_scaled():
    assert rewards_of(wrapped(ListEnv([1, -2.0, 0]), "reward_scaling", scale=-2.5)) == [-2.5, 5.0, 0.0]


def test_a_scaled_reward_is_a_plain_number():
    assert type(rewards_of(wrapped(ListEnv([np.float32(1)]), "reward_scaling", scale=2))[0]) is float


def test_every_reward_is_clipped():
    assert rewards_of(wrapped(ListEnv([5, -5.0, 0.25]), "reward_clipping", low=-1, high=2)) == [2, -1, 0.25]


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_loses_the_reward_is_refused(scale):
    with pytest.raises(ConfigError, match="a finite number other than 0"):
        RewardScalingConfig(scale=scale)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("nan"))])
def test_a_reward_range_that_is_empty_is_refused(low, high):
    with pytest.raises(ConfigError, match="must be a number"):
        RewardClippingConfig(low=low, high=high)


def discounted_deviations(episodes, gamma):
    """Standard deviation of all discounted returns so far, after each reward."""
    seen, result = [], []
    for episode in episodes:
        total = 0.0
        for reward in episode:
            total = gamma * total + reward
            seen.append(total)
            result.append(np.std(seen))
    return result


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    rewards = [3.0, -1.0, 2.0, 7.0]
    env = wrapped(ListEnv(rewards), "return_normalization", gamma=0.8, clip=None)
    normalised = [*rewards_of(env), *rewards_of(env)]
    deviations = discounted_deviations([rewards, rewards], 0.8)
    deviations[0] = 1.0  # of a single number
    np.testing.assert_allclose(normalised, np.array(rewards * 2) / deviations, rtol=1e-12)


def test_normalised_rewards_are_clipped():
    env = wrapped(ListEnv([0.1, 0.1001, 50.0]), "return_normalization", clip=1.5, gamma=0)
    assert rewards_of(env)[-1] == 1.5


def test_rewards_that_never_vary_are_left_as_they_are():
    assert rewards_of(wrapped(ListEnv([2.0] * 3), "return_normalization", gamma=0)) == [2.0] * 3


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"gamma": float("nan")}, {"clip": 0}, {"clip": float("nan")}])
def test_return_normalization_refuses_what_means_nothing(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ReturnNormalizationConfig(**options)


# Steps


def test_a_time_limit_truncates():
    env = wrapped(ListEnv([1.0] * 9), "time_limit", max_env_steps=3)
    env.reset()
    flags = [env.step(0)[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


def test_an_episode_that_ends_at_the_limit_is_terminated_and_not_truncated():
    env = wrapped(ListEnv([1.0] * 3), "time_limit", max_env_steps=3)
    env.reset()
    assert [env.step(0)[2:4] for _ in range(3)][-1] == (True, False)


def test_a_time_limit_counts_anew_in_each_episode():
    env = wrapped(ListEnv([1.0] * 9), "time_limit", max_env_steps=4)
    assert [len(rewards_of(env)) for _ in range(3)] == [4, 4, 4]


def test_repeated_actions_sum_their_rewards():
    assert rewards_of(wrapped(ListEnv([1, 2, 4, 8, 16, 32.0]), "action_repeat", n_repeats=3)) == [7, 56]


def test_an_episode_may_end_within_the_repeats():
    env = wrapped(ListEnv([1, 2, 4, 8.0]), "action_repeat", n_repeats=3)
    env.reset()
    env.step(0)
    observation, reward, terminated, truncated, _ = env.step(0)
    assert (observation.tolist(), reward, terminated, truncated) == ([4.0], 8.0, True, False)


@pytest.mark.parametrize("form", ["scalar", "vector"])
def test_events_of_an_episode_that_ends_within_the_repeats_arrive(form):
    lengths = iter([1, 4, 5])
    if form == "scalar":
        factory = factory_of(lambda: ListEnv([1.0] * next(lengths)), ("action_repeat", {"n_repeats": 3}))
        env = InProcessVectorEnv(factory, 3)
    else:
        inner = InProcessVectorEnv(lambda: ListEnv([1.0] * next(lengths)), 3)
        env = VectorActionRepeat(inner, ActionRepeatConfig(n_repeats=3))
    env.reset(seed=[0, 0, 0])
    first, second = (env.step(np.zeros(3, np.int64))[4].get(EPISODE_EVENTS) for _ in range(2))
    path = "SalesEvents/sold/mean_episode_total"
    assert [None if told is None else told.values[path] for told in first] == [1.0, None, None]
    assert [None if told is None else told.values[path] for told in second[1:]] == [10.0, 15.0]


@pytest.mark.parametrize("wrapper", ["action_repeat", "mask_from_info"])
def test_what_would_count_sub_steps_refuses_a_structured_env(wrapper):
    with pytest.raises(UserError, match=f"wrapper {wrapper} would .* of a structured env"):
        wrapped(TwoStepEnv(), wrapper)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (TimeLimitConfig, "max_env_steps"),
        (ActionRepeatConfig, "n_repeats"),
        (ObservationStackingConfig, "n_observations"),
    ],
)
def test_a_count_below_its_smallest_is_refused(config, field):
    with pytest.raises(ConfigError, match=f"{field}.*a whole number >= "):
        config(**{field: 0})


# Observations


def test_a_stack_starts_with_the_first_observation_repeated():
    env = wrapped(ListEnv([0.0] * 5), "observation_stacking", n_observations=3)
    assert env.reset()[0].tolist() == [[0], [0], [0]]
    assert [env.step(0)[0].ravel().tolist() for _ in range(4)][1:] == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_a_stack_starts_anew_in_each_episode():
    env = wrapped(ListEnv([0.0] * 5), "observation_stacking", n_observations=2)
    rewards_of(env)
    assert env.reset()[0].tolist() == [[0], [0]]


def test_the_space_of_a_stack_has_a_new_first_axis():
    inner = ListEnv([0.0])
    inner.observation_space = spaces.Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32))
    space = wrapped(inner, "observation_stacking", n_observations=3).observation_space
    assert space == spaces.Box(np.array([[-1, 0]] * 3, np.float32), np.array([[1, np.inf]] * 3, np.float32))


def test_a_returned_stack_is_not_changed_by_later_steps():
    env = wrapped(ListEnv([0.0] * 5), "observation_stacking", n_observations=2)
    first = env.reset()[0]
    env.step(0)
    assert first.tolist() == [[0], [0]]


def test_only_the_stacks_of_envs_that_are_reset_start_anew():
    inner = InProcessVectorEnv(lambda: ListEnv([0.0] * 9), 2)
    env = VectorObservationStacking(inner, ObservationStackingConfig(n_observations=2))
    env.reset(seed=[0, 0])
    for _ in range(2):
        env.step(np.zeros(2, np.int64))
    observation = env.reset(seed=[0, 0], options={"reset_mask": np.array([True, False])})[0]
    assert observation[:, :, 0].tolist() == [[0, 0], [1, 2]]
    assert env.step(np.zeros(2, np.int64))[0][:, :, 0].tolist() == [[0, 1], [2, 3]]


def test_only_a_single_box_is_stacked():
    inner = ListEnv([0.0])
    inner.observation_space = spaces.Discrete(3)
    with pytest.raises(UserError, match=r"observation_stacking stacks Boxes.* are Discrete\(3\)"):
        wrapped(inner, "observation_stacking")


def test_a_structured_env_is_not_stacked():
    with pytest.raises(UserError, match=r"observation_stacking stacks Boxes.*a structured env"):
        wrapped(TwoStepEnv(), "observation_stacking")


MASKS = [{"action_mask": np.array(mask)} for mask in ([1, 0, 0], [0, 1, 1], [1, 1, 1])]


def test_the_mask_of_the_info_stands_beside_the_observation():
    env = wrapped(ListEnv([0.0, 0.0], MASKS), "mask_from_info")
    assert env.observation_space == spaces.Dict(observation=LINE, action_mask=spaces.MultiBinary(3))
    seen = [env.reset()[0], env.step(0)[0]]
    assert [observation["action_mask"].tolist() for observation in seen] == [[1, 0, 0], [0, 1, 1]]
    assert [observation["observation"].tolist() for observation in seen] == [[0], [1]]
    assert all(observation in env.observation_space for observation in seen)


def test_the_mask_of_the_info_joins_a_dict():
    class DictEnv(ListEnv):
        observation_space = spaces.Dict(count=LINE)

        def _observation(self):
            return {"count": super()._observation()}

    env = wrapped(DictEnv([0.0, 0.0], MASKS), "mask_from_info")
    assert set(env.observation_space) == {"count", "action_mask"}
    assert env.reset()[0] in env.observation_space


def test_the_mask_of_a_multi_discrete_action_has_a_place_for_each_choice():
    inner = ListEnv([0.0])
    inner.action_space = spaces.MultiDiscrete([2, 3])
    assert wrapped(inner, "mask_from_info").observation_space["action_mask"] == spaces.MultiBinary(5)


def test_an_action_space_without_choices_has_no_mask():
    inner = ListEnv([0.0])
    inner.action_space = LINE
    with pytest.raises(UserError, match="mask_from_info needs a Discrete or MultiDiscrete action space"):
        wrapped(inner, "mask_from_info")


def test_an_info_without_the_mask_is_told_with_the_keys_that_it_has():
    env = wrapped(ListEnv([0.0], [{"lives": 3, "level": 1}, {}]), "mask_from_info", key="legal")
    with pytest.raises(EnvFaultError, match=r"mask_from_info: the info has no 'legal' \(its keys: lives, level\)"):
        env.reset()


def test_an_info_without_anything_is_told_so():
    env = wrapped(ListEnv([0.0, 0.0], [MASKS[0], {}, {}]), "mask_from_info")
    env.reset()
    with pytest.raises(EnvFaultError, match=r"no 'action_mask' \(its keys: none\)"):
        env.step(0)


class ForbiddingEnv(CountdownEnv):
    """Tells a mask in its info, and raises if the action is another than the allowed one."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, self._info()

    def step(self, action):
        assert self.allowed == action, f"action {action} is not allowed"
        *step, _ = super().step(action)
        return *step, self._info()

    def _info(self):
        self.allowed = int(self.np_random.integers(2))
        return {"action_mask": np.eye(2, dtype=np.int8)[self.allowed]}


def test_training_and_evaluation_honour_a_mask_from_info():
    trainer = make_trainer(factory_of(ForbiddingEnv, "mask_from_info"), n_rollouts_per_update=8)
    for _ in range(3):
        trainer.step()
    batch = evaluated(trainer, 3)
    assert trainer.env_steps > 0
    assert len(batch.lengths) == 3


# Monitoring


def monitored(make_env, n_episodes=4, **options):
    trainer = make_trainer(factory_of(make_env, ("monitoring", options)), n_rollouts_per_update=n_episodes)
    trainer.step()
    return EpisodeTotals().reduce("train", trainer.episodes)


def test_monitoring_collects_all_rewards():
    statistics = monitored(lambda: ListEnv([1.0, 5.0]))
    assert statistics.histograms["MonitoredEvents/reward/histogram"].values.tolist() == [1, 5] * 4
    assert statistics.values["MonitoredEvents/reward/mean_episode_mean"] == 3
    assert statistics.values["MonitoredEvents/reward/mean_episode_min"] == 1
    assert statistics.values["MonitoredEvents/reward/mean_episode_max"] == 5


def test_monitoring_collects_each_feature_of_the_observations():
    histograms = monitored(lambda: CountdownEnv(1)).histograms
    assert histograms["MonitoredEvents/observation:0/histogram"].values.tolist() == [1] * 4
    assert histograms["MonitoredEvents/observation:1/histogram"].values.tolist() == [1] * 4


def test_monitoring_leaves_observations_out_if_told_so():
    paths = monitored(CountdownEnv, observations=False).histograms
    assert set(paths) == {"MonitoredEvents/reward/histogram"}


def test_monitoring_keeps_the_events_of_the_env():
    values = monitored(lambda: ListEnv([1.0, 5.0])).values
    assert values["SalesEvents/sold/mean_episode_total"] == 3


def test_monitoring_counts_what_an_actor_sees_only_while_it_acts():
    env = wrapped(TwoStepEnv(1), "monitoring")
    first = env.reset(seed=1)[0]
    action = {"pick": 0, "place": np.zeros(1, np.float32)}
    second = env.step(action)[0]
    third, _, _, _, info = env.step(action)
    told = info[EPISODE_EVENTS].values
    seen = [step["place"] for step in (second, third) if step["actor"] == 1]
    assert told["MonitoredEvents/observation.place/histogram"].tolist() == [float(np.ravel(value)[0]) for value in seen]
    picks = [step["pick"]["values"] for step in (second, third) if step["actor"] == 0]
    assert told["MonitoredEvents/observation.pick.values:0/histogram"].tolist() == [float(pick[0]) for pick in picks]
    assert first["actor"] == 0


def test_an_image_is_monitored_by_its_mean():
    env = wrapped(ImageEnv(), "monitoring")
    env.reset(seed=1)
    told = env.step(0)[4][EPISODE_EVENTS].values
    assert [path for path in told if "observation" in path] == ["MonitoredEvents/observation/histogram"]
    assert told["MonitoredEvents/observation/histogram"].tolist() == [7.0]


class ImageEnv(gymnasium.Env):
    """Shows the same image all the time, for one step."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 1), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.full((8, 8, 1), 7, np.uint8), {}

    def step(self, action):
        return np.full((8, 8, 1), 7, np.uint8), 0.0, True, False, {}


@pytest.mark.parametrize("form", ["scalar", "vector"])
def test_monitoring_forgets_an_episode_that_was_given_up(form):
    inner = InProcessVectorEnv(lambda: ListEnv([1.0, 2.0]), 1)
    if form == "scalar":
        env = InProcessVectorEnv(factory_of(lambda: ListEnv([1.0, 2.0]), "monitoring"), 1)
    else:
        env = VectorMonitoring(inner, MonitoringConfig())
    action = np.zeros(1, np.int64)
    env.reset(seed=[0])
    env.step(action)
    env.reset(seed=[0])
    env.step(action)
    told = env.step(action)[4][EPISODE_EVENTS][0].values
    assert told["MonitoredEvents/reward/histogram"].tolist() == [1, 2]


# Evaluation


@pytest.mark.parametrize(
    "wrapper",
    [("reward_scaling", {"scale": 100}), ("reward_clipping", {"high": 0.1}), ("return_normalization", {})],
)
def test_evaluation_shows_the_rewards_of_the_env_itself(wrapper):
    factory = factory_of(lambda: ListEnv([1.0, 2.0, 4.0]), wrapper)
    trainer = make_trainer(factory, n_rollouts_per_update=2)
    trainer.step()
    batch = evaluated(trainer, 3)
    assert batch.returns.tolist() == [7.0] * 3
    assert 7.0 not in trainer.episodes[0].returns


def test_evaluation_keeps_what_changes_the_episodes():
    trainer = make_trainer(factory_of(lambda: ListEnv([1.0, 2.0, 4.0]), ("time_limit", {"max_env_steps": 2})))
    batch = evaluated(trainer, 1)
    assert batch.returns.tolist() == [3.0]


def test_stacking_a_masked_env_stacks_its_boxes_and_leaves_the_mask():
    class Masked(gymnasium.Env):
        observation_space = spaces.Dict({"place": spaces.Box(0, 9, (1,)), "action_mask": spaces.MultiBinary(2)})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.place = 0
            return self._seen(), {}

        def step(self, action):
            self.place += 1
            return self._seen(), 1.0, self.place == 3, False, {}

        def _seen(self):
            mask = np.array([1, self.place % 2], np.int8)
            return {"place": np.array([self.place], np.float32), "action_mask": mask}

    def shown(observation):
        return observation["place"][..., 0].tolist(), observation["action_mask"].tolist()

    env = wrapped(Masked(), "observation_stacking", n_observations=2)
    vector = VectorObservationStacking(InProcessVectorEnv(Masked, 2), ObservationStackingConfig(n_observations=2))
    assert env.observation_space["place"].shape == (2, 1)
    assert shown(env.reset(seed=1)[0]) == ([0.0, 0.0], [1, 0])
    assert shown(env.step(0)[0]) == ([0.0, 1.0], [1, 1])
    assert shown(vector.reset(seed=[1, 2])[0]) == ([[0.0, 0.0]] * 2, [[1, 0]] * 2)
    assert shown(vector.step(np.zeros(2, int))[0]) == ([[0.0, 1.0]] * 2, [[1, 1]] * 2)
