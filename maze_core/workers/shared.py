"""Arrays that several processes see; nothing of them outlives the processes, however they end."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layout = Sequence[tuple[str, tuple[int, ...]]]
"""Type and shape of each array."""

ALIGNMENT = 64


def new_memory(layout: Layout) -> int:
    """Descriptor of zeros that hold these arrays; it has no name, so that nothing can be left behind.

    Raises:
        OSError: If there is not so much memory.
    """
    size = max(_offsets(layout)[-1], 1)
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("maze")
    else:
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    os.ftruncate(file, size)
    return file


def shared_arrays(file: int, layout: Layout) -> list[NDArray[Any]]:
    """The arrays in such a memory; the descriptor is not needed any more afterwards."""
    *starts, size = _offsets(layout)
    memory = mmap.mmap(file, max(size, 1))
    return [
        np.frombuffer(memory, dtype, int(np.prod(shape)), start).reshape(shape)
        for start, (dtype, shape) in zip(starts, layout, strict=True)
    ]


def layout_of(arrays: Sequence[NDArray[Any]]) -> Layout:
    """Type and shape of these arrays."""
    return [(array.dtype.str, array.shape) for array in arrays]


def _offsets(layout: Layout) -> list[int]:
    offsets = [0]
    for dtype, shape in layout:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        offsets.append(offsets[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
    return offsets
