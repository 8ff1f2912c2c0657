"""The examples work as their texts say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from maze_core import RunContext

PROJECT = Path(__file__).parents[1] / "examples/local_project"
EXPERIMENT = {"runner.n_epochs": 8, "runner.patience": None}


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def test_local_project_learns_in_its_own_folder(project, monkeypatch):
    monkeypatch.chdir(project)
    with RunContext(experiment="cold_room_es", overrides=EXPERIMENT, seed=1, silent=True) as rc:
        before = rc.evaluate(10)["BaseEnvEvents/reward/mean"]
        assert rc.train().best_reward > before + 30


def test_local_project_is_found_from_another_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"runner.n_epochs": 1, "algorithm.n_rollouts_per_update": 4}
    with RunContext(env="cold_room", model="linear", plugins=[str(project)], overrides=small, silent=True) as rc:
        rc.train()
        assert "outside: -10.0" in (rc.run_dir / "config.yaml").read_text()
