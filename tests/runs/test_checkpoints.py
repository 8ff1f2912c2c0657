"""Checkpoints are whole, verified, and never more than data."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from bisect import bisect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.hostile import CASES
from data.hostile.tools import sign, signed

from maze_core.errors import NothingUsableError, PluginError, StorageError
from maze_core.runs import checkpoints
from maze_core.runs.checkpoints import MANIFEST, MAX_TRIED, STATE, TENSORS, CheckpointStore, DamagedError

FINGERPRINT, SUMMARY = {"torch": "2.13.0"}, {"epoch": 3, "stop_reason": None}
FILES = (TENSORS, STATE, MANIFEST)


def state_of(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    return {
        "trainer": {"weights": torch.randn(50, generator=generator), "updates": number, "none": None},
        "episodes": [torch.arange(number + 1), 0.1 + number, "text", []],
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "returns": np.arange(number, dtype=np.float64),
        "count": np.float32(1.5),
    }


def make_store(folder: Path, numbers: Iterable[int] = (0, 1, 2), keep: int = 3) -> CheckpointStore:
    store = CheckpointStore(folder / "checkpoints", keep)
    for number in numbers:
        store.write(state_of(number), SUMMARY | {"epoch": number}, FINGERPRINT)
    return store


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, (dict, list)):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_same(one[key], other[key])
    else:
        assert one == other


def written(number: int) -> dict[str, Any]:
    """What is read back: a NumPy number becomes an array without dimensions."""
    return state_of(number) | {"count": np.array(1.5, np.float32)}


def folder(store: CheckpointStore, number: int) -> Path:
    return store.directory / f"{number:06d}"


# Writing and reading


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    found = make_store(tmp_path).newest()
    assert (found.number, found.summary, found.fingerprint) == (2, SUMMARY | {"epoch": 2}, FINGERPRINT)
    assert_same(found.state, written(2))


def test_floats_are_read_back_bit_by_bit(tmp_path: Path) -> None:
    values = [0.1, 1e-310, float("inf"), -0.0, 2**53 + 1, 1.7976931348623157e308]
    store = CheckpointStore(tmp_path)
    store.write({"values": values}, {}, {})
    assert [repr(value) for value in store.newest().state["values"]] == [repr(value) for value in values]


def test_views_and_shared_memory_are_written_as_what_they_show(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    store = CheckpointStore(tmp_path)
    store.write({"transposed": whole.T, "row": whole[1], "reversed": whole.numpy()[::-1]}, {}, {})
    state = store.newest().state
    assert torch.equal(state["transposed"], whole.T)
    assert torch.equal(state["row"], whole[1])
    np.testing.assert_array_equal(state["reversed"], whole.numpy()[::-1])


def test_a_state_without_tensors_is_one_too(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.write({"a": 1}, {}, {})
    assert store.newest().state == {"a": 1}


@pytest.mark.parametrize("mark", ["$tensor", "$array"])
def test_a_key_that_marks_tensors_is_no_key(mark: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="has the key"):
        CheckpointStore(tmp_path).write({"a": {mark: "x"}}, {}, {})


def test_numbers_count_checkpoints(tmp_path: Path) -> None:
    assert make_store(tmp_path, range(3)).numbers() == [0, 1, 2]
    assert make_store(tmp_path, range(1)).numbers() == [1, 2, 3]


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    assert make_store(tmp_path, range(6)).numbers() == [3, 4, 5]


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_never_fewer_than_two_are_kept(keep: int, tmp_path: Path) -> None:
    assert make_store(tmp_path, range(4), keep).numbers() == [2, 3]


def test_without_any_checkpoint_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NothingUsableError, match=r"no usable checkpoint in .*checkpoints\.$"):
        CheckpointStore(tmp_path / "checkpoints").newest()


def test_the_manifest_can_be_read_and_verified_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.manifest(1)["summary"] == store.verify(1)["summary"] == SUMMARY | {"epoch": 1}
    flip(folder(store, 1) / STATE)
    assert store.manifest(1)["number"] == 1
    with pytest.raises(DamagedError, match=r"state\.json is not what was written"):
        store.verify(1)


# Damage


def cut(size: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size(path.stat().st_size))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    path.write_bytes((path.parents[1] / "000001" / path.name).read_bytes())


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_huge(path: Path) -> None:
    os.truncate(path, 2**40)  # a sparse file


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": cut(lambda size: 0), "one byte": cut(lambda size: 1), "half": cut(lambda size: size // 2),
    "all but one": cut(lambda size: size - 1), "one more": cut(lambda size: size + 1), "a bit": flip,
    "removed": Path.unlink, "of another checkpoint": swap, "a link": link, "a pipe": pipe, "a folder": directory,
    "huge": make_huge,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(tmp_path)
    DAMAGE[damage](folder(store, 2) / name)
    found = store.newest()
    assert found.number == 1
    assert_same(found.state, written(1))
    (message,) = caplog.messages
    assert "damaged and left out" in message
    assert str(folder(store, 2)) in message
    assert name in message


def test_every_bit_of_a_checkpoint_counts(tmp_path: Path) -> None:
    """Also those of a manifest that mean nothing, such as spaces."""
    store = make_store(tmp_path)
    for name in FILES:
        file = folder(store, 2) / name
        data = file.read_bytes()
        for place in range(0, len(data), max(len(data) // 40, 1)):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
            with pytest.raises(DamagedError):
                store.read(2)
        file.write_bytes(data)
    assert store.read(2).number == 2


def test_checkpoints_whose_names_were_exchanged_are_both_damaged(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    folder(store, 1).rename(tmp_path / "kept")
    folder(store, 2).rename(folder(store, 1))
    (tmp_path / "kept").rename(folder(store, 2))
    assert store.newest().number == 0


def test_if_all_are_damaged_each_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = make_store(tmp_path, range(2))
    for number in store.numbers():
        flip(folder(store, number) / TENSORS)
    with pytest.raises(NothingUsableError) as caught:
        store.newest()
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("there is no usable checkpoint in")
    assert rest == [f"{folder(store, n)}: tensors.safetensors is not what was written" for n in (1, 0)]
    assert caplog.messages == []  # it is told once


def test_many_that_are_damaged_are_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for number in range(3, 1000):
        folder(store, number).mkdir()
    with pytest.raises(NothingUsableError) as caught:
        store.newest()
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith(f"(and {MAX_TRIED - 2} more)")


def test_damaged_ones_are_set_aside_and_do_not_count_any_more(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.set_aside(after=1)
    assert store.numbers() == [0, 1]
    assert (store.directory / "damaged-000002" / MANIFEST).exists()
    store.write(state_of(7), SUMMARY, FINGERPRINT)
    assert store.numbers() == [0, 1, 2]
    assert_same(store.newest().state, written(7))
    store.set_aside(after=1)
    assert store.numbers() == [0, 1]


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("/etc"), Path.mkdir])
def test_whatever_has_the_name_is_replaced_by_what_is_set_aside(make: Callable[[Path], None], tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make(store.directory / "damaged-000002")
    store.set_aside(after=1)
    assert (store.directory / "damaged-000002" / MANIFEST).is_file()
    assert not (store.directory / "damaged-000002").is_symlink()


# Contents that somebody signed


def signed_store(tmp_path: Path, **changed: Any) -> CheckpointStore:
    """A store whose newest checkpoint has other contents, with a manifest that fits them."""
    store = make_store(tmp_path / "run")
    sign(tmp_path / "run", **changed)
    return store


STORED = [
    name
    for name, case in CASES.items()
    if name.startswith(("tensors ", "state file", "manifest ")) and " state." not in name and not case.goes_on
]


@pytest.mark.parametrize("name", STORED)
def test_hostile_contents_are_refused(name: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "run")
    CASES[name].make(tmp_path / "run")
    with pytest.raises(DamagedError) as caught:
        store.read(2)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize("state", [
    {"a": {"$tensor": "not there"}}, {"a": {"$tensor": ["list"]}}, {"a": {"$array": {"b": 1}}}, {}, [],
])  # fmt: skip
def test_state_and_tensors_that_do_not_fit_each_other_are_refused(state: Any, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="do not fit each other"):
        signed_store(tmp_path, state=state).read(2)


def test_a_tensor_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1)}
    state = {"a": {"$tensor": "a"}, "b": {"$tensor": "a"}}
    with pytest.raises(DamagedError, match="do not fit each other"):
        signed_store(tmp_path, tensors=tensors, state=state).read(2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_type_that_arrays_do_not_have_is_refused_for_one(dtype: torch.dtype, tmp_path: Path) -> None:
    store = signed_store(tmp_path, tensors={"a": torch.zeros(2).to(dtype)}, state={"a": {"$array": "a"}})
    with pytest.raises(DamagedError, match="do not fit each other"):
        store.read(2)


def test_no_depth_is_deep_enough_to_break_the_reader(tmp_path: Path) -> None:
    """Parser and writer of JSON have limits of their own, and between them there must be no gap."""
    store = make_store(tmp_path, [0])
    path = folder(store, 0) / MANIFEST
    record = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}

    def is_refused(depth: int) -> bool:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10 * limit)
        path.write_text(signed({**record, "summary": {"epoch": nested(depth)}}))
        sys.setrecursionlimit(limit)
        try:
            store.read(0)
        except DamagedError:
            return True
        return False

    first = bisect(range(sys.getrecursionlimit()), False, key=is_refused)
    assert [is_refused(first + more) for more in (-1, 0, 1, 2, 3)] == [False, True, True, True, True]


@pytest.mark.parametrize("depth", [101, 500, *range(900, 1000, 3)])
def test_a_state_is_no_deeper_than_states_are(depth: int, tmp_path: Path) -> None:
    store = make_store(tmp_path / "run")
    sign(tmp_path / "run", raw_state=b"[" * depth + b"]" * depth)
    with pytest.raises(DamagedError):
        store.read(2)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_names_that_are_no_numbers_are_no_checkpoints(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for name in ("..9", "9", "٣", "000009x", ".tmp-000009", "0000009", "9" * 200, "-00001", "1e3"):
        shutil.copytree(folder(store, 2), store.directory / name)
    (store.directory / "000010").symlink_to(folder(store, 2))
    (store.directory / "000011").touch()
    os.mkfifo(store.directory / "000012")
    assert store.numbers() == [0, 1, 2]


def test_above_the_largest_number_nothing_is_written(tmp_path: Path) -> None:
    """It could not be found again."""
    store = make_store(tmp_path)
    folder(store, 2).rename(store.directory / "99999999999999999")
    with pytest.raises(StorageError, match="no higher numbers"):
        store.write(state_of(3), SUMMARY, FINGERPRINT)
    assert store.numbers() == [0, 1, 99999999999999999]


@pytest.mark.parametrize(
    ("limit", "state"),
    [
        ("MAX_PARTS", {"episodes": [{}] * 100}),
        ("MAX_HEADER", {str(i): torch.zeros(0) for i in range(10)}),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    limit: str, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, limit, 99)
    store = CheckpointStore(tmp_path)
    with pytest.raises(StorageError, match="too many parts"):
        store.write(state, {}, {})
    assert store.numbers() == []


# Faults of the disk


@pytest.mark.parametrize("function", ["fsync", "mkdir", "rename", "open"])
def test_a_disk_that_fails_leaves_the_earlier_checkpoints(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if function == "fsync" else checkpoints.Path, function, fail)
    with pytest.raises(StorageError, match="000003 cannot be written: No space left on device"):
        store.write(state_of(3), SUMMARY, FINGERPRINT)
    monkeypatch.undo()
    assert [path.name for path in sorted(store.directory.iterdir())] == ["000000", "000001", "000002"]
    assert store.newest().number == 2


@pytest.mark.parametrize("nth", range(5))
def test_a_disk_that_fails_at_any_flush_leaves_only_whole_checkpoints(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files, their folder, and the name of the folder."""
    store, calls, fsync = make_store(tmp_path), 0, os.fsync

    def fail_once(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth + 1:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(StorageError, match="Input/output error"):
        store.write(state_of(3), SUMMARY, FINGERPRINT)
    monkeypatch.undo()
    assert not list(store.directory.glob(".tmp-*"))
    for number in store.numbers():
        assert_same(store.read(number).state, written(number))
    assert store.newest().number == (3 if nth == 4 else 2)


def test_what_cannot_be_deleted_is_told_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(tmp_path)

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fail)
    store.write(state_of(3), SUMMARY, FINGERPRINT)
    monkeypatch.undo()
    assert caplog.record_tuples[0][1:] == (
        logging.WARNING, f"the old checkpoint {folder(store, 0)} cannot be deleted: Permission denied",
    )  # fmt: skip
    assert store.newest().number == 3
    store.write(state_of(4), SUMMARY, FINGERPRINT)
    assert not list(store.directory.glob(".tmp-*"))


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("../victim"), None])
def test_what_a_killed_writer_left_is_removed_by_the_next(make: Any, tmp_path: Path) -> None:
    store, left = make_store(tmp_path), tmp_path / "checkpoints" / ".tmp-000003"
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").touch()
    shutil.copytree(folder(store, 2), left) if make is None else make(left)
    store.write(state_of(3), SUMMARY, FINGERPRINT)
    assert store.newest().number == 3
    assert not list(store.directory.glob(".tmp-*"))
    assert (tmp_path / "victim" / "file").exists()


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nothing"), os.mkfifo])
def test_what_has_the_name_of_the_next_checkpoint_does_not_keep_it_from_being_written(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)
    store.write({"a": 1}, {}, {})
    make(tmp_path / "000001")
    store.write({"a": 2}, {}, {})
    assert store.numbers() == [0, 2]
    assert store.newest().state == {"a": 2}
