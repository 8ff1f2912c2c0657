"""Weights are tensors under names: whatever else a file asks for is refused before it happens."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from data.hostile import CASES, make_base, place
from data.hostile.of_weights import POISON, archive, tensor_pickle, zipped
from data.hostile.tools import CANARY, TOUCH

from maze_core.errors import NothingUsableError
from maze_core.runs import weights
from maze_core.runs.run_directory import RunDirectory
from maze_core.runs.weights import BEST, read_weights

NAME = "models.substep_0.models.0.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "run")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Is there once code ran."""
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    return tmp_path / "canary"


def write(folder: Path, content: bytes) -> str:
    (folder / BEST).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).T, torch.tensor(1.5), torch.zeros(0, 3),
        torch.tensor([1, 2]), torch.tensor([True]), torch.tensor([0.1], dtype=torch.float64),
        torch.tensor([0.1], dtype=torch.bfloat16), torch.ones(3, requires_grad=True), torch.zeros(3).expand(2, 3)[0],
    ],
)  # fmt: skip
def test_tensors_are_read_back(tensor: torch.Tensor, tmp_path: Path) -> None:
    RunDirectory(tmp_path).write_weights(BEST, {"a": tensor, "b.c": torch.ones(1)})
    found = read_weights(str(tmp_path))
    assert list(found) == ["a", "b.c"]
    assert found["a"].dtype == tensor.dtype
    assert torch.equal(found["a"], tensor)


def test_tensors_may_share_what_is_stored(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    RunDirectory(tmp_path).write_weights(BEST, {"whole": whole, "half": whole[3:]})
    found = read_weights(str(tmp_path))
    assert torch.equal(found["half"], found["whole"][3:])


def test_a_home_directory_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    RunDirectory(tmp_path).write_weights(BEST, {"a": torch.ones(1)})
    assert list(read_weights("~")) == ["a"]


TENSORS_ALL_THE_SAME = ("another shape", "not a number", "infinite", "with one fewer", "many names", "the victim")
"""What they are for decides."""

HOSTILE = [name for name, case in CASES.items() if case.weights and not name.endswith(TENSORS_ALL_THE_SAME)]


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_more_than_tensors_is_refused_and_does_nothing(
    name: str, base: Path, tmp_path: Path, canary: Path
) -> None:
    run = place(base, tmp_path / "home")
    CASES[name].make(run)
    tracemalloc.start()
    try:
        with pytest.raises(NothingUsableError) as caught:
            read_weights(str(run))
        size = (run / BEST).stat().st_size if (run / BEST).is_file() and not (run / BEST).is_symlink() else 0
        assert tracemalloc.get_traced_memory()[1] < 2**24 + 4 * min(size, 2**28)
    finally:
        tracemalloc.stop()
    assert not canary.exists()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250 + len(str(run))
    assert "weights_only" not in str(caught.value)


def test_the_pickles_of_these_cases_would_do_something(base: Path, tmp_path: Path, canary: Path) -> None:
    """For who reads them as pickles are read; else they would show nothing."""
    run = place(base, tmp_path / "home")
    for name in ("weights a pickle", "weights a pickle of text", "weights a pickle inside"):
        CASES[name].make(run)
        content = (run / BEST).read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):
            torch.load(io.BytesIO(content), weights_only=False)  # made by this test's own corpus, to touch the canary
        else:
            pickle.loads(content)  # the same
        assert canary.exists(), name
        canary.unlink()


def test_a_pickle_in_capitals_is_what_torch_would_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it must be looked at: to torch the names are the same."""
    parts = {name: data for name, data in archive().items() if not name.endswith(".pkl")}
    content = zipped({**parts, "archive/DATA.PKL": tensor_pickle()})
    assert list(torch.load(io.BytesIO(content), weights_only=True)) == [NAME]
    asked: list[bytes] = []
    monkeypatch.setattr(weights, "_check_calls", asked.append)
    assert list(read_weights(write(tmp_path, content))) == [NAME]
    assert asked == [tensor_pickle()]


@pytest.mark.parametrize(
    "call",
    ["builtins bytearray", "torch._utils _rebuild_sparse_tensor", "torch FloatTensor", "os system", "torch device"],
)
def test_only_what_tensors_are_made_of_is_called(call: str, tmp_path: Path, canary: Path) -> None:
    module, name = call.split()
    with pytest.raises(NothingUsableError, match=f"it asks for {call}"):
        read_weights(write(tmp_path, zipped(archive(f"\x80\x02c{module}\n{name}\n)R.".encode("latin-1")))))
    assert not canary.exists()


@pytest.mark.parametrize(
    "opcode", ["i", "o", "\x81", "\x92", "\x82\x01", "\x83\x01\x00", "\x84\x01\x00\x00\x00", "b", "\x93"]
)
def test_opcodes_that_make_objects_are_refused(opcode: str, tmp_path: Path) -> None:
    pickled = b"\x80\x02" + (b"icollections\nOrderedDict\n" if opcode == "i" else opcode.encode("latin-1")) + b"."
    with pytest.raises(NothingUsableError, match="it asks for more than tensors"):
        read_weights(write(tmp_path, zipped(archive(pickled))))


def test_the_checked_archive_is_what_torch_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the file, which somebody could exchange meanwhile, nor anything between the parts of the archive."""
    given: list[bytes] = []
    load = torch.load

    def recorded(file: Any, **options: Any) -> Any:
        given.append(file.getvalue())
        assert options == {"map_location": "cpu", "weights_only": True}
        return load(file, **options)

    monkeypatch.setattr(torch, "load", recorded)
    content = zipped(archive())
    read_weights(write(tmp_path, POISON + content + POISON))
    assert POISON not in given[0]
    assert TOUCH.encode() not in given[0]


@pytest.mark.parametrize("damage", [lambda size: 0, lambda size: 1, lambda size: size // 2, lambda size: size - 1])
def test_a_file_that_is_cut_off_is_refused(damage: Any, tmp_path: Path) -> None:
    RunDirectory(tmp_path).write_weights(BEST, {"a": torch.ones(100)})
    path = tmp_path / BEST
    os.truncate(path, damage(path.stat().st_size))
    with pytest.raises(NothingUsableError, match=r"state_dict\.pt holds no weights: "):
        read_weights(str(tmp_path))


def test_no_bit_can_be_flipped_unnoticed(tmp_path: Path) -> None:
    """Those of tensors are refused; in the frame of the archive there are some that mean nothing."""
    expected = {"a": torch.arange(100.0)}
    RunDirectory(tmp_path).write_weights(BEST, expected)
    data = (tmp_path / BEST).read_bytes()
    refused = 0
    for place_ in range(0, len(data), 7):
        (tmp_path / BEST).write_bytes(data[:place_] + bytes([data[place_] ^ 1 << place_ % 8]) + data[place_ + 1 :])
        try:
            found = read_weights(str(tmp_path))
        except NothingUsableError:
            refused += 1
        else:
            assert list(found) == ["a"]
            assert torch.equal(found["a"], expected["a"])
    assert refused > 100
