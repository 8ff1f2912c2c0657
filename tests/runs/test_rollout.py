"""Rollouts: the same bits wherever they run, slices of episodes, and what is kept of them."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.envs import CountdownEnv
from support.projects import write_env
from support.structured_envs import PorterEnv
from support.trained import CUTTING, Runs, context
from support.trajectories import assert_same
from support.workers import no_worker_is_left  # noqa: F401  # a fixture

from maze_core import RolloutResult, rollout
from maze_core.console import Output
from maze_core.errors import ConfigError, EnvFaultError, StorageError, UserError
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.run_config import RolloutConfig
from maze_core.runs import rollout_files
from maze_core.runs.rollout import Episode
from maze_core.runs.rollout_files import as_csv, row_of

pytestmark = pytest.mark.usefixtures("workdir")

PENDULUM = {"gym_env": {"name": "Pendulum-v1", "kwargs": {"max_episode_steps": 8}}}


def play(n_episodes: int | None = None, **options: Any) -> RolloutResult:
    """A rollout of which nothing is written, with everything recorded."""
    overrides = {"runner.n_workers": 0, **options.pop("overrides", {})}
    options = {"seed": 2, "silent": True, "save": "run_dir" in options, "overrides": overrides, **options}
    return rollout(n_episodes=n_episodes, **options)


def assert_equal(one: RolloutResult, other: RolloutResult) -> None:
    """Bit for bit, files of animations too."""
    assert list(one.episodes) == list(other.episodes)
    assert one.statistics == other.statistics
    assert_same(list(one.trajectories), list(other.trajectories))
    assert [path.read_bytes() for path in one.animations] == [path.read_bytes() for path in other.animations]


# The same bits everywhere

WAYS: dict[str, dict[str, Any]] = {
    "random actions": {"env": PENDULUM},
    "random actions of a vector form": {"env": CUTTING},
    "drawn actions": {"run": "squashed", "overrides": {"policy.deterministic": False}},
    "drawn actions of a structured env": {"run": "structured", "overrides": {"policy.deterministic": False}},
    "certain actions, normalised": {"run": "running"},
}


def way(name: str, runs: Runs, **options: Any) -> dict[str, Any]:
    """Arguments of a rollout."""
    given = WAYS[name]
    run = {"input_dir": runs(given["run"])} if "run" in given else {"env": given["env"]}
    return {**run, **options, "overrides": {**given.get("overrides", {}), **options.pop("overrides", {})}}


@pytest.mark.parametrize("name", ["random actions", "drawn actions", "certain actions, normalised"])
def test_the_same_seed_plays_the_same_bits(name: str, runs: Runs) -> None:
    assert_equal(*(play(18, **way(name, runs)) for _ in range(2)))


@pytest.mark.parametrize("name", ["random actions", "drawn actions of a structured env"])
def test_the_dev_runner_plays_the_same_bits(name: str, runs: Runs) -> None:
    assert_equal(play(3, **way(name, runs, runner="dev")), play(3, **way(name, runs)))


@pytest.mark.workers
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("no_worker_is_left")
@pytest.mark.parametrize(("name", "n_workers"), [
    ("random actions", 1), ("random actions", 2), ("drawn actions of a structured env", 2),
    ("certain actions, normalised", 2),
    pytest.param("random actions of a vector form", 2, marks=pytest.mark.long),
    pytest.param("drawn actions", 1, marks=pytest.mark.long),
])  # fmt: skip
def test_workers_play_the_same_bits_and_films(name: str, n_workers: int, runs: Runs) -> None:
    found = [
        play(35, **way(name, runs, overrides={"runner.n_workers": n}, run_dir=f"with_{n}", render="gif", n_rendered=2))
        for n in (0, n_workers)
    ]
    assert len(found[0].animations) == 2
    assert_equal(*found)


def test_recording_and_filming_change_nothing(runs: Runs) -> None:
    plain = play(18, **way("drawn actions of a structured env", runs), record=False)
    shown = play(18, **way("drawn actions of a structured env", runs), run_dir="shown", render="gif", n_rendered=2)
    assert plain.episodes == shown.episodes
    assert plain.statistics == shown.statistics
    assert len(shown.animations) == 2


# Slices

RANDOM = {"env": PENDULUM, "record": False}


def test_whole_slices_are_the_same_whatever_follows() -> None:
    one, more = (list(play(n, **RANDOM).episodes) for n in (32, 40))
    assert one == more[:32]


def test_a_slice_that_is_not_full_has_randomness_of_its_own() -> None:
    """Numbers are drawn for all episodes of a slice at once."""
    few, full = play(5, **RANDOM).episodes, play(16, **RANDOM).episodes
    assert [row["seed"] for row in few] == [row["seed"] for row in full[:5]]
    assert few != full[:5]


def test_a_heuristic_plays_each_episode_the_same_in_any_slice() -> None:
    greedy = {"env": CUTTING, "policy": "cutting_2d_greedy", "record": False}
    assert list(play(5, **greedy).episodes) == list(play(20, **greedy).episodes[:5])
    seeds = [row["seed"] for row in play(20, **greedy).episodes]
    alone = play(episode_seeds=seeds[17:18], **greedy).episodes[0]
    assert {**alone, "episode": 17} == play(20, **greedy).episodes[17]


def test_ten_episodes_are_played_if_nobody_says_how_many() -> None:
    assert len(play(**RANDOM).episodes) == 10
    assert len(play(episode_seeds=[4, 5], **RANDOM).episodes) == 2


@pytest.mark.parametrize("seeds", [[3, 4], (3, 4), range(3, 5), np.array([3, 4]), (seed for seed in (3, 4))])
def test_seeds_may_be_any_whole_numbers(seeds: Any) -> None:
    assert [row["seed"] for row in play(episode_seeds=seeds, **RANDOM).episodes] == [3, 4]


@pytest.mark.parametrize("seeds", [3, [1.5], ["a"], [None]])
def test_seeds_that_are_none_are_told(seeds: Any) -> None:
    with pytest.raises(UserError, match=r"episode_seeds=.* is not allowed"):
        play(episode_seeds=seeds, **RANDOM)


# What is recorded


def test_trajectories_are_kept_in_memory_if_asked() -> None:
    assert len(play(2, env=PENDULUM).trajectories) == 2
    assert list(play(2, env=PENDULUM, record=False).trajectories) == []


def test_how_an_episode_ended_is_told_of_each_env_alone() -> None:
    result = play(env=lambda: CountdownEnv(), episode_seeds=[0, 1, 2, 3])
    told = [(row["env_steps"], row["terminated"], row["truncated"]) for row in result.episodes]
    assert {ending[1:] for ending in told} == {(True, False), (False, True)}
    assert told == [(t.n_env_steps, t.terminated, t.truncated) for t in result.trajectories]


class Wandering(CountdownEnv):
    """Leaves the working directory."""

    def step(self, action: Any) -> Any:
        os.chdir("/")  # what some envs do: files must not follow; the fixture goes back
        return super().step(action)

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


def test_files_are_where_they_belong_though_an_env_changes_the_working_directory(workdir: Path) -> None:
    shown = {"trajectories": True, "render": "gif", "run_dir": "played"}
    result = play(1, env=Wandering, record=False, **shown)
    assert result.animations == [Path("played/animations/000000.gif")]
    assert {path.relative_to(workdir).as_posix() for path in workdir.rglob("0*")} == {
        "played/animations/000000.gif", "played/trajectories/000000.npz",
    }  # fmt: skip


def test_agents_with_networks_of_their_own_are_played(workdir: Path) -> None:
    separate = {"model.separate_agents": True, "model.default": "flatten_concat"}
    options = {"env": PorterEnv, "model": "per_actor", "algorithm": "es", "overrides": separate, "run_dir": "run"}
    with context("structured", **options) as run:
        run.train()
        expected = list(run.rollout(3).episodes)
    assert list(play(3, input_dir="run", env=PorterEnv, seed=3).episodes) == expected


class Odd(CountdownEnv):
    """Has a part whose name cannot be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Dict({"a\nb": self.observation_space})

    def reset(self, **options: Any) -> Any:
        observation, info = super().reset(**options)
        return {"a\nb": observation}, info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return {"a\nb": observation}, *rest


def test_what_cannot_be_recorded_is_told_before_a_directory_is_made(workdir: Path) -> None:
    with pytest.raises(UserError, match="cannot be written down"):
        play(2, env=Odd, trajectories=True, run_dir="played", record=False)
    assert list(workdir.iterdir()) == []
    assert len(play(2, env=Odd, record=False).episodes) == 2


class Telling(CountdownEnv):
    """Tells events of its episodes."""

    told: Any = None

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = super().step(action)
        info = {EPISODE_EVENTS: EpisodeEvents(self.told)} if terminated or truncated else {}
        return observation, reward, terminated, truncated, info


def telling(told: Any) -> Callable[[], CountdownEnv]:
    def make() -> CountdownEnv:
        env = Telling()
        env.told = told
        return env

    return make


def test_events_of_numpy_become_plain_values() -> None:
    told = {"A/b/mean_episode_total": np.float32(0.5), "A/c/mean_episode_count": np.int64(3),
            "A/d/histogram": np.array([1, 2], np.int16)}  # fmt: skip
    (row,) = play(1, env=telling(told), run_dir="played", record=False).episodes
    expected = {"A/b/mean_episode_total": 0.5, "A/c/mean_episode_count": 3, "A/d/histogram": [1, 2]}
    assert row["events"] == expected
    assert json.loads(Path("played/episodes.jsonl").read_text())["events"] == expected


def test_events_that_are_no_numbers_are_told() -> None:
    with pytest.raises(EnvFaultError, match="event A/b/mean of an episode is 'x'; it must be a number"):
        play(1, env=telling({"A/b/mean": "x"}), record=False)


def episode(number: int, events: dict[str, Any]) -> Episode:
    return Episode(number, 7, 1.5, 3, True, False, events)


def test_a_table_has_every_column_that_any_episode_has() -> None:
    rows = [
        {**row_of(episode(number, events)), **events} for number, events in enumerate([{}, {"A/a": 1.0}, {"B/b": 2.0}])
    ]
    for row in rows:
        del row["events"]
    assert as_csv(rows).splitlines() == [
        "episode,seed,return,env_steps,terminated,truncated,A/a,B/b",
        "0,7,1.5,3,True,False,,", "1,7,1.5,3,True,False,1.0,", "2,7,1.5,3,True,False,,2.0",
    ]  # fmt: skip


def test_a_number_that_is_none_is_kept_as_it_is() -> None:
    (row,) = [json.loads(json.dumps(row_of(episode(0, {"A/a": math.nan}))))]
    assert math.isnan(row["events"]["A/a"])


# A disk that is full


def test_what_the_disk_took_is_kept_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = rollout_files.save_trajectory, list[Path]()

    def save_three(trajectory: Any, path: Path) -> None:
        if len(saved) == 3:
            raise StorageError(
                f"{path} cannot be written: {OSError(errno.ENOSPC, 'No space left on device').strerror}."
            )
        save(trajectory, path)
        saved.append(path)

    monkeypatch.setattr(rollout_files, "save_trajectory", save_three)
    with pytest.raises(StorageError, match="No space left on device"):
        play(6, env=PENDULUM, trajectories=True, run_dir="played", record=False)
    assert len(Path("played/episodes.jsonl").read_text().splitlines()) == 4
    assert len(Path("played/episodes.csv").read_text().splitlines()) == 5
    assert sorted(path.name for path in Path("played/trajectories").iterdir()) == [path.name for path in saved]


def test_what_was_played_is_kept_when_nobody_reads_the_output_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(output: Output, what: str, n: int, total: int) -> None:
        if n == 2:
            raise BrokenPipeError

    monkeypatch.setattr(Output, "bar", gone)
    with pytest.raises(BrokenPipeError):
        play(3, env=PENDULUM, run_dir="played", record=False)
    assert len(Path("played/episodes.csv").read_text().splitlines()) == 1 + 2


# The configuration


@pytest.mark.parametrize(("field", "value", "allowed"), [
    ("n_episodes", 0, "from 1 to 10000000"), ("n_episodes", 10**20, "from 1 to 10000000"),
    ("episode_seeds", [], "a list of whole numbers"), ("episode_seeds", [-1], "from 0 to 2147483647"),
    ("episode_seeds", [2**31], "from 0 to 2147483647"), ("max_env_steps", 0, ">= 1"), ("n_rendered", 0, ">= 1"),
    ("seed", -1, "from 0 to 2147483647"), ("run_dir", " ", "a path"), ("input_dir", "", "a path"),
])  # fmt: skip
def test_what_a_rollout_cannot_be_is_refused(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}=.* is not allowed: .*{allowed}"):
        RolloutConfig(**{field: value})


@pytest.mark.parametrize("n_episodes", [1, 3])
def test_seeds_say_how_many_episodes_there_are(n_episodes: int) -> None:
    with pytest.raises(ConfigError, match="as many as episode_seeds"):
        RolloutConfig(n_episodes=n_episodes, episode_seeds=[1, 2])
    assert RolloutConfig(n_episodes=2, episode_seeds=[1, 2]).n_episodes == 2


# Who acts for a RunContext


def test_a_policy_that_is_named_acts_in_its_place(runs: Runs) -> None:
    with context("structured", policy="cutting_2d_greedy") as run:
        greedy = play(3, env=CUTTING, policy="cutting_2d_greedy", seed=3)
        assert list(run.rollout(3).episodes) == list(greedy.episodes)


def test_a_named_policy_draws_from_the_seed_of_the_run() -> None:
    def drawn(seed: int) -> list[float]:
        with context("sampled", policy="random", seed=seed) as run:
            return [float(run.compute_action(np.zeros(3, np.float32))[0]) for _ in range(3)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


NETWORKS = '''
from dataclasses import dataclass

from maze_core import PolicySpec, hookimpl


@dataclass(kw_only=True)
class ShyConfig:
    """The trained policy, at half its strength."""


@hookimpl
def maze_policies():
    yield PolicySpec(name="shy", summary="Half of it.", config=ShyConfig, build=Shy, networks=True)


class Shy:
    def __init__(self, config, kernel):
        self.kernel = kernel

    def act(self, turn):
        return self.kernel.act(turn) / 2
'''


def test_a_named_policy_with_networks_acts_with_the_present_weights(workdir: Path) -> None:
    (workdir / "maze_plugins.py").write_text(NETWORKS)
    observation, found = np.array([0.5, 0.5, 1.0], np.float32), []
    with context("squashed", policy="shy", overrides={"runner.stop_at_reward": math.inf}) as run:
        for _ in range(2):
            run.train(1, best=False)
            certain = run._build().kernel.act(
                run._build().workspace.actors.turns(observation[None], None, np.ones(1, bool))[0]
            )
            found.append((run.compute_action(observation), certain[0] / 2))
    assert all(np.array_equal(*pair) for pair in found)
    assert not np.array_equal(found[0][0], found[1][0])


def test_episodes_of_a_context_are_those_of_its_weights_at_that_time(runs: Runs) -> None:
    with context("squashed", input_dir=runs("squashed"), overrides={"runner.stop_at_reward": math.inf}) as run:
        before = list(run.rollout(2).episodes)
        assert before == list(play(2, input_dir=runs("squashed"), seed=3).episodes)
        run.train(1, best=False)
        assert list(run.rollout(2).episodes) != before


def returns(rows: Sequence[Any]) -> list[float]:
    return [row["return"] for row in rows]


def test_an_env_of_a_local_project_is_played_from_python(workdir: Path) -> None:
    write_env(workdir, reward="0.25")
    assert returns(play(3, env="ours").episodes) == [0.25] * 3
