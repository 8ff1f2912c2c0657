"""Several runs as one: every combination of the values that were named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import product
from typing import Any, TypeVar, cast

from maze_core.config import expand_sweeps
from maze_core.errors import MazeError, UserError

SWEPT = ("env", "model", "critic", "algorithm", "policy", "runner", "experiment", "seed")
"""Arguments that take one value, so that a list of them is one run for each."""

Method = TypeVar("Method", bound=Callable[..., Any])


def expanded(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each run, in the order of `itertools.product`.

    Args:
        arguments: Of all; of several runs each gets a directory of its own below the one that is named.

    Raises:
        UserError: If there is only one combination of a list that is empty.
    """
    choices = {name: _values(name, value) for name, value in arguments.items() if name in SWEPT}
    overrides = arguments["overrides"]
    texts = [overrides] if isinstance(overrides, str) else overrides
    choices["overrides"] = [texts] if isinstance(texts, Mapping) else expand_sweeps(texts)
    jobs = [{**arguments, **dict(zip(choices, job, strict=True))} for job in product(*choices.values())]
    if arguments["run_dir"] is not None and len(jobs) > 1:
        jobs = [{**job, "run_dir": f"{job['run_dir']}/{number}"} for number, job in enumerate(jobs, 1)]
    return jobs


def _values(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple, range)):
        return [value]
    if not value:
        raise UserError(f"{name}={value!r} names no value, so that there is nothing to run.")
    return list(value)


def for_each_job(method: Method) -> Method:
    """Makes a method of a context with several runs give a list; one that fails does not keep others from running.

    Raises:
        MazeError: What the first run that failed raised, after all others.
    """

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._jobs is None:
            return method(self, *args, **kwargs)
        results, failures = [], []
        for job in self._jobs:
            try:
                results.append(wrapped(job, *args, **kwargs))
            except MazeError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return results

    return cast("Method", wrapped)
