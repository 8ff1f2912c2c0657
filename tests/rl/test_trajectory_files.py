"""A file keeps all bits of a trajectory, every NumPy reads it, and damage or a stranger's can do no harm."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.hostile.tools import CANARY, TOUCH
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from support.envs import RandomEnv
from support.trajectories import Odd, assert_same, record, told, vector

from maze_core import UserError
from maze_core.errors import NothingUsableError
from maze_core.rl import FLAT, InProcessVectorEnv
from maze_core.rl.trajectories import Trajectory
from maze_core.rl.trajectory_files import MAX_ENTRIES, trajectory_bytes, trajectory_from_bytes


@cache
def example(name: str = "masked cutting") -> Trajectory:
    return told()[0] if name == "told" else record(vector(name, False, 1), [0])[0]


@cache
def written(name: str = "masked cutting") -> bytes:
    return trajectory_bytes(example(name))


def test_numpy_reads_a_file_without_pickles() -> None:
    with np.load(io.BytesIO(written()), allow_pickle=False) as file:
        arrays = dict(file)
    trajectory = example()
    assert list(arrays) == [
        "rewards", "actor", "agent", "new_step",
        *(f"observations/select_piece/{key}" for key in
          ("action_mask/piece_idx", "inventory", "inventory_size", "ordered_piece")),
        *(f"observations/cut_piece/{key}" for key in
          ("action_mask/cut_order", "action_mask/cut_rotation", "ordered_piece", "selected_piece")),
        "actions/select_piece/piece_idx", "actions/cut_piece/cut_order", "actions/cut_piece/cut_rotation",
        *(f"events/{path}" for path, value in trajectory.events.items() if isinstance(value, np.ndarray)),
        "meta",
    ]  # fmt: skip
    meta = json.loads(arrays["meta"].tobytes())
    assert (meta["format"], meta["seed"], meta["step_keys"]) == (1, 0, ["select_piece", "cut_piece"])
    assert trajectory_from_bytes(written(), "it").rewards.flags.writeable
    assert_same(arrays["observations/cut_piece/selected_piece"], trajectory.observations["cut_piece"]["selected_piece"])


def test_the_same_trajectory_is_the_same_bytes() -> None:
    assert trajectory_bytes(trajectory_from_bytes(written(), "it")) == written()


def test_names_of_keys_may_hold_anything_that_can_be_printed() -> None:
    space = spaces.Dict([(key, spaces.Discrete(2)) for key in ("a/b", "a", "", "%2F", "ü", "x.npy", "..", "a b")])
    trajectory = record(InProcessVectorEnv(lambda: RandomEnv(spaces.Tuple([space]), spaces.Discrete(2)), 1), [0])[0]
    assert_same(trajectory_from_bytes(trajectory_bytes(trajectory), "it"), trajectory)


def arrays_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED, *more: tuple[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in [*entries.items(), *more]:
            archive.writestr(name, data)
    return content.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def with_meta(**other: Any) -> bytes:
    entries = arrays_of(written("told"))
    meta = json.loads(np.load(io.BytesIO(entries["meta.npy"])).tobytes())
    text = json.dumps({key: value for key, value in {**meta, **other}.items() if value is not ...})
    return zipped({**entries, "meta.npy": npy(np.frombuffer(text.encode(), np.uint8))})


def refused(content: bytes, words: str = "") -> None:
    with pytest.raises(NothingUsableError, match=rf"^it is no trajectory: .*{words}.*\.$") as caught:
        trajectory_from_bytes(content, "it")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_a_file_that_another_program_compressed_is_read() -> None:
    assert_same(trajectory_from_bytes(zipped(arrays_of(written()), zipfile.ZIP_STORED), "it"), example())


def test_arrays_in_the_order_of_fortran_are_read() -> None:
    entries, name = arrays_of(written()), "observations/select_piece/inventory.npy"
    entries[name] = npy(np.asfortranarray(example().observations["select_piece"]["inventory"]))
    assert b"'fortran_order': True" in entries[name]
    assert_same(trajectory_from_bytes(zipped(entries), "it"), example())


@pytest.mark.parametrize("name", ["told", "masked cutting"])
def test_a_file_that_lost_its_end_is_refused(name: str) -> None:
    for length in {*range(0, len(written(name)), 97), *range(len(written(name)) - 60, len(written(name)))}:
        refused(written(name)[:length])


@pytest.mark.parametrize("name", ["told", "masked cutting", "cartpole"])
@given(st.data())
def test_damage_is_noticed_or_does_no_harm(name: str, data: st.DataObject) -> None:
    content = bytearray(written(name))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = trajectory_from_bytes(bytes(content), "it")
    except NothingUsableError as error:
        assert str(error).isprintable()
    else:
        assert_same(found, example(name))


@pytest.mark.long
@pytest.mark.parametrize("name", ["told", "cartpole"])
def test_a_bit_that_flipped_anywhere_is_noticed_or_does_no_harm(name: str) -> None:
    content = bytearray(written(name))
    for place, bit in itertools.product(range(len(content)), range(8)):
        content[place] ^= 1 << bit
        try:
            found = trajectory_from_bytes(bytes(content), "it")
        except NothingUsableError:
            pass
        else:
            assert_same(found, example(name))
        content[place] ^= 1 << bit


def test_an_array_that_is_missing_is_named() -> None:
    for name in arrays_of(written()):
        entries = arrays_of(written())
        del entries[name]
        refused(zipped(entries), rf"the array '{name.removesuffix('.npy')}' is missing")


def test_arrays_that_were_swapped_are_noticed_where_they_differ() -> None:
    for name in ("told", "masked cutting"):
        for one, other in itertools.combinations(arrays_of(written(name)), 2):
            entries = arrays_of(written(name))
            alike = entries[one][:128] == entries[other][:128]  # nobody can see that
            entries[one], entries[other] = entries[other], entries[one]
            if not alike:
                try:
                    refused(zipped(entries))
                except pytest.fail.Exception:
                    assert {one.split("/")[0], other.split("/")[0]} <= {"events", "observations", "actions"}, (
                        one,
                        other,
                    )


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("rewards", np.zeros(0), "has no steps"),
        ("rewards", np.zeros(2), r"'actor' is no array int64 \[3\]"),
        ("rewards", np.zeros(3, np.float32), r"'rewards' is no array float64 \[3\]"),
        ("rewards", 1.0, "'rewards' is no array"),
        ("rewards", np.zeros((3, 1)), "'rewards' is no array"),
        ("rewards", np.zeros(3, complex), "no array of numbers"),
        ("rewards", np.zeros(3, ">f8"), "no array of numbers"),
        ("rewards", np.zeros(3, "M8[s]"), "no array of numbers"),
        ("rewards", np.zeros(3, [("a", "f8")]), "no array of numbers"),
        ("rewards", np.array(["a"] * 3), "no array of numbers"),
        ("rewards", np.zeros(3, np.longdouble), "no array of numbers"),
        ("rewards", np.zeros(3, "V8"), "no array of numbers"),
        ("actor", np.array([0, 0, 0, 1]), "no such actors"),
        ("actor", np.array([0, 0, 0, -1]), "no such actors"),
        ("agent", np.array([0, 0, 0, -1]), "no such actors or agents"),
        ("agent", np.zeros(4, np.int32), "'agent' is no array"),
        ("new_step", np.ones(4, np.int8), "'new_step' is no array bool"),
        ("observations/substep_0", np.zeros((3, 2), np.float32), r"is no array \[4, 2\]"),
        ("observations/substep_0", np.zeros((4, 3), np.float32), r"is no array \[4, 2\]"),
        ("observations/substep_0", np.zeros((4, 2, 1), np.float32), r"is no array \[4, 2\]"),
        ("actions/substep_0", np.zeros(3), r"is no array \[3\] of the space Discrete"),
        ("actions/substep_0", np.zeros(4, np.int64), r"is no array \[3\]"),
        ("events/Group/b:x y/histogram", np.array(["a"]), "no array of numbers"),
        ("more", np.zeros(3), "an array 'more', which does not belong"),
        ("observations/substep_0/x", np.zeros(3), "does not belong"),
        ("events/x", np.zeros(3), "does not belong"),
        ("meta", np.zeros(3), "'meta' holds no text"),
        ("meta", np.frombuffer(b"[]", np.uint8), "says no format"),
        ("meta", np.frombuffer(b"{", np.uint8), "Expecting"),
        ("meta", np.frombuffer(b"\xff", np.uint8), "decode"),
        ("meta", np.frombuffer(b'{"format": NaN}', np.uint8), "NaN is no JSON"),
        ("meta", np.frombuffer(b"[" * 100_000, np.uint8), "recursion"),
    ],
)
def test_an_array_that_contradicts_the_rest_is_refused(name: str, array: Any, words: str) -> None:
    refused(zipped({**arrays_of(written("told")), f"{name}.npy": npy(array)}), words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": 2}, "it has format 2, and this version of Maze reads 1"),
        ({"format": True}, "says no format"),
        ({"format": ...}, "says no format"),
        ({"seed": ...}, "other fields"),
        ({"more": 1}, "other fields"),
        ({"seed": -1}, "seed is no number"),
        ({"seed": 1.0}, "seed is no number"),
        ({"seed": True}, "seed is no number"),
        ({"seed": "1"}, "seed is no number"),
        ({"terminated": 1}, "neither true nor false"),
        ({"truncated": None}, "neither"),
        ({"step_keys": []}, "other actors than spaces"),
        ({"step_keys": ["a"]}, "other actors than spaces"),
        ({"step_keys": [["a"]]}, "other actors"),
        ({"step_keys": {"substep_0": 1}}, "'step_keys' is no list"),
        ({"infos": []}, "'infos' is no dict"),
        ({"infos": {"4": {}}}, "not those of its steps"),
        ({"infos": {"-1": {}}}, "not those of its steps"),
        ({"infos": {"01": {}}}, "not those of its steps"),
        ({"infos": {"\u0661": {}}}, "not those of its steps"),
        ({"infos": {"1": []}}, "not those of its steps"),
        ({"infos": {"1": {"$float": "1"}}}, "a key with one"),
        ({"infos": {"1": {"$x": 1}}}, "a key with one"),
        ({"infos": {"9" * 5000: {}}}, "not those of its steps"),
        ({"infos": {"1": {"$float": ["nan"]}}}, "a key with one"),
        ({"infos": {"1": {"$float": "nan"}}}, "not those of its steps"),
        ({"events": {}}, "does not belong to it"),
        ({"events": {"a": None}}, "the array 'events/a' is missing"),
        ({"events": {"Group/b:x y/histogram": None, "a": "x"}}, "the event 'a' is neither a number"),
        ({"events": {"Group/b:x y/histogram": None, "a": [1]}}, "the event 'a' is neither a number"),
        ({"events": None}, "'events' is no dict"),
        ({"spaces": None}, "None is no space"),
        ({"spaces": {"kind": "Discrete", "dtype": "int64", "n": 2, "start": 0}}, "not those of actors"),
        ({"spaces": {"kind": "Dict", "spaces": []}}, "not those of actors"),
        ({"spaces": {"kind": "Dict", "spaces": [["a", {"kind": "Tuple", "spaces": []}]]}}, "not those of actors"),
        ({"spaces": {"kind": "Text"}}, "unknown kind 'Text'"),
    ],
)
def test_a_description_that_contradicts_the_rest_is_refused(changed: dict[str, Any], words: str) -> None:
    refused(with_meta(**changed), words)


def test_a_description_that_another_program_wrote_is_read() -> None:
    assert_same(trajectory_from_bytes(with_meta(), "it"), example("told"))


def header(text: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def described(shape: str, kind: str = "<f8", order: str = "False") -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no array of numbers"),
        (b"\x93NUMPY", "no array of numbers"),
        (b"PK\x03\x04" * 30, "no array of numbers"),
        (header(described("(3,)"), bytes(23)), "other bytes than it claims"),
        (header(described("(3,)"), bytes(25)), "other bytes than it claims"),
        (header(described("(999999999999,)"), bytes(24)), "other bytes than it claims"),
        (header(described("(100000000000000,)"), bytes(24)), "no array of numbers"),
        (header(described("(999999999999, 999999999999, 999999999999)")), "other bytes than it claims"),
        (header(described("(-3,)"), bytes(24)), "no array of numbers"),
        (header(described("(3.0,)"), bytes(24)), "no array"),
        (header(described("(0, 999999999999, 999999999999, 999999999999)")), ""),
        (header(described("(" + "1, " * 100 + ")"), bytes(8)), ""),
        (header(described("[3]"), bytes(24)), "no array"),
        (header(described("(3,)", "|O"), bytes(24)), "no array"),
        (header(described("(3,)", "<f9"), bytes(27)), ""),
        (header(described("(3,)", "<f8"), bytes(24), b"\x02\x00"), "no array of numbers"),
        (header(described("(__import__('os').abort(),)"), bytes(24)), "no array of numbers"),
        (header(b"(" * 9000), "no array of numbers"),
        (header(described("(" + "3, " * 20000 + ")")), ""),
        (header(described("(3,)", "|b1"), b"\x00\x01\x02"), "neither true nor false"),
    ],
)
def test_an_array_that_is_none_is_refused(data: bytes, words: str) -> None:
    refused(zipped({**arrays_of(written("told")), "rewards.npy": data}), words)


class Poison:
    def __reduce__(self) -> Any:
        return os.system, (TOUCH,)


def test_pickled_objects_are_refused_and_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    objects = np.empty(3, object)
    objects[:] = [Poison()] * 3
    entries = arrays_of(written("told"))
    for data in (npy(objects, allow_pickle=True), pickle.dumps(Poison())):
        for name in entries:
            refused(zipped({**entries, name: data}), "no array of numbers")
    refused(npy(objects, allow_pickle=True))
    refused(pickle.dumps(Poison()))
    assert not (tmp_path / "canary").exists()
    pickle.loads(pickle.dumps(Poison()))  # made here, to show that it would have done something
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ""), (b"PK\x05\x06" + bytes(18), "the array 'meta' is missing"), (b"hello", ""), (npy(np.zeros(3)), ""),
        (zipped({"meta": b""}), "'meta', which is no array or there twice"), (zipped({"a/": b""}), "which is no array"),
        (zipped({"meta.npy": npy(np.zeros(3))}, zipfile.ZIP_BZIP2), "compressed in an unknown way"),
        (zipped({"meta.npy": npy(np.zeros(3))}, zipfile.ZIP_LZMA), "compressed in an unknown way"),
        (zipped({"\x1b[31m\n.npy": b""}), "no array of numbers"),
    ],
)  # fmt: skip
def test_what_is_no_such_archive_is_refused(content: bytes, words: str) -> None:
    refused(content, words)


def test_an_array_that_is_there_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped(arrays_of(written("told")), zipfile.ZIP_DEFLATED, ("rewards.npy", npy(np.ones(3))))
    refused(content, "there twice")


def test_many_entries_are_refused_before_they_are_listed() -> None:
    content = zipped({f"{number}.npy": b"" for number in range(MAX_ENTRIES + 1)}, zipfile.ZIP_STORED)
    refused(content, "more than 10000 arrays")


def bomb(claimed: int, actual: int) -> bytes:
    """An archive whose one entry says that it has `claimed` bytes, and unpacks to `actual` zeros."""
    content = bytearray(zipped({"meta.npy": bytes(actual)}))
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", claimed)
    content[place + 16 : place + 20] = struct.pack("<I", zlib.crc32(bytes(min(claimed, 2**20))))
    return bytes(content)


@pytest.mark.parametrize(("claimed", "actual"), [(2**32 - 2, 2**10), (100, 2**25)])
def test_what_an_entry_claims_bounds_what_is_unpacked(claimed: int, actual: int) -> None:
    content = bomb(claimed, actual)
    tracemalloc.start()
    try:
        refused(content)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_more_than_the_limit_is_refused_before_it_is_unpacked() -> None:
    one = bomb(2**32 - 2, 2**10)
    place, end = one.rindex(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    listed = one[place:end] * 2
    finish = one[end : end + 8] + struct.pack("<HHII", 2, 2, len(listed), place) + b"\x00\x00"
    refused(one[:place] + listed + finish, "holds more than 4294967296 bytes")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rewards": np.zeros(2)}, "'actor' is no array"),
        ({"rewards": [1.0, 2.0, 3.0]}, "'rewards' is no array"),
        ({"seed": -1}, "seed"),
        ({"terminated": np.True_}, "terminated or truncated"),
        ({"step_keys": ("a",)}, "other actors"),
        ({"observations": {}}, "'observations/substep_0' is missing"),
        ({"actions": {FLAT: np.zeros(3)}}, "of the space Discrete"),
        ({"observations": {FLAT: np.zeros((4, 2), object)}}, "is no array"),
        ({"infos": {9: {}}}, "its infos"),
        ({"events": {"a": "b"}}, "the event 'a'"),
        ({"events": {"a": np.array(["b"])}}, "the event 'a'"),
    ],
)
def test_what_could_not_be_read_is_not_written(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=rf"the trajectory cannot be written: .*{words}"):
        trajectory_bytes(replace(example("told"), **changed))


def test_infos_of_any_kind_are_written() -> None:
    changed = replace(example("told"), infos={1: {"x": np.arange(2), "y": {3: Odd()}}})
    assert trajectory_from_bytes(trajectory_bytes(changed), "it").infos[1]["x"] == [0, 1]
