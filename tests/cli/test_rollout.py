"""``maze rollout`` and ``maze-run``: what is played, what is written and said, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.cli import Result, run_cli, run_maze_run
from support.projects import SCRIPTED, copy_scripted, write, write_component, write_env
from support.trained import Runs, context

from maze_core import load_trajectories
from maze_core.errors import UserError
from maze_core.rl.streams import Streams

USER, ENV, STORAGE, NOTHING_USABLE = 2, 3, 5, 6
FILES = {"command.txt", "environment.json", "episodes.csv", "episodes.jsonl", "rollout.yaml", "statistics.json"}
FIXED = ["episode", "seed", "return", "env_steps", "terminated", "truncated"]
CUTTING = ("env=cutting_2d_struct_masked", "env.max_steps=6")
DIAL = ("--plugin", str(SCRIPTED), "env=dial")

pytestmark = pytest.mark.usefixtures("workdir")


def play(*args: str | Path, folder: str = "played") -> Result:
    result = run_cli("rollout", *map(str, args), *([] if "seed=" in " ".join(map(str, args)) else ["seed=1"]),
                     f"run_dir={folder}")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return result


def rows(folder: str = "played") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "episodes.jsonl").read_text().splitlines()]


def table(folder: str = "played") -> list[dict[str, str]]:
    with Path(folder, "episodes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def settings(folder: str = "played") -> dict[str, Any]:
    record: dict[str, Any] = yaml.safe_load(Path(folder, "rollout.yaml").read_text())
    return record


def refused(code: int, *args: str | Path) -> str:
    """A sentence or two on stderr, and nothing else: not on stdout, and no file."""
    before = sorted(path.name for path in Path().iterdir())
    result = run_cli("rollout", *map(str, args))
    assert result.exit_code == code, result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if "using the local plugins" not in line]
    assert 1 <= len(lines) <= 4
    assert lines[0].startswith("maze: ")
    assert sorted(path.name for path in Path().iterdir() if path.name != "__pycache__") == before
    return result.stderr


# Without a run


def test_alone_it_plays_ten_episodes_of_random_actions_and_records_what_it_did(workdir: Path) -> None:
    result = run_cli("rollout")
    (folder,) = (workdir / "outputs" / "gym_env-random-rollout").iterdir()
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == FILES
    assert len(rows(str(folder))) == 10
    assert settings(str(folder))["components"] == {"env": "gym_env", "policy": "random", "runner": "local"}


def test_a_seed_that_was_drawn_is_recorded_in_configuration_environment_and_command() -> None:
    run_cli("rollout", "n_episodes=1", "run_dir=played")
    seed = settings()["seed"]
    assert isinstance(seed, int)
    assert json.loads(Path("played/environment.json").read_text())["seed"] == seed
    assert Path("played/command.txt").read_text() == f"maze rollout n_episodes=1 run_dir=played seed={seed}\n"


@pytest.mark.parametrize("args", [(), ("seed=null",)])
def test_the_recorded_command_runs_the_same_episodes(args: tuple[str, ...]) -> None:
    assert run_cli("rollout", "n_episodes=3", "run_dir=first", *args).exit_code == 0
    words = shlex.split(Path("first/command.txt").read_text())
    assert words[:2] == ["maze", "rollout"]
    assert run_cli(*words[1:], "run_dir=again").exit_code == 0
    assert rows("again") == rows("first")


def test_the_recorded_command_names_run_configuration_plugins_and_variables(
    runs: Runs, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_LIMIT", "3")
    write(workdir / "mine" / "short.yaml", "defaults: [conf_rollout, _self_]\nn_episodes: 2\n")
    names = ("-cn", "short", "-cd", "mine", "--plugin", str(SCRIPTED), "--no-local")
    play("--run", runs("flat"), "--env", "MY_LIMIT", *names, "max_env_steps=${oc.env:MY_LIMIT}")
    words = shlex.split(Path("played/command.txt").read_text())
    assert words[:9] == [
        "maze", "rollout", "--config-name", "short", "--config-dir", "mine", "--plugin", str(SCRIPTED), "--no-local",
    ]  # fmt: skip
    assert words[-2:] == ["--env", "MY_LIMIT"]
    assert run_cli(*words[1:], "run_dir=again").exit_code == 0
    assert [row["env_steps"] for row in rows("again")] == [3, 3]


def test_the_same_seed_plays_the_same_and_another_seed_another() -> None:
    for folder, seed in (("one", 5), ("two", 5), ("three", 6)):
        play(f"seed={seed}", "n_episodes=2", folder=folder)
    assert rows("one") == rows("two")
    assert rows("one") != rows("three")


def test_episode_seeds_are_played_exactly_in_their_order() -> None:
    play("episode_seeds=[7,3,7]", "policy=cutting_2d_greedy", *CUTTING)
    assert [row["seed"] for row in rows()] == [7, 3, 7]
    assert {**rows()[0], "episode": 2} == rows()[2]


def test_max_env_steps_truncates() -> None:
    play("max_env_steps=2", "n_episodes=3", *CUTTING)
    assert [(row["env_steps"], row["terminated"], row["truncated"]) for row in rows()] == [(2, False, True)] * 3


@pytest.mark.parametrize("policy", ["random", "masked_random", "cutting_2d_greedy"])
def test_heuristics_are_policies_like_any_other(policy: str) -> None:
    play(f"policy={policy}", "n_episodes=2", *CUTTING)
    assert settings()["components"]["policy"] == policy
    assert [row["env_steps"] for row in rows()] == [6, 6]


def test_masks_are_honoured_by_random_actions() -> None:
    play("--plugin", SCRIPTED, "env=masked", "env.allowed=[1]", "policy=masked_random")
    assert {row["return"] for row in rows()} == {5.0}


def test_an_experiment_chooses_the_env(workdir: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - override /env: cutting_2d_flat\nenv: {max_steps: 3}\nn_episodes: 2\n"
    write(workdir / "conf" / "experiment" / "short.yaml", text)
    copy_scripted(workdir)
    play("experiment=short")
    assert [row["env_steps"] for row in rows()] == [3, 3]


# A run's policy


def test_a_run_brings_env_wrappers_model_and_weights(runs: Runs) -> None:
    play("--run", runs("wrapped"), "n_episodes=2")
    record, of_run = settings(), yaml.safe_load((runs("wrapped") / "config.yaml").read_text())
    assert record["components"]["policy"] == "trained"
    assert record["input_dir"] == str(runs("wrapped"))
    assert {key: record[key] for key in ("env", "wrappers", "model", "critic", "algorithm")} == {
        key: of_run[key] for key in ("env", "wrappers", "model", "critic", "algorithm")
    }
    assert [row["env_steps"] for row in rows()] == [7, 7]


def test_rewards_are_those_of_the_env_as_in_evaluations(runs: Runs) -> None:
    play("--run", runs("wrapped"), "n_episodes=2", folder="scaled")
    play("--run", runs("wrapped"), "n_episodes=2", "~wrappers.reward_scaling", folder="plain")
    assert rows("scaled") == rows("plain")


def test_run_is_the_same_as_input_dir(runs: Runs) -> None:
    play("--run", runs("flat"), "n_episodes=2", folder="one")
    play(f"input_dir={runs('flat')}", "n_episodes=2", folder="two")
    assert rows("one") == rows("two")


def test_a_run_whose_name_is_a_number_is_found(runs: Runs, workdir: Path) -> None:
    runs.copy("flat", workdir / "7")
    play("input_dir=7", "n_episodes=1")
    assert settings()["components"]["policy"] == "trained"


@pytest.mark.parametrize("name", ["flat", "structured", "sampled", "running", "squashed", "embedded", "per actor"])
def test_a_rollout_of_a_run_is_that_of_its_context(name: str, runs: Runs) -> None:
    play("--run", runs(name), "n_episodes=3", "seed=3")
    with context(name, input_dir=runs(name)) as run:
        assert rows() == list(run.rollout(3).episodes)


def test_a_rollout_with_the_seeds_of_an_evaluation_has_its_statistics(runs: Runs) -> None:
    with context("structured", input_dir=runs("structured")) as run:
        expected = run.evaluate(3)
    seeds = Streams(3).episode_seeds("final_eval", 0, 3)
    play("--run", runs("structured"), f"episode_seeds={seeds}".replace(" ", ""))
    assert json.loads(Path("played/statistics.json").read_text()) == expected


@pytest.mark.parametrize("name", ["flat", "structured"])
def test_actions_may_be_drawn(name: str, runs: Runs) -> None:
    play("--run", runs(name), "n_episodes=3", folder="certain")
    play("--run", runs(name), "n_episodes=3", "policy.deterministic=false", folder="drawn")
    assert rows("drawn") != rows("certain")


def test_actions_whose_deviations_were_never_learned_cannot_be_drawn(runs: Runs) -> None:
    said = refused(USER, "--run", runs("wrapped"), "policy.deterministic=false")
    assert "cannot be drawn" in said


REPLACED = {
    "policy": (["policy=random"], "policy", "random", 7),
    "a value of the env": (["env.kwargs.max_episode_steps=4"], "env", "gym_env", 4),
    "all wrappers": (["wrappers=observation_stacking", "wrappers.observation_stacking.n_observations=2"],
                     "wrappers.observation_stacking", "observation_stacking", 20),
    "one wrapper more": (["+wrappers=time_limit", "wrappers.time_limit_2.max_env_steps=5"],
                         "wrappers.time_limit_2", "time_limit", 5),
    "one wrapper less": (["~wrappers.time_limit"], "wrappers.time_limit", None, 20),
    "a value of a wrapper": (["wrappers.time_limit.max_env_steps=2"], "wrappers.time_limit", "time_limit", 2),
    "critic": (["critic=none"], "critic", "none", 7),
}  # fmt: skip


@pytest.mark.parametrize(("args", "path", "name", "env_steps"), REPLACED.values(), ids=REPLACED)
def test_what_a_run_brings_can_be_replaced(
    args: list[str], path: str, name: str | None, env_steps: int, runs: Runs
) -> None:
    play("--run", runs("wrapped"), *args, "n_episodes=1")
    assert settings()["components"].get(path) == name
    assert [row["env_steps"] for row in rows()] == [env_steps]


def test_another_env_of_the_same_form_can_be_played(runs: Runs) -> None:
    play("--run", runs("sampled"), "env.kwargs.g=5.0", "n_episodes=1", folder="light")
    play("--run", runs("sampled"), "n_episodes=1", folder="usual")
    assert rows("light") != rows("usual")


def test_given_statistics_are_those_of_the_weights_whatever_became_of_their_file(runs: Runs, workdir: Path) -> None:
    """The file that gave them may be gone, and the copy in the run may be another one."""
    write(workdir / "given.json", (runs("sampled") / "normalization.json").read_text())
    given = {"statistics": "given", "file": str(workdir / "given.json")}
    with context("sampled", wrappers={"observation_normalization": given}, run_dir="run") as run:
        run.train()
        expected = list(run.rollout(2).episodes)
        (workdir / "given.json").unlink()
        assert list(run.rollout(2).episodes) == expected
    (workdir / "run" / "normalization.json").write_text("{}")
    play("--run", "run", "n_episodes=2", "seed=3")
    assert rows() == expected
    assert settings()["wrappers"]["observation_normalization"]["file"] is None


# Policies of one's own

OWN = '''
from dataclasses import dataclass

import numpy as np
from maze_core import PolicySpec, hookimpl


@dataclass(kw_only=True)
class StillConfig:
    """Always the same action."""

    action: int = 0
    """Which."""


@dataclass(kw_only=True)
class ValuedConfig:
    """Acts by what the critic of a run says."""


@hookimpl
def maze_policies():
    yield PolicySpec(name="still", summary="Does one thing.", config=StillConfig, build=Still)
    yield PolicySpec(name="valued", summary="Asks a critic.", config=ValuedConfig, build=Valued, networks=True)


class Still:
    def __init__(self, config, actors):
        self.config = config

    def act(self, turn):
        return np.full(len(turn.observation), self.config.action)


class Valued:
    def __init__(self, config, kernel):
        self.kernel = kernel

    def act(self, turn):
        values = self.kernel.values(turn.step_key, self.kernel.policy.encode(turn))
        return (1000 * values[:, None]).astype(np.float32).clip(-2, 2)
'''


def test_a_local_plugin_brings_a_policy(workdir: Path) -> None:
    write(workdir / "maze_plugins.py", OWN)
    play("policy=still", "policy.action=1", "n_episodes=3", "trajectories=true")
    assert all((t.actions["substep_0"] == 1).all() for t in load_trajectories("played/trajectories"))


def test_a_policy_with_networks_gets_those_of_the_run_with_its_critic(workdir: Path, runs: Runs) -> None:
    write(workdir / "maze_plugins.py", OWN)
    play("policy=valued", "--run", runs("sampled"), "n_episodes=2", "trajectories=true")
    state = torch.load(runs("sampled") / "state_dict.pt", weights_only=True)
    assert any(name.startswith("critic.") for name in state)
    (first, _) = load_trajectories("played/trajectories")
    assert len(np.unique(first.actions["substep_0"])) > 1


@pytest.mark.workers
def test_workers_know_the_critic_of_the_run_too(workdir: Path, runs: Runs) -> None:
    write(workdir / "maze_plugins.py", OWN)
    for n_workers in (0, 1):
        play("policy=valued", "--run", runs("sampled"), f"runner.n_workers={n_workers}", folder=str(n_workers))
    assert rows("0") == rows("1")


WRONG_POLICIES = {
    "no method act": ("build = lambda config, actors: 3", "has no method act"),
    "raises when it is built": ("def build(config, actors):\n    return 1 / 0", "raised ZeroDivisionError"),
}


@pytest.mark.parametrize(("source", "words"), WRONG_POLICIES.values(), ids=WRONG_POLICIES)
def test_a_policy_that_cannot_be_built_is_told_by_name(source: str, words: str, workdir: Path) -> None:
    write_component(workdir, "policy", source)
    said = refused(USER, "policy=ours")
    assert "policy 'ours'" in said
    assert words in said


def test_a_policy_that_misbehaves_is_told_by_name_and_not_the_env(workdir: Path) -> None:
    source = """
def build(config, actors):
    class Ours:
        def act(self, turn):
            return [0.5] * len(turn.observation)
    return Ours()
"""
    write_component(workdir, "policy", source)
    result = run_cli("rollout", "policy=ours", "run_dir=played")
    assert result.exit_code == USER
    assert "Traceback" not in result.stderr
    assert "maze: policy 'ours' cannot act as actor 'substep_0': " in result.stderr


# What is written


def test_a_row_tells_how_an_episode_went() -> None:
    play("n_episodes=2")
    assert [list(row) for row in rows()] == [[*FIXED, "events"]] * 2
    assert [row["episode"] for row in rows()] == [0, 1]
    assert all(row["return"] == row["env_steps"] and row["terminated"] and not row["truncated"] for row in rows())


def test_events_and_kpis_of_an_env_are_columns() -> None:
    play("policy=cutting_2d_greedy", "n_episodes=2", *CUTTING)
    assert list(table()[0])[:6] == FIXED
    for row, told in zip(table(), rows(), strict=True):
        single = {key: value for key, value in told["events"].items() if not isinstance(value, list)}
        assert {key: float(row[key]) for key in single} == single
    statistics = json.loads(Path("played/statistics.json").read_text())
    for name in ("KPIs/raw_piece_usage_per_step/mean", "InventoryEvents/piece_replenished/mean_episode_total"):
        assert statistics[name] == np.mean([row["events"][name] for row in rows()])


def test_statistics_are_those_of_all_episodes() -> None:
    play("n_episodes=20")
    statistics = json.loads(Path("played/statistics.json").read_text())
    returns = [row["return"] for row in rows()]
    assert statistics["BaseEnvEvents/reward/episode_count"] == 20
    assert statistics["BaseEnvEvents/reward/mean"] == np.mean(returns)
    assert statistics["BaseEnvEvents/reward/std"] == np.std(returns)
    assert statistics["BaseEnvEvents/reward/total_step_count"] == sum(row["env_steps"] for row in rows())


def test_histograms_of_an_episode_are_rows_but_no_columns(runs: Runs) -> None:
    play("--run", runs("flat"), "+wrappers=monitoring", "n_episodes=1")
    (row,) = rows()
    path = next(path for path, value in row["events"].items() if isinstance(value, list))
    assert len(row["events"][path]) in (row["env_steps"], row["env_steps"] + 1)
    assert path not in table()[0]


@pytest.mark.parametrize("args", [("--run", "structured", "n_episodes=3"), ("n_episodes=18",)])
def test_trajectories_load_in_one_call_and_agree_with_the_rows(args: tuple[str, ...], runs: Runs) -> None:
    play(*(runs(word) if word == "structured" else word for word in args), "trajectories=true")
    loaded = load_trajectories("played/trajectories")
    assert [(t.seed, t.episode_return, t.n_env_steps, t.terminated, t.truncated) for t in loaded] == [
        (row["seed"], row["return"], row["env_steps"], row["terminated"], row["truncated"]) for row in rows()
    ]
    plain = [{path: getattr(value, "tolist", lambda v=value: v)() for path, value in t.events.items()} for t in loaded]
    assert plain == [row["events"] for row in rows()]


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_an_animation_of_a_structured_env_has_a_frame_for_each_sub_step(form: str, runs: Runs) -> None:
    play("--run", runs("structured"), f"render={form}", "n_rendered=2", "n_episodes=3", "trajectories=true")
    files = sorted(Path("played/animations").iterdir())
    assert [file.name for file in files] == [f"000000.{form}", f"000001.{form}"]
    for file, trajectory in zip(files, load_trajectories("played/trajectories"), strict=False):
        with Image.open(file) as image:
            assert 1 < getattr(image, "n_frames", 1) <= trajectory.n_sub_steps + 1


def test_an_animation_of_a_flat_env_can_be_opened() -> None:
    play("render=gif", "n_episodes=1", "env.name=Pendulum-v1", "env.kwargs.max_episode_steps=5")
    with Image.open("played/animations/000000.gif") as image:
        assert image.n_frames > 1
        assert image.size == (500, 500)


def test_a_film_can_be_written_as_mp4(runs: Runs) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    play("--run", runs("structured"), "render=mp4", "n_episodes=1")
    n_frames, seconds = imageio_ffmpeg.count_frames_and_secs("played/animations/000000.mp4")
    assert n_frames > 1
    assert seconds > 0


def test_filming_changes_nothing(runs: Runs) -> None:
    play("--run", runs("structured"), "n_episodes=3", folder="plain")
    play("--run", runs("structured"), "n_episodes=3", "render=gif", folder="filmed")
    assert rows("plain") == rows("filmed")


def test_in_a_pipe_the_terminal_shows_how_episodes_begin_and_end(runs: Runs) -> None:
    said = play("--run", runs("structured"), "render=terminal", "n_rendered=2", "n_episodes=2").stdout
    assert [line for line in said.splitlines() if line.startswith("episode ")] == [
        f"episode {number}, frame {frame} of 13" for number in (0, 1) for frame in (1, 13)
    ]
    assert "\x1b" not in said
    assert not Path("played/animations").exists()


def test_the_end_says_where_results_are(runs: Runs) -> None:
    said = play("n_episodes=1", "trajectories=true", "render=gif", *CUTTING, folder="my results").stdout
    assert "Results: 'my results'  (a row for each episode: episodes.csv, episodes.jsonl)" in said
    assert "Steps:   maze_core.load_trajectories('my results/trajectories')" in said
    assert "Shown:   'my results/animations/000000.gif'" in said
    assert "episodes: 1 of 1\n" in said
    assert "********** Rollout **********" in said


def test_a_secret_of_the_environment_appears_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "CartPole-v1hunter2")
    result = run_cli("rollout", "env.name=${oc.env:MY_SECRET}", "run_dir=played")
    assert result.exit_code == USER
    assert "hunter2" not in result.stderr
    monkeypatch.setenv("MY_SECRET", "CartPole-v1")
    said = play("env.name=${oc.env:MY_SECRET}", "n_episodes=1")
    assert "CartPole-v1" not in said.stdout
    assert settings()["env"]["name"] == "${oc.env:MY_SECRET}"
    assert not [path for path in Path("played").iterdir() if b"CartPole-v1" in path.read_bytes()]


def test_rollouts_are_not_listed_as_runs(runs: Runs, workdir: Path) -> None:
    runs.copy("flat", workdir / "outputs" / "trained")
    play("n_episodes=1", "trajectories=true", folder="outputs/played")
    assert [row["run"] for row in run_cli("runs", "--json").json] == ["trained"]


# When something goes wrong in the middle


@pytest.fixture
def failing(workdir: Path) -> Callable[..., None]:
    """Writes a local env whose episodes have one step; that with this seed does something else there."""

    def write_failing(seed: int, statement: str = "raise RuntimeError('no luck')") -> None:
        write_env(workdir, before_reset="self.seed = seed", before_step=f"if self.seed == {seed}: {statement}")

    return write_failing


def test_an_env_that_fails_costs_its_slice_and_those_behind_it_only(failing: Callable[..., None]) -> None:
    failing(40)
    result = run_cli("rollout", "env=ours", f"episode_seeds=[{','.join(map(str, range(60)))}]", "run_dir=played")
    assert result.exit_code == ENV
    assert "raised RuntimeError in step" in result.stderr
    assert "40" in result.stderr
    assert [row["seed"] for row in rows()] == list(range(32))
    assert [int(row["seed"]) for row in table()] == list(range(32))
    assert not Path("played/statistics.json").exists()
    assert "Results: played" in result.stdout


@pytest.mark.workers
def test_the_same_holds_for_workers(failing: Callable[..., None]) -> None:
    failing(40)
    seeds = ",".join(map(str, range(100)))
    args = ("env=ours", f"episode_seeds=[{seeds}]", "run_dir=played", "runner.n_workers=2")
    result = run_cli("rollout", *args, "--debug")
    assert result.exit_code == ENV
    assert "In a worker:" in result.stderr
    assert [row["seed"] for row in rows()] == list(range(32))


def test_an_env_that_fails_at_once_leaves_no_results_to_tell_of() -> None:
    result = run_cli("rollout", *DIAL, "env.fail_in=step", "run_dir=played")
    assert (result.exit_code, rows(), table()) == (ENV, [], [])
    assert "Results" not in result.stdout


def test_the_dev_runner_shows_where_an_env_fails() -> None:
    result = run_cli("rollout", *DIAL, "env.fail_in=step", "run_dir=played", "runner=dev")
    assert result.exit_code == ENV
    assert "in _fail" in result.stderr
    assert "no luck in step" in result.stderr.splitlines()[-1]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal; what is started in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_was_played_before_an_interrupt_is_kept(failing: Callable[..., None]) -> None:
    failing(120, "import signal; signal.raise_signal(signal.SIGINT)")
    seeds = ",".join(map(str, range(100, 140)))
    result = run_cli("rollout", "env=ours", f"episode_seeds=[{seeds}]", "trajectories=true", "run_dir=played")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "maze: interrupted"
    assert [int(row["seed"]) for row in table()] == list(range(100, 116))
    assert [trajectory.seed for trajectory in load_trajectories("played/trajectories")] == list(range(100, 116))


# maze-run


def test_maze_run_without_a_configuration_is_maze_rollout() -> None:
    assert run_maze_run("n_episodes=1", "seed=1", "run_dir=played").exit_code == 0
    assert Path("played/command.txt").read_text() == "maze rollout n_episodes=1 seed=1 run_dir=played\n"


@pytest.mark.parametrize("name", [("-cn", "conf_rollout"), ("--config-name=conf_rollout",), ("-cn", "mine")])
def test_maze_run_plays_whatever_describes_a_rollout(name: tuple[str, ...], workdir: Path) -> None:
    write(workdir / "own" / "mine.yaml", "defaults:\n  - conf_rollout\n  - _self_\n")
    assert run_maze_run(*name, "-cd", "own", "n_episodes=1", "run_dir=played").exit_code == 0
    assert len(rows()) == 1


def test_maze_run_trains_whatever_describes_a_training(workdir: Path) -> None:
    write(workdir / "own" / "mine.yaml", "defaults: [conf_train, _self_]\nrunner: {n_epochs: 1}\n")
    small = ("algorithm.n_rollouts_per_update=2", "runner.evaluation.n_episodes=1", "callbacks=[]", "run_dir=run")
    assert run_maze_run("-cd", "own", "-cn", "mine.yaml", *small).exit_code == 0
    assert Path("run/state_dict.pt").exists()


def test_a_configuration_that_does_not_exist_is_told() -> None:
    result = run_maze_run("-cn", "conf_rolout")
    assert result.exit_code == USER
    assert "there is no conf_rolout.yaml. Known: conf_rollout, conf_sweep, conf_train." in result.stderr


def test_maze_config_shows_the_configuration_of_a_rollout() -> None:
    shown = yaml.safe_load(run_cli("config", "-cn", "conf_rollout", "policy=trained", "n_episodes=3").stdout)
    assert (shown["policy"], shown["n_episodes"], shown["model"]) == ({"deterministic": True}, 3, None)


# What is refused

ALONE: list[tuple[str, list[str]]] = [
    ("policy=nothing", ["no policy named 'nothing'", "Known: cutting_2d_greedy, masked_random, random, trained."]),
    ("policy=trained", ["policy=trained acts with the networks of a run", "--run RUN_DIR"]),
    ("policy.deterministic=false", ["policy has no 'deterministic'", "Known: none."]),
    ("model=flatten_concat", ["model=flatten_concat belongs to a trained policy", "--run RUN_DIR"]),
    ("critic.model=flatten_concat", ["critic.model=flatten_concat"]),
    ("policy=cutting_2d_greedy", ["plays cutting_2d envs only"]),
    ("callbacks=jsonl", ["callbacks=jsonl: configuration 'conf_rollout' has no callbacks."]),
    ("n_episodes=100000000000000000000", ["n_episodes=100000000000000000000", "from 1 to 10000000"]),
    ("n_episodes=1,2", ["n_episodes=1,2 names several values", "maze train --multirun"]),
    ("episode_seeds=3", ["episode_seeds=3", "a list"]),
    ("render=png", ["render=png", "gif, webp, mp4, terminal"]),
    ("run_dir=there", ["run_dir=there exists already", "Name a new directory."]),
    ("input_dir=", ["input_dir=''", "null or a path"]),
    ("--run=", ["input_dir=''", "null or a path"]),
    ("-cn conf_train", ["'conf_train' describes a training", "conf_rollout"]),
    ("env.name=CartPol-v1", ["Did you mean 'CartPole-v1'?"]),
    ("gym_env", ["'gym_env' is no override"]),
    ("-m seed=1,2", ["No such option", "-m"]),
]


@pytest.mark.parametrize(("args", "words"), ALONE, ids=[args for args, _ in ALONE])
def test_what_cannot_be_played_is_told_and_leaves_nothing(args: str, words: list[str], workdir: Path) -> None:
    (workdir / "there").mkdir()
    said = refused(USER, *args.split())
    assert all(word in said for word in words), said


OF_A_RUN: list[tuple[int, str, list[str]]] = [
    (USER, "experiment=es_pendulum", ["chooses an env and more, and so does the run"]),
    (USER, "~wrappers.nothing", ["no wrapper 'nothing' is selected"]),
    (USER, "input_dir=other", ["input_dir is given twice"]),
    (NOTHING_USABLE, "env.name=CartPole-v1", ["holds the weights of another network"]),
    (NOTHING_USABLE, "env=cutting_2d_flat", ["holds the weights of another network"]),
    (NOTHING_USABLE, "model.hidden_sizes=[7]", ["holds the weights of another network"]),
    (NOTHING_USABLE, "wrappers=[]", ["its policy has normalised observations", "wrappers=observation_normalization"]),
    (USER, "wrappers.observation_normalization.statistics=given wrappers.observation_normalization.file=x.json",
     ["brings statistics of observations", "wrappers.observation_normalization.file gives others"]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "args", "words"), OF_A_RUN, ids=[args for _, args, _ in OF_A_RUN])
def test_what_contradicts_a_run_is_told_and_leaves_nothing(
    code: int, args: str, words: list[str], runs: Runs, workdir: Path
) -> None:
    write(workdir / "x.json", (runs("sampled") / "normalization.json").read_text())
    said = refused(code, "--run", runs("sampled"), *args.split())
    assert all(word in said for word in words), said


def test_statistics_of_another_file_do_not_matter_to_a_policy_without_networks(runs: Runs, workdir: Path) -> None:
    write(workdir / "x.json", (runs("sampled") / "normalization.json").read_text())
    name = "wrappers.observation_normalization"
    play("--run", runs("sampled"), "policy=random", f"{name}.statistics=given", f"{name}.file=x.json", "n_episodes=1")
    assert len(rows()) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is no directory; name that of a run"),
        (lambda path: path.mkdir(), "is no run directory: it has no config.yaml"),
        (lambda path: path.touch(), "is no directory; name that of a run"),
        (lambda path: write(path / "rollout.yaml", ""), "holds what a rollout brought, and no run"),
        (lambda path: write(path / "config.yaml", ""), "has no state_dict.pt"),
    ],
)
def test_what_is_no_run_is_told(make: Callable[[Path], Any], words: str, workdir: Path) -> None:
    make(workdir / "run")
    if (workdir / "run" / "config.yaml").exists():
        write(workdir / "run" / "config.yaml", "env: {}\n")
    assert words in refused(NOTHING_USABLE, "--run", "run")


DAMAGED: dict[str, Callable[[Path], Any]] = {
    "weights cut": lambda run: os.truncate(run / "state_dict.pt", 1000),
    "weights not finite": lambda run: torch.save(
        {name: value * torch.nan for name, value in torch.load(run / "state_dict.pt", weights_only=True).items()},
        run / "state_dict.pt",
    ),
    "weights a link": lambda run: (
        (run / "state_dict.pt").rename(run.parent / "weights"),
        (run / "state_dict.pt").symlink_to("../weights"),
    ),
    "configuration cut": lambda run: (run / "config.yaml").write_text("env: {na"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_run_is_refused(damage: Callable[[Path], Any], runs: Runs, workdir: Path) -> None:
    damage(runs.copy("flat", workdir / "run"))
    result = run_cli("rollout", "--run", "run", "run_dir=played")
    assert result.exit_code in (NOTHING_USABLE, 4), result
    assert "Traceback" not in result.stderr
    assert not Path("played").exists()


def test_a_run_directory_is_never_played_into(runs: Runs, workdir: Path) -> None:
    runs.copy("flat", workdir / "run")
    said = refused(USER, "run_dir=run")
    assert "run_dir=run exists already" in said
    assert "To run the policy of that run: --run run" in said


def test_a_run_that_a_configuration_file_names_must_be_named_by_the_user(runs: Runs, workdir: Path) -> None:
    write(workdir / "own" / "mine.yaml", f"defaults: [conf_rollout, _self_]\ninput_dir: {runs('flat')}\n")
    assert f"--run {runs('flat')}" in refused(USER, "-cd", "own", "-cn", "mine")


def test_networks_that_a_configuration_file_chooses_are_not_played_untrained(workdir: Path) -> None:
    text = "  - override /model: flatten_concat\n  - override /critic: shared\n  - override /algorithm: es\n"
    write(
        workdir / "own" / "mine.yaml", f"defaults:\n  - conf_rollout\n{text}  - override /policy: trained\n  - _self_\n"
    )
    assert "acts with the networks of a run" in refused(USER, "-cd", "own", "-cn", "mine")


def test_a_run_with_live_objects_needs_them_again(workdir: Path) -> None:
    from support.envs import CountdownEnv

    with context("flat", env=CountdownEnv, run_dir="run") as run:
        run.train()
    said = refused(USER, "--run", "run")
    assert "env=..." in said


def test_a_plugin_of_the_run_that_is_missing_is_told(workdir: Path) -> None:
    copy_scripted(workdir)
    with context("flat", env="dial", run_dir="run") as run:
        run.train()
    assert "no env named 'dial'" in refused(USER, "--run", "run", "--no-local")


def test_variables_of_a_run_are_used_if_the_user_allows_it(
    runs: Runs, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_STEPS", "3")
    run = runs.copy("wrapped", workdir / "run")
    text = (run / "config.yaml").read_text()
    assert "max_env_steps: 7" in text
    (run / "config.yaml").write_text(text.replace("max_env_steps: 7", "max_env_steps: ${oc.env:MY_STEPS}"))
    assert "add --env MY_STEPS" in refused(USER, "--run", "run")
    play("--run", "run", "--env", "MY_STEPS", "n_episodes=1")
    assert [row["env_steps"] for row in rows()] == [3]


def test_an_env_that_cannot_be_rendered_is_told_before_anything_is_made() -> None:
    assert "cannot be rendered" in refused(USER, *DIAL, "render=gif")


def test_an_env_whose_frames_are_text_cannot_be_a_picture() -> None:
    args = ("env.name=FrozenLake-v1", "env.kwargs.render_mode=ansi")
    assert "renders text. Use render=terminal." in refused(USER, *args, "render=gif")
    assert "episode 0, frame 1 of " in play(*args, "render=terminal", "n_episodes=1").stdout


def test_a_missing_ffmpeg_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert 'pip install "maze-core[mp4]"' in refused(USER, "render=mp4")


def test_a_directory_that_cannot_be_made_is_told() -> None:
    assert "the run directory cannot be made" in refused(STORAGE, "run_dir=/proc/nothing/played")


# From Python


def test_python_plays_as_the_command_does() -> None:
    from maze_core import rollout

    play("n_episodes=2", "seed=4", folder="cli")
    result = rollout(n_episodes=2, seed=4, run_dir="python", silent=True)
    assert list(result.episodes) == rows("cli") == rows("python")
    assert [trajectory.episode_return for trajectory in result.trajectories] == [row["return"] for row in rows("cli")]
    assert result.directory == Path("python")


def test_python_may_write_nothing(workdir: Path) -> None:
    from maze_core import rollout

    result = rollout(n_episodes=2, save=False, record=False, silent=True)
    assert (result.directory, list(result.trajectories), list(workdir.iterdir())) == (None, [], [])
    with pytest.raises(UserError, match="save=False writes nothing"):
        rollout(save=False, run_dir="played", silent=True)
