"""Checkpoints are whole, verified, and never more than data."""

import json
import os
import shutil

import pytest
import torch

from maze_core import NothingUsableError, StorageError
from maze_core.runs import checkpoints
from maze_core.runs.checkpoints import MANIFEST, STATE, TENSORS, CheckpointStore

FINGERPRINT = {"torch": "2.13.0"}
FILES = (TENSORS, STATE, MANIFEST)


def state_of(number):
    generator = torch.Generator().manual_seed(number)
    return {
        "trainer": {"weights": torch.randn(50, generator=generator), "updates": number, "none": None},
        "episodes": [torch.arange(number + 1), 0.1 + number, "text"],
        "double": torch.tensor([1 / 3], dtype=torch.float64),
    }


def make_store(tmp_path, numbers=(0, 1, 2)):
    store = CheckpointStore(tmp_path / "checkpoints", keep=3)
    for number in numbers:
        store.write(number, state_of(number), FINGERPRINT)
    return store


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, (dict, list)):
        assert type(one) is type(other)
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_same(one[key], other[key])
    else:
        assert one == other


def test_what_is_read_is_what_was_written(tmp_path):
    found = make_store(tmp_path).newest()
    assert (found.number, found.fingerprint) == (2, FINGERPRINT)
    assert_same(found.state, state_of(2))


def test_floats_are_read_back_bit_by_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    values = [0.1, 1e-310, float("inf"), -0.0, 2**53 + 1]
    store.write(1, {"values": values}, {})
    assert [v.hex() if isinstance(v, float) else v for v in store.newest().state["values"]] == [
        v.hex() if isinstance(v, float) else v for v in values
    ]


def test_the_last_few_are_kept(tmp_path):
    assert make_store(tmp_path, range(6)).numbers() == [3, 4, 5]


def test_never_fewer_than_two_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    for number in range(4):
        store.write(number, state_of(number), {})
    assert store.numbers() == [2, 3]


def test_without_any_checkpoint_there_is_a_sentence(tmp_path):
    with pytest.raises(NothingUsableError, match="no usable checkpoint in"):
        CheckpointStore(tmp_path / "checkpoints").newest()


def cut(size):
    return lambda path: os.truncate(path, size(path.stat().st_size))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(path):
    path.write_bytes((path.parents[1] / "000001" / path.name).read_bytes())


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_huge(path):
    os.truncate(path, 2**40)  # a sparse file


DAMAGE = {
    "empty": cut(lambda size: 0), "one byte": cut(lambda size: 1), "half": cut(lambda size: size // 2),
    "all but one": cut(lambda size: size - 1), "a bit": flip, "removed": lambda path: path.unlink(),
    "of another checkpoint": swap, "a link": link, "a pipe": pipe, "huge": make_huge,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(name, damage, tmp_path, caplog):
    store = make_store(tmp_path)
    DAMAGE[damage](store.directory / "000002" / name)
    found = store.newest()
    assert found.number == 1
    assert_same(found.state, state_of(1))
    assert "000002 is damaged and left out" in caplog.text


def test_if_all_are_damaged_each_is_named(tmp_path):
    store = make_store(tmp_path)
    for number in store.numbers():
        flip(store.directory / f"{number:06d}" / TENSORS)
    with pytest.raises(NothingUsableError, match=r"(?s)000002.*000001.*000000: tensors.safetensors is not what was"):
        store.newest()


def rewrite(store, number, **changed):
    """Gives a checkpoint other contents, with a manifest that fits them."""
    path = store.directory / f"{number:06d}"
    manifest = json.loads((path / MANIFEST).read_text())
    for name, data in changed.items():
        name = {"tensors": TENSORS, "state": STATE}[name]
        (path / name).write_bytes(data)
        manifest["files"][name] = {"size": len(data), "sha256": checkpoints._hash(data)}
    del manifest["sha256"]
    (path / MANIFEST).write_bytes(checkpoints._signed(manifest))


@pytest.mark.parametrize(
    "changed",
    [
        {"tensors": b"\x80\x04pickle"},
        {"tensors": (2**62).to_bytes(8, "little") + b"{}"},
        {
            "tensors": (90).to_bytes(8, "little")
            + b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'.ljust(90)
        },
        {"state": b"["},
        {"state": b"[" * 10**6},
        {"state": b'{"a": {"tensor": "not there"}}'},
        {"state": b'{"a": {"tensor": ["list"]}}'},
        {"state": b"{}"},
        {"state": b"[]"},
    ],
)
def test_hostile_contents_are_refused(changed, tmp_path):
    store = make_store(tmp_path)
    rewrite(store, 2, **changed)
    assert store.newest().number == 1


def test_names_that_are_no_numbers_are_no_checkpoints(tmp_path):
    store = make_store(tmp_path)
    for name in ("..9", "9", "٣", "000009x", ".tmp-000009"):
        shutil.copytree(store.directory / "000002", store.directory / name)
    (store.directory / "000010").symlink_to(store.directory / "000002")
    assert store.numbers() == [0, 1, 2]


class Full(OSError):
    """The disk is full."""


@pytest.mark.parametrize("function", ["fsync", "mkdir", "rename", "open"])
def test_a_disk_that_fails_leaves_the_earlier_checkpoints(function, tmp_path, monkeypatch):
    store = make_store(tmp_path)

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    owner = os if function == "fsync" else checkpoints.Path
    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(StorageError, match="000003 cannot be written: No space left on device"):
        store.write(3, state_of(3), {})
    monkeypatch.undo()
    assert [path.name for path in sorted(store.directory.iterdir())] == ["000000", "000001", "000002"]
    assert store.newest().number == 2


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    store = make_store(tmp_path)
    shutil.copytree(store.directory / "000002", store.directory / ".tmp-000003")
    store.write(3, state_of(3), {})
    assert store.newest().number == 3
    assert not list(store.directory.glob(".tmp-*"))
