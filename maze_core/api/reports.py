"""Pages about runs: one file for each request that everybody can open."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from maze_core.api.asked import opened_run
from maze_core.api.rollout_request import RolloutRequest, rollout_config
from maze_core.build import build_rollout
from maze_core.config import ConfigRequest, Configured, configure, configure_stored
from maze_core.config.absent import absent_specs
from maze_core.config.overrides import items_of_mapping
from maze_core.errors import MazeError, UserError, checked_path, checked_texts
from maze_core.live import LiveObjects
from maze_core.registry import GROUPS, Registry, load_registry
from maze_core.reports.charts import form_of, write_chart
from maze_core.reports.clip import MAX_BYTES, Clip, make_clip
from maze_core.reports.curves_of_runs import figure_panels
from maze_core.reports.record import FIXED, Difference, RunRecord, csv_rows, names_of, read_record
from maze_core.reports.run_page import page_of
from maze_core.reports.tables import write_csv
from maze_core.reports.targets import check_targets
from maze_core.runs.files import write_file
from maze_core.runs.stored_run import CONFIG, REPORT, StoredRun
from maze_core.runs.threads import limited_threads
from maze_core.runs.watchdog import watching

MAX_RUNS = 50
PLAY_S = 0.75
"""How long all episodes of a page may take to play."""

MIN_PLAY_S = 0.3


@dataclass(frozen=True)
class _Known:
    """What is needed to read a run as more than data."""

    registry: Registry
    variables: Sequence[str]

    @cached_property
    def defaults(self) -> Configured:
        """What a run would be that nothing was asked of."""
        return configure(self.registry, ConfigRequest())


def report(
    run_dirs: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    *,
    png: str | Path | None = None,
    csv: str | Path | None = None,
    animation: bool = True,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    variables: Sequence[str] | str = (),
) -> Path:
    """Writes a page about one run or several, as ``maze report`` does.

    Args:
        run_dirs: Directory of the run, or of each run; one that is named twice is shown once.
        path: Where to; an older report there is replaced, anything else is not. ``report.html`` if not given, in the
            directory of the one run, or in the current one.
        png: Where to write the learning curves as a picture; the name may also end in ``.svg`` or ``.pdf``.
        csv: Where to write all statistics as a table.
        animation: Whether an episode is played and shown.
        plugins: As for `RunContext`.
        local_plugins: As for `RunContext`.
        variables: Names of environment variables that the configurations of the runs may use.

    Returns:
        The page.

    Raises:
        NothingUsableError: If one of them is no run directory.
        UserError: If a file cannot go where it was asked for: something else exists there, or two go to one place.
    """
    stored = _stored(run_dirs)
    target = _target(stored, checked_path("path", path))
    if png is not None:
        form_of(checked_path("png", png))
    check_targets(target, png, checked_path("csv", csv))
    named, allowed = checked_texts("plugins", plugins), checked_texts("variables", variables)
    known = _Known(load_registry(named, local_plugins, _foreign(stored, named)), allowed)
    names = names_of([run.path for run in stored])
    records = [_with_differences(read_record(run, name), known) for run, name in zip(stored, names, strict=True)]
    if animation:
        share = len(records)
        records = [_with_clip(record, known, PLAY_S / share, MAX_BYTES // share) for record in records]
    content = page_of(records, _words(named, local_plugins, allowed))
    write_file(target, lambda file: file.write(content))
    if png is not None:
        write_chart(png, figure_panels(records))
    if csv is not None:
        write_csv(csv, csv_rows(records), FIXED)
    return target


def _stored(run_dirs: Any) -> list[StoredRun]:
    """The runs that are named, each once."""
    named = checked_texts("run_dirs", run_dirs)
    if not 1 <= len(named) <= MAX_RUNS:
        raise UserError(f"a report is about at least one run and at most {MAX_RUNS}; {len(named)} were named.")
    found: dict[Path, StoredRun] = {}
    for run in map(StoredRun, named):
        found.setdefault(run.path.resolve(), run)
    return list(found.values())


def _foreign(stored: Sequence[StoredRun], plugins: Sequence[str]) -> Path:
    """The run directory, of several, that a plugin could be loaded from: nothing in it may run."""
    places = [place.resolve() for place in (Path.cwd(), *map(Path, plugins))]
    found = (run.path for run in stored if any(place.is_relative_to(run.path.resolve()) for place in places))
    return next(found, stored[0].path)


def _target(stored: Sequence[StoredRun], path: Any) -> Path:
    """Where the page goes."""
    if path is not None:
        return Path(path).expanduser()
    return stored[0].path / REPORT if len(stored) == 1 else Path(REPORT)


def _words(plugins: Sequence[str], local_plugins: bool, variables: Sequence[str]) -> list[str]:
    """Options that the commands on the page need too."""
    words = [word for plugin in plugins for word in ("--plugin", plugin)] + ([] if local_plugins else ["--no-local"])
    return [*words, *(word for name in variables for word in ("--env", name))]


def _with_differences(record: RunRecord, known: _Known) -> RunRecord:
    if record.config is None:
        return replace(record, no_differences="Its configuration cannot be read.")
    try:
        return replace(record, differences=_differences(record, known))
    except MazeError as error:
        return replace(record, no_differences=str(error))


def _differences(record: RunRecord, known: _Known) -> list[Difference]:
    assert record.config is not None
    absent = absent_specs(known.registry, record.config, GROUPS)
    registry = LiveObjects().known_to(known.registry, absent)
    name = str(record.stored.path / CONFIG)
    configured = configure_stored(registry, record.config, name, (), known.variables)
    found = configured.differences(known.defaults)
    return [entry for entry in found if entry[0] != "run_dir"]


def _with_clip(record: RunRecord, known: _Known, seconds: float, max_bytes: int) -> RunRecord:
    if seconds < MIN_PLAY_S:
        return replace(record, no_clip="There are too many runs on this page to show an episode of each.")
    try:
        return replace(record, clip=_clip(record, known, seconds, max_bytes))
    except MazeError as error:
        return replace(record, no_clip=f"No episode can be shown. {str(error).splitlines()[0]}")


def _clip(record: RunRecord, known: _Known, seconds: float, max_bytes: int) -> Clip:
    """Plays the first episode of the final evaluation."""
    live = LiveObjects()
    registry, run = opened_run(
        known.registry, live, record.stored.path, known.variables, {}, ("callbacks", "runner"), "rollout"
    )
    config = run.configured.config
    asked = items_of_mapping({"seed": config.seed, "runner": "dev", "runner.kernel": config.runner.kernel.name})
    configured = rollout_config(registry, asked, RolloutRequest(), run.configured)
    timeout = configured.config.runner.step_timeout
    with limited_threads(True), contextlib.closing(
        build_rollout(registry, configured, run.weights, run.shown)
    ) as built:  # fmt: skip
        (seed,) = built.streams.episode_seeds("final_eval", 0, 1)
        with watching(built.workspace.in_process, timeout):
            return make_clip(built, seed, seconds, max_bytes)
