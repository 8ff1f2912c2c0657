"""Normalisation of observations: its statistics, where they come from, and where they go."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from support.build import CPU, env_factory, gym_factory, make_policy, registry
from support.envs import PICK, PLACE, CountdownEnv, MaskedEnv, TwoStepEnv
from support.spaces import sample_batch

from maze_core.build import RunWorkspace, build_normalization
from maze_core.builtins.config import ObservationNormalizationConfig, ObservationStackingConfig, StatisticsSource
from maze_core.builtins.normalization import build_normalization as build_wrapper
from maze_core.builtins.runners import LocalRunner
from maze_core.enums import NormalizationMethod
from maze_core.errors import ConfigError, MazeError, UserError
from maze_core.protocols import TrainingJob
from maze_core.rl import (
    FLAT,
    Actors,
    AutogradKernel,
    DenseKernel,
    EpisodeBatch,
    InProcessVectorEnv,
    Moments,
    ObservationNormalization,
    Policy,
    RandomPolicy,
    Streams,
    Turn,
    make_kernel,
    run_episodes,
    set_vector,
)
from maze_core.rl.policy import take_weights
from maze_core.run_config import RunnerConfig
from maze_core.runs.evaluate import evaluate
from maze_core.runs.normalize import sample_statistics
from maze_core.specs import resolve_build
from maze_core.stats import EpisodeTotals

MEAN_STD, RANGE = NormalizationMethod.mean_std, NormalizationMethod.range
TWO = spaces.Discrete(2)
VECTOR = spaces.Box(-np.inf, np.inf, (3,))


def sample(count=50, size=3, seed=0):
    """Numbers whose features differ in place and scale."""
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(count, size)) * [1.0, 30.0, 0.01][:size] + [0.0, 5.0, -100.0][:size]).astype(
        np.float32
    )


def make(space=VECTOR, method=MEAN_STD, clip=None, exclude=(), running=False, n_samples=0, action_space=TWO):
    return ObservationNormalization(Actors(space, action_space), method, clip, exclude, running, n_samples)


def learned(values, path="observation", **options):
    """A normalisation of a flat env that has seen these values of one part, [n, ...]."""
    normalization = make(**options)
    normalization.update(FLAT, {path: Moments.of(np.asarray(values))})
    return normalization


def applied(normalization, values):
    return normalization.apply_to(FLAT, {"observation": np.asarray(values, np.float32)})["observation"]


def job_of(factory, normalization=None, autograd=False, seed=0, **options):
    """What an algorithm works with, on an env whose observations are normalised."""
    env = factory()
    actors = Actors(env.observation_space, env.action_space)
    config = ObservationNormalizationConfig(**options)
    policy = make_policy(actors, seed)
    policy.normalization = normalization or build_wrapper(config, actors)
    set_vector(
        policy, torch.from_numpy(np.random.default_rng(1).normal(0, 0.5, policy.n_parameters).astype(np.float32))
    )
    kernel = AutogradKernel(policy, CPU) if autograd else make_kernel(policy, CPU)
    runner = LocalRunner(RunnerConfig())
    runner.start(RunWorkspace(factory, kernel))
    return TrainingJob(actors, kernel, runner, Streams(seed), factory.vector)


def sampled(factory, **options):
    """The statistics that sampling leaves in a policy, in readable form."""
    job = job_of(factory, **options)
    sample_statistics(RunWorkspace(factory, job.kernel), job.streams, lambda n, wanted: None)
    return job.kernel.policy.normalization.readable()


def trainer_of(job, **options):
    spec = registry().get("algorithm", "es")
    return resolve_build(spec.build)(spec.config(**{"n_rollouts_per_update": 6, **options}), job)


def random_play(factory, n_samples, seed=0):
    """Raw observations that the sampling policy sees, by actor: the same seeds, one env after the other."""
    env = InProcessVectorEnv(factory, 16)
    actors, streams = Actors(env.single_observation_space, env.single_action_space), Streams(seed)
    policy, seen, steps, rounds = RandomPolicy(actors, streams.generator("normalization")), {}, 0, 0

    def collect(turn, actions, live):
        rows = np.flatnonzero(live)
        for row in rows:
            part = turn.observation
            seen.setdefault(turn.step_key, []).append(
                {key: value[row].copy() for key, value in part.items()} if isinstance(part, dict) else part[row].copy()
            )

    while steps < n_samples:
        seeds = streams.episode_seeds("normalization", 16 * rounds, 16)
        steps += int(run_episodes(env, actors, policy.act, seeds, collect).lengths.sum())
        rounds += 1
    return seen


def assert_two_pass(statistics, values):
    values = np.asarray(values, np.float64)
    assert statistics["count"] == len(values)
    for name, expected in (
        ("mean", values.mean(0)),
        ("std", values.std(0)),
        ("low", values.min(0)),
        ("high", values.max(0)),
    ):
        np.testing.assert_allclose(statistics[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)


# Moments

samples = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=9).map(lambda x: np.array(x)[:, None])


def assert_same_moments(one, other):
    for name in ("count", "mean", "m2", "low", "high"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-6, err_msg=name)


@given(samples, samples)
def test_merged_moments_are_those_of_both_samples_together(one, other):
    assert_same_moments(Moments.of(one).merged(Moments.of(other)), Moments.of(np.concatenate((one, other))))


@given(samples, samples, samples)
def test_merging_moments_is_associative(one, two, three):
    a, b, c = map(Moments.of, (one, two, three))
    assert_same_moments(a.merged(b).merged(c), a.merged(b.merged(c)))


@given(samples, samples)
def test_merging_moments_is_commutative(one, other):
    a, b = Moments.of(one), Moments.of(other)
    assert_same_moments(a.merged(b), b.merged(a))


def test_moments_of_large_numbers_keep_their_small_spread():
    values = 1e8 + np.array([[0.0], [1.0], [2.0]])
    merged = Moments.of(values[:1]).merged(Moments.of(values[1:]))
    assert merged.m2.tolist() == [pytest.approx(2.0)]


# Shifting and scaling


def test_mean_and_deviation_become_zero_and_one():
    values = sample()
    result = applied(learned(values), values)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(result, (wide - wide.mean(0)) / wide.std(0), rtol=1e-5, atol=1e-5)
    assert result.dtype == np.float32


def test_the_range_becomes_minus_one_to_one():
    values = sample()
    result = applied(learned(values, method=RANGE), values)
    np.testing.assert_allclose((result.min(0), result.max(0)), ([-1] * 3, [1] * 3), rtol=1e-6)


@pytest.mark.parametrize("method", NormalizationMethod)
@pytest.mark.parametrize("constant", [0.0, 0.1, -7e5])
def test_a_constant_feature_is_only_shifted(method, constant):
    values = sample()
    values[:, 1] = constant
    normalization = learned(values, method=method)
    values[0, 1] = np.float32(constant) + 2
    result = applied(normalization, values)
    np.testing.assert_allclose(result[:2, 1], [2, 0], atol=1e-6)
    assert np.isfinite(result).all()


def test_what_lies_far_outside_is_clipped():
    normalization = learned([[0.0], [2.0]], space=spaces.Box(-9e9, 9e9, (1,)), clip=3.0)
    assert applied(normalization, [[1e9], [-1e9], [2.0]]).tolist() == [[3.0], [-3.0], [1.0]]


def test_without_a_limit_nothing_is_clipped():
    normalization = learned([[0.0], [2.0]], space=spaces.Box(-9e9, 9e9, (1,)))
    assert applied(normalization, [[1001.0]]).tolist() == [[1000.0]]


def test_without_statistics_observations_stay_as_they_are():
    values = sample()
    np.testing.assert_array_equal(applied(make(), values), values)


def test_the_given_observations_are_not_changed():
    values = sample()
    before = values.copy()
    nested = {"inner": {"x": values}}
    normalization = learned(values, "inner/x", space=spaces.Dict(inner=spaces.Dict(x=VECTOR)))
    result = normalization.apply_to(FLAT, nested)
    np.testing.assert_array_equal(nested["inner"]["x"], before)
    assert not np.array_equal(result["inner"]["x"], before)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_every_shape_of_a_box_is_normalised_by_feature(shape):
    values = np.random.default_rng(0).normal(5, 3, (40, *shape)).astype(np.float32)
    result = applied(learned(values, space=spaces.Box(-99, 99, shape)), values)
    np.testing.assert_allclose(result.mean(0), np.zeros(shape), atol=1e-5)
    np.testing.assert_allclose(result.std(0), np.ones(shape), rtol=1e-5)


# Which parts

MIXED = spaces.Dict(
    position=spaces.Box(-9, 9, (2,)),
    kind=spaces.Discrete(3),
    flags=spaces.MultiBinary(2),
    choice=spaces.MultiDiscrete([2, 2]),
    action_mask=spaces.MultiBinary(2),
    inner=spaces.Dict(depth=spaces.Box(0, 9, (1,)), pair=spaces.Tuple([spaces.Box(0, 9, (4,)), TWO])),
)


def parts(normalization, step_key=FLAT):
    return {path for path, _ in normalization.parts(step_key)}


def test_only_boxes_are_normalised():
    assert parts(make(MIXED)) == {"position", "inner/depth", "inner/pair/0"}


def test_a_box_named_as_a_mask_is_never_normalised():
    space = spaces.Dict(x=VECTOR, action_mask=spaces.Box(0, 1, (2,), np.int8))
    assert parts(make(space)) == {"x"}


def test_one_hot_parts_and_masks_reach_the_network_as_they_are():
    encoder = make_policy(Actors(MIXED, TWO)).encoders[FLAT]
    encoded = encoder.encode(sample_batch(MIXED, 3, 0))
    normalization = make(MIXED)
    for path, size in (("position", 2), ("inner/depth", 1), ("inner/pair/0", 4)):
        normalization.update(FLAT, {path: Moments.of(np.random.default_rng(0).normal(3, 2, (9, size)))})
    result = normalization.apply_to(FLAT, encoded)
    for key in ("kind", "flags", "choice"):
        np.testing.assert_array_equal(result[key], encoded[key])
    np.testing.assert_array_equal(result["inner"]["pair"]["1"], encoded["inner"]["pair"]["1"])
    assert "action_mask" not in result
    for changed in (("position",), ("inner", "depth"), ("inner", "pair", "0")):
        before, after = encoded, result
        for key in changed:
            before, after = before[key], after[key]
        assert not np.array_equal(before, after)


def test_an_excluded_part_stays_as_it_is():
    space = spaces.Dict(x=VECTOR, y=VECTOR)
    normalization = make(space, exclude=["x"])
    for path in ("x", "y"):
        normalization.update(FLAT, {path: Moments.of(sample())})
    batch = {"x": sample(), "y": sample()}
    result = normalization.apply_to(FLAT, batch)
    np.testing.assert_array_equal(result["x"], batch["x"])
    assert not np.array_equal(result["y"], batch["y"])


def test_an_unknown_excluded_part_is_told_with_those_that_exist():
    with pytest.raises(UserError, match=r"exclude='z' is no part of it\. Parts: inner/depth, inner/pair/0, position\."):
        make(MIXED, exclude=["z"])


def test_nothing_left_to_normalise_is_an_error():
    with pytest.raises(UserError, match=r"observation_normalization: no part of the observations is left"):
        make(spaces.Dict(x=VECTOR), exclude=["x"])
    with pytest.raises(UserError, match=r"observation_normalization: no part of the observations is left"):
        make(spaces.Discrete(4))


@pytest.mark.parametrize("key", ["values", "keys", "items", "type", "training", "a.b", "forward"])
def test_a_part_may_have_any_name(key):
    values = sample()
    space = spaces.Dict({key: VECTOR})
    normalization = make(space)
    normalization.update(FLAT, {key: Moments.of(values)})
    result = normalization.apply_to(FLAT, {key: values})[key]
    np.testing.assert_allclose(result.mean(0), np.zeros(3), atol=1e-4)


def test_each_actor_of_a_structured_env_has_statistics_of_its_own():
    env = TwoStepEnv()
    actors = Actors(env.observation_space, env.action_space)
    normalization = ObservationNormalization(actors, MEAN_STD, None, (), running=False)
    assert (parts(normalization, PICK), parts(normalization, PLACE)) == ({"values"}, {"observation"})


# Sampling


@pytest.mark.parametrize("n_samples", [2, 900])
def test_sampled_statistics_equal_a_two_pass_computation(n_samples):
    found = sampled(gym_factory(), n_samples=n_samples)[FLAT]["observation"]
    seen = random_play(gym_factory(), n_samples)[FLAT]
    assert found["count"] >= n_samples
    assert_two_pass(found, seen)


def test_the_statistics_of_a_dict_equal_a_two_pass_computation():
    found = sampled(env_factory(MaskedEnv), n_samples=50)[FLAT]
    assert set(found) == {"step"}
    assert_two_pass(found["step"], [seen["step"] for seen in random_play(env_factory(MaskedEnv), 50)[FLAT]])


def test_the_statistics_of_each_actor_equal_a_two_pass_computation():
    def factory():
        return env_factory(lambda: TwoStepEnv(7, varied=True, uneven=True))

    found, seen = sampled(factory(), n_samples=60), random_play(factory(), 60)
    assert_two_pass(found[PLACE]["observation"], seen[PLACE])
    assert_two_pass(found[PICK]["values"], [observation["values"] for observation in seen[PICK]])


def test_sampling_depends_on_the_seed_only():
    assert sampled(gym_factory(), seed=3) == sampled(gym_factory(), seed=3)
    assert sampled(gym_factory(), seed=3) != sampled(gym_factory(), seed=4)


def test_sampling_tells_its_progress():
    job, told = job_of(gym_factory(), n_samples=900), []
    steps = sample_statistics(RunWorkspace(gym_factory(), job.kernel), job.streams, lambda *now: told.append(now))
    assert steps >= 900
    assert told[-1] == (900, 900)
    assert [n for n, _ in told] == sorted(n for n, _ in told)
    assert len(told) > 1


def test_running_statistics_are_not_sampled():
    job = job_of(gym_factory(), make(gym_factory()().observation_space, running=True))
    assert sample_statistics(RunWorkspace(gym_factory(), job.kernel), job.streams, lambda *now: None) == 0


def test_statistics_that_are_there_are_not_sampled_again():
    normalization = make(gym_factory()().observation_space, n_samples=100)
    normalization.update(FLAT, {"observation": Moments.of(np.ones((2, 4)))})
    job = job_of(gym_factory(), normalization)
    assert sample_statistics(RunWorkspace(gym_factory(), job.kernel), job.streams, lambda *now: None) == 0


@pytest.mark.parametrize("n_samples", [0, 1, -5])
def test_zero_samples_are_refused(n_samples):
    with pytest.raises(ConfigError, match=r"n_samples.*a whole number >= 2"):
        ObservationNormalizationConfig(n_samples=n_samples)


class SpoiledEnv(CountdownEnv):
    """Shows something that is not finite from its second step on."""

    observation_space = spaces.Dict(clean=spaces.Box(0, 9, (1,)), spoiled=spaces.Box(-np.inf, np.inf, (2,)))
    value = np.nan

    def _observation(self):
        spoiled = np.array([0, self.value if self.steps > 1 else 0], np.float32)
        return {"clean": np.zeros(1, np.float32), "spoiled": spoiled}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_refused_with_wrapper_and_key(value, monkeypatch):
    monkeypatch.setattr(SpoiledEnv, "value", value)
    with pytest.raises(MazeError, match="spoiled") as caught:
        sampled(env_factory(SpoiledEnv))
    assert "observation_normalization" in str(caught.value)


# Running


class Recorded:
    """Raw observations of an env that all its copies show while an episode runs."""

    def __init__(self, make_env):
        self.make_env, self.seen = make_env, []

    def __call__(self):
        env, seen = self.make_env(), self.seen
        reset, step = env.reset, env.step

        def recording_reset(**options):
            observation, info = reset(**options)
            seen.append(np.array(observation))
            return observation, info

        def recording_step(action):
            result = step(action)
            if not (result[2] or result[3]):
                seen.append(np.array(result[0]))
            return result

        env.reset, env.step = recording_reset, recording_step
        return env


def test_running_statistics_are_those_of_all_observations_of_training():
    recorded = Recorded(CountdownEnv)
    factory = env_factory(recorded)
    trainer = trainer_of(job_of(factory, statistics=StatisticsSource.running))
    recorded.seen.clear()
    for _ in range(4):
        trainer.step()
    assert len(recorded.seen) == trainer.env_steps
    assert_two_pass(trainer.policy.normalization.readable()[FLAT]["observation"], recorded.seen)


def test_running_statistics_of_a_generation_act_in_the_next():
    trainer = trainer_of(job_of(env_factory(CountdownEnv), statistics=StatisticsSource.running))
    turn = Turn(FLAT, None, np.array([[1.0, 7.0]], np.float32))
    before = trainer.policy.encode(turn)["observation"].tolist()
    trainer.step()
    assert before == [[1.0, 7.0]]
    assert trainer.policy.encode(turn)["observation"].tolist() != before


def test_running_statistics_do_not_depend_on_slices():
    """A population that is cut into slices of any size leaves the same bits."""
    factory = env_factory(lambda: TwoStepEnv(5, varied=True, uneven=True))
    results = []
    for slices in ([6], [1, 5], [2, 2, 2]):
        policy = job_of(factory, statistics=StatisticsSource.running).kernel.policy
        _start_somewhere(policy)
        batches, first = [], 0
        for size in slices:
            recorder = policy.recorder(size)
            random = [RandomPolicy(policy.actors, np.random.default_rng(first + row)) for row in range(size)]
            env = InProcessVectorEnv(factory, size)
            batch = run_episodes(env, policy.actors, _by_row(random), range(first, first + size), recorder.observe)
            batches.append(replace(batch, observed=recorder.by_env()))
            first += size
        policy.learn_statistics(EpisodeBatch.joined(batches))
        results.append(policy.normalization.state_dict())
    for other in results[1:]:
        assert all(torch.equal(value, other[name]) for name, value in results[0].items())


def _start_somewhere(policy):
    normalization = policy.normalization
    for key in policy.actors.step_keys:
        for path, statistics in normalization.parts(key):
            shape = statistics.moments().mean.shape
            normalization.update(key, {path: Moments.of(np.random.default_rng(0).normal(size=(5, *shape)))})


def _by_row(policies):
    """Each row acts with a policy of its own, so it acts the same in every slice."""

    def act(turn):
        rows = range(len(policies)) if turn.rows is None else turn.rows
        single = [
            policies[row].act(Turn(turn.step_key, None, _row(turn.observation, index)))
            for index, row in enumerate(rows)
        ]
        return np.concatenate(single)

    return act


def _row(observation, index):
    if isinstance(observation, dict):
        return {key: value[index : index + 1] for key, value in observation.items()}
    return observation[index : index + 1]


def test_evaluation_does_not_change_running_statistics():
    job = job_of(gym_factory(), statistics=StatisticsSource.running)
    trainer = trainer_of(job)
    trainer.step()
    before = copy.deepcopy(trainer.policy.state_dict())
    evaluate(job.runner, job.streams, "eval", 5, EpisodeTotals())
    assert all(torch.equal(value, before[name]) for name, value in trainer.policy.state_dict().items())


def test_training_does_not_change_frozen_statistics():
    normalization = learned(np.random.default_rng(0).normal(size=(9, 4)), space=gym_factory()().observation_space)
    trainer = trainer_of(job_of(gym_factory(), normalization))
    before = normalization.readable()
    trainer.step()
    assert normalization.readable() == before


def test_a_policy_without_running_statistics_records_nothing():
    assert job_of(gym_factory()).kernel.policy.recorder(4) is None
    assert make_policy(Actors(VECTOR, TWO)).recorder(4) is None


def test_a_policy_without_normalisation_encodes_and_weighs_the_same_as_ever():
    policy = make_policy(Actors(VECTOR, TWO))
    assert policy.normalization is None
    assert not any("normalization" in name for name in policy.state_dict())
    values = sample()
    np.testing.assert_array_equal(policy.encode(Turn(FLAT, None, values))["observation"], values)


# Given


def write(tmp_path, content):
    file = tmp_path / "normalization.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def given_from(file, space=VECTOR):
    config = ObservationNormalizationConfig(statistics=StatisticsSource.given, file=str(file), clip=None)
    return build_wrapper(config, Actors(space, TWO))


def test_given_statistics_normalise_as_those_they_were_written_from(tmp_path):
    original = learned(sample())
    copied = given_from(write(tmp_path, original.readable()))
    np.testing.assert_allclose(applied(copied, sample(seed=3)), applied(original, sample(seed=3)), rtol=1e-6)
    assert not copied.wants_samples()


def test_readable_statistics_are_json_before_there_are_any():
    json.dumps(make().readable(), allow_nan=False)


def statistics_of(**changes):
    content = {"count": 9.0, "mean": [0.0] * 3, "std": [1.0] * 3, "low": [-1.0] * 3, "high": [1.0] * 3}
    return {FLAT: {"observation": {**content, **changes}}}


@pytest.mark.parametrize(
    "content",
    [
        {}, [], None, 3, "text", {FLAT: {}}, {FLAT: {"other": {}}}, {FLAT: {"observation": {}}}, {FLAT: None},
        statistics_of(mean=[0.0] * 2), statistics_of(std=None), statistics_of(low=["x"] * 3), statistics_of(count=None),
        statistics_of(high=[[1.0]] * 3),
    ],
)  # fmt: skip
def test_statistics_of_another_space_are_refused_with_file_actor_and_part(tmp_path, content):
    file = write(tmp_path, json.dumps(content))
    with pytest.raises(
        UserError, match=f"observation_normalization: .*normalization.json .*'observation' of actor '{FLAT}'"
    ):
        given_from(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0.0}, {"count": -1.0}, {"count": float("nan")}, {"count": float("inf")}, {"mean": [float("nan")] * 3},
        {"std": [-1.0] * 3}, {"low": [2.0] * 3}, {"mean": [10**400] * 3}, {"count": 10**400},
    ],
)  # fmt: skip
def test_statistics_of_no_sample_are_refused(tmp_path, changes):
    with pytest.raises(UserError, match="observation_normalization"):
        given_from(write(tmp_path, statistics_of(**changes)))


@pytest.mark.parametrize("content", ["", "{", "\x00"])
def test_a_file_that_is_no_json_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"observation_normalization: .*normalization\.json is no JSON"):
        given_from(write(tmp_path, content))


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"observation_normalization: .* cannot be read"):
        given_from(tmp_path / name)


@pytest.mark.parametrize(("source", "file"), [("given", None), ("sampled", "x.json"), ("running", "x.json")])
def test_a_file_belongs_to_given_statistics(source, file):
    with pytest.raises(ConfigError, match=r"file.*a path with statistics=given, else null"):
        ObservationNormalizationConfig(statistics=StatisticsSource(source), file=file)


@pytest.mark.parametrize("clip", [0, -1.0, float("nan")])
def test_a_clip_that_leaves_nothing_is_refused(clip):
    with pytest.raises(ConfigError, match=r"clip.*null or a number > 0"):
        ObservationNormalizationConfig(clip=clip)


# Travelling


def normalised_policy(normalization=None, space=VECTOR, **options):
    policy = make_policy(Actors(space, spaces.Box(-np.inf, np.inf, (2,))), **options)
    policy.normalization = normalization or learned(sample())
    return policy


def test_statistics_travel_with_the_weights():
    source, target = normalised_policy(seed=1), normalised_policy(make(), seed=2)
    turn = Turn(FLAT, None, sample(seed=4))
    target.encode(turn)
    taken, missing = take_weights(target, source.state_dict())
    assert missing == []
    np.testing.assert_array_equal(target.encode(turn)["observation"], source.encode(turn)["observation"])
    assert any("normalization" in name for name in taken)


def test_loaded_statistics_act_at_once():
    source, target = normalised_policy(), normalised_policy(make())
    turn = Turn(FLAT, None, sample(seed=4))
    target.encode(turn)
    target.load_state_dict(source.state_dict())
    np.testing.assert_array_equal(target.encode(turn)["observation"], source.encode(turn)["observation"])


def test_statistics_are_no_weights():
    assert normalised_policy().n_parameters == make_policy(Actors(VECTOR, spaces.Box(-9, 9, (2,)))).n_parameters


def test_statistics_of_an_actor_that_never_acted_can_be_taken_over():
    policy = normalised_policy(make(running=True))
    assert take_weights(normalised_policy(make()), policy.state_dict())[1] == []


def _pickled(module):
    return pickle.loads(pickle.dumps(module))


@pytest.mark.parametrize("copied", [copy.deepcopy, _pickled])
def test_a_copy_follows_its_own_statistics(copied):
    normalization = make(spaces.Box(-99, 99, (1,)))
    for values in ([[0.0], [2.0]], [[5.0], [9.0]], [[50.0], [90.0]]):
        applied(normalization, [[1.0]])
        duplicate = copied(normalization)
        for further in ([[10.0], [20.0]], [[-30.0], [40.0]], [[3.0], [4.0]]):
            duplicate.update(FLAT, {"observation": Moments.of(np.array(further))})
            statistics = duplicate.readable()[FLAT]["observation"]
            expected = (1.0 - statistics["mean"][0]) / statistics["std"][0]
            assert applied(duplicate, [[1.0]])[0, 0] == pytest.approx(expected, rel=1e-5)
        normalization.update(FLAT, {"observation": Moments.of(np.array(values))})


# Kernels


@pytest.mark.parametrize("method", NormalizationMethod)
def test_dense_and_autograd_agree_on_normalised_observations(method):
    policy = normalised_policy(learned(sample(), method=method, clip=1.0))
    members = np.random.default_rng(0).normal(0, 0.5, (5, policy.n_parameters)).astype(np.float32)
    turn = Turn(FLAT, None, sample(5, seed=9))
    dense, autograd = DenseKernel(policy), AutogradKernel(policy, CPU)
    np.testing.assert_allclose(dense.act(turn), autograd.act(turn), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        dense.population(members).act(turn), autograd.population(members).act(turn), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kernel", [DenseKernel, lambda policy: AutogradKernel(policy, CPU)])
def test_what_a_kernel_sees_is_normalised(kernel):
    policy = normalised_policy()
    plain = make_policy(Actors(VECTOR, spaces.Box(-np.inf, np.inf, (2,))))
    for each in (policy, plain):
        set_vector(each, torch.linspace(-1, 1, each.n_parameters))
    raw = sample(5, seed=9)
    expected = kernel(plain).act(Turn(FLAT, None, applied(policy.normalization, raw)))
    np.testing.assert_allclose(kernel(policy).act(Turn(FLAT, None, raw)), expected, rtol=1e-6)


@pytest.mark.parametrize("autograd", [False, True])
def test_sampled_normalisation_trains_a_structured_env(autograd):
    factory = env_factory(TwoStepEnv)
    job = job_of(factory, autograd=autograd, n_samples=20)
    sample_statistics(RunWorkspace(factory, job.kernel), job.streams, lambda *now: None)
    trainer = trainer_of(job)
    trainer.step()
    assert trainer.env_steps == 6 * 5


# Order


class Chosen:
    """As much of a configuration as matters here."""

    def __init__(self, **wrappers):
        self.wrappers = wrappers


def test_the_order_error_names_the_order_that_works():
    config = Chosen(
        observation_normalization=ObservationNormalizationConfig(), observation_stacking=ObservationStackingConfig()
    )
    with pytest.raises(UserError, match="Use wrappers=observation_stacking,observation_normalization") as caught:
        build_normalization(registry(), config, Actors(VECTOR, TWO))
    assert "observation_stacking cannot come after it" in str(caught.value)


@pytest.mark.parametrize("wrapper", ["observation_normalization", "observation_stacking"])
def test_the_order_error_names_wrappers_that_exist(wrapper):
    """A wrapper that is named twice has two keys, and the first is its name."""
    config = Chosen(
        observation_normalization=ObservationNormalizationConfig(),
        **{
            "observation_normalization": {"observation_normalization_2": ObservationNormalizationConfig()},
            "observation_stacking": {
                "observation_stacking": ObservationStackingConfig(),
                "observation_stacking_2": ObservationStackingConfig(),
            },
        }[wrapper],
    )
    with pytest.raises(UserError) as caught:
        build_normalization(registry(), config, Actors(VECTOR, TWO))
    assert "_2" not in str(caught.value).partition("Use wrappers=")[2]


def test_large_numbers_keep_their_precision():
    """They are shifted and scaled in float64, and cast to float32 only then."""
    space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    actors = Actors(space, spaces.Discrete(2))
    normalization = ObservationNormalization(actors, NormalizationMethod.mean_std, None, [], running=False)
    policy = Policy(actors, {}, normalization)
    values = 1.6e9 + np.arange(60.0)[:, None]
    normalization.update("substep_0", {"observation": Moments.of(values)})
    seen = policy.encode(Turn("substep_0", None, values))["observation"]
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[:, 0], (np.arange(60.0) - 29.5) / np.arange(60.0).std(), rtol=1e-5)


def test_keys_that_cannot_be_told_apart_are_refused():
    space = spaces.Dict({"a.b": spaces.Box(0, 1, (1,)), "a|b": spaces.Box(0, 1, (1,))})
    with pytest.raises(UserError, match="cannot be told apart"):
        ObservationNormalization(
            Actors(space, spaces.Discrete(2)), NormalizationMethod.mean_std, None, [], running=False
        )
