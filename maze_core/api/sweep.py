"""Sweeps: many runs whose values a sweeper proposes, to find good ones."""

from __future__ import annotations

import json
import math
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from maze_core.api.asked import Sources, named_input_dir
from maze_core.api.jobs import job_host, make_job, runner_words, with_run_dir
from maze_core.config import ConfigRequest, Configured, configure, variables_in
from maze_core.config.overrides import Item, read_items, split_space
from maze_core.errors import MazeError, NothingUsableError, StorageError, UserError, checked_texts, printable
from maze_core.field_docs import as_text
from maze_core.registry import GROUPS, Registry, load_registry
from maze_core.rl.streams import draw_root_seed
from maze_core.run_config import SweepConfig, SweeperConfig
from maze_core.runs.files import read_json
from maze_core.runs.job_hosts import JobHost, LocalJobs
from maze_core.runs.jobs import Ended, Job, Standing, run_jobs
from maze_core.runs.lock import RunLock
from maze_core.runs.metrics import read_metrics, series
from maze_core.runs.run_directory import RunDirectory
from maze_core.runs.stored_run import METRICS, SWEEP, StoredRun, entries_of
from maze_core.specs import resolve_build
from maze_core.sweeps import EndedTrial, Goal, Outcome, Parameter, Sweeper, Trial, read_space

MAX_RECORD = 2**24
MAX_SEED = 2**31
OWN = ("sweeper", "run_dir", "seed")
"""Overrides that are the sweep's and not those of its runs."""


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Args:
        directory: Of all its runs, each below it with the number of its trial.
        trials: All that ended, the best first, then pruned ones, then failed ones.
        failures: Why trials failed, in words, by number.
        signal: What interrupted it, or None.
        overrides: Those that all runs share.
        again: The command that goes on with it.
    """

    directory: Path
    trials: Sequence[EndedTrial]
    failures: Mapping[int, str]
    signal: int | None
    overrides: Sequence[str]
    again: str = ""

    @property
    def best(self) -> EndedTrial | None:
        """The best trial that was completed."""
        return next((trial for trial in self.trials if trial.outcome is Outcome.complete), None)

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends with it."""
        if self.signal is not None:
            return 128 + self.signal
        return 0 if self.best is not None else 3


def sweep(
    overrides: Sequence[str] | str = (),
    *,
    config_dir: str | Path | None = None,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Sweep:
    """Looks for good values: runs with values that a sweeper proposes, several at a time.

    Called again with the ``run_dir`` of an earlier call, it goes on with the same search; ``sweeper.n_trials`` may be
    larger then.

    Args:
        overrides: As on the command line. What varies is written ``algorithm.lr=tag(log,interval(1e-4,1e-1))`` or
            ``algorithm.n_envs=4,8,16``, or stands in ``sweeper.space``.
        config_dir: Directory with configuration files of your own.
        plugins: Modules, files or folders to load plugins from.
        local_plugins: Whether ``maze_plugins.py`` in the current directory is loaded.
        tell: Is given lines about what happens.

    Raises:
        UserError: If something is unknown or contradictory, nothing varies, or another process has the directory.
        ConfigError: If a value is not allowed.
    """
    sources = Sources("conf_train", config_dir, checked_texts("plugins", plugins), local_plugins)
    sources.check()
    texts, varied = split_space(checked_texts("overrides", overrides))
    registry = load_registry(sources.plugins, sources.local_plugins, named_input_dir(texts))
    configured = _configured(registry, sources, texts, varied)
    config = configured.config
    assert isinstance(config, SweepConfig)
    if "jsonl" not in config.callbacks:
        raise UserError("a sweep reads what its runs write to metrics.jsonl: leave jsonl among the callbacks.")
    space = read_space(_with_whole_numbers(configured, config.sweeper.space))
    shared = [item.text for item in read_items(texts) if item.key.split(".")[0] not in OWN]
    variables = _checked(registry, sources, shared, space)
    name = configured.components["sweeper"]
    search = {"sweeper": name, "overrides": shared, "space": {key: vars(parameter) for key, parameter in space.items()},
              "goal": config.sweeper.goal.value, "metric": config.sweeper.metric}  # fmt: skip
    directory = _directory(config.run_dir)
    with ExitStack() as held:
        held.callback(RunLock(directory.path).release)
        seed = _record(directory, search, config.seed)
        _refuse_links(directory.path)
        sweeper = _started(
            resolve_build(registry.get("sweeper", name).build), config.sweeper, space, directory.path, seed
        )
        make = partial(_job, directory.path, sources, variables, shared, seed, runner_words(configured))
        host = partial(job_host, registry, configured)
        done = _Search(config.sweeper, sweeper, make, tell, host).run(directory.path, shared)
    words = with_run_dir(checked_texts("overrides", overrides), directory.path)
    return replace(done, again=shlex.join(["maze", *sources.words(words, "sweep")]))


def _refuse_links(directory: Path) -> None:
    """Refuses a directory through which a sweeper would write elsewhere.

    Raises:
        NothingUsableError: If there is a link, something that is no file, or a file with another name elsewhere.
    """
    for entry in entries_of(directory):
        status = entry.stat(follow_symlinks=False)
        plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not plain and not stat.S_ISDIR(status.st_mode):
            name = printable(str(directory / entry.name))
            raise NothingUsableError(f"{name} is not used: it is a link, no file, or has another name elsewhere.")


def _started(build: Callable[..., Any], config: Any, space: Any, directory: Path, seed: int) -> Sweeper:
    """The sweeper, which has read what it wrote before.

    Raises:
        NothingUsableError: If it cannot go on with that.
    """
    try:
        sweeper: Sweeper = build(config, space, directory, seed)
        sweeper.ended()
        sweeper.unfinished()
    except MazeError:
        raise
    except Exception as error:  # whatever a foreign reader raises
        reason = printable(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
        raise NothingUsableError(f"the sweeper cannot go on with what is in {directory}: {reason}.") from error
    return sweeper


def _configured(registry: Registry, sources: Sources, texts: Sequence[str], varied: Mapping[str, Any]) -> Configured:
    items = read_items(texts)
    if varied:
        items.append(Item("sweeper.space", dict(varied), "set", f"sweeper.space={as_text(dict(varied))}"))
    return configure(registry, ConfigRequest(SweepConfig.config_name, items, sources.config_dirs, SweepConfig))


def _with_whole_numbers(configured: Configured, space: Mapping[str, Any]) -> dict[str, Any]:
    """The space, in which intervals of options that are whole numbers hold whole numbers."""
    data = configured.to_data()
    return {key: _whole(entry) if type(_at(data, key)) is int else entry for key, entry in space.items()}


def _at(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _whole(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {name: int(v) if type(v) is float and v.is_integer() else v for name, v in entry.items()}


def _checked(registry: Registry, sources: Sources, shared: Sequence[str], space: Mapping[str, Parameter]) -> list[str]:
    """Checks the ends of each parameter; returns names of environment variables that runs use."""
    if not space:
        raise UserError(
            "nothing varies, so that there is nothing to search. Name values, such as "
            "'algorithm.lr=tag(log,interval(1e-4,1e-1))' or algorithm.n_envs=4,8,16, or set sweeper.space."
        )
    variables: set[str] = set()
    for key, parameter in space.items():
        if key.split(".")[0] in OWN:
            raise UserError(f"{key} cannot vary: it is the sweep's own.")
        if key in GROUPS or key == "experiment":
            raise UserError(
                f"{key} cannot vary: options differ in their keys. Make a sweep for each, and compare them."
            )
        for value in parameter.ends():
            items = [*read_items(shared), *read_items([f"{key}={as_text(value)}"])]
            request = ConfigRequest(sources.config_name, items, sources.config_dirs)
            variables |= set(variables_in(configure(registry, request).to_data()))
    return sorted(variables)


def _directory(requested: str | None) -> RunDirectory:
    path = None if requested is None else Path(requested).expanduser()
    if path is not None and os.path.lexists(path / SWEEP):
        return RunDirectory(path)
    return RunDirectory.create(requested, "sweep", "\nOnly the directory of an earlier sweep can be named again.")


def _record(directory: RunDirectory, search: Mapping[str, Any], seed: int | None) -> int:
    """Writes what is searched, or checks that it is the same as before; returns the root seed."""
    path = directory.path / SWEEP
    search = json.loads(json.dumps(search))
    if not os.path.lexists(path):
        seed = draw_root_seed() if seed is None else seed
        directory.write_text(SWEEP, json.dumps({"seed": seed, **search}, indent=1) + "\n")
        return seed
    data = read_json(path, MAX_RECORD)
    if not isinstance(data, dict) or type(data.get("seed")) is not int or not 0 <= data["seed"] < MAX_SEED:
        raise NothingUsableError(f"{printable(str(path))} describes no sweep.")
    changed = [name for name, value in search.items() if data.get(name) != value]
    changed += ["seed"] if seed not in (None, data["seed"]) else []
    if changed:
        raise UserError(
            f"{directory.path} is a sweep with other {' and '.join(changed)}, and goes on with its own only "
            f"(they are in {SWEEP}). Name a new directory for another sweep."
        )
    return int(data["seed"])


def _job(
    folder: Path, sources: Sources, variables: Sequence[str], shared: Sequence[str], root: int, where: Sequence[str],
    trial: Trial,
) -> Job:  # fmt: skip
    """The run of a trial, with a seed of its own."""
    values = [f"{key}={as_text(value)}" for key, value in trial.values.items()]
    overrides = (*shared, *values, f"seed={(root + trial.number) % MAX_SEED}")
    return make_job(trial.number, overrides, folder, sources, variables, [*shared, overrides[-1]], where)


class _Search:
    """A sweep at work.

    Args:
        config: Options that every sweeper has.
        sweeper: Proposes values.
        make: Makes the job of a trial.
        tell: Is given lines about what happens.
        host: Makes the place where their processes are.
    """

    def __init__(
        self, config: SweeperConfig, sweeper: Sweeper, make: Callable[[Trial], Job], tell: Callable[[str], None],
        host: Callable[[], JobHost] = LocalJobs,
    ) -> None:  # fmt: skip
        self._config, self._sweeper, self._make, self._tell, self._host = config, sweeper, make, tell, host
        self._trials: dict[int, Trial] = {}  # those at work, by number
        self._told: dict[int, tuple[int, int]] = {}  # size of the statistics, and last epoch that was told
        self._pruned: set[int] = set()
        self._failures: dict[int, str] = {}
        self._halted: MazeError | None = None  # why no trial can bring anything

    def run(self, directory: Path, shared: Sequence[str]) -> Sweep:
        """Runs trials until there are enough.

        Raises:
            MazeError: If none can bring anything; those at work are left to go on another time.
        """
        host = self._host()
        n_parallel = min(self._config.n_parallel or host.n_slots, self._config.n_trials)
        before = len(self._sweeper.ended())
        self._tell(
            f"{self._config.n_trials} trials in {directory}, {n_parallel} at a time"
            f"{f', {before} of them ended before' if before else ''}."
        )
        signal = run_jobs(self._jobs(), n_parallel, self._ended, self._wanted, host)
        if self._halted is not None:
            raise self._halted
        trials = sorted(self._sweeper.ended(), key=self._rank)
        return Sweep(directory, trials, self._failures, signal, shared)

    def _rank(self, ended: EndedTrial) -> tuple[int, float]:
        value = math.inf if ended.value is None else ended.value
        worse = -value if self._config.goal is Goal.maximize else value
        return list(Outcome).index(ended.outcome), worse

    def _jobs(self) -> Iterator[Job]:
        """First the trials that an earlier process left, then new ones."""
        for trial in self._sweeper.unfinished():
            job = self._make(trial)
            self._trials[trial.number] = trial
            try:
                ended = job.standing() is Standing.finished
            except MazeError:
                ended = False  # it will be told when it is started
            if ended:
                self._ended(Ended(job, 0))
            else:
                yield job
        while self._halted is None and len(self._sweeper.ended()) + len(self._trials) < self._config.n_trials:
            trial = self._sweeper.ask()
            job = self._make(trial)
            if os.path.lexists(job.directory):
                place = printable(str(job.directory))
                self._halted = NothingUsableError(f"{place} is there, and the sweeper knows nothing of such a trial.")
                return
            self._trials[trial.number] = trial
            yield job

    def _wanted(self, job: Job) -> bool:
        """Tells the sweeper of new evaluations of a running trial; False once that is to end."""
        if self._halted is not None or job.number in self._pruned:
            return False
        size, last = self._told.get(job.number, (0, -1))
        try:
            now = (job.directory / METRICS).stat().st_size
            if now == size:
                return True
            rows = read_metrics(StoredRun(job.directory))
        except (OSError, MazeError):
            return True  # there is nothing yet
        known = {path for row in rows if row.stage == "eval" for path in row.values}
        if known and self._config.metric not in known:
            shown = printable(", ".join(sorted(known)))
            self._halted = UserError(f"no evaluation has sweeper.metric={self._config.metric}. They have {shown}.")
            return False
        found = series(rows, "eval", self._config.metric)
        for epoch, value in zip(found.epochs.tolist(), found.values.tolist(), strict=True):
            if epoch > last and self._sweeper.report(self._trials[job.number], epoch, value):
                self._pruned.add(job.number)
        self._told[job.number] = (now, int(found.epochs[-1]) if len(found.epochs) else last)
        return job.number not in self._pruned

    def _ended(self, how: Ended) -> None:
        """Tells the sweeper how a trial ended; one that was interrupted with the sweep goes on another time."""
        job, value = how.job, None
        pruned = how.obeyed and job.number in self._pruned
        if how.problem and self._halted is None:  # says nothing of its values
            self._halted = StorageError(f"{how.problem}\nRepeat the sweep with its run_dir= once that is repaired.")
        if how.problem or (how.obeyed and not pruned):
            return
        trial = self._trials.pop(job.number)
        outcome = Outcome.pruned if pruned else Outcome.failed
        try:
            if how.code == 0:
                value, outcome = self._value(job), Outcome.complete
            elif not pruned:
                self._failures[job.number] = f"{how.how}\n{job.last_words()}"
        except MazeError as error:
            self._failures[job.number] = str(error)
        self._sweeper.tell(trial, outcome, value)
        shown = f", {value:.3f}" if value is not None else ""
        n = len(self._sweeper.ended())
        self._tell(f"[{n}/{self._config.n_trials}] trial {job.number} {outcome.value}{shown}: {job.what}")

    def _value(self, job: Job) -> float:
        """The value of a run that ended.

        Raises:
            UserError: If its final evaluation has none.
        """
        rows = read_metrics(StoredRun(job.directory))
        found = series(rows, "final_eval", self._config.metric).values
        if not len(found):
            known = sorted({path for row in rows if row.stage == "final_eval" for path in row.values})
            raise UserError(
                f"the final evaluation has no finite sweeper.metric={self._config.metric}. "
                f"It has {printable(', '.join(known))}."
            )
        return float(found[-1])
