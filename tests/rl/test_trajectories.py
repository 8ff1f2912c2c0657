"""What is recorded of an episode is what a plain loop with the same seed and actions sees."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from maze_gym_env.cartpole import SeededCartPoleVectorEnv
from support.envs import CountdownEnv, RandomEnv
from support.spaces import any_space
from support.structured_envs import PorterEnv
from support.trajectories import MAKERS, TellingEnv, assert_same, record, told, vector

from maze_core import EnvFaultError, UserError
from maze_core.rl import FLAT, Actors, InProcessVectorEnv, RandomPolicy, reset_envs, run_episodes
from maze_core.rl.episodes import EpisodeEvents
from maze_core.rl.spaces import any_member, copied
from maze_core.rl.trajectories import RecordingVectorEnv, Trajectory, json_value
from maze_core.rl.trajectory_files import trajectory_bytes, trajectory_from_bytes

FORMS = [
    (name, native)
    for name, (_, make_vector) in MAKERS.items()
    for native in ((False, True) if make_vector else (False,))
]


def bits(value: Any) -> Any:
    """A member of a space, to be compared."""
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    return tuple(map(bits, value)) if isinstance(value, tuple) else (np.shape(value), np.asarray(value).tobytes())


def replayed(env: Any, trajectory: Trajectory) -> Iterator[tuple[Any, ...]]:
    """What a plain loop over one env sees: what is observed before each action, reward, flags; last the final one."""
    observation, _ = env.reset(seed=trajectory.seed)
    for step in trajectory.steps():
        before, action = copied(observation), step.action
        if step.step_key != FLAT:
            action = {**any_member(env.action_space), step.step_key: action}
        observation, reward, terminated, truncated, _ = env.step(action)
        yield before, float(reward), bool(terminated), bool(truncated)
    yield (copied(observation),)


def assert_is_what_a_plain_loop_sees(env: Any, trajectory: Trajectory) -> None:
    *steps, (final,) = replayed(env, trajectory)
    for step, (seen, reward, terminated, truncated) in zip(trajectory.steps(), steps, strict=True):
        if step.step_key != FLAT:
            assert step.agent == seen["agent"]
            assert step.step_key == trajectory.step_keys[seen["actor"]]
            seen = seen[step.step_key]
        assert bits(step.observation) == bits(seen)
        assert (step.reward, step.terminated, step.truncated) == (reward, terminated, truncated)
    begins = [step[0]["new_step"] if trajectory.step_keys != (FLAT,) else 1 for step in steps]
    assert trajectory.new_step[:-1].tolist() == begins
    assert trajectory.n_sub_steps == len(steps)
    assert trajectory.n_env_steps == sum(begins)
    last = trajectory.step_keys[trajectory.actor[-1]]
    shown = trajectory.observations[last]
    assert bits(final if last == FLAT else final[last]) == bits(_last(shown))


def _last(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _last(part) for key, part in batch.items()}
    return tuple(map(_last, batch)) if isinstance(batch, tuple) else batch[-1]


@pytest.mark.parametrize(("name", "native"), FORMS)
@pytest.mark.parametrize("n_envs", [1, 4])
def test_a_recording_is_what_a_plain_loop_sees(name: str, native: bool, n_envs: int) -> None:
    for trajectory in record(vector(name, native, n_envs), range(3, 12)):
        assert_is_what_a_plain_loop_sees(MAKERS[name][0](), trajectory)
        assert_same(trajectory_from_bytes(trajectory_bytes(trajectory), "it"), trajectory)


@given(any_space(), any_space(bounded=True))
def test_any_space_can_be_observed_and_acted_in(seen: Any, acted: Any) -> None:
    for trajectory in record(InProcessVectorEnv(lambda: RandomEnv(seen, acted), 3), range(5)):
        assert_is_what_a_plain_loop_sees(RandomEnv(seen, acted), trajectory)
        assert_same(trajectory_from_bytes(trajectory_bytes(trajectory), "it"), trajectory)


def test_agents_with_networks_of_their_own_change_nothing() -> None:
    found = [record(InProcessVectorEnv(PorterEnv, 2), range(4), separate) for separate in (False, True)]
    assert found[1][0].step_keys == ("carry",)
    assert {step.agent for step in found[1][0].steps()} == {0, 1, 2}
    for trajectory in found[1]:
        assert_is_what_a_plain_loop_sees(PorterEnv(), trajectory)


def test_long_episodes_beside_short_ones_are_whole() -> None:
    """What the short ones left behind is thrown away meanwhile."""
    env = InProcessVectorEnv(lambda: CountdownEnv(400), 3)
    for trajectory in record(env, range(30)):
        assert_is_what_a_plain_loop_sees(CountdownEnv(400), trajectory)


def test_returns_and_lengths_are_those_of_run_episodes() -> None:
    env = RecordingVectorEnv(InProcessVectorEnv(PorterEnv, 5))
    actors = Actors(env.single_observation_space, env.single_action_space)
    batch = run_episodes(env, actors, RandomPolicy(actors, np.random.default_rng(1)).act, range(5))
    assert [env.finished[row].episode_return for row in range(5)] == batch.returns.tolist()
    assert [env.finished[row].n_env_steps for row in range(5)] == batch.lengths.tolist()
    assert [env.finished[row].seed for row in range(5)] == [0, 1, 2, 3, 4]


def lengths(seeds: Sequence[int]) -> list[int]:
    env = CountdownEnv()
    return [env.reset(seed=seed) and env.length for seed in seeds]


def test_only_episodes_that_ended_are_there_until_their_env_is_reset() -> None:
    short, long = (next(seed for seed in itertools.count() if lengths([seed]) == [length]) for length in (1, 9))
    env = RecordingVectorEnv(InProcessVectorEnv(CountdownEnv, 3))
    reset_envs(env, np.array([0, 1]), [short, long])
    env.step(np.ones(3, np.int64))
    assert list(env.finished) == [0]
    env.step(np.ones(3, np.int64))
    assert env.finished[0].n_sub_steps == 1
    reset_envs(env, np.array([0]), [long])
    assert env.finished == {}


def test_an_episode_that_is_cut_off_by_a_reset_is_forgotten() -> None:
    env = RecordingVectorEnv(InProcessVectorEnv(CountdownEnv, 1))
    reset_envs(env, np.array([0]), [next(seed for seed in itertools.count() if lengths([seed]) == [9])])
    env.step(np.ones(1, np.int64))
    reset_envs(env, np.array([0]), [7])
    while not env.finished:
        env.step(np.ones(1, np.int64))
    assert_is_what_a_plain_loop_sees(CountdownEnv(), env.finished[0])


def test_a_reset_without_seeds_has_none() -> None:
    env = RecordingVectorEnv(InProcessVectorEnv(CountdownEnv, 1))
    env.reset()
    while not env.finished:
        env.step(np.ones(1, np.int64))
    assert env.finished[0].seed is None
    assert trajectory_from_bytes(trajectory_bytes(env.finished[0]), "it").seed is None


def test_what_is_recorded_is_not_changed_by_later_steps() -> None:
    env = RecordingVectorEnv(InProcessVectorEnv(lambda: TellingEnv(), 2))
    reset_envs(env, np.arange(2), [0, 1])
    actions = np.zeros(2, np.int64)
    while len(env.finished) < 2:
        actions[:] = 1 - actions
        env.step(actions)
    before, found = trajectory_bytes(env.finished[0]), env.finished[0]
    reset_envs(env, np.arange(2), [2, 3])
    for _ in range(3):
        env.step(actions)
    assert trajectory_bytes(found) == before
    assert found.actions[FLAT].tolist() == [1, 0, 1]


def test_actions_keep_the_type_that_the_env_was_given() -> None:
    env = RecordingVectorEnv(InProcessVectorEnv(MAKERS["pendulum"][0], 1))
    env.reset(seed=[0])
    env.step(np.zeros((1, 1), np.float32))
    while not env.finished:
        env.step(np.full((1, 1), 0.1))
    assert env.finished[0].actions[FLAT].dtype == np.float64
    assert_is_what_a_plain_loop_sees(MAKERS["pendulum"][0](), env.finished[0])


def test_idle_steps_take_no_memory() -> None:
    env = RecordingVectorEnv(SeededCartPoleVectorEnv(2, 500))
    reset_envs(env, np.arange(2), [0, 1])
    while len(env.finished) < 2:
        env.step(np.ones(2, np.int64))
    for _ in range(1000):
        env.step(np.ones(2, np.int64))
    assert len(env._seen._leaves[0]) == 64


def test_infos_are_json_values_by_step() -> None:
    one, other = told()
    assert one.infos[0] == {"hello": "world"}
    assert 0 not in other.infos
    assert 2 not in one.infos
    inner = one.infos[1]["nested"].pop("inner")
    assert inner[0] == 1.5
    assert math.isnan(inner[1])
    assert one.infos[1] == {
        "count": 7, "lives": float(np.float32(0.1)), "ok": True, "shared": ["step 1"], "nothing": None,
        "nested": {"$float": "nan", "deep": {"x": math.inf}},
    }  # fmt: skip
    assert one.infos[3] == {"odd": ("odd" * 1000)[:1000], "silent": "<Silent>", "raw": "b'x'", "both": [1, {"2": "z"}]}
    assert [step.info for step in one.steps()] == [one.infos[1], {}, one.infos[3]]


def test_events_of_an_episode_are_no_infos() -> None:
    events = told()[1].events
    assert events["Group/a/mean_episode_total"] == 1.5
    assert events["Group/b:x y/histogram"].tolist() == [1, 2]


def test_infos_and_events_come_back_from_a_file() -> None:
    for trajectory in told():
        assert_same(trajectory_from_bytes(trajectory_bytes(trajectory), "it"), trajectory)


def test_an_env_tells_its_own_infos_only() -> None:
    """Also while others of the batch tell something."""
    apart = [told([seed])[0] for seed in (0, 1)]
    for one, other in zip(told(), apart, strict=True):
        assert_same(dict(one.infos), dict(other.infos))


def test_an_event_that_is_no_number_is_the_fault_of_the_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TellingEnv, "LAST", EpisodeEvents({"Group/a": "many"}))
    with pytest.raises(EnvFaultError, match=r"event Group/a of an episode is .*many.*; it must be a number"):
        told()


def test_infos_of_a_native_env_may_have_no_masks() -> None:
    class Native(SeededCartPoleVectorEnv):
        def step(self, action: Any) -> Any:
            *rest, _ = super().step(action)
            names = np.array([None, "b"], object)
            return *rest, {"x": np.arange(2), "name": names, "all": 3, "stats": {"y": np.ones(2)}}

    one, other = record(Native(2, 500), [0, 1])
    assert one.infos[1] == {"x": 0, "all": 3, "stats": {"y": 1.0}}
    assert other.infos[1] == {"x": 1, "name": "b", "all": 3, "stats": {"y": 1.0}}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.int64(3), 3), (np.bool_(True), True), (np.str_("a"), "a"), (2**70, 2**70),
        (1j, "1j"), (np.array(["a", None], object), ["a", None]), (np.zeros((2, 0)), [[], []]), ({1}, "{1}"),
        (np.longdouble(1), repr(np.longdouble(1))), (np.array([np.longdouble(1)]), [repr(np.longdouble(1))]),
        (EpisodeEvents({}), "EpisodeEvents(values={})"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_value(value: Any, found: Any) -> None:
    assert_same(json_value(value), found)


def test_a_number_that_python_does_not_write_out_is_named_by_its_type() -> None:
    assert json_value(10**5000) == "<int>"


def test_values_within_themselves_end() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert "[[...]]" in json.dumps(json_value(cycle))


def test_spaces_that_cannot_be_written_down_are_refused_before_anything_is_recorded() -> None:
    class Speaking(CountdownEnv):
        observation_space = spaces.Text(5)  # type: ignore[assignment]

    with pytest.raises(UserError, match=r"Text.* cannot be written down"):
        RecordingVectorEnv(InProcessVectorEnv(Speaking, 1))
