"""Weights of runs: tensors under names, in the format that torch users expect, and nothing else.

The format is a pickle in a zip file. It is read with torch's loader for weights only, after a look at
what it would call: the few things of which tensors are made, and none of those that could fill the memory.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import IO

import torch

from maze_core.errors import NothingUsableError, printable
from maze_core.runs.files import read_file, reason_of

BEST, FINAL = "state_dict.pt", "final_state_dict.pt"
"""Weights of the best policy by evaluation, and of the last one."""

MAX_BYTES, MAX_PICKLE, MAX_NAME = 2**34, 2**22, 1000
CALLS = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2")
STORAGES = tuple(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short",
                                                     "Char", "Byte", "Bool"))  # fmt: skip


def read_weights(directory: str | Path) -> dict[str, torch.Tensor]:
    """Reads the best weights of an earlier run.

    Args:
        directory: The run directory.

    Raises:
        NothingUsableError: If there are none, or the file is no such thing.
    """
    path = Path(directory).expanduser() / BEST
    try:
        found = path.is_file()
    except OSError as error:
        raise NothingUsableError(f"input_dir={directory} cannot be read: {reason_of(error)}.") from None
    if not found:
        what = f"has no {BEST}" if path.parent.is_dir() else "is no directory"
        raise NothingUsableError(f"input_dir={directory} {what}; it must be the directory of an earlier run.")
    content = read_file(path, MAX_BYTES)
    try:
        state = torch.load(_checked(content), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it is no mapping of tensors")
        for name, value in state.items():
            if not isinstance(name, str) or type(value) is not torch.Tensor or value.layout is not torch.strided:
                raise ValueError("it is no mapping of tensors")
            if not name.isprintable() or len(name) > MAX_NAME:
                raise ValueError("a tensor has a name that cannot be shown")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError("a tensor is larger than what is stored of it")
    except Exception as error:  # torch and zipfile raise many types for a damaged or foreign file
        first = str(error).partition("\n")[0].partition(". ")[0]  # torch goes on with bad advice
        reason = printable(first)[:200].rstrip(".") or type(error).__name__
        raise NothingUsableError(f"{path} holds no weights: {reason}.") from None
    return state


def _checked(content: bytes) -> IO[bytes]:
    """The same archive written anew, so that torch reads exactly what was looked at.

    Raises:
        ValueError: If it is compressed, and so could grow, or would call anything but tensors.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(copy, "w") as checked:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("it holds more than its size")
        names = [entry.filename.lower() for entry in entries]  # torch does not tell capitals from small letters
        if len(set(names)) < len(names):
            raise ValueError("it holds two files of one name")
        for entry, name in zip(entries, names, strict=True):
            data = archive.read(entry)
            if name.endswith(".pkl"):
                _check_calls(data)
            checked.writestr(name, data)
    copy.seek(0)
    return copy


def _check_calls(pickled: bytes) -> None:
    if len(pickled) > MAX_PICKLE:
        raise ValueError("it lists too many tensors")
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("GLOBAL", "INST") and argument not in (*CALLS, *STORAGES):
            raise ValueError(f"it asks for {argument}")
        if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BUILD"):
            raise ValueError(f"it asks for more than tensors ({opcode.name})")
