"""Normalisation of observations: statistics that belong to a policy, and travel with its weights.

It happens where observations are encoded for the networks, so training, evaluation, rollouts and
`compute_action` cannot differ, and the statistics are part of the policy's `state_dict`. Only what
comes from a Box is normalised; one-hot parts and masks never are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from maze_core.enums import NormalizationMethod
from maze_core.errors import UserError
from maze_core.rl.actors import Actors, Turn
from maze_core.rl.spaces import ACTION_MASK, OBSERVATION, Encoded, ObservationEncoder

Float64 = NDArray[np.float64]
SMALLEST_SPREAD = 1e-8
"""A feature that varies less counts as constant and is only shifted."""


@dataclass(frozen=True)
class Moments:
    """Count, mean, sum of squared deviations, smallest and largest of each feature.

    Args:
        count: Number of observations.
        mean: Their mean, of the feature's shape.
        m2: Sum of squared deviations from it.
        low: Smallest value.
        high: Largest value.
    """

    count: float
    mean: Float64
    m2: Float64
    low: Float64
    high: Float64

    @staticmethod
    def of(values: NDArray[Any]) -> Moments:
        """Moments of a sample [n, ...], n >= 1, in two passes over it."""
        values = values.astype(np.float64)
        mean = values.mean(axis=0)
        m2 = ((values - mean) ** 2).sum(axis=0)
        return Moments(float(len(values)), mean, m2, values.min(axis=0), values.max(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Moments of both samples together (Chan et al. 1979)."""
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + delta**2 * (self.count * other.count / count)
        return Moments(count, mean, m2, np.minimum(self.low, other.low), np.maximum(self.high, other.high))


ActorMoments = Mapping[str, Mapping[str, Moments]]
"""Moments by step key and path."""


class FeatureStatistics(nn.Module):
    """The moments of one part of an actor's observation, as buffers in float64.

    Args:
        shape: Shape of the part.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        for name, value in (("count", 0.0), ("mean", 0.0), ("m2", 0.0), ("low", np.inf), ("high", -np.inf)):
            size = () if name == "count" else shape
            self.register_buffer(name, torch.full(size, value, dtype=torch.float64))
        self._cached: tuple[tuple[int, int], NormalizationMethod, Float64, Float64] | None = None

    def moments(self) -> Moments:
        """The buffers as arrays; they share memory."""
        count, *arrays = (self.get_buffer(name).numpy() for name in ("count", "mean", "m2", "low", "high"))
        return Moments(float(count), *arrays)

    def set(self, moments: Moments) -> None:
        """Writes moments into the buffers, in place."""
        for name in ("count", "mean", "m2", "low", "high"):
            self.get_buffer(name).copy_(torch.as_tensor(getattr(moments, name)))

    def offset_and_scale(self, method: NormalizationMethod) -> tuple[Float64, Float64]:
        """What is subtracted from a feature, and what it is then divided by."""
        # Buffers are only ever written in place, by `set` or by loading a state dict; torch counts that.
        version = (id(self), sum(buffer._version for buffer in self.buffers()))  # a copy counts for itself
        if self._cached is None or self._cached[:2] != (version, method):
            self._cached = (version, method, *self._offset_and_scale(method))
        return self._cached[2:]

    def _offset_and_scale(self, method: NormalizationMethod) -> tuple[Float64, Float64]:
        moments = self.moments()
        if moments.count == 0:
            return np.zeros_like(moments.mean), np.ones_like(moments.mean)
        if method is NormalizationMethod.mean_std:
            offset, scale = moments.mean, np.sqrt(moments.m2 / moments.count)
        else:
            offset, scale = (moments.high + moments.low) / 2, (moments.high - moments.low) / 2
        return offset, np.where(scale < SMALLEST_SPREAD, 1.0, scale)


class ObservationNormalization(nn.Module):
    """Shifts and scales the observations of all actors.

    Args:
        actors: The env's actors.
        method: Zero mean and unit standard deviation, or the range seen mapped to [-1, 1].
        clip: Largest absolute value that is passed on; None for no limit.
        exclude: Parts that are left alone, by key.
        running: Whether training goes on updating the statistics.
        n_samples: Env steps to sample statistics from before training; 0 for none.

    Raises:
        UserError: If an excluded part does not exist, or there is nothing to normalise.
    """

    def __init__(
        self,
        actors: Actors,
        method: NormalizationMethod,
        clip: float | None,
        exclude: Iterable[str],
        running: bool,
        n_samples: int = 0,
    ) -> None:
        super().__init__()
        self.method, self.clip, self.running, self.n_samples = method, clip, running, n_samples
        parts = {key: dict(box_parts(actor.observation_space)) for key, actor in actors.by_key.items()}
        known = {path for of_actor in parts.values() for path in of_actor}
        for path in exclude:
            if path not in known:
                raise UserError(
                    f"observation_normalization: exclude={path!r} is no part of it. Parts: {', '.join(sorted(known))}."
                )
        self._paths = {_module_name(path): path for path in known}
        if len(self._paths) < len(known) or any(not all(path.split("/")) for path in known):
            raise UserError(f"observation_normalization: these keys cannot be told apart: {', '.join(sorted(known))}.")
        self.actors = nn.ModuleDict(
            {
                key: nn.ModuleDict(
                    {_module_name(p): FeatureStatistics(shape) for p, shape in of_actor.items() if p not in exclude}
                )
                for key, of_actor in parts.items()
            }
        )
        if not any(len(of_actor) for of_actor in self.actors.values()):  # type: ignore[arg-type]
            raise UserError("observation_normalization: no part of the observations is left to normalise.")

    def wants_samples(self) -> bool:
        """True if statistics are to be sampled, and none were taken over from elsewhere."""
        counts = [statistics.moments().count for key in self.actors for _, statistics in self.parts(key)]
        return self.n_samples > 0 and not any(counts)

    def parts(self, step_key: str) -> Iterable[tuple[str, FeatureStatistics]]:
        """The statistics of an actor's parts, by path."""
        statistics: Any = self.actors[step_key]
        return [(self._paths[name], of_part) for name, of_part in statistics.items()]

    def apply_to(self, step_key: str, encoded: Encoded) -> Encoded:
        """Normalises a batch, leaves [B, ...], and casts it to float32; the given one stays as it is."""
        result = _as_float32(encoded)
        for path, statistics in self.parts(step_key):
            offset, scale = statistics.offset_and_scale(self.method)
            values = (part_of(encoded, path) - offset) / scale
            if self.clip is not None:
                np.clip(values, -self.clip, self.clip, out=values)
            _put_part(result, path, values.astype(np.float32))
        return result

    def update(self, step_key: str, moments: Mapping[str, Moments]) -> None:
        """Adds moments of further observations to an actor's statistics, by path."""
        for path, statistics in self.parts(step_key):
            if path in moments:
                statistics.set(statistics.moments().merged(moments[path]))

    def readable(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Count, mean, standard deviation, smallest and largest by actor and part, as JSON values."""
        return {
            key: {path: _readable(statistics.moments()) for path, statistics in self.parts(key)} for key in self.actors
        }

    def set_from(self, content: Any, source: str) -> None:
        """Takes over what `readable` returned.

        Raises:
            UserError: If it does not fit these observations.
        """
        for key in self.actors:
            for path, statistics in self.parts(key):
                try:
                    statistics.set(_moments_from(content[key][path], statistics.moments().mean.shape))
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    where = f"{path!r} of actor {key!r}"
                    reason = f"there is no {error}" if isinstance(error, KeyError) else error
                    raise UserError(
                        f"observation_normalization: {source} has no statistics that fit {where}: {reason}"
                    ) from None


class MomentsRecorder:
    """Collects the moments of the observations that members of a population see.

    Sums are kept for each env and merged in their order, so the result does not depend on how the
    population was cut into slices.

    Args:
        normalization: Whose statistics they are for.
        encoders: How each actor's observations are encoded.
        num_envs: Envs, B.
    """

    def __init__(
        self, normalization: ObservationNormalization, encoders: Mapping[str, ObservationEncoder], num_envs: int
    ) -> None:
        self._normalization, self._encoders, self._num_envs = normalization, encoders, num_envs
        self._sums: dict[tuple[str, str], tuple[Float64, Float64, Float64, Float64, Float64]] = {}

    def observe(self, turn: Turn, actions: Any, live: NDArray[np.bool_]) -> None:
        """Takes the observations of one turn; rows that are not live do not count."""
        encoded = self._encoders[turn.step_key].encode(turn.observation, np.float64)
        rows = (np.arange(self._num_envs) if turn.rows is None else turn.rows)[live]
        for path, statistics in self._normalization.parts(turn.step_key):
            values = part_of(encoded, path)[live].astype(np.float64)
            shape = (self._num_envs, *values.shape[1:])
            key = (turn.step_key, path)
            if key not in self._sums:
                lows, highs = np.full(shape, np.inf), np.full(shape, -np.inf)
                self._sums[key] = (np.zeros(self._num_envs), np.zeros(shape), np.zeros(shape), lows, highs)
            counts, sums, squares, low, high = self._sums[key]
            deviations = values - statistics.moments().mean  # small numbers keep the squares exact
            counts[rows] += 1
            sums[rows] += deviations
            squares[rows] += deviations**2
            low[rows] = np.minimum(low[rows], values)
            high[rows] = np.maximum(high[rows], values)

    def by_env(self) -> list[ActorMoments]:
        """For each env the moments by actor and path."""
        found: list[dict[str, dict[str, Moments]]] = [{} for _ in range(self._num_envs)]
        for (key, path), (counts, sums, squares, low, high) in self._sums.items():
            base = next(s for p, s in self._normalization.parts(key) if p == path).moments().mean
            for env in np.flatnonzero(counts):
                mean = sums[env] / counts[env]
                m2 = np.maximum(squares[env] - counts[env] * mean**2, 0.0)
                found[env].setdefault(key, {})[path] = Moments(float(counts[env]), mean + base, m2, low[env], high[env])
        return list(found)


def _module_name(path: str) -> str:
    """The path of a part as a name that torch takes: without dots, and no attribute of its modules."""
    name = path.replace(".", "|")
    return f"{name}_" if hasattr(nn.ModuleDict(), name) else name


def box_parts(space: spaces.Space[Any], path: str = "") -> Iterable[tuple[str, tuple[int, ...]]]:
    """Path and shape of each Box in an actor's observation space, as the encoded space names them."""
    if not path and not isinstance(space, spaces.Dict):
        path = OBSERVATION
    if isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            if "/" in str(key):
                raise UserError(f"observation_normalization: the key {key!r} has a '/', which separates nested keys.")
            if key != ACTION_MASK or path:
                yield from box_parts(sub, f"{path}/{key}" if path else str(key))
    elif isinstance(space, spaces.Tuple):
        for index, sub in enumerate(space.spaces):
            yield from box_parts(sub, f"{path}/{index}")
    elif isinstance(space, spaces.Box):
        yield path, space.shape


def part_of(encoded: Encoded, path: str) -> NDArray[np.float32]:
    """The part of an encoded batch at a path."""
    part: Any = encoded
    for key in path.split("/"):
        part = part[key]
    return part  # type: ignore[no-any-return]


def _as_float32(encoded: Encoded) -> Encoded:
    return {
        key: _as_float32(part) if isinstance(part, dict) else part.astype(np.float32, copy=False)
        for key, part in encoded.items()
    }


def _put_part(encoded: Encoded, path: str, values: NDArray[np.float32]) -> None:
    *keys, last = path.split("/")
    for key in keys:
        encoded[key] = dict(encoded[key])
        encoded = encoded[key]
    encoded[last] = values


def _readable(moments: Moments) -> dict[str, Any]:
    if moments.count == 0:
        return {"count": 0.0}
    std = np.sqrt(moments.m2 / moments.count)
    arrays = {"mean": moments.mean, "std": std, "low": moments.low, "high": moments.high}
    return {"count": moments.count, **{name: array.tolist() for name, array in arrays.items()}}


def _moments_from(content: Mapping[str, Any], shape: tuple[int, ...]) -> Moments:
    arrays = {name: np.asarray(content[name], np.float64) for name in ("mean", "std", "low", "high")}
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(f"{name} has the shape {array.shape} instead of {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
    count = float(content["count"])
    if not 0 < count < math.inf:
        raise ValueError(f"count is {count}")
    if (arrays["std"] < 0).any() or (arrays["low"] > arrays["high"]).any():
        raise ValueError("std is negative, or low is above high")
    return Moments(count, arrays["mean"], arrays["std"] ** 2 * count, arrays["low"], arrays["high"])
