"""Whether a run gives the same numbers again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from maze_core.api import commands
from maze_core.build import build_run
from maze_core.config import Configured, configure_stored
from maze_core.config.absent import absent_specs
from maze_core.config.arguments import override_items
from maze_core.config.overrides import Item
from maze_core.errors import NothingUsableError, UserError, checked_path, checked_texts, printable
from maze_core.live import LiveObjects
from maze_core.protocols import Callback, EpochReport
from maze_core.registry import Registry, live_arguments, load_registry, unknown_live
from maze_core.runs.files import UnreadableError, read_json
from maze_core.runs.fingerprint import differences
from maze_core.runs.launch import Asked, one_thread, run_fingerprint, start_run
from maze_core.runs.metrics import MetricRow, read_metrics
from maze_core.runs.opened import use_stored_statistics
from maze_core.runs.stored_run import CONFIG, StoredRun, stored_weights
from maze_core.runs.threads import limited_threads
from maze_core.runs.watchdog import watching

MAX_ENVIRONMENT = 2**20
MAX_TOLD = 5
LIMITS = ("runner.n_epochs", "runner.total_env_steps", "runner.stop_at_reward", "runner.patience")

Differing = tuple[str, float | None, float | None]


@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Args:
        epoch: From 0.
        stage: ``train``, ``eval`` or ``final_eval``.
        env_steps: Of training, as recorded.
        values: Statistics that differ, as (path, recorded, now); a value is None where there is none.
    """

    epoch: int
    stage: str
    env_steps: int
    values: Sequence[Differing]


@dataclass(frozen=True)
class Reproduction:
    """A run that was run again.

    Args:
        n_rows: Rows of statistics that were recorded and are compared, one for each epoch and stage.
        n_identical: How many of them are the same, bit for bit, from the first on.
        difference: Where they part; None if they do not.
        same_weights: Whether the last weights are the same too; None where that is not known.
        versions: What is another version or machine than then, in words.
        directory: Of the new run.
        signal: What interrupted it, or None.
        went_on: Whether the recorded run went on after an end of its own, which is not repeated.
    """

    n_rows: int
    n_identical: int
    difference: Difference | None
    same_weights: bool | None
    versions: Sequence[str]
    directory: Path
    signal: int | None = None
    went_on: bool = False

    @property
    def identical(self) -> bool:
        """Whether everything that can be compared was compared, and is the same."""
        return self.n_identical == self.n_rows and self.same_weights is not False


class _PartedError(Exception):
    """Ends a run that is another one already."""


@dataclass
class _Comparison(Callback):
    """Compares a run with recorded rows, epoch by epoch."""

    recorded: Sequence[MetricRow]
    tell: Callable[[int, int], None]
    n_identical: int = 0
    difference: Difference | None = None

    def on_epoch_end(self, report: EpochReport) -> None:
        """Compares the rows of the epoch."""
        for stage in report.stages:
            if self.n_identical == len(self.recorded):
                return  # the record ends here
            row = self.recorded[self.n_identical]
            values = dict(stage.values) if (row.epoch, row.stage) == (report.epoch, stage.stage) else {}
            counts = [("update", row.update, report.update), ("env_steps", row.env_steps, report.env_steps)]
            found: list[Differing] = [(name, float(one), float(other)) for name, one, other in counts if one != other]
            found += _differing(row.values, values)
            if found:
                self.difference = Difference(row.epoch, row.stage, row.env_steps, found)
                raise _PartedError
            self.n_identical += 1
        self.tell(self.n_identical, len(self.recorded))


def _differing(recorded: Mapping[str, float], now: Mapping[str, float]) -> Iterator[Differing]:
    for path in dict.fromkeys([*recorded, *now]):
        one, other = recorded.get(path), now.get(path)
        both_nan = one is not None and other is not None and math.isnan(one) and math.isnan(other)
        if one != other and not both_nan:
            yield path, one, other


def reproduce(
    run_dir: str | Path,
    *,
    overrides: Sequence[str] | str = (),
    to: str | Path | None = None,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    variables: Sequence[str] | str = (),
    tell: Callable[[int, int], None] = lambda n, total: None,
    **live_objects: Any,
) -> Reproduction:
    """Runs the configuration and seed of a run again, and compares its statistics bit by bit.

    It ends with the first epoch that differs, or where the record ends. The new run has a directory of its own and no
    callbacks but ``jsonl``. Nothing in the old directory is executed or changed.

    Args:
        run_dir: Directory of the run.
        overrides: What may change when a run goes on, such as ``runner.n_workers=0``.
        to: Directory of the new run; one below outputs/ if not given.
        plugins: Modules, files or folders to load plugins from.
        local_plugins: Whether ``maze_plugins.py`` in the current directory is loaded.
        variables: Names of environment variables that the configuration may use.
        tell: Is given how many rows are identical so far, and how many there are.
        live_objects: Those that the run was given by a Python program, as they were: ``env=make_env``.

    Raises:
        NothingUsableError: If it is no run directory, or has no statistics.
        UserError: If a plugin or an object is missing, or an override would make it another run.
    """
    stored = StoredRun(checked_path("run_dir", run_dir))
    checked_path("to", to)
    rows = read_metrics(stored)
    recorded = _comparable(rows)
    if not recorded:
        raise NothingUsableError(f"run {stored.shown} has no statistics of training that could be compared.")
    if to is not None and Path(to).expanduser().resolve().is_relative_to(stored.path.resolve()):
        raise UserError(f"to={to} is not allowed: it lies in the run, which stays as it is. Name another directory.")
    registry = load_registry(checked_texts("plugins", plugins), local_plugins, run_dir)
    items = override_items(checked_texts("overrides", overrides))
    data, before = _recorded(stored)
    registry, configured = _configured(
        registry, LiveObjects.again(live_objects), stored, data, items, checked_texts("variables", variables)
    )
    configured.set("run_dir", None if to is None else str(to))
    input_dir = configured.config.input_dir
    with limited_threads(True):  # as when the run began
        built = build_run(registry, configured, None if input_dir is None else stored_weights(input_dir))
    comparison = _Comparison(recorded, tell)
    built.callbacks["comparison"] = comparison
    with ExitStack() as opened:
        opened.callback(built.close)
        run = start_run(registry, configured, built, _asked(stored, configured, plugins, local_plugins))
        opened.callback(run.close)
        ended = stored.condition().status == "finished"
        n_epochs = None if ended else 1 + max(row.epoch for row in recorded)
        with (
            limited_threads(one_thread(built)),
            watching(built.workspace.in_process, configured.config.runner.step_timeout),
        ):
            signal = None
            with suppress(_PartedError):
                run.begin()
                signal = run.loop.run(n_epochs).signal
        now = run_fingerprint(registry, configured, built)
    directory, difference = run.loop.directory.path, comparison.difference
    if difference is None and comparison.n_identical < len(recorded) and signal is None:
        row = recorded[comparison.n_identical]
        difference = Difference(row.epoch, row.stage, row.env_steps, [])
    whole = ended and comparison.n_identical == len(recorded)
    same = _same_weights(stored, StoredRun(directory)) if whole else None
    versions = differences(before, now) if before else []
    versions += _revisions(stored, directory)
    went_on = sum(row.stage == "final_eval" for row in rows) > 1
    return Reproduction(len(recorded), comparison.n_identical, difference, same, versions, directory, signal, went_on)


def _comparable(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Without the final evaluations of a run that went on after one: their totals count those before them too."""
    once = sum(row.stage == "final_eval" for row in rows) == 1
    return [row for row in rows if row.stage != "final_eval" or once]


def _recorded(stored: StoredRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of a run, as it was in force last, and its fingerprint."""
    if not stored.checkpoints.numbers():
        return stored.config(), {}
    checkpoint = stored.checkpoints.newest()
    config = checkpoint.state.get("config")
    return config if isinstance(config, dict) else stored.config(), dict(checkpoint.fingerprint)


def _configured(
    registry: Registry, live: LiveObjects, stored: StoredRun, data: Mapping[str, Any], items: Sequence[Item],
    variables: Sequence[str],
) -> tuple[Registry, Configured]:  # fmt: skip
    registry = live.known_to(registry)
    known = live.known_to(registry, absent_specs(registry, data, ("callbacks",)))
    missing = unknown_live(known, data)
    if missing:
        again = f"reproduce({stored.shown!r}, {live_arguments(missing)})"
        raise UserError(f"{stored.shown} was given objects by a Python program, and needs them again: {again}")
    if any(item.key.split(".")[0] == "callbacks" for item in items):
        raise UserError("callbacks cannot be chosen: a run that is reproduced tells nobody but its metrics.jsonl.")
    if limits := [item.text for item in items if item.key in LIMITS]:
        raise UserError(f"{limits[0]}: the limits are those of the run, or it would end elsewhere. Leave it out.")
    items = [*items, Item("callbacks", ["jsonl"], "set", "callbacks=[jsonl]")]
    configured = configure_stored(known, data, str(stored.path / CONFIG), items, variables)
    use_stored_statistics(configured, stored)
    live.refuse_unused(configured.components.values(), stored.shown)
    return known, configured


def _asked(stored: StoredRun, configured: Configured, plugins: Sequence[str] | str, local_plugins: bool) -> Asked:
    named = checked_texts("plugins", plugins)
    command = commands.command("conf_train", (), named, local_plugins, [str(stored.path)], "reproduce")
    return Asked((), command, lambda path: "", partial(commands.resume_command, configured, named, local_plugins))


def _same_weights(old: StoredRun, new: StoredRun) -> bool | None:
    """Whether the last weights of two runs are the same, bit for bit; None if one of them cannot tell."""
    found = []
    for run in (old, new):
        state = run.checkpoints.newest().state.get("state") if run.checkpoints.numbers() else None
        found.append(state.get("weights") if isinstance(state, dict) else None)
    before, now = found
    if not isinstance(before, dict) or not isinstance(now, dict):
        return None
    return before.keys() == now.keys() and all(torch.equal(value, now[name]) for name, value in before.items())


def _revisions(stored: StoredRun, directory: Path) -> list[str]:
    """How the recorded revision of the project differs, in words."""
    found = []
    for path in (stored.path, directory):
        try:
            data = read_json(path / "environment.json", MAX_ENVIRONMENT)
        except UnreadableError:
            return []
        found.append(str(data.get("git_revision"))[:60] if isinstance(data, dict) else "")
    before, now = map(printable, found)
    return [] if before == now else [f"git revision was {before} and is {now}"]


def in_words(result: Reproduction) -> list[str]:
    """What came out, as lines."""
    lines = []
    if result.signal is not None:
        lines.append(f"Interrupted: {result.n_identical} of {result.n_rows} rows of statistics are identical so far.")
    elif result.difference is None:
        weights = {True: ", and so are the last weights", False: ", but the last weights are NOT", None: ""}
        lines.append(f"Identical: all {result.n_rows} rows of statistics{weights[result.same_weights]}.")
    else:
        lines += _part(result, result.difference)
    if result.versions:
        lines.append("Not as then:" + "".join(f"\n  {line}" for line in map(printable, result.versions)))
    elif result.went_on and result.difference is not None:
        lines.append("The recorded run went on after an end of its own, and was evaluated there; this one was not.")
    elif result.difference is not None or result.same_weights is False:
        lines.append(
            "Versions and kind of machine are as then: the env or a plugin may not keep to its seed, or the record was "
            "changed."
        )
    return [*lines, f"The new run: {result.directory}"]


def _part(result: Reproduction, difference: Difference) -> list[str]:
    where = f"{difference.stage} of epoch {difference.epoch}, after {difference.env_steps:,} env steps"
    lines = [f"NOT identical: {result.n_identical} of {result.n_rows} rows are; they part in {where}:"]
    if not difference.values:
        return [f"NOT identical: {result.n_identical} of {result.n_rows} rows are; the new run has no {where}."]
    for path, before, now in difference.values[:MAX_TOLD]:
        lines.append(f"  {printable(path)}: {_shown(before)} then, {_shown(now)} now")
    left = len(difference.values) - MAX_TOLD
    return lines + ([f"  and {left} more"] if left > 0 else [])


def _shown(value: float | None) -> str:
    return "none" if value is None else repr(value)
