"""Files of run directories: whole or as they were, and read only if they are plain and of bounded size."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from maze_core.errors import StorageError, printable
from maze_core.runs import files
from maze_core.runs.files import GrowingFile, UnreadableError, parse_json, read_file, read_json, write_file

LIMIT = 1000
FULL = OSError(28, "No space left on device")


def content_of(target: Path) -> bytes | None:
    return target.read_bytes() if target.exists() else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * LIMIT)
    assert read_file(tmp_path / "a", LIMIT) == b"x" * LIMIT


def test_a_large_limit_sets_no_memory_aside(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    tracemalloc.start()
    try:
        read_file(tmp_path / "a", 2**34)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b"x" * (LIMIT + 1)), f"it is larger than {LIMIT} bytes"),
        (sparse(2**43), f"it is larger than {LIMIT} bytes"),
        (Path.mkdir, "it is no file"),
        (os.mkfifo, "it is no file"),
        (link_to("/etc/passwd"), "it is a link"),
        (link_to("/dev/zero"), "it is a link"),
        (link_to("/nothing"), "it is a link"),
        (link_to("a"), "it is a link"),
    ],
)
def test_what_is_no_plain_file_is_refused(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(UnreadableError) as caught:
        read_file(tmp_path / "a", LIMIT)
    assert str(caught.value) == f"{tmp_path / 'a'} cannot be read: {reason}."


def test_a_device_is_refused() -> None:
    with pytest.raises(UnreadableError, match="it is no file"):
        read_file(Path("/dev/zero"), LIMIT)


def test_a_large_file_in_which_nothing_was_written_is_refused(tmp_path: Path) -> None:
    sparse(2**30)(tmp_path / "a")
    with pytest.raises(UnreadableError, match="it is large and mostly empty"):
        read_file(tmp_path / "a", 2**34)


def test_a_file_that_grows_while_it_is_read_is_read_up_to_the_size_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * LIMIT)
    opened = files.open_file

    def grows(path: Path, limit: int) -> IO[bytes]:
        file = opened(path, limit)
        status = os.fstat(file.fileno())
        monkeypatch.setattr(os, "fstat", lambda descriptor: status)
        with path.open("ab") as more:
            more.write(b"y" * 10**6)
        return file

    monkeypatch.setattr(files, "open_file", grows)
    assert read_file(path, LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"[" * 10**5, b"9" * 5000, b"\x1b[31m", b"{'a': 1}"])
def test_what_is_no_json_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UnreadableError) as caught:
        read_json(tmp_path / "a", 10**6)
    assert str(caught.value).startswith(f"{tmp_path / 'a'} is no JSON: ")
    assert str(caught.value).isprintable()


def test_json_is_parsed() -> None:
    assert parse_json(b'{"a": [1, null]}', "it") == {"a": [1, None]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ä, 中, \U0001f600", "plain, ä, 中, \U0001f600"),
        ("\x1b[31m\x07\r\n\t\x00", r"\x1b[31m\x07\r\n\t\x00"),
        ("\u202e\u200b\x9b\ud800", r"\u202e\u200b\x9b\ud800"),
    ],
)
def test_what_could_move_the_cursor_is_shown_as_text(text: str, shown: str) -> None:
    assert printable(text) == shown


# Writing whole files


def test_a_file_and_its_folder_are_written(tmp_path: Path) -> None:
    write_file(tmp_path / "inner" / "a", lambda file: file.write(b"new"))
    assert (tmp_path / "inner" / "a").read_bytes() == b"new"
    assert names(tmp_path / "inner") == ["a"]


def fail(*args: Any, **options: Any) -> Any:
    raise FULL


def half(file: IO[bytes], error: BaseException = FULL) -> None:
    file.write(b"half")
    raise error


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], Any], Callable[[IO[bytes]], Any]]] = {
    "written": (lambda patch: None, half),
    "written by torch": (lambda patch: None, lambda file: half(file, RuntimeError("no space left"))),
    "flushed": (lambda patch: patch.setattr(os, "fsync", fail), lambda file: file.write(b"new")),
    "opened": (lambda patch: patch.setattr(Path, "open", fail), lambda file: file.write(b"new")),
    "put in place": (lambda patch: patch.setattr(Path, "replace", fail), lambda file: file.write(b"new")),
}


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_written_is_as_it_was(
    fault: str, before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        (tmp_path / "a").write_bytes(before)
    prepare, write = FAULTS[fault]
    prepare(monkeypatch)
    with pytest.raises(StorageError, match=r"a cannot be written: (No space left on device|no space left)\."):
        write_file(tmp_path / "a", write)
    monkeypatch.undo()
    assert content_of(tmp_path / "a") == before
    assert names(tmp_path) == ([] if before is None else ["a"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_what_is_no_fault_of_the_disk_passes_and_leaves_nothing_half_written(
    error: BaseException, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(type(error)):
        write_file(tmp_path / "a", lambda file: half(file, error))
    assert (names(tmp_path), content_of(tmp_path / "a")) == (["a"], b"old")


def test_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("flushed"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda path, target: (order.append("named"), replace(path, target))[1])
    write_file(tmp_path / "a", lambda file: file.write(b"new"))
    assert order[:2] == ["flushed", "named"]


@pytest.mark.parametrize("make", [link_to("victim"), lambda path: os.link(path.with_name("victim"), path), os.mkfifo])
@pytest.mark.parametrize("name", ["a", ".a.tmp"])
def test_links_and_pipes_are_replaced_and_never_written_through(
    make: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    make(tmp_path / name)
    write_file(tmp_path / "a", lambda file: file.write(b"new"))
    assert (content_of(tmp_path / "a"), content_of(tmp_path / "victim")) == (b"new", b"precious")
    assert names(tmp_path) == ["a", "victim"]


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="a cannot be written: Is a directory"):
        write_file(tmp_path / "a", lambda file: file.write(b"new"))
    assert names(tmp_path) == ["a"]


# Files that grow


def grown(path: Path, *parts: bytes, size: int | None = None) -> GrowingFile:
    file = GrowingFile(path, size)
    for part in parts:
        file.write(part)
    return file


def test_without_a_size_a_file_goes_on_after_all_that_is_there(tmp_path: Path) -> None:
    for expected in (b"new", b"newnew"):
        grown(tmp_path / "a", b"new").close()
        assert content_of(tmp_path / "a") == expected


def test_what_is_written_is_there_at_once(tmp_path: Path) -> None:
    file = grown(tmp_path / "a", b"one", b"two")
    assert content_of(tmp_path / "a") == b"onetwo"
    assert file.saved_size() == 6
    file.close()


@pytest.mark.parametrize(
    ("size", "kept", "complete"),
    [(0, b"", True), (3, b"one", True), (6, b"onetwo", True), (7, b"onetwo", False), (10**12, b"onetwo", False)],
)
def test_a_file_goes_on_where_its_checkpoint_was(size: int, kept: bytes, complete: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"onetwo")
    file = grown(tmp_path / "a", b"more", size=size)
    assert (file.complete, file.saved_size()) == (complete, len(kept) + 4)
    file.close()
    assert content_of(tmp_path / "a") == kept + b"more"
    assert names(tmp_path) == ["a"]


def test_a_file_that_is_longer_than_what_is_copied_at_once(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 5)
    (tmp_path / "a").write_bytes(content)
    GrowingFile(tmp_path / "a", 2 * 2**20 + 7).close()
    assert content_of(tmp_path / "a") == content[: 2 * 2**20 + 7]


@pytest.mark.parametrize("size", [-1, 1.5, float("inf"), float("nan"), "3", True, [], {}, b"3"])
def test_what_is_no_size_is_refused_before_anything_changes(size: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ValueError, match="is no size of a"):
        GrowingFile(tmp_path / "a", size)
    assert (names(tmp_path), content_of(tmp_path / "a")) == (["a"], b"old")


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("make", [link_to("victim"), lambda path: os.link(path.with_name("victim"), path)])
def test_another_name_of_the_file_does_not_change(
    make: Callable[[Path], None], size: int | None, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    make(tmp_path / "a")
    file = grown(tmp_path / "a", b"more", size=size)
    file.saved_size()
    file.close()
    assert content_of(tmp_path / "victim") == b"precious"
    assert not (tmp_path / "a").is_symlink()
    assert (content_of(tmp_path / "a") or b"").endswith(b"more")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: None, sparse(2**43), link_to("/dev/zero")])
def test_what_cannot_be_gone_on_with_begins_empty_and_is_told(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a")
    file = grown(tmp_path / "a", b"more", size=4)
    assert not file.complete
    file.close()
    assert content_of(tmp_path / "a") == b"more"


@pytest.mark.parametrize("size", [None, 3])
def test_a_folder_in_its_place_is_told(size: int | None, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="a cannot be written: "):
        GrowingFile(tmp_path / "a", size)


def test_a_file_that_cannot_be_copied_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"onetwo")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        GrowingFile(tmp_path / "a", 3)
    monkeypatch.undo()
    assert (names(tmp_path), content_of(tmp_path / "a")) == (["a"], b"onetwo")


def test_a_disk_that_takes_no_more_is_told_at_the_next_write() -> None:
    file = GrowingFile.__new__(GrowingFile)
    file.path, file._file = Path("/dev/full"), open("/dev/full", "ab")  # noqa: SIM115, PTH123
    with pytest.raises(StorageError, match="/dev/full cannot be written: No space left on device"):
        file.write(b"x")
    file._file.raw.close()  # type: ignore[attr-defined]


def test_a_flush_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = grown(tmp_path / "a", b"one")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="a cannot be written: No space left on device"):
        file.saved_size()
    file.close()


def test_a_limit_on_the_size_of_files_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    """As with a quota: the system refuses in the middle of a write."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    (tmp_path / "a").write_bytes(b"old")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(StorageError, match="File too large"):
            write_file(tmp_path / "a", lambda file: file.write(b"x" * 10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (names(tmp_path), content_of(tmp_path / "a")) == (["a"], b"old")


def test_rows_survive_in_the_form_in_which_they_are_read(tmp_path: Path) -> None:
    file = grown(tmp_path / "a", *[json.dumps({"row": row}).encode() + b"\n" for row in range(3)])
    size = file.saved_size()
    file.write(b'{"row": 3}\n')
    file.close()
    grown(tmp_path / "a", b'{"row": "again"}\n', size=size).close()
    assert [json.loads(line)["row"] for line in (tmp_path / "a").read_text().splitlines()] == [0, 1, 2, "again"]


def test_a_file_that_is_not_what_was_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a"
    file = grown(path, b"one", b"two")
    position = file.position()
    file.write(b"later")
    file.close()
    for content, words in ((b"onetwolater", ""), (b"onetwO", "a is not what was written"), (b"one", "a has lost what")):
        path.write_bytes(content)
        again = GrowingFile.taken_up(path, position)
        assert path.read_bytes() == content[:6]
        assert (again.position() == position) == (words == "")
        again.close()
        assert words in caplog.text if words else caplog.text == ""
        caplog.clear()
