"""What an update learns from: env steps and their sub-steps, rewards, advantages, minibatches."""

from typing import NamedTuple

import numpy as np
import pytest
from gymnasium import spaces
from support.build import env_factory, make_actor_critic_job
from support.envs import PICK, PLACE, CountdownEnv, TwoStepEnv

from maze_core.errors import UserError
from maze_core.rl import (
    ActorCriticLoss,
    Collector,
    StructuredEnv,
    policy_gradient,
)

OPEN, MORE, RARE = "open", "more", "rare"


class Row(NamedTuple):
    """A sub-step as the env saw it."""

    step_key: str
    name: tuple[float, ...]
    reward: float
    opens: bool
    closes: bool
    terminated: bool
    truncated: bool


class LadderEnv(StructuredEnv):
    """Env steps of different lengths: actor `open` takes the first sub-step, `more` takes the others.

    What an actor sees is the name of its sub-step: number of the env, of the episode, of the env step and
    of the sub-step in it. Rewards are random, and arise in every sub-step.

    Args:
        number: Of the env.
        sizes: Sub-steps of the first env step, of the second, and so on, again from the first.
        length: Env steps of an episode.
        cut_at: The last env step of an episode ends after so many sub-steps, although it is not over.
        truncates: Whether episodes are cut off, instead of terminating.
        late: Begins the env steps of odd numbers with `more`.
        rare: Numbers of the env steps in which actor `rare` stands in for `more`.
        alone: Actor `open` takes all sub-steps.
    """

    def __init__(self, number, sizes, *, length=1000, cut_at=None, truncates=False, late=False, rare=(), alone=False):
        seen = spaces.Box(-np.inf, np.inf, (4,))
        super().__init__({OPEN: (seen, spaces.Discrete(2)), MORE: (seen, spaces.Discrete(3)), RARE: (seen, seen)})
        self.number, self.sizes, self.length = number, sizes, length
        self.cut_at, self.truncates, self.late, self.rare, self.alone = cut_at, truncates, late, rare, alone
        self.rows, self.episode, self.steps = [], -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.env_step, self.sub_step = self.episode + 1, 0, 0
        return self._observation(), {}

    def step(self, action):
        step_key, name = self._turn()
        opens, last = self.sub_step == 0, self.env_step == self.length - 1
        self.sub_step += 1
        full = self.sub_step == self._size()
        closes = full or (last and self.sub_step == self.cut_at)
        if full:
            self.env_step, self.sub_step = self.env_step + 1, 0
        self.steps += closes
        ends, reward = closes and last, float(self.np_random.normal())
        terminated, truncated = ends and not self.truncates, ends and self.truncates
        self.rows.append(Row(step_key, name, reward, opens, closes, terminated, truncated))
        return self._observation(), reward, terminated, truncated, {}

    def _size(self):
        return self.sizes[self.env_step % len(self.sizes)]

    def _turn(self):
        first = OPEN if not (self.late and self.env_step % 2) else MORE
        name = (self.number, self.episode, self.env_step, self.sub_step)
        later = OPEN if self.alone else RARE if self.env_step in self.rare else MORE
        return first if self.sub_step == 0 else later, name

    def _observation(self):
        step_key, name = self._turn()
        return self.turn_of(step_key, np.float32(name), new_step=self.sub_step == 0)


UNEVEN = ([1, 3, 2], [2], [4, 1])


def collector_of(make_env, n_envs, seed=0, **options):
    """A collector, and its envs."""
    job = make_actor_critic_job(env_factory(make_env), seed, **options)
    collector = Collector(job.make_vector_env(n_envs), job.kernel, job.streams)
    return collector, [env.unwrapped for env in collector.env.envs]


def ladders(*sizes, critic="shared", autograd=False, **options):
    """A collector of envs whose env steps have these sizes."""
    made = iter([LadderEnv(-1, [1]), *(LadderEnv(number, of_env, **options) for number, of_env in enumerate(sizes))])
    return collector_of(lambda: next(made), len(sizes), critic=critic, autograd=autograd)


def names_of(samples):
    return [tuple(row) for row in samples.observation["observation"].tolist()]


def env_step_of(name):
    return name[:3]


def with_values(samples):
    """Whether the critic learns the value of each row."""
    return np.full(len(samples.advantages), True) if samples.valued is None else samples.valued


def learned(collector, n_steps, gamma=0.9, gae_lambda=0.8):
    """What a rollout teaches, by the name of the sub-step: advantage, value and return (None without)."""
    found = {}
    for samples in collector.collect(n_steps).experience(collector.kernel, gamma, gae_lambda).samples():
        rows = zip(samples.advantages, samples.values, samples.returns, with_values(samples), strict=True)
        for name, (advantage, value, to_learn, valued) in zip(names_of(samples), rows, strict=True):
            assert name not in found
            found[name] = (advantage, value, to_learn) if valued else (advantage, None, None)
    return found


# Lock-step


def test_a_rollout_in_lock_step_holds_exactly_the_env_steps_asked_for():
    collector, _ = collector_of(TwoStepEnv, 3)
    for number in (1, 2):
        rollout = collector.collect(4)
        assert {key: decisions.count for key, decisions in rollout.decisions.items()} == {PICK: 12, PLACE: 12}
        assert rollout.closes.sum(axis=0).tolist() == [4, 4, 4]
        assert rollout.rewards.shape == (8, 3)
        assert rollout.experience(collector.kernel, 0.9, 0.8).n_env_steps == 12
        assert collector.env_steps == 12 * number


def test_every_actor_has_the_rows_in_which_it_acted():
    collector, envs = ladders([2], [2])
    rollout = collector.collect(5)
    assert [len(env.rows) for env in envs] == [10, 10]
    for key, decisions in rollout.decisions.items():
        ticks, of_env = decisions.places()
        expected = [envs[env].rows[tick] for tick, env in zip(ticks, of_env, strict=True)]
        assert [row.step_key for row in expected] == [key] * 10
        np.testing.assert_array_equal(decisions.rows()[0]["observation"], [row.name for row in expected])
    np.testing.assert_array_equal(rollout.rewards, [[env.rows[t].reward for env in envs] for t in range(10)])


def test_episodes_of_varied_length_stay_in_lock_step():
    collector, _ = collector_of(lambda: TwoStepEnv(varied=True), 4)
    rollout = collector.collect(12)
    assert rollout.rewards.shape == (24, 4)
    assert len(rollout.episodes.lengths) > 8


# Env steps of different lengths


def finished_steps(env):
    """Number of its sub-steps, by env step that is finished."""
    found, open_rows = {}, []
    for row in env.rows:
        open_rows.append(row)
        if row.closes:
            found[env_step_of(row.name)] = len(open_rows)
            open_rows = []
    return found


def spanning_steps(env, boundaries):
    """The env steps that go on beyond one of these numbers of sub-steps."""
    return {env_step_of(env.rows[at - 1].name) for at in boundaries if not env.rows[at - 1].closes}


@pytest.mark.parametrize("critic", ["shared", "per_sub_step", "shared_embedding", "none"])
def test_every_finished_env_step_is_learned_from_once_and_whole_but_for_those_cut_by_the_end_of_a_rollout(critic):
    collector, envs = ladders(*UNEVEN, critic=critic, length=5)
    seen, boundaries = [], []
    for _ in range(4):
        seen += [env_step_of(name) for name in learned(collector, 6)]
        boundaries.append(len(envs[0].rows))
    for number, env in enumerate(envs):
        cut = spanning_steps(env, boundaries)
        expected = {step: size for step, size in finished_steps(env).items() if step not in cut}
        own = [step for step in seen if step[0] == number]
        assert {step: own.count(step) for step in own} == expected
    assert any(spanning_steps(env, boundaries[:-1]) for env in envs)


def test_env_steps_counts_those_that_were_finished():
    collector, envs = ladders(*UNEVEN, length=5)
    for _ in range(4):
        collector.collect(6)
        assert collector.env_steps == sum(env.steps for env in envs)


def test_every_env_brings_at_least_the_whole_env_steps_asked_for():
    collector, _ = ladders(*UNEVEN, length=5)
    for _ in range(6):
        steps = {env_step_of(name) for name in learned(collector, 3)}
        assert min(sum(step[0] == env for step in steps) for env in range(3)) >= 3


def test_storage_grows_when_an_actor_acts_more_often_than_expected():
    collector, envs = ladders([9, 1], [1, 9])
    for _ in range(3):
        first = len(envs[0].rows)
        rollout = collector.collect(4)
        decisions = rollout.decisions[MORE]
        ticks, of_env = decisions.places()
        expected = [envs[env].rows[first + tick].name for tick, env in zip(ticks, of_env, strict=True)]
        assert len(expected) > 2 * 4 * 2
        np.testing.assert_array_equal(decisions.rows()[0]["observation"], expected)


def test_noise_does_not_repeat_when_an_actor_acts_more_often_than_expected():
    collector, _ = ladders([40])
    rollout = collector.collect(2)
    outputs, actions = rollout.decisions[MORE].rows()[2:]
    assert np.ptp(outputs, axis=0).max() < 0.2  # a new policy: nearly the same everywhere
    parts = actions[:76, 0].reshape(38, 2).tolist()
    assert len({tuple(part) for part in parts}) > 4


def test_episodes_are_counted_in_env_steps():
    collector, _ = ladders(*UNEVEN, length=5)
    assert set(collector.collect(12).episodes.lengths.tolist()) == {5}


@pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
def test_an_actor_that_acted_in_a_cut_env_step_only_has_nothing_to_learn(autograd):
    collector, _ = ladders([1, 4], [3], rare=(1,), autograd=autograd)
    rollout = collector.collect(1)
    assert set(rollout.decisions) == {OPEN, MORE, RARE}
    samples = rollout.experience(collector.kernel, 0.9, 0.8).samples()
    assert {part.step_key for part in samples} == {OPEN, MORE}
    loss = ActorCriticLoss(collector.policy, samples, policy_gradient, 0.1, 0.5)
    collector.kernel.gradients(samples, loss)
    assert np.isfinite(list(loss.measured(0.2).values())).all()


# Advantages


def advantages_by_hand(rows, value, gamma, gae_lambda, following):
    """GAE of one env over its rows, each a step of its own; `following` is the value after the last one."""
    advantages, after, carried = [], following, 0.0
    for row in reversed(rows):
        discount, weight = (gamma, gae_lambda) if row.closes else (1.0, 1.0)
        if row.terminated or row.truncated:
            carried, after = 0.0, 0.0
        carried = row.reward + discount * after - value(row) + discount * weight * carried
        advantages.insert(0, carried)
        after = value(row)
    return advantages


def whole_steps(rows):
    """One row for each env step, with all its rewards; an unfinished one at the end is left out."""
    steps, open_rows = [], []
    for row in rows:
        open_rows.append(row)
        if row.closes:
            rewards = sum(part.reward for part in open_rows)
            steps.append(open_rows[0]._replace(reward=rewards, closes=True, terminated=row.terminated))
            open_rows = []
    return steps, open_rows


def value_of(kernel):
    def value(row):
        if row.step_key not in (kernel.critic.models or kernel.policy.models):
            return 0.0
        return float(kernel.values(row.step_key, {"observation": np.float32([row.name])})[0])

    return value


def next_row(env):
    step_key, name = env._turn()
    return Row(step_key, name, 0.0, env.sub_step == 0, False, False, False)


@pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
@pytest.mark.parametrize("cut_at", [None, 1])
@pytest.mark.parametrize("alone", [False, True])
def test_a_shared_critic_gives_all_sub_steps_of_an_env_step_the_advantage_of_the_whole(alone, cut_at, autograd):
    collector, envs = ladders([1, 3, 2], [2], [4, 2], length=3, cut_at=cut_at, alone=alone, autograd=autograd)
    found, value = learned(collector, 10), value_of(collector.kernel)
    for env in envs:
        steps, unfinished = whole_steps(env.rows)
        following = value(unfinished[0] if unfinished else next_row(env))
        expected = advantages_by_hand(steps, value, 0.9, 0.8, following)
        by_step = {env_step_of(step.name): advantage for step, advantage in zip(steps, expected, strict=True)}
        rows = [row for row in env.rows if row not in unfinished]
        assert len(rows) > 15
        for row in rows:
            advantage, own_value, to_learn = found.pop(row.name)
            assert advantage == pytest.approx(by_step[env_step_of(row.name)], abs=1e-5)
            assert (own_value is not None) == row.opens
            if row.opens:
                assert own_value == pytest.approx(value(row), abs=1e-5)
                assert to_learn == pytest.approx(value(row) + by_step[env_step_of(row.name)], abs=1e-5)
    assert found == {}


def test_sub_steps_of_an_env_step_have_bit_for_bit_the_same_advantage():
    found = learned(ladders(*UNEVEN, length=5)[0], 10)
    by_step = {}
    for name, (advantage, _, _) in found.items():
        by_step.setdefault(env_step_of(name), set()).add(float(advantage))
    assert {len(advantages) for advantages in by_step.values()} == {1}


@pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
@pytest.mark.parametrize("critic", ["per_sub_step", "shared_embedding"])
@pytest.mark.parametrize("late", [False, True])
def test_a_critic_of_sub_steps_gives_each_an_advantage_of_its_own(critic, late, autograd):
    collector, envs = ladders([1, 3, 2], [2], [4, 2], critic=critic, length=3, cut_at=1, late=late, autograd=autograd)
    found, value = learned(collector, 10), value_of(collector.kernel)
    for env in envs:
        expected = advantages_by_hand(env.rows, value, 0.9, 0.8, value(next_row(env)))
        _, unfinished = whole_steps(env.rows)
        for row, by_hand in zip(env.rows, expected, strict=True):
            if row not in unfinished:
                advantage, own_value, to_learn = found.pop(row.name)
                assert advantage == pytest.approx(by_hand, abs=1e-5)
                assert own_value == pytest.approx(value(row), abs=1e-5)
                assert to_learn == pytest.approx(value(row) + by_hand, abs=1e-5)
    assert found == {}


@pytest.mark.parametrize("critic", ["shared", "per_sub_step"])
@pytest.mark.parametrize("cut_at", [None, 2], ids=["between env steps", "within an env step"])
def test_a_truncated_episode_is_worth_the_value_of_its_final_observation(cut_at, critic):
    collector, (env,) = ladders([3], critic=critic, length=2, truncates=True, cut_at=cut_at)
    found, value = learned(collector, 2), value_of(collector.kernel)
    first, last = env.rows[3], env.rows[-1]
    final = Row(OPEN, (0, 0, 2, 0), *last[2:]) if cut_at is None else Row(MORE, (0, 0, 1, 2), *last[2:])
    if critic == "shared":
        rewards = sum(row.reward for row in env.rows[3:])
        after = value(final) if cut_at is None else value(first)  # within an env step there is no other value
        expected = rewards + 0.9 * after - value(first)
    else:
        expected = last.reward + 0.9 * value(final) - value(last)
    assert found[last.name][0] == pytest.approx(expected, abs=1e-5)


def test_without_critic_advantages_are_returns():
    collector, (env,) = ladders([2, 1], critic="none", length=3)
    found = learned(collector, 3, gae_lambda=0.3)
    one, two, three = (step.reward for step in whole_steps(env.rows)[0])
    by_step = [one + 0.9 * two + 0.81 * three, two + 0.9 * three, three]
    for row in env.rows:
        assert found[row.name] == (pytest.approx(by_step[int(row.name[2])], abs=1e-5), None, None)


def test_a_shared_critic_is_refused_where_env_steps_begin_with_different_actors():
    collector, _ = ladders([2], [1], late=True)
    with pytest.raises(UserError, match=r"some begin with 'more' instead of 'open'. Use critic=per_sub_step."):
        collector.collect(4).experience(collector.kernel, 0.9, 0.8)


# Minibatches


def experience_of(kind):
    if kind == "flat":
        collector, _ = collector_of(CountdownEnv, 3)
    else:
        collector, _ = ladders(*UNEVEN, critic=kind, length=5)
        collector.collect(6)
    return collector.collect(6).experience(collector.kernel, 0.9, 0.8)


def contents(parts):
    """All that is known about each sub-step, as one row; sorted. What has no value counts as -9."""
    rows = []
    for samples in parts:
        valued = with_values(samples)
        values = np.stack((np.where(valued, samples.values, -9), np.where(valued, samples.returns, -9)), axis=1)
        known = (samples.observation["observation"], samples.actions, samples.log_probs[:, None],
                 samples.advantages[:, None], values)  # fmt: skip
        rows += [(samples.step_key, *row) for row in np.concatenate(known, axis=1).tolist()]
    return sorted(rows)


@pytest.mark.parametrize("kind", ["flat", "shared", "per_sub_step", "shared_embedding", "none"])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 1000])
def test_every_sub_step_comes_once_in_each_epoch_with_all_that_belongs_to_it(kind, batch_size):
    experience = experience_of(kind)
    generator = np.random.default_rng(0)
    for _ in range(2):
        minibatches = list(experience.minibatches(generator, batch_size))
        assert contents([part for minibatch in minibatches for part in minibatch]) == contents(experience.samples())


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_minibatches_count_env_steps_and_differ_by_one_at_most(batch_size):
    for kind in ("flat", "shared"):
        experience = experience_of(kind)
        sizes = [
            len(minibatch[0].advantages) for minibatch in experience.minibatches(np.random.default_rng(0), batch_size)
        ]
        assert sum(sizes) == experience.n_env_steps  # every env step begins with the first actor
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-experience.n_env_steps // batch_size)


def test_an_env_step_keeps_its_sub_steps_together():
    experience = experience_of("shared")
    minibatches = [
        {env_step_of(name) for samples in minibatch for name in names_of(samples)}
        for minibatch in experience.minibatches(np.random.default_rng(0), 4)
    ]
    assert len(minibatches) > 3
    assert sum(len(steps) for steps in minibatches) == len(set().union(*minibatches)) == experience.n_env_steps


def test_only_the_first_sub_steps_have_values_of_a_shared_critic():
    for minibatch in experience_of("shared").minibatches(np.random.default_rng(0), 4):
        for samples in minibatch:
            assert set(with_values(samples).tolist()) == {samples.step_key == OPEN}


def test_masks_stay_with_their_decisions():
    collector, _ = collector_of(lambda: TwoStepEnv(uneven=True), 3)
    masked = 0
    for minibatch in (
        collector.collect(30).experience(collector.kernel, 0.9, 0.8).minibatches(np.random.default_rng(0), 4)
    ):
        for samples in minibatch:
            if samples.step_key == PICK:
                chosen = samples.actions[:, 0].astype(int)
                assert samples.mask[np.arange(len(chosen)), chosen].all()
                masked += int((samples.mask == 0).sum())
    assert masked > 30


def test_minibatches_come_in_an_order_of_the_generator():
    experience = experience_of("flat")

    def order(generator):
        return [contents(minibatch) for minibatch in experience.minibatches(generator, 4)]

    generator = np.random.default_rng(1)
    one, again = order(generator), order(generator)
    assert one == order(np.random.default_rng(1))
    assert one != again
