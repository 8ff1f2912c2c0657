"""Reads values of a saved state: whoever loads one checks what it takes over.

A state may be damaged or a stranger's. What is not what was saved raises KeyError, TypeError or
ValueError, before it could do harm in a later update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MAX_COUNT = 2**53
"""Largest counter; larger ones are not exact as floats."""


def saved_count(state: Mapping[str, Any], name: str, least: int = 0) -> int:
    """A counter.

    Raises:
        ValueError: If it is no whole number from `least` to `MAX_COUNT`.
    """
    return checked_count(state[name], name, least)


def checked_count(value: Any, name: str, least: int = 0) -> int:
    """The same of a value that was found already; `name` is what an error calls it."""
    if type(value) is not int or not least <= value <= MAX_COUNT:
        raise ValueError(f"{name}={_shown(value)} is no whole number from {least} to {MAX_COUNT}")
    return value


def saved_number(state: Mapping[str, Any], name: str, least: float = -math.inf) -> float:
    """A finite number.

    Raises:
        ValueError: If it is none, or less than `least`.
    """
    return checked_number(state[name], name, least)


def checked_number(value: Any, name: str, least: float = -math.inf) -> float:
    """The same of a value that was found already."""
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:
        raise ValueError(f"{name}={_shown(value)} is no finite number >= {least:g}")
    return float(value)


def saved_counts(state: Mapping[str, Any], name: str, length: int) -> NDArray[np.int64]:
    """A list of so many counters, as an array.

    Raises:
        ValueError: If it is none.
    """
    return np.array([checked_count(value, name) for value in _list(state, name, length)], np.int64)


def saved_numbers(state: Mapping[str, Any], name: str, length: int) -> NDArray[np.float64]:
    """A list of so many finite numbers, as an array.

    Raises:
        ValueError: If it is none.
    """
    return np.array([checked_number(value, name) for value in _list(state, name, length)], np.float64)


def _list(state: Mapping[str, Any], name: str, length: int) -> list[Any]:
    value = state[name]
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} is no list of {length} values")
    return value


def saved_horizon(state: Mapping[str, Any], now: int | None) -> int | None:
    """After how many updates the schedules of a run that goes on end, as saved under ``horizon``.

    Args:
        state: A saved state.
        now: When they would end if the run began now; counts if the run began without an end, so that
            nothing depended on it.

    Raises:
        ValueError: If it is no number of updates.
    """
    return now if state["horizon"] is None else saved_count(state, "horizon", least=1)


def saved_tensor(state: Mapping[str, Any], name: str, like: torch.Tensor) -> torch.Tensor:
    """A tensor of the shape and type of another one, without NaN.

    Raises:
        ValueError: If it is none.
    """
    value = state[name]
    if not isinstance(value, torch.Tensor) or value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(f"{name} is no tensor {like.dtype} {list(like.shape)}")
    if value.isnan().any():
        raise ValueError(f"{name} has values that are no numbers")
    return value


def saved_array(state: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of this shape and type, without NaN.

    Raises:
        ValueError: If it is none.
    """
    value = state[name]
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{name} is no array {np.dtype(dtype)} {list(shape)}")
    if np.isnan(value).any():
        raise ValueError(f"{name} has values that are no numbers")
    return value


def _shown(value: Any) -> str:
    return type(value).__name__ if isinstance(value, int) and abs(value) > 2**64 else repr(value)[:50]
