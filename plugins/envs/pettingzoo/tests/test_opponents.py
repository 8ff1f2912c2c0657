"""Who plays against the agent that learns: chance, or an earlier policy from its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maze_pettingzoo.config import RANDOM, PettingZooConfig
from maze_pettingzoo.envs import make_env
from maze_pettingzoo.games import resolve

from maze_core import NothingUsableError, RunContext, UserError, export, load_policy

ONE_UPDATE = {
    "algorithm.n_rollouts_per_update": 2, "algorithm.epoch_length": 1, "runner.n_epochs": 1,
    "runner.evaluation.n_episodes": 1, "runner.n_workers": 0
}  # fmt: skip

Exported = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Makes the file of a policy that was trained in such an env; each once."""
    folder, files = tmp_path_factory.mktemp("policies"), {}

    def make(overrides: dict[str, Any] | None = None, **options: Any) -> Path:
        key = str((overrides, options))
        if key not in files:
            run = folder / str(len(files))
            more = {f"env.{name}": value for name, value in options.items()}
            with RunContext(
                env="pettingzoo", algorithm="es", overrides={**ONE_UPDATE, **more, **(overrides or {})}, run_dir=run,
                seed=1, callbacks=[], silent=True, local_plugins=False,
            ) as context:  # fmt: skip
                context.train()
            files[key] = export(run, run / "policy.safetensors", local_plugins=False)
        return files[key]

    return make


def against(opponent: Any, **options: Any) -> Any:
    """The env of the second player."""
    return make_env(PettingZooConfig(agent="player_2", opponent=str(opponent), **options))


def first_moves(env: Any, n: int = 20) -> list[int]:
    return [int(env.reset(seed=seed)[0]["observation"][:, :, 1].argmax()) for seed in range(n)]


def test_chance_chooses_each_valid_action_equally_often() -> None:
    counts = np.bincount(first_moves(against(RANDOM), 900), minlength=9)
    assert counts.min() > 70  # 100 are expected; fewer than 71 have a probability of 0.001
    assert counts.sum() == 900


def test_chance_keeps_to_masks() -> None:
    env = make_env(PettingZooConfig(name="classic/connect_four_v3"))
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            observation, _, over, *_ = env.step(int(np.flatnonzero(observation["action_mask"])[0]))
        assert sum(env._game.returns.values()) == 0  # an invalid move would cost its player only


def test_a_policy_does_what_it_holds_for_best_in_each_episode(exported: Exported) -> None:
    file = exported()
    env = make_env(PettingZooConfig())
    best = load_policy(file, local_plugins=False).compute_action(env.reset(seed=0)[0])
    assert first_moves(against(file)) == [int(best)] * 20


@pytest.mark.parametrize("separate", [False, True])
def test_a_policy_of_a_team_plays_too(separate: bool, exported: Exported) -> None:
    """It acts as the agent that it plays."""
    own = {"model": "per_actor", "model.separate_agents": True} if separate else None
    file = exported(own, reward="sum")
    policy = load_policy(file, local_plugins=False)
    assert policy.actors == (("player-0", "player-1") if separate else ("player",))
    seen = make_env(PettingZooConfig()).reset(seed=0)[0]
    assert set(first_moves(against(file), 3)) == {int(policy.compute_action(seen, actor=policy.actors[0]))}


def test_a_file_that_is_not_there_is_an_error_that_says_how_to_make_one() -> None:
    config = PettingZooConfig(opponent="nowhere.safetensors")
    with pytest.raises(UserError) as caught:
        resolve(config)
    assert str(caught.value) == (
        "env.opponent=nowhere.safetensors is neither random nor a file. An earlier policy becomes one with: "
        "maze export RUN_DIR --to opponent.safetensors"
    )


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is neither random nor a file"):
        resolve(PettingZooConfig(opponent=str(tmp_path / "pipe")))


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("This is no policy at all.")
    with pytest.raises(NothingUsableError, match="notes cannot be used: it is no file of safetensors"):
        against(tmp_path / "notes")


def test_a_policy_for_another_game_is_refused(exported: Exported) -> None:
    with pytest.raises(UserError, match="cannot play player_1 of this game: it was trained in an env with other obs"):
        make_env(PettingZooConfig(name="classic/connect_four_v3", opponent=str(exported())))


def test_a_policy_that_was_trained_behind_wrappers_is_refused(exported: Exported) -> None:
    file = exported({"wrappers": ["observation_stacking"], "wrappers.observation_stacking.n_observations": 2})
    with pytest.raises(UserError, match=r"was trained behind the wrappers \['observation_stacking'\]"):
        against(file)


def test_normalisation_is_part_of_a_policy(exported: Exported) -> None:
    own = {"wrappers": ["observation_normalization"], "wrappers.observation_normalization.n_samples": 20}
    assert len(set(first_moves(against(exported(own)), 5))) == 1


def test_path_and_hash_are_recorded_in_full(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.safetensors").write_bytes(exported().read_bytes())
    config = PettingZooConfig(opponent="other.safetensors")
    assert resolve(config) == []
    assert config.opponent == str(tmp_path / "other.safetensors")
    assert len(config.opponent_sha256 or "") == 64
    make_env(config)


def test_another_file_in_its_place_is_refused_where_a_run_goes_on(exported: Exported, tmp_path: Path) -> None:
    config = PettingZooConfig(opponent=str(tmp_path / "opponent"))
    Path(config.opponent).write_bytes(exported().read_bytes())
    resolve(config)
    Path(config.opponent).write_bytes(exported(reward="sum").read_bytes())
    with pytest.raises(UserError, match="is not the file that the run began with: its SHA-256 is"):
        make_env(config)


def test_another_file_in_its_place_is_told_where_something_new_starts(exported: Exported) -> None:
    config = PettingZooConfig(opponent=str(exported()), opponent_sha256="0" * 64)
    (line,) = resolve(config)
    assert "is not the file that the configuration was recorded with" in line
    make_env(config)


def test_chance_has_no_hash() -> None:
    config = PettingZooConfig(opponent_sha256="0" * 64)
    assert resolve(config) == []
    assert config.opponent_sha256 is None
