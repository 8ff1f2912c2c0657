"""A run directory is made once, never reused, and its files are whole or not there."""

from __future__ import annotations

import datetime
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from maze_core.errors import NothingUsableError, StorageError, UserError
from maze_core.runs import run_directory
from maze_core.runs.run_directory import RunDirectory, environment
from maze_core.runs.weights import read_weights

pytestmark = pytest.mark.usefixtures("workdir")


def test_a_directory_of_its_own_has_name_and_timestamp() -> None:
    path = RunDirectory.create(None, "env-model-es-local").path
    assert path.parent == Path("outputs/env-model-es-local")
    assert path.is_dir()
    assert datetime.datetime.strptime(path.name, "%Y-%m-%d_%H-%M-%S-%f")


def test_runs_of_the_same_microsecond_get_different_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime(2026, 1, 2, 3, 4, 5, 6)

    monkeypatch.setattr(run_directory.datetime, "datetime", Clock)
    names = [RunDirectory.create(None, "n").path.name for _ in range(3)]
    assert names == ["2026-01-02_03-04-05-000006", "2026-01-02_03-04-05-000006-2", "2026-01-02_03-04-05-000006-3"]


def test_a_requested_directory_is_made_with_its_parents() -> None:
    assert RunDirectory.create("a/b/c", "n").path == Path("a/b/c")
    assert Path("a/b/c").is_dir()


def test_a_home_directory_is_understood(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    monkeypatch.setenv("HOME", str(workdir / "home"))
    assert RunDirectory.create("~/run", "n").path == workdir / "home" / "run"


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_exists_is_never_reused(kind: str) -> None:
    Path("run").mkdir() if kind == "directory" else Path("run").touch()
    with pytest.raises(UserError, match="run_dir=run exists already"):
        RunDirectory.create("run", "n")


def test_a_place_that_cannot_be_written_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="run_dir=<path>"):
        RunDirectory.create("/proc/nothing/run", "n")


def test_a_place_below_a_file_is_a_storage_error() -> None:
    Path("file").touch()
    with pytest.raises(StorageError, match="file"):
        RunDirectory.create("file/run", "n")


def test_outputs_that_is_a_file_is_a_storage_error() -> None:
    Path("outputs").touch()
    with pytest.raises(StorageError, match="outputs"):
        RunDirectory.create(None, "n")


def test_a_file_that_cannot_be_written_whole_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory.create("run", "n")
    directory.write_weights("state_dict.pt", {"a": torch.ones(2)})
    before = Path("run/state_dict.pt").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"state_dict\.pt cannot be written: no space left"):
        directory.write_weights("state_dict.pt", {"a": torch.zeros(2)})
    assert Path("run/state_dict.pt").read_bytes() == before
    assert [path.name for path in Path("run").iterdir()] == ["state_dict.pt"]


def test_weights_are_read_back() -> None:
    RunDirectory.create("run", "n").write_weights("state_dict.pt", {"a": torch.arange(3.0)})
    assert torch.equal(read_weights("run")["a"], torch.arange(3.0))


@pytest.mark.parametrize("content", [3, [torch.ones(1)], {"a": 3}, {"a": {"b": torch.ones(1)}}])
def test_what_is_no_mapping_of_tensors_is_refused(content: Any) -> None:
    Path("run").mkdir()
    torch.save(content, "run/state_dict.pt")
    with pytest.raises(NothingUsableError, match="no mapping of tensors"):
        read_weights("run")


def test_a_missing_directory_and_missing_weights_are_told_apart() -> None:
    with pytest.raises(NothingUsableError, match="is no directory"):
        read_weights("nowhere")
    with pytest.raises(NothingUsableError, match=r"has no state_dict\.pt"):
        read_weights(".")


def test_the_environment_is_recorded_outside_a_git_repository_too() -> None:
    record = json.loads(environment({"p": "1.0"}, 3))
    assert (record["plugins"], record["seed"], record["git_revision"]) == ({"p": "1.0"}, 3, None)
    assert datetime.datetime.fromisoformat(record["created"]).tzinfo is not None


def test_of_two_processes_that_want_one_directory_the_slower_is_told(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the quicker one made it."""
    (workdir / "run").mkdir()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(UserError, match="run_dir=run exists already"):
        RunDirectory.create("run", "name")
