"""Several runs as one: every combination of the values that were named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, cast

from maze_core.config import expand_sweeps
from maze_core.config.arguments import override_items
from maze_core.errors import UserError, checked_texts
from maze_core.field_docs import as_text
from maze_core.live import describe, is_network, is_runner, objects_below
from maze_core.runs.stored_run import is_run_directory

SWEPT = ("env", "model", "critic", "algorithm", "policy", "runner", "experiment", "seed")
"""Arguments that take one value, so that a list of them is one run for each."""

Method = TypeVar("Method", bound=Callable[..., Any])


def expanded(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each run, in the order of `itertools.product`.

    Args:
        arguments: Of all; of several runs each gets a directory of its own below the one that is named.

    Raises:
        UserError: If a list is empty, or several runs would share a network or a runner.
    """
    choices = {name: _values(name, value) for name, value in arguments.items() if name in SWEPT}
    overrides = arguments["overrides"]
    swept = not isinstance(overrides, Mapping)
    choices["overrides"] = expand_sweeps(checked_texts("overrides", overrides)) if swept else [overrides]
    jobs = [{**arguments, **dict(zip(choices, job, strict=True))} for job in product(*choices.values())]
    if len(jobs) == 1:
        return jobs
    _refuse_shared(jobs)
    return [_in_own_directory(job, number) for number, job in enumerate(jobs, 1)]


def _values(name: str, value: Any) -> Sequence[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple, range)):
        return [value]
    if not value:
        raise UserError(f"{name}={value!r} names no value, so that there is nothing to run.")
    return list(value)


def _refuse_shared(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Refuses objects that only one run at a time can have."""
    owners: dict[int, int] = {}
    for number, job in enumerate(jobs):
        for key, value in _of_one_run(job):
            if owners.setdefault(id(value), number) != number:
                what = "network" if is_network(value) else "runner"
                raise UserError(
                    f"{key}={describe(value)} is one {what}, and {len(jobs)} runs need one each. Give a function "
                    "that makes one."
                )


def _of_one_run(job: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Networks and runners among the arguments of a run, with their keys."""
    overrides = job["overrides"] if isinstance(job["overrides"], Mapping) else {}
    for name, value in [*job.items(), *overrides.items()]:
        if name.split(".")[0] in ("model", "critic", "runner"):
            yield from ((key, part) for key, part in objects_below(name, value) if is_network(part) or is_runner(part))


def _in_own_directory(job: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The arguments of one of several runs; a directory that is named is that of all."""
    run_dir, overrides = job["run_dir"], job["overrides"]
    if run_dir is not None and not is_run_directory(Path(run_dir).expanduser()):
        run_dir = directory_of(run_dir, number)
    named = [item for item in override_items(overrides) if item.key == "run_dir"]
    if named and named[-1].value is not None:
        own = directory_of(named[-1].value, number)
        if isinstance(overrides, Mapping):
            overrides = {**overrides, "run_dir": own}
        else:
            overrides = [*(text for text in overrides if text not in [item.text for item in named])]
            overrides.append(f"run_dir={as_text(own)}")
    return {**job, "run_dir": run_dir, "overrides": overrides}


def directory_of(path: str | Path, number: int | None) -> str:
    """The directory of one of several runs, below the one that is named; of a single run that one."""
    return str(path) if number is None else f"{path}/{number}"


def for_each_job(method: Method) -> Method:
    """Makes a method of a context with several runs give a list; one that fails does not keep others from running.

    Raises:
        Exception: What the first run that failed raised, after all others.
    """

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._jobs is None:
            return method(self, *args, **kwargs)
        results, failures = [], list[Exception]()
        for job in self._jobs:
            try:
                results.append(wrapped(job, *args, **kwargs))
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return results

    return cast("Method", wrapped)
