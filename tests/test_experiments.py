"""Every preset and experiment composes, and every experiment trains an epoch."""

from __future__ import annotations

import pytest

from maze_core import RunContext
from maze_core.config import ConfigRequest, configure
from maze_core.config.overrides import items_of_mapping
from maze_core.presets import group_options
from maze_core.registry import GROUPS, LIST_GROUPS, load_registry


def presets() -> list[tuple[str, str]]:
    registry = load_registry(local_plugins=False)
    groups = (*GROUPS, "experiment")
    return [(group, source.name) for group in groups for source in group_options(registry, (), group) if source.file]


def experiments() -> list[str]:
    return [name for group, name in presets() if group == "experiment"]


@pytest.mark.parametrize(("group", "name"), presets())
def test_preset_composes(group, name):
    value = [name] if group in LIST_GROUPS else name
    configure(load_registry(local_plugins=False), ConfigRequest(items=items_of_mapping({group: value})))


@pytest.mark.parametrize("name", experiments())
def test_experiment_trains(name, tmp_path):
    small = {"runner.n_epochs": 1, "algorithm.n_rollouts_per_update": 4, "runner.evaluation.n_episodes": 1}
    with RunContext(experiment=name, overrides=small, seed=1, run_dir=tmp_path / "run", callbacks=[]) as rc:
        assert rc.train().stop_reason == "1 epoch done"
