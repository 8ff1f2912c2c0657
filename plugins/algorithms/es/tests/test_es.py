"""Evolution strategies: what holds exactly, and what is learned."""

import json
import pickle

import numpy as np
import pytest
import torch
from maze_es.config import ESConfig, Optimizer
from maze_es.es import (
    ESState,
    Members,
    Origin,
    ask,
    centred_ranks,
    episode_seeds,
    evaluate_members,
    gradient,
    noise,
    tell,
)
from support.build import env_factory, gym_factory, make_job, make_trainer
from support.envs import CountdownEnv, FaultyEnv, TwoStepEnv

from maze_core import ConfigError, NonFiniteError
from maze_core.enums import BoxDistribution
from maze_core.rl import FLAT, EpisodeBatch, Streams, get_vector

STREAMS = Streams(11)


def es(**options):
    return ESConfig(**{"n_rollouts_per_update": 10, "l2_penalty": 0.0, **options})


def state_at(mean, generation=0):
    start = ESState.start(np.float32(mean))
    return ESState(start.mean, start.first_moment, start.second_moment, generation)


def some_mean(size=5):
    return np.random.default_rng(0).normal(size=size).astype(np.float32)


# Ranks


def test_ranks_go_from_minus_a_half_to_a_half_in_the_order_of_fitness():
    np.testing.assert_allclose(centred_ranks(np.array([10.0, -3, 500, 11])), [-1 / 6, -0.5, 0.5, 1 / 6], rtol=1e-6)


def test_equal_fitness_gets_the_mean_of_its_ranks():
    np.testing.assert_allclose(centred_ranks(np.array([1.0, 2, 2, 2, 3])), [-0.5, 0, 0, 0, 0.5])
    np.testing.assert_allclose(centred_ranks(np.array([7.0, 7, 9])), [-0.25, -0.25, 0.5])


def test_ranks_sum_to_zero_with_ties_too():
    fitness = np.random.default_rng(0).integers(6, size=50).astype(float)
    assert abs(centred_ranks(fitness).sum()) < 1e-5


def test_if_all_are_equal_all_ranks_are_zero():
    assert centred_ranks(np.full(4, 3.0)).tolist() == [0, 0, 0, 0]


# Noise and members


def test_noise_of_a_pair_does_not_depend_on_the_block_it_is_drawn_in():
    block = noise(STREAMS, 4, 0, 10, 6)
    for first, count in ((0, 1), (3, 5), (9, 1)):
        np.testing.assert_array_equal(noise(STREAMS, 4, first, count, 6), block[first : first + count])


@pytest.mark.parametrize("other", [(Streams(12), 4, 0), (STREAMS, 5, 0), (STREAMS, 4, 1)])
def test_noise_differs_by_seed_generation_and_pair(other):
    streams, generation, pair = other
    assert not np.isin(noise(streams, generation, pair, 1, 6), noise(STREAMS, 4, 0, 1, 6)).any()


def test_noise_is_standard_normal():
    sample = noise(STREAMS, 0, 0, 100, 200)
    assert abs(sample.mean()) < 0.02
    assert abs(sample.std() - 1) < 0.02


def test_antithetic_members_sum_to_twice_the_mean():
    members = ask(state_at(some_mean()), es(), STREAMS)
    np.testing.assert_allclose(members[:5] + members[5:], np.tile(2 * some_mean(), (5, 1)), atol=1e-6)


def test_members_lie_around_the_mean_at_the_distance_of_the_noise():
    members = ask(state_at(np.zeros(300)), es(noise_stddev=0.02, n_rollouts_per_update=40), STREAMS)
    assert abs(members.std() - 0.02) < 0.001


def test_without_pairs_every_member_has_noise_of_its_own():
    members = ask(state_at(np.zeros(3)), es(antithetic=False, n_rollouts_per_update=7), STREAMS)
    assert members.shape == (7, 3)
    assert len(np.unique(np.abs(members[:, 0]))) == 7


def test_further_populations_of_a_generation_have_noise_that_was_not_used_yet():
    first, second = (ask(state_at(np.zeros(3)), es(), STREAMS, batch) for batch in (0, 1))
    assert not np.isin(first, second).any()


def test_the_mean_of_the_search_is_not_changed_by_asking():
    state = state_at(some_mean())
    ask(state, es(), STREAMS)[:] = 99
    np.testing.assert_array_equal(state.mean, some_mean())


def test_both_members_of_a_pair_get_the_same_episode_seed():
    seeds = episode_seeds(es(), STREAMS, 0)
    assert seeds[:5] == seeds[5:]
    assert len(set(seeds)) == 5


def test_without_pairs_every_member_gets_a_seed_of_its_own():
    assert len(set(episode_seeds(es(antithetic=False), STREAMS, 0))) == 10


def test_every_generation_and_population_has_seeds_of_its_own():
    drawn = [seed for key in ((0, 0), (0, 1), (1, 0), (1, 1)) for seed in episode_seeds(es(), STREAMS, *key)[:5]]
    assert len(set(drawn)) == 20


# Gradient


def test_the_gradient_of_a_linear_fitness_is_exact_in_direction():
    slopes, stddev = np.float32([1, -3, 5, 7]), 0.5  # so that ranks are proportional to fitness
    steps = np.eye(4, dtype=np.float32) * stddev
    mean = np.float32([1, 2, 3, 4])
    members = mean + np.concatenate((steps, -steps))
    estimate = gradient(mean, members, (members - mean) @ slopes.astype(np.float64) + 100.0, stddev)
    np.testing.assert_allclose(estimate, slopes / (8 * 7 * stddev), rtol=1e-6)


def test_a_single_pair_goes_along_its_noise_towards_the_better_member():
    slopes, config = np.array([1.0, -2, 0.5]), es(n_rollouts_per_update=2)
    for generation in range(10):
        state = state_at(np.zeros(3), generation)
        members = ask(state, config, STREAMS)
        epsilon = noise(STREAMS, generation, 0, 1, 3)[0]
        estimate = gradient(state.mean, members, members @ slopes, config.noise_stddev)
        expected = np.sign(epsilon @ slopes) * epsilon / (2 * config.noise_stddev)
        np.testing.assert_allclose(estimate, expected, rtol=1e-5)


def test_an_even_fitness_has_no_gradient():
    members = ask(state_at(np.zeros(3)), es(), STREAMS)
    np.testing.assert_allclose(gradient(np.zeros(3, np.float32), members, (members**2).sum(axis=1), 0.1), 0, atol=1e-6)


def test_the_gradient_does_not_change_with_offset_and_scale_of_the_fitness():
    members = ask(state_at(some_mean()), es(), STREAMS)
    fitness = members.sum(axis=1).astype(np.float64)
    one, other = (gradient(some_mean(), members, f, 0.1) for f in (fitness, 1000 * fitness - 5e4))
    np.testing.assert_array_equal(one, other)


def test_with_many_members_the_gradient_points_along_the_slopes():
    slopes, config = np.array([1.0, -2, 0.5, 3]), es(n_rollouts_per_update=4000)
    members = ask(state_at(np.zeros(4)), config, STREAMS)
    estimate = gradient(np.zeros(4, np.float32), members, members @ slopes, config.noise_stddev)
    assert estimate @ slopes / np.linalg.norm(estimate) / np.linalg.norm(slopes) > 0.99


def test_the_order_of_the_members_does_not_matter_but_for_rounding():
    members = ask(state_at(some_mean()), es(), STREAMS)
    fitness, order = members.sum(axis=1).astype(np.float64), np.random.default_rng(0).permutation(10)
    one = gradient(some_mean(), members, fitness, 0.1)
    np.testing.assert_allclose(gradient(some_mean(), members[order], fitness[order], 0.1), one, atol=1e-5)


# Update


def told(state, config, generations):
    """The states after each generation, and the directions followed, for a random linear fitness."""
    states, ascents = [state], []
    for generation in range(generations):
        members = ask(states[-1], config, STREAMS)
        fitness = members @ np.random.default_rng(generation).normal(size=members.shape[1])
        following, ascent = tell(states[-1], config, members, fitness)
        states.append(following)
        ascents.append(ascent)
    return states, ascents


def test_adam_is_the_adam_of_torch():
    states, ascents = told(state_at(some_mean()), es(lr=0.03), 8)
    parameter = torch.nn.Parameter(torch.from_numpy(some_mean()))
    optimizer = torch.optim.Adam([parameter], lr=0.03, maximize=True)
    for state, ascent in zip(states[1:], ascents, strict=True):
        parameter.grad = torch.from_numpy(ascent)
        optimizer.step()
        np.testing.assert_allclose(state.mean, parameter.detach().numpy(), atol=1e-6)


def test_sgd_goes_the_learning_rate_times_the_gradient():
    states, ascents = told(state_at(some_mean()), es(lr=0.03, optimizer=Optimizer.sgd), 2)
    np.testing.assert_allclose(states[1].mean, some_mean() + 0.03 * ascents[0], rtol=1e-6)
    np.testing.assert_allclose(states[2].mean, states[1].mean + 0.03 * ascents[1], rtol=1e-6)


def test_the_l2_penalty_pulls_towards_zero_where_nothing_else_pulls():
    config = es(l2_penalty=0.1, lr=0.5, optimizer=Optimizer.sgd)
    state = state_at(some_mean())
    following, ascent = tell(state, config, ask(state, config, STREAMS), np.zeros(10))
    np.testing.assert_allclose(ascent, -0.1 * some_mean(), rtol=1e-6)
    np.testing.assert_allclose(following.mean, 0.95 * some_mean(), rtol=1e-6)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_telling_changes_nothing_that_it_was_given(optimizer):
    state, config = state_at(some_mean()), es(optimizer=optimizer, l2_penalty=0.1)
    members = ask(state, config, STREAMS)
    before = members.copy()
    following, _ = tell(state, config, members, members.sum(axis=1).astype(np.float64))
    np.testing.assert_array_equal(members, before)
    np.testing.assert_array_equal(state.mean, some_mean())
    assert (state.generation, following.generation) == (0, 1)
    assert following.mean.dtype == np.float32


# Evaluation of members


@pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
@pytest.mark.parametrize(
    "factory",
    [gym_factory("CartPole-v1"), env_factory(lambda: TwoStepEnv(uneven=True, varied=True))],
    ids=["native", "structured"],
)
def test_the_returns_of_members_do_not_depend_on_the_slices_they_are_evaluated_in(factory, autograd):
    job = make_job(factory, autograd=autograd, hidden_sizes=[64, 13])
    policy, count = job.kernel.policy, 16
    members = np.random.default_rng(2).normal(0, 0.5, (count, policy.n_parameters)).astype(np.float32)
    seeds = list(range(count))

    def returns(size, order):
        slices = [order[first : first + size] for first in range(0, count, size)]
        tasks = [Members(members[part], [seeds[index] for index in part]) for part in slices]
        batch = EpisodeBatch.joined(job.runner.map(evaluate_members, tasks))
        return batch.returns[np.argsort(order)].tolist()

    expected = returns(count, np.arange(count))
    assert len(set(expected)) > 4
    for size in (1, 2, 4, 5):
        assert returns(size, np.arange(count)) == expected
    assert returns(4, np.arange(count)[::-1]) == expected


# Trainer


def cartpole_trainer(seed=0, **options):
    return make_trainer(gym_factory("CartPole-v1"), seed, **{"n_rollouts_per_update": 20, **options})


def test_the_same_seed_gives_the_same_bits():
    one, other = cartpole_trainer(), cartpole_trainer()
    for _ in range(3):
        assert one.step() == other.step()
    np.testing.assert_array_equal(one.state.mean, other.state.mean)
    assert one.env_steps == other.env_steps


def test_another_seed_gives_another_run():
    assert cartpole_trainer(0).step() != cartpole_trainer(1).step()


def test_the_search_starts_from_the_weights_of_the_policy():
    trainer = cartpole_trainer()
    np.testing.assert_array_equal(trainer.state.mean, get_vector(trainer.policy).numpy())


def test_after_a_step_the_policy_is_the_mean():
    trainer = cartpole_trainer()
    before = get_vector(trainer.policy)
    trainer.step()
    np.testing.assert_array_equal(get_vector(trainer.policy).numpy(), trainer.state.mean)
    assert not torch.equal(get_vector(trainer.policy), before)


def test_a_step_counts_one_update_its_episodes_and_its_env_steps():
    trainer = cartpole_trainer()
    trainer.step()
    trainer.step()
    assert trainer.updates == 2
    assert [len(batch.returns) for batch in trainer.episodes] == [20, 20]
    assert trainer.env_steps == sum(int(batch.lengths.sum()) for batch in trainer.episodes)


def test_a_step_reports_the_norms_of_what_it_did():
    trainer = cartpole_trainer(optimizer=Optimizer.sgd, lr=0.5)
    metrics = trainer.step()
    assert metrics["update_norm"] == pytest.approx(0.5 * metrics["gradient_norm"], rel=1e-4)
    assert metrics["parameter_norm"] == pytest.approx(float(np.linalg.norm(trainer.state.mean)))


def test_populations_are_added_until_the_fewest_env_steps_are_reached_and_no_longer():
    trainer = cartpole_trainer(n_rollouts_per_update=4, min_env_steps_per_update=500)
    trainer.step()
    lengths = trainer.episodes[0].lengths
    assert trainer.updates == 1
    assert len(lengths) % 4 == 0
    assert lengths[:-4].sum() < 500 <= lengths.sum()


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_trainer_that_takes_over_a_state_goes_on_bit_by_bit(optimizer):
    first = cartpole_trainer(optimizer=optimizer)
    first.step()
    first.step()
    second = cartpole_trainer(optimizer=optimizer)
    second.load_state_dict(first.state_dict())
    assert torch.equal(get_vector(second.policy), get_vector(first.policy))
    assert first.step() == second.step()
    np.testing.assert_array_equal(first.state.mean, second.state.mean)
    assert (first.env_steps, first.updates) == (second.env_steps, second.updates)


def test_a_state_that_was_handed_out_does_not_change_when_training_goes_on():
    trainer = cartpole_trainer()
    trainer.step()
    state = trainer.state_dict()
    kept = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
    trainer.step()
    for name, value in kept.items():
        assert torch.equal(state[name], value) if isinstance(value, torch.Tensor) else state[name] == value


def test_a_state_is_made_of_tensors_and_json_values():
    state = cartpole_trainer().state_dict()
    assert json.dumps({name: value for name, value in state.items() if not isinstance(value, torch.Tensor)})


def test_a_reward_that_is_no_number_stops_the_training_and_leaves_the_policy_as_it_was():
    trainer = make_trainer(env_factory(lambda: FaultyEnv("", reward=float("nan"))), n_rollouts_per_update=4)
    before = get_vector(trainer.policy)
    with pytest.raises(NonFiniteError):
        trainer.step()
    assert torch.equal(get_vector(trainer.policy), before)
    assert trainer.updates == 0


@pytest.mark.parametrize("distribution", list(BoxDistribution))
def test_continuous_actions_give_finite_results(distribution):
    trainer = make_trainer(gym_factory("Pendulum-v1"), n_rollouts_per_update=4, box_distribution=distribution)
    assert all(np.isfinite(value) for value in trainer.step().values())
    assert np.isfinite(trainer.episodes[0].returns).all()
    assert trainer.env_steps == 4 * 200


@pytest.mark.parametrize(("distribution", "expected"), [("gaussian", 0.3), ("squashed_gaussian", 2 * np.tanh(0.3))])
def test_box_distribution_says_how_outputs_become_actions(distribution, expected):
    trainer = make_trainer(gym_factory("Pendulum-v1"), box_distribution=BoxDistribution(distribution))
    heads = trainer.policy.actors.by_key[FLAT].heads
    assert heads.to_env(heads.mode(np.float32([[0.3]]))) == pytest.approx(expected)


def test_a_population_without_pairs_can_be_trained():
    trainer = make_trainer(env_factory(CountdownEnv), n_rollouts_per_update=5, antithetic=False)
    trainer.step()
    assert len(trainer.episodes[0].returns) == 5


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"n_rollouts_per_update": 7},
        {"n_rollouts_per_update": 0},
        {"n_rollouts_per_update": 1, "antithetic": False},
        {"min_env_steps_per_update": -1},
        {"noise_stddev": 0.0},
        {"noise_stddev": float("nan")},
        {"lr": -0.1},
        {"lr": float("inf")},
        {"l2_penalty": -1e-9},
        {"epoch_length": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}=.* is not allowed"):
        ESConfig(**options)


def test_a_population_without_pairs_may_be_odd():
    assert ESConfig(n_rollouts_per_update=3, antithetic=False).n_rollouts_per_update == 3


# Learning


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
def test_a_structured_env_with_masks_is_learned_to_its_optimum(seed):
    trainer = make_trainer(
        env_factory(TwoStepEnv), seed, {"hidden_sizes": []}, n_rollouts_per_update=60, lr=0.1, l2_penalty=0.0
    )
    for _ in range(80):
        trainer.step()
    job = trainer.job
    mean = np.tile(trainer.state.mean, (50, 1))
    (batch,) = job.runner.map(evaluate_members, [Members(mean, range(1000, 1050))])
    assert batch.returns.mean() > 9.5  # of 10


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(("first", "last"), [(0, 12), (0, 5), (4, 9), (6, 12), (7, 8), (6, 6)])
def test_a_worker_makes_the_members_that_it_is_told_of(antithetic: bool, first: int, last: int) -> None:
    state, config = state_at(some_mean()), es(n_rollouts_per_update=12, antithetic=antithetic)
    origin = Origin(config, STREAMS, state.generation, 3, first, last)
    made = origin.parameters(state.mean)
    assert made.dtype == np.float32
    assert np.array_equal(made, ask(state, config, STREAMS, 3)[first:last])


def test_what_is_sent_of_members_does_not_grow_with_the_network() -> None:
    state, config = state_at(np.zeros(100_000)), es(n_rollouts_per_update=4)
    whole = ask(state, config, STREAMS)
    sent = pickle.dumps(Members(whole, range(4), Origin(config, STREAMS, 0, 0, 0, 4)))
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).made(state.mean), whole)
    assert np.array_equal(pickle.loads(pickle.dumps(Members(whole, range(4)))).made(state.mean), whole)
