"""The examples work as their texts say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from maze_core import RunContext

PROJECT = Path(__file__).parents[1] / "examples/local_project"


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def test_local_project_learns_in_its_own_folder(project, monkeypatch):
    """It becomes nearly as good as heating exactly when it is too cold."""
    monkeypatch.chdir(project)
    with RunContext(experiment="cold_room_es", seed=1, silent=True) as rc:
        rc.train()
        assert rc.evaluate(20)["BaseEnvEvents/reward/mean"] > mean_return_of_a_thermostat(rc) - 10


def mean_return_of_a_thermostat(rc: RunContext) -> float:
    env, total = rc.env_factory(), 0.0
    for seed in range(20):
        (observation, _), ended = env.reset(seed=seed), False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(int(observation[0] < 0))
            total, ended = total + reward, terminated or truncated
    return total / 20


def test_local_project_is_found_from_another_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"runner.n_epochs": 1, "algorithm.n_rollouts_per_update": 4}
    with RunContext(env="cold_room", model="linear", plugins=[str(project)], overrides=small, silent=True) as rc:
        rc.train()
        assert "outside: -10.0" in (rc.run_dir / "config.yaml").read_text()
