"""Whether a state can be saved: tensors, arrays and JSON values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def not_plain(state: Any, path: str = "") -> str | None:
    """What of a state cannot be saved, as a phrase; None if all can."""
    where = f" at {path!r}" if path else ""
    if isinstance(state, Mapping):
        bad = next((key for key in state if not isinstance(key, str)), None)
        if bad is not None:
            return f"has the key {bad!r}{where}; keys must be text"
        parts = [(f"{path}.{key}".lstrip("."), part) for key, part in state.items()]
    elif isinstance(state, (list, tuple)):
        parts = [(f"{path}.{index}".lstrip("."), part) for index, part in enumerate(state)]
    elif isinstance(state, np.ndarray) and state.dtype == object:
        return f"has an array of Python objects{where}; it must have tensors, arrays and JSON values only"
    elif state is None or isinstance(state, (str, bool, int, float, torch.Tensor, np.ndarray)):
        return None
    else:
        return f"has a {type(state).__name__}{where}; it must have tensors, arrays and JSON values only"
    return next((found for at, part in parts if (found := not_plain(part, at))), None)


def plain_difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where two such states differ in a bit, or None."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = dict.fromkeys([*one, *other])
        parts = [(f"{path}.{key}".lstrip("."), one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        parts = [(f"{path}.{index}", *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        same = type(one) is type(other) and np.array_equal(np.asarray(one), np.asarray(other))
        return None if same else path or "it"
    return next((found for part in parts if (found := plain_difference(part[1], part[2], part[0]))), None)
