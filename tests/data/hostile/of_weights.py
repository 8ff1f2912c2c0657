"""Hostile files of weights, which `input_dir` reads: pickles and zip files that are more than tensors."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from data.hostile.tools import (
    RED,
    TOUCH,
    VICTIM,
    add,
    full_folder,
    hard_link,
    link_to,
    names_at,
    replaced,
    sparse,
    tensors_of,
)

PICKLE = "archive/data.pkl"
POISON = f"cos\nsystem\n(S'{TOUCH}'\ntR.".encode()


def archive(pickled: bytes | None = None, **changed: bytes) -> dict[str, bytes]:
    """The parts of a file of weights, by name."""
    buffer = io.BytesIO()
    torch.save({"models.substep_0.models.0.weight": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as source:
        parts = {entry.filename: source.read(entry) for entry in source.infolist()}
    if pickled is not None:
        parts[PICKLE] = pickled
    return parts | changed


def zipped(parts: Mapping[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, data in parts.items() if isinstance(parts, Mapping) else parts:
            target.writestr(name, data)
    return buffer.getvalue()


def _integer(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def tensor_pickle(
    size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), offset: int = 0, storage: bytes = b"FloatStorage",
    numel: int = 4, name: str = "models.substep_0.models.0.weight", extra: bytes = b"",
) -> bytes:  # fmt: skip
    """The pickle of a mapping with one tensor."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(_integer, values)) + b"t"

    def text(value: str) -> bytes:
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    place = b"(" + text("storage") + b"ctorch\n" + storage + b"\n" + text("0") + text("cpu") + _integer(numel) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = place + _integer(offset) + numbers(size) + numbers(stride) + b"\x89" + hooks + extra
    return b"\x80\x02}" + text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def _grows(size: int) -> bytes:
    return b"\x80\x02cbuiltins\nbytearray\n" + _integer(size) + b"\x85R."


def weights(content: Callable[[], bytes]) -> Callable[[Path], None]:
    """A case with other weights."""
    return lambda run: (run / "state_dict.pt").write_bytes(content()) and None


class _Evil:
    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _bomb() -> bytes:
    return zipped(archive() | {"archive/data/0": b"\0" * 10**8}, zipfile.ZIP_DEFLATED)


def _overlapping() -> bytes:
    data = bytearray(zipped({"archive/data.pkl": tensor_pickle(), "archive/data/0": b"\0" * 16}))
    starts = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    data[starts[1] + 42 : starts[1] + 46] = data[starts[0] + 42 : starts[0] + 46]
    return bytes(data)


_rest = [(name, data) for name, data in archive().items() if not name.endswith("data.pkl")]
_clean = archive()[PICKLE]
for _name, _content in {
    "a pickle": lambda: pickle.dumps(_Evil(os.system, TOUCH)),
    "a pickle of text": lambda: POISON,
    "a pickle inside": lambda: _saved({"a": _Evil(os.system, TOUCH)}),
    "a pickle in capitals": lambda: zipped([*_rest, (PICKLE, _clean), (PICKLE.upper(), POISON)]),
    "a pickle in capitals that grows": lambda: zipped([*_rest, (PICKLE, _clean), (PICKLE.upper(), _grows(2**33))]),
    "a pickle by another name": lambda: zipped([*_rest, ("archive\\data.pkl", POISON)]),
    "two pickles": lambda: zipped([*_rest, (PICKLE, _clean), ("archive//data.pkl", POISON)]),
    "the old format": lambda: b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, _Evil(os.system, TOUCH)))),
    "a script": lambda: zipped([*archive().items(), ("archive/constants.pkl", POISON),
                                ("archive/code/__torch__.py", b"import os")]),
    "numbers that grow": lambda: zipped(archive(_grows(2**36))),
    "a function": lambda: zipped(archive(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.")),
    "a function by stack": lambda: zipped(archive(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")),
    "an attribute": lambda: zipped(archive(b"\x80\x02ccollections\nOrderedDict.__init__\n)R.")),
    "a state": lambda: zipped(archive(b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.")),
    "an instance": lambda: zipped(archive(b"(icollections\nOrderedDict\n.")),
    "an extension": lambda: zipped(archive(b"\x80\x02\x82\x01.")),
    "another persistent name": lambda: zipped(archive(b"\x80\x02Pevil\n.")),
    "another storage": lambda: zipped(archive(tensor_pickle(storage=b"UntypedStorage"))),
    "complex numbers": lambda: zipped(archive(tensor_pickle(storage=b"ComplexFloatStorage"))),
    "an expanded tensor": lambda: zipped(archive(tensor_pickle((10**6, 10**6), (0, 0)))),
    "a tensor beyond its storage": lambda: zipped(archive(tensor_pickle((10**10,), (1,)))),
    "an offset beyond its storage": lambda: zipped(archive(tensor_pickle(offset=100))),
    "negative strides": lambda: zipped(archive(tensor_pickle(stride=(-1,)))),
    "sizes that overflow": lambda: zipped(archive(tensor_pickle((2**62, 2**62), (1, 1)))),
    "a negative size": lambda: zipped(archive(tensor_pickle((-1,), (1,)))),
    "storage beyond the file": lambda: zipped(archive(tensor_pickle((10**9,), (1,), numel=10**9))),
    "storage of huge size": lambda: zipped(archive(tensor_pickle(numel=2**62))),
    "storage of negative size": lambda: zipped(archive(tensor_pickle(numel=-4))),
    "another shape": lambda: _saved({"models.substep_0.models.0.weight": torch.zeros(3)}),
    "names with control characters": lambda: _saved({RED: torch.zeros(3)}),
    "names that are long": lambda: _saved({"x" * 10**6: torch.zeros(3)}),
    "names that are numbers": lambda: _saved({5: torch.zeros(3)}),
    "many names": lambda: _saved({str(i): torch.zeros(1) for i in range(3000)}),
    "nested": lambda: _saved({"a": {"b": torch.zeros(1)}}),
    "a parameter": lambda: _saved({"a": torch.nn.Parameter(torch.zeros(1))}),
    "a sparse tensor": lambda: _saved({"a": torch.eye(3).to_sparse()}),
    "a list": lambda: _saved([torch.zeros(1)]),
    "a tensor": lambda: _saved(torch.zeros(1)),
    "a mapping in itself": lambda: zipped(archive(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")),
    "deep lists": lambda: zipped(archive(b"\x80\x02" + b"]" * 10**4 + b"a" * (10**4 - 1) + b".")),
    "long number": lambda: zipped(archive(b"\x80\x02L" + b"9" * 10**6 + b"L\n.")),
    "many marks": lambda: zipped(archive(b"\x80\x02" + b"(" * 10**5 + b".")),
    "a long pickle": lambda: zipped(archive(b"\x80\x02" + b"(" * (2**22 - 1) + b".")),
    "no end": lambda: zipped(archive(b"\x80\x02}")),
    "no pickle": lambda: zipped(_rest),
    "an empty archive": lambda: zipped([]),
    "empty": lambda: b"",
    "text": lambda: RED.encode(),
    "compressed": lambda: zipped(archive(), zipfile.ZIP_DEFLATED),
    "a compressed bomb": _bomb,
    "overlapping parts": _overlapping,
    "names above": lambda: zipped([(name.replace("archive/", "../../"), data) for name, data in archive().items()]),
    "another byte order": lambda: zipped(archive() | {"archive/byteorder": RED.encode()}),
    "another version": lambda: zipped(archive() | {"archive/version": b"9" * 100}),
}.items():  # fmt: skip
    add(f"weights {_name}", weights(_content), goes_on=True, weights=True)


def real_weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A case with the run's own weights, changed."""

    def make(run: Path) -> None:
        # There is no best policy before the first evaluation; the last weights have the same names.
        tensors = tensors_of(run)
        state = {key: tensors[name] for key, name in names_at(run, "state.weights").items()}
        change(state)
        torch.save(state, run / "state_dict.pt")

    return make


def _fill(value: float) -> Callable[[dict[str, Any]], Any]:
    return lambda state: [tensor.fill_(value) for tensor in state.values()]


add("weights not a number", real_weights(_fill(float("nan"))), goes_on=True, weights=True)
add("weights infinite", real_weights(_fill(float("inf"))), goes_on=True, weights=True)
add("weights with one fewer", real_weights(lambda state: state.pop(next(iter(state)))), goes_on=True, weights=True)
for _name, _make in {
    "a pipe": os.mkfifo, "a folder": full_folder, "a link": link_to(VICTIM), "a link to zeros": link_to("/dev/zero"),
    "a sparse giant": sparse(2**42), "sparse": sparse(2**27), "the victim": hard_link,
}.items():  # fmt: skip
    replaceable = _name not in ("a folder", "a link", "a link to zeros")
    add(f"weights {_name}", replaced("state_dict.pt", _make), goes_on=replaceable, weights=True)
for _name, _key in {"control characters": RED, "newlines": "a\nmaze: all is well", "length": "x" * 10**6}.items():
    add(f"weights and a name of {_name}", real_weights(lambda state, key=_key: state.update({key: torch.zeros(1)})),
        goes_on=True, weights=True)  # fmt: skip
