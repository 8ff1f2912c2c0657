"""Files of trajectories: found by name, written whole or not at all, and read whoever made them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.envs import CountdownEnv
from support.trajectories import assert_same, record, told

from maze_core.errors import NothingUsableError, StorageError, UserError
from maze_core.rl import InProcessVectorEnv
from maze_core.rl.trajectories import Trajectory
from maze_core.rl.trajectory_files import trajectory_bytes
from maze_core.runs import trajectories
from maze_core.runs.trajectories import load_trajectories, save_trajectory


@pytest.fixture(scope="module")
def episodes() -> list[Trajectory]:
    return record(InProcessVectorEnv(CountdownEnv, 2), range(4))


def test_a_file_is_read_as_it_was_saved(tmp_path: Path) -> None:
    (trajectory,) = told([0])
    save_trajectory(trajectory, tmp_path / "one.npz")
    assert_same(load_trajectories(tmp_path / "one.npz"), [trajectory])
    assert_same(load_trajectories(str(tmp_path / "one.npz")), [trajectory])
    assert [file.name for file in tmp_path.iterdir()] == ["one.npz"]


def test_a_file_that_is_there_is_replaced(tmp_path: Path, episodes: list[Trajectory]) -> None:
    for trajectory in episodes[:2]:
        save_trajectory(trajectory, tmp_path / "one.npz")
    assert_same(load_trajectories(tmp_path), episodes[1:2])


def test_all_files_of_a_directory_are_read_sorted_by_name(tmp_path: Path, episodes: list[Trajectory]) -> None:
    for name, trajectory in zip(("b", "c", "a", "d"), episodes, strict=True):
        save_trajectory(trajectory, tmp_path / f"{name}.npz")
    (tmp_path / "notes.txt").write_text("no trajectory")
    (tmp_path / ".e.npz.tmp").write_text("half of one")
    assert [trajectory.seed for trajectory in load_trajectories(tmp_path)] == [2, 0, 1, 3]


def test_a_home_directory_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: list[Trajectory]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_trajectory(episodes[0], tmp_path / "one.npz")
    assert_same(load_trajectories("~/one.npz"), episodes[:1])


@pytest.mark.parametrize("name", ["two", "two.npz"])
def test_where_nothing_is_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(NothingUsableError, match=rf"{name} cannot be read: No such file"):
        load_trajectories(tmp_path / name)


def test_an_empty_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no trajectory")
    with pytest.raises(NothingUsableError, match=r"holds no trajectories: there is no file \*\.npz in it\.$"):
        load_trajectories(tmp_path)


def test_a_file_that_is_none_is_named(tmp_path: Path, episodes: list[Trajectory]) -> None:
    save_trajectory(episodes[0], tmp_path / "a.npz")
    (tmp_path / "b\x1b[31m.npz").write_bytes(trajectory_bytes(episodes[1])[:-30])
    with pytest.raises(NothingUsableError, match=r"b\\x1b\[31m\.npz is no trajectory: File is not a zip file\.$"):
        load_trajectories(tmp_path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**34)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (link, "it is a link"),
        (os.mkfifo, "it is no file"),
        (Path.mkdir, "it is no file"),
        (sparse, "it is larger than"),
    ],
)
def test_only_plain_files_of_bounded_size_are_read(make: Any, words: str, tmp_path: Path) -> None:
    make(tmp_path / "a.npz")
    with pytest.raises(NothingUsableError, match=rf"a\.npz cannot be read: {words}"):
        load_trajectories(tmp_path)


def test_a_directory_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", forbidden)
    with pytest.raises(NothingUsableError, match=r"cannot be read: Permission denied\.$"):
        load_trajectories(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: list[Trajectory]
) -> None:
    save_trajectory(episodes[0], tmp_path / "one.npz")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"one\.npz cannot be written: No space left"):
        save_trajectory(episodes[1], tmp_path / "one.npz")
    assert_same(load_trajectories(tmp_path), episodes[:1])
    assert [file.name for file in tmp_path.iterdir()] == ["one.npz"]


def test_what_could_not_be_read_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Trajectory) -> bytes:
        raise UserError("the trajectory cannot be written: it is too large.")

    monkeypatch.setattr(trajectories, "trajectory_bytes", refused)
    with pytest.raises(UserError, match="too large"):
        save_trajectory(told([0])[0], tmp_path / "one.npz")
    assert list(tmp_path.iterdir()) == []
