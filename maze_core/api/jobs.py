"""Several runs in processes of their own: `maze train --multirun`, which can be repeated until all are finished."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from maze_core.api.asked import Sources, named_input_dir
from maze_core.config import ConfigRequest, Configured, configure, expand_sweeps, variables_in
from maze_core.config.overrides import read_items
from maze_core.config.stored import is_runners_own
from maze_core.errors import MazeError, NothingUsableError, StorageError, UserError, checked_texts, printable
from maze_core.field_docs import as_text
from maze_core.registry import Registry, load_registry
from maze_core.runs.files import read_json
from maze_core.runs.job_hosts import JobHost, LocalJobs
from maze_core.runs.jobs import Ended, Job, run_jobs
from maze_core.runs.lock import RunLock
from maze_core.runs.metrics import final_return
from maze_core.runs.run_directory import RunDirectory
from maze_core.runs.stored_run import MULTIRUN, StoredRun, is_run_directory
from maze_core.specs import RunnerSpec, resolve_build

LOGS = "logs"
MAX_RECORD = 2**24

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Args:
        job: Which.
        status: ``finished``, ``killed`` (begun, and not finished), ``failed`` or ``waiting``.
        best: Mean return of its best evaluation, if there was one.
        final: Mean return of its final evaluation, if there was one.
        problem: Why it failed, in words.
        code: The exit code that tells so; 0 for all that did not fail.
    """

    job: Job
    status: str
    best: float | None = None
    final: float | None = None
    problem: str = ""
    code: int = 0


@dataclass(frozen=True)
class Multirun:
    """Several runs.

    Args:
        directory: Of all of them.
        results: Of each.
        signal: What interrupted them, or None.
        again: The command that goes on with them.
    """

    directory: Path
    results: Sequence[JobResult]
    signal: int | None
    again: str

    @property
    def failures(self) -> list[JobResult]:
        """Jobs that failed."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends with them."""
        if self.signal is not None:
            return 128 + self.signal
        return self.failures[0].code if self.failures else 0


def multirun(
    overrides: Sequence[str] | str = (),
    *,
    zipped: bool = False,
    n_parallel: int | None = None,
    config_name: str = "conf_train",
    config_dir: str | Path | None = None,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Multirun:
    """Trains a run for each combination of the values that overrides name, several at a time.

    Called again with the ``run_dir`` of an earlier call, it goes on: finished jobs are left alone, those that were
    killed are resumed, those that failed are tried again, and combinations that are new are added.

    Args:
        overrides: As on the command line: ``algorithm.lr=0.1,0.2``, ``seed=range(3)``. ``run_dir`` is the directory of
            all, below which each has its number; a new one below outputs/multirun if it is not named.
        zipped: Whether the n-th values of all overrides belong together, instead of every combination.
        n_parallel: How many run at the same time; as many as their runner has room for if not given: local ones have
            the cores of this machine.
        config_name: Root configuration.
        config_dir: Directory with configuration files of your own.
        plugins: Modules, files or folders to load plugins from.
        local_plugins: Whether ``maze_plugins.py`` in the current directory is loaded.
        tell: Is given lines about what happens.

    Raises:
        UserError: If something is unknown or contradictory, or another process has the directory.
        ConfigError: If a value is not allowed.
    """
    if n_parallel is not None and n_parallel < 1:
        raise UserError(f"n_parallel={n_parallel} is not allowed: it must be a whole number >= 1.")
    sources = Sources(config_name, config_dir, checked_texts("plugins", plugins), local_plugins)
    sources.check()
    texts = checked_texts("overrides", overrides)
    combinations, requested = _combinations(texts, zipped)
    registry = load_registry(sources.plugins, sources.local_plugins, named_input_dir(list(combinations[0])))
    checked = check_jobs(registry, combinations, sources)
    variables = sorted({name for configured in checked for name in variables_in(configured.to_data())})
    directory = _directory(requested)
    with ExitStack() as held:
        held.callback(RunLock(directory.path).release)
        options = sources.words([], "train")[1:]
        recorded = _recorded(directory.path, options)
        known = recorded + [job for job in combinations if job not in recorded]
        directory.write_text(MULTIRUN, json.dumps({"options": options, "jobs": known}, indent=1) + "\n")
        left = [number for number, job in enumerate(known, 1) if job not in combinations]
        if left:
            tell(f"{len(left)} jobs of {directory.path} are not among those asked for, and are left as they are.")
        where = runner_words(checked[0])
        shared = set[str].intersection(*map(set, combinations)) if len(combinations) > 1 else set()
        jobs = [
            make_job(number, job, directory.path, sources, variables, shared, where)
            for number, job in enumerate(known, 1)
            if job in combinations
        ]
        host = job_host(registry, checked[0])
        results, signal = _run(jobs, directory.path, min(n_parallel or host.n_slots, len(jobs)), tell, host)
    options = ["--multirun", *(["--zip"] if zipped else [])]
    options += [] if n_parallel is None else ["--parallel", str(n_parallel)]
    words = [*options, *with_run_dir(texts, directory.path)]
    return Multirun(directory.path, results, signal, shlex.join(["maze", *sources.words(words, "train")]))


def _combinations(texts: Sequence[str], zipped: bool) -> tuple[list[Overrides], str | None]:
    """The overrides of each job, and the directory of all."""
    expanded = expand_sweeps(texts, zipped)
    named = [[item for item in read_items(job) if item.key == "run_dir"] for job in expanded]
    directories = {items[-1].value if items else None for items in named}
    if len(directories) > 1:
        raise UserError("run_dir= names several directories; name one, below which each job has its number.")
    combinations = [
        tuple(text for text in job if text not in {item.text for item in items})
        for job, items in zip(expanded, named, strict=True)
    ]
    (most, times), *_ = Counter(combinations).most_common(1)
    if times > 1:
        raise UserError(f"{' '.join(most)} is asked for more than once. Leave out what is repeated.")
    directory = directories.pop()
    return combinations, None if directory is None else str(directory)


def with_run_dir(texts: Sequence[str], path: Path) -> list[str]:
    """Overrides with this directory in place of another one."""
    return [*(text for text in texts if not re.match(r"\+{0,2}run_dir=", text)), f"run_dir={as_text(str(path))}"]


def check_jobs(registry: Registry, combinations: Sequence[Overrides], sources: Sources) -> list[Configured]:
    """Checks the configurations of jobs: each combination, and each seed, once.

    Returns:
        Those that were checked.

    Raises:
        UserError: If something is unknown or contradictory.
        ConfigError: If a value is not allowed.
    """
    seen: set[Overrides] = set()
    checked: list[Configured] = []
    for job in combinations:
        seeds = tuple(text for text in job if text.startswith("seed="))
        others = tuple(text for text in job if text not in seeds)
        if others not in seen or seeds not in seen:
            checked.append(
                configure(registry, ConfigRequest(sources.config_name, read_items(job), sources.config_dirs))
            )
            seen |= {others, seeds}
    return checked


def job_host(registry: Registry, configured: Configured) -> JobHost:
    """Where jobs execute: where their runner says; of several runners where the one of this job says.

    Raises:
        UserError: If that is not possible now.
    """
    spec = registry.get("runner", configured.components["runner"])
    assert isinstance(spec, RunnerSpec)
    if spec.build_jobs is None:
        return LocalJobs()
    host: JobHost = resolve_build(spec.build_jobs)(configured.config.runner)
    return host


def runner_words(configured: Configured) -> list[str]:
    """Options that a runner adds to the common ones and that are not its defaults, from wherever, as overrides."""
    runner = configured.config.runner
    given = {field.name: getattr(runner, field.name) for field in fields(runner)}
    differ = {name: value for name, value in given.items() if value != getattr(type(runner)(), name)}
    return [
        f"runner.{name}={as_text(value)}" for name, value in differ.items()
        if is_runners_own(f"runner.{name}") and isinstance(value, (str, bool, int, float))
    ]  # fmt: skip


def make_job(
    number: int, overrides: Overrides, folder: Path, sources: Sources, variables: Sequence[str],
    shared: Collection[str] = (), where: Sequence[str] = (),
) -> Job:  # fmt: skip
    """A job of a directory of several runs.

    Args:
        number: From 1.
        overrides: Of its configuration.
        folder: Directory of all.
        sources: Where names come from.
        variables: Names of environment variables that configurations use.
        shared: Overrides that all jobs have.
        where: Options of their runner that a run which goes on must be given again, as overrides.
    """
    directory = folder / str(number)
    train = [*overrides, f"run_dir={as_text(str(directory))}", "--quiet"]
    own = [item.text for item in read_items(overrides) if is_runners_own(item.key)]
    resume = [str(directory), *where, *own, *(word for name in variables for word in ("--env", name)), "--quiet"]
    return Job(
        number, " ".join(text for text in overrides if text not in shared), directory, folder / LOGS / f"{number}.log",
        tuple(sources.words(train, "train")), tuple(sources.words(resume, "resume")),
    )  # fmt: skip


def _directory(requested: str | None) -> RunDirectory:
    """The directory of all jobs: a new one, or that of an earlier call."""
    path = None if requested is None else Path(requested).expanduser()
    if path is not None and os.path.lexists(path / MULTIRUN):
        return RunDirectory(path)
    if path is not None and is_run_directory(path):
        raise UserError(f"run_dir={requested} is a single run. Name a new directory for several.")
    return RunDirectory.create(requested, "multirun", "\nOnly the directory of an earlier multirun can be named again.")


def _recorded(directory: Path, options: Sequence[str]) -> list[Overrides]:
    """The jobs that a directory has.

    Raises:
        NothingUsableError: If its record is none.
        UserError: If they were started with other options.
    """
    if not os.path.lexists(directory / MULTIRUN):
        return []
    data = read_json(directory / MULTIRUN, MAX_RECORD)
    jobs = data.get("jobs") if isinstance(data, dict) else None
    if not isinstance(jobs, list) or not all(
        isinstance(job, list) and all(isinstance(text, str) for text in job) for job in jobs
    ):
        raise NothingUsableError(f"{printable(str(directory / MULTIRUN))} names no jobs.")
    before = data.get("options", [])
    if before != list(options):
        shown = printable(shlex.join(map(str, before))) if isinstance(before, list) and before else "none"
        raise UserError(f"{directory} was made with other options ({shown}). Repeat them, or name a new directory.")
    return [tuple(job) for job in jobs]


def _run(
    jobs: Sequence[Job], directory: Path, n_parallel: int, tell: Callable[[str], None], host: JobHost
) -> tuple[list[JobResult], int | None]:
    """Runs all jobs that are not finished, and tells of each as it ends."""
    before = {job.number for job in jobs if result_of(job).status == "finished"}
    finished = f", {len(before)} of them finished before" if before else ""
    tell(f"{len(jobs)} jobs in {directory}, {n_parallel} at a time{finished}.")
    problems: dict[int, Ended] = {}
    n_ended = len(before)

    def ended(how: Ended) -> None:
        nonlocal n_ended
        if how.code and not how.obeyed:
            problems[how.job.number] = how
        result = result_of(how.job, problems.get(how.job.number))
        n_ended += not how.obeyed
        tell(f"[{n_ended}/{len(jobs)}] job {how.job.number} {told(result)} in {how.seconds:.0f} s: {how.job.what}")

    signal = run_jobs(jobs, n_parallel, ended, host=host)
    return [result_of(job, problems.get(job.number)) for job in jobs], signal


def result_of(job: Job, failed: Ended | None = None) -> JobResult:
    """What became of a job, as its directory tells.

    Args:
        job: Which.
        failed: How its process failed, if it did.
    """
    best = final = None
    status = "waiting"
    if is_run_directory(job.directory):
        try:
            stored = StoredRun(job.directory)
            condition = stored.condition()
            best, status = condition.summary["best_reward"], condition.status
            final = final_return(stored) if status == "finished" else None
            if status == "damaged" and failed is None:
                return JobResult(
                    job, "failed", best, problem="; ".join(condition.problems), code=StorageError.exit_code
                )
        except MazeError as error:
            return JobResult(job, "failed", problem=str(error), code=error.exit_code)
    if failed is None:
        return JobResult(job, status, best, final)
    code = failed.code if failed.code > 0 else 128 - failed.code
    return JobResult(job, "failed", best, final, failed.problem or f"{failed.how}\n{job.last_words()}", code)


def told(result: JobResult) -> str:
    """What became of a job, in a phrase."""
    if result.final is not None:
        return f"{result.status}, final return {result.final:.3f}"
    if result.best is not None:
        return f"{result.status}, best return {result.best:.3f}"
    return result.status
