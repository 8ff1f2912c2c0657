"""Hypothesis strategies: spaces that envs may have, and what belongs to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import settings
from hypothesis import strategies as st

# The same examples every time, nothing written to disk, no timing.
settings.register_profile("maze", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("maze")

KEYS = ("alpha", "beta", "gamma")


@st.composite
def boxes(draw: st.DrawFn, bounded: bool = False) -> spaces.Box:
    """Boxes of several shapes and dtypes, some without bounds."""
    shape = draw(st.sampled_from([(1,), (3,), (2, 3), (2, 1, 2)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8, np.int64]))
    low = draw(st.integers(0 if dtype is np.uint8 else -20, 20))
    high = low + draw(st.integers(1, 30))
    if not bounded and not np.issubdtype(dtype, np.integer):
        low, high = draw(st.sampled_from([(low, high), (-np.inf, high), (low, np.inf), (-np.inf, np.inf)]))
    return spaces.Box(low, high, shape, dtype)


discretes = st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-3, 3))
multi_binaries = st.builds(spaces.MultiBinary, st.sampled_from([1, 4, (2, 3)]))


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    """Vectors and matrices of choices, with starts."""
    shape = draw(st.sampled_from([(1,), (3,), (2, 2)]))
    count = int(np.prod(shape))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    starts = draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))
    return spaces.MultiDiscrete(np.reshape(sizes, shape), start=np.reshape(starts, shape))


def any_space(bounded: bool = False) -> st.SearchStrategy[spaces.Space[Any]]:
    """All spaces that Maze supports, nested too."""
    leaf = st.one_of(boxes(bounded), discretes, multi_discretes(), multi_binaries)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(KEYS), inner, min_size=1).map(spaces.Dict),
            st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        ),
        max_leaves=4,
    )


def sample_batch(space: spaces.Space[Any], count: int, seed: int) -> Any:
    """Random members of a space as a vector env returns them, leaves [count, ...]."""
    batched = batch_space(space, count)
    batched.seed(seed)
    return batched.sample()


def mask_space(space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    """The space of the masks of an action space; None where nothing can be masked."""
    if isinstance(space, spaces.Discrete):
        return spaces.MultiBinary(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiBinary(int(space.nvec.sum()))
    if isinstance(space, spaces.Dict):
        items = [(key, mask_space(sub)) for key, sub in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        items = [(str(index), mask_space(sub)) for index, sub in enumerate(space.spaces)]
    else:
        return None
    parts = [(key, sub) for key, sub in items if sub is not None]
    return spaces.Dict(parts) if parts else None


def random_mask(space: spaces.Space[Any], count: int, generator: np.random.Generator) -> Any:
    """A mask of an action space that allows something everywhere, leaves [count, n]; None if it has none."""
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()
        parts = []
        for size in sizes:
            part = generator.integers(0, 2, (count, size)).astype(np.int8)
            part[np.arange(count), generator.integers(size, size=count)] = 1
            parts.append(part)
        return np.concatenate(parts, axis=1)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        masks = {str(key): random_mask(sub, count, generator) for key, sub in items}
        return {key: mask for key, mask in masks.items() if mask is not None} or None
    return None


def allowed(space: spaces.Space[Any], mask: Any, action: Any) -> bool:
    """Whether a single action respects a single mask of its space."""
    if mask is None:
        return True
    if isinstance(space, spaces.Discrete):
        return bool(mask[int(action) - int(space.start)])
    if isinstance(space, spaces.MultiDiscrete):
        offsets = np.concatenate(([0], np.cumsum(space.nvec.ravel())[:-1]))
        return bool(np.all(mask[np.ravel(action) - space.start.ravel() + offsets]))
    items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)  # type: ignore[attr-defined]
    return all(allowed(sub, mask.get(str(key)), action[key]) for key, sub in items)
