"""One process at a time writes to a run directory, and nothing else is touched to see to that."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maze_core.errors import MazeError, StorageError, UserError
from maze_core.runs import lock
from maze_core.runs.lock import LOCK, Holder, RunLock, holder, is_locked


def write_holder(folder: Path, **content: Any) -> None:
    (folder / LOCK).write_text(json.dumps({"host": "h", "pid": 1, "since": "s", **content}))


def test_who_has_it_is_recorded(tmp_path: Path) -> None:
    held = RunLock(tmp_path)
    found = holder(tmp_path)
    assert found is not None
    assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    assert str(found) == f"process {os.getpid()} on {socket.gethostname()} (since {found.since})"
    held.release()


def test_the_second_is_told_who_the_first_is_and_changes_nothing(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    before = (tmp_path / LOCK).read_bytes()
    with pytest.raises(UserError, match=r"is in use by another RunContext of this process; close\(\) that one first"):
        RunLock(tmp_path)
    assert (tmp_path / LOCK).read_bytes() == before
    assert is_locked(tmp_path)
    first.release()
    assert not is_locked(tmp_path)


def test_once_released_others_have_it(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    first.release()
    first.release()  # a second time changes nothing
    RunLock(tmp_path).release()


def test_the_lock_of_a_process_that_was_killed_is_none(tmp_path: Path) -> None:
    code = "import os, signal, sys; from pathlib import Path; from maze_core.runs.lock import RunLock\n" \
           "lock = RunLock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"  # fmt: skip
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode < 0
    found = holder(tmp_path)
    assert found is not None
    assert found.pid != os.getpid()
    assert not is_locked(tmp_path)
    RunLock(tmp_path).release()


def test_to_look_neither_makes_nor_takes_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [
    lambda path: path.symlink_to(path.with_name("victim")), lambda path: os.link(path.with_name("victim"), path),
    os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/null"),
])  # fmt: skip
def test_only_a_plain_file_of_its_own_is_locked(make: Callable[[Path], None], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    make(tmp_path / LOCK)
    with pytest.raises(StorageError, match=r"run\.lock cannot be locked: "):
        RunLock(tmp_path)
    assert victim.read_bytes() == b"precious"
    assert not is_locked(tmp_path)


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        RunLock(tmp_path / "nowhere")


@pytest.mark.parametrize("fault", ["flock", "write"])
def test_a_file_system_that_fails_is_told_and_nothing_stays_locked(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise OSError(37 if fault == "flock" else 28, "No locks available" if fault == "flock" else "No space left")

    monkeypatch.setattr(*((lock.fcntl, "flock") if fault == "flock" else (lock.json, "dumps")), fail)
    with pytest.raises(StorageError, match=r"run\.lock cannot be locked: No "):
        RunLock(tmp_path)
    monkeypatch.undo()
    assert not is_locked(tmp_path)
    RunLock(tmp_path).release()


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "{}", '{"host": 1}', "\x00" * 5000, "[" * 4000])
def test_a_record_that_is_none_is_not_known(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    assert holder(tmp_path) is None


@pytest.mark.parametrize("pid", [None, "x", [], float("inf"), float("nan")])
def test_a_number_that_is_none_is_not_known(pid: Any, tmp_path: Path) -> None:
    write_holder(tmp_path, pid=pid)
    assert holder(tmp_path) is None


def test_a_record_moves_no_cursor(tmp_path: Path) -> None:
    write_holder(tmp_path, host="\x1b[2J\nmaze: all is well", since=["\x07"])
    assert holder(tmp_path) == Holder(r"\x1b[2J\nmaze: all is well", 1, r"['\x07']")


def test_a_holder_that_is_not_known_is_another_process(tmp_path: Path) -> None:
    held = RunLock(tmp_path)
    (tmp_path / LOCK).write_text("")
    with pytest.raises(MazeError, match="is in use by another process"):
        RunLock(tmp_path)
    held.release()
