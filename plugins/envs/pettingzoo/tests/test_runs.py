"""Runs on games: every algorithm, workers, resume, rollouts, export, and run directories of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from maze_pettingzoo.config import PettingZooConfig
from maze_pettingzoo.envs import make_env
from support.resume import Recipe, account, cut_off, differing, go_on, result
from support.workers import SIZES, no_worker_is_left, weights_hash  # noqa: F401  # a fixture

from maze_core import RunContext, UserError, export, load_policy, rollout

FORMS: dict[str, dict[str, Any]] = {
    "one agent": {"name": "classic/connect_four_v3", "agent": "player_1"},
    "team": {"name": "classic/leduc_holdem_v4", "reward": "sum"},
    "without masks": {"name": "classic/rps_v2", "reward": "sum", "kwargs": {"max_cycles": 5}},
}


def context(algorithm: str, form: str, folder: Path, **more: Any) -> RunContext:
    overrides = {
        **SIZES[algorithm], "runner.n_epochs": 1, "runner.evaluation.n_episodes": 4, "runner.n_workers": 0,
        **more.pop("overrides", {}),
    }  # fmt: skip
    return RunContext(
        env={"pettingzoo": FORMS[form]}, algorithm=algorithm, overrides=overrides, run_dir=folder, seed=5, callbacks=[],
        silent=True, local_plugins=False, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of one agent."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with context("ppo", "one agent", folder) as run:
        run.train()
    return folder


@pytest.mark.parametrize(
    ("algorithm", "form"),
    [
        pytest.param(algorithm, form, marks=[] if i == j else pytest.mark.long)
        for i, algorithm in enumerate(SIZES)
        for j, form in enumerate(FORMS)
    ],
)
def test_every_algorithm_trains_and_evaluates(algorithm: str, form: str, tmp_path: Path) -> None:
    with context(algorithm, form, tmp_path / "run") as run:
        run.train()
        statistics = run.evaluate(4)
    won = [value for path, value in statistics.items() if path.endswith(("win_rate/mean", "draw_rate/mean"))]
    assert won
    assert all(0 <= value <= 1 for value in won)


def test_agents_with_networks_of_their_own_are_learned_with_a_critic_per_sub_step(tmp_path: Path) -> None:
    """Who begins an env step is drawn in this game, so that one critic for all of them would not know whom to ask."""
    separate = {"model": "per_actor", "model.separate_agents": True}
    with (
        pytest.raises(UserError, match="per_sub_step"),
        context("ppo", "team", tmp_path / "one", overrides=separate) as run,
    ):
        run.train()
    with context("ppo", "team", tmp_path / "run", critic="per_sub_step", overrides=separate) as run:
        run.train()
        assert sorted(run.policy.actors.step_keys) == ["player-0", "player-1"]


@pytest.mark.workers
@pytest.mark.usefixtures("no_worker_is_left")
@pytest.mark.parametrize(
    ("algorithm", "form"), [("ppo", "one agent"), pytest.param("es", "team", marks=pytest.mark.long)]
)
def test_workers_learn_the_same_bits(algorithm: str, form: str, tmp_path: Path) -> None:
    found = []
    for n_workers in (0, 2):
        overrides = {"runner.n_workers": n_workers}
        with context(algorithm, form, tmp_path / str(n_workers), overrides=overrides) as run:
            run.train()
            found.append((weights_hash(run), run.evaluate(5)))
    assert found[0] == found[1]


def test_a_run_against_an_earlier_policy_that_was_cut_off_ends_as_if_nothing_had_happened(
    trained: Path, tmp_path: Path
) -> None:
    opponent = export(trained, tmp_path / "opponent.safetensors", local_plugins=False)
    env = {**FORMS["one agent"], "agent": "player_0", "opponent": str(opponent)}
    reference = Recipe("ppo", groups={"env": {"pettingzoo": env}}).train(tmp_path / "run")
    copy = cut_off(reference, tmp_path / "copy", after=1)
    go_on(copy)
    assert account(copy).endswith("; exact.")
    assert differing(result(reference), result(copy)) == []
    recorded = yaml.safe_load((reference / "config.yaml").read_text())["env"]
    assert recorded["opponent"] == str(opponent)
    opponent.write_bytes(opponent.read_bytes() + b" ")
    with pytest.raises(UserError, match="is not the file that the run began with"):
        go_on(cut_off(reference, tmp_path / "again", after=1))


def test_a_rollout_shows_how_often_it_was_won(trained: Path, tmp_path: Path) -> None:
    done = rollout(input_dir=trained, n_episodes=6, run_dir=tmp_path / "rollout", seed=1, silent=True)
    rates = {name: done.statistics[f"KPIs/{name}_rate/mean"] for name in ("win", "draw", "loss")}
    assert sum(rates.values()) == pytest.approx(1)
    lines = (tmp_path / "rollout" / "episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["events"]["KPIs/win_rate/mean"] for line in lines].count(1.0) == round(6 * rates["win"])


def test_a_rollout_is_filmed(trained: Path, tmp_path: Path) -> None:
    done = rollout(
        input_dir=trained, n_episodes=1, run_dir=tmp_path / "rollout", render="gif", seed=1, silent=True,
        overrides={"env.kwargs.screen_scaling": 1},
    )  # fmt: skip
    (film,) = (done.directory / "animations").iterdir()
    assert film.read_bytes().startswith(b"GIF89a")


def test_an_exported_policy_keeps_to_masks(trained: Path, tmp_path: Path) -> None:
    policy = load_policy(export(trained, tmp_path / "policy.safetensors", local_plugins=False), local_plugins=False)
    env = make_env(PettingZooConfig(name="classic/connect_four_v3"))
    observation, _ = env.reset(seed=0)
    for column in range(7):
        mask = np.eye(7, dtype=np.int8)[column]
        assert policy.compute_action({**observation, "action_mask": mask}) == column


def foreign(trained: Path, copy: Path, **env: Any) -> Path:
    """A run directory in whose configuration somebody changed the env."""
    shutil.copytree(trained, copy)
    recorded = yaml.safe_load((copy / "config.yaml").read_text())
    recorded["env"] |= env
    (copy / "config.yaml").write_text(yaml.safe_dump(recorded))
    return copy


def test_the_directory_of_a_stranger_cannot_name_files_for_games(trained: Path, tmp_path: Path) -> None:
    run = foreign(trained, tmp_path / "run", kwargs={"path": "/etc/passwd"})
    with pytest.raises(UserError, match=r"env\.kwargs\.path may name a file"):
        rollout(input_dir=run, n_episodes=1, save=False, silent=True)


def test_the_directory_of_a_stranger_cannot_import_what_is_no_game(trained: Path, tmp_path: Path) -> None:
    run = foreign(trained, tmp_path / "run", name="evil_module/game_v0")
    with pytest.raises(UserError, match="PettingZoo has no game 'evil_module/game_v0'"):
        rollout(input_dir=run, n_episodes=1, save=False, silent=True)


def test_the_directory_of_a_stranger_may_name_an_opponent_whose_file_is_read_as_data(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "evil").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    run = foreign(trained, tmp_path / "run", opponent=str(tmp_path / "evil"))
    with pytest.raises(Exception, match="evil cannot be used: it is no file of safetensors"):
        rollout(input_dir=run, n_episodes=1, save=False, silent=True)
