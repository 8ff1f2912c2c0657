"""What a sweep varies, and what proposes the values: the interface of sweepers. Light: plugins' configs import it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from maze_core.errors import ConfigError, did_you_mean

NUMBER_FIELDS = ("low", "high", "log", "step")


class Goal(Enum):
    """Whether larger or smaller values are better."""

    maximize = "maximize"
    minimize = "minimize"


@dataclass(frozen=True)
class Parameter:
    """What a sweep varies: one of some values, or a number.

    Args:
        choices: The values; None for a number.
        low: Least number.
        high: Largest number; both are possible.
        log: Whether orders of magnitude are equally likely.
        step: Distance between possible numbers from `low` on; None for any number.
        integer: Whether it is a whole number.
    """

    choices: Sequence[Any] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    integer: bool = False

    def ends(self) -> list[Any]:
        """Values that are possible if all are: every choice, or the least and the largest number."""
        if self.choices is not None:
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.integer else [self.low, self.high]


@dataclass(frozen=True)
class Trial:
    """One proposal of a sweeper.

    Args:
        number: From 1.
        values: By key of the configuration.
    """

    number: int
    values: Mapping[str, Any]


class Outcome(Enum):
    """How a trial ended: its run did, it was ended early because it promised little, or its run failed."""

    complete = "complete"
    pruned = "pruned"
    failed = "failed"


@dataclass(frozen=True)
class EndedTrial:
    """A trial and what came of it.

    Args:
        trial: Which.
        outcome: How it ended.
        value: What is to be large or small; None if it failed, for a pruned one the last value that was told.
    """

    trial: Trial
    outcome: Outcome
    value: float | None


class Sweeper(Protocol):
    """Proposes values, and learns from what they bring.

    All that it is told must be on the disk when a call returns, so that another process can go on with it.
    """

    def ended(self) -> Sequence[EndedTrial]:
        """All trials that ended, by number; those of earlier processes too."""
        ...

    def unfinished(self) -> Sequence[Trial]:
        """Trials that were proposed and did not end; of earlier processes too."""
        ...

    def ask(self) -> Trial:
        """Proposes another one."""
        ...

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Is told an evaluation of a running trial; returns whether the trial should end early."""
        ...

    def tell(self, trial: Trial, outcome: Outcome, value: float | None) -> None:
        """Is told how a trial ended.

        Args:
            trial: Which.
            outcome: How.
            value: Finite; None if it failed, or was pruned.
        """
        ...


def read_space(space: Mapping[str, Any]) -> dict[str, Parameter]:
    """The parameters of a search space as it stands in a configuration.

    Args:
        space: For each key a list of values, or a mapping with ``low`` and ``high``, and perhaps ``log`` or ``step``;
            two whole numbers stand for whole numbers.

    Raises:
        ConfigError: If one is neither, or allows nothing.
    """
    return {key: _parameter(f"sweeper.space.{key}", value) for key, value in space.items()}


def _parameter(key: str, value: Any) -> Parameter:
    if isinstance(value, (list, tuple)):
        if len(value) < 2:
            raise ConfigError(f"{key}={value} is not allowed: a list needs two values at least.")
        if any(value.count(choice) > 1 for choice in value):
            raise ConfigError(f"{key}={value} is not allowed: a value is there more than once.")
        return Parameter(choices=list(value))
    if not isinstance(value, Mapping) or not {"low", "high"} <= set(value):
        raise ConfigError(
            f"{key}={value} is not allowed: it must be a list of values, or {{low: ..., high: ...}} with log: true or "
            "step: ... where wanted."
        )
    for name in value:
        if name not in NUMBER_FIELDS:
            raise ConfigError(f"{key} has no {name!r}.{did_you_mean(str(name), NUMBER_FIELDS)}")
    fields: Any = value
    low, high, log, step = (fields.get(name) for name in NUMBER_FIELDS)
    numbers = [low, high] if step is None else [low, high, step]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers) or low >= high:
        raise ConfigError(f"{key}={dict(value)} is not allowed: low and high must be numbers, low < high.")
    if log not in (None, False, True) or (log and (low <= 0 or step is not None)):
        raise ConfigError(f"{key}={dict(value)} is not allowed: log: true needs low > 0, and no step.")
    if step is not None and (step <= 0 or abs((high - low) / step - round((high - low) / step)) > 1e-9):
        raise ConfigError(f"{key}={dict(value)} is not allowed: steps from low must lead to high.")
    return Parameter(None, low, high, bool(log), step, all(type(number) is int for number in numbers))
