"""What a comparison reads of run directories: settings and statistics; nothing in them is executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maze_core.errors import MazeError, NothingUsableError, UserError, did_you_mean, one_line
from maze_core.registry import GROUPS
from maze_core.runs.lock import is_locked
from maze_core.runs.metrics import MetricRow, Series, read_metrics, series
from maze_core.runs.stored_run import StoredRun, entries_of, find_runs

COMPONENTS = "components"
IRRELEVANT = (
    "seed", "run_dir", "callbacks", "runner.checkpoint", "runner.on_env_error", "runner.step_timeout",
    "runner.raw_errors", "runner.n_workers", "runner.max_worker_restarts",
)  # fmt: skip
"""What changes neither what a run learns nor when it ends, beside the seed."""

MAX_SHOWN, MAX_VALUE = 60, 200
"""Of a name and of a setting."""

MAX_SCORE = 1e100
"""Sums and differences of larger numbers would not be finite."""

FINAL, EVAL = "final_eval", "eval"

Settings = Mapping[str, Any]
"""Values by dotted key; that of a group, such as ``algorithm``, is the name of what was chosen."""


@dataclass(frozen=True)
class ComparedRun:
    """A run as far as it is compared.

    Args:
        path: Where it is, to be printed.
        seed: Its root seed.
        settings: All that it was configured with, but for what is `IRRELEVANT`.
        score: The one number that stands for it.
        curve: Its evaluations, or what else is drawn, over the run.
        ended: Whether it came to its own end, with a final evaluation.
        env_steps: Env steps of training so far.
        train_s: Seconds of training so far; NaN if not known.
    """

    path: str
    seed: int
    settings: Settings
    score: float
    curve: Series
    ended: bool
    env_steps: int
    train_s: float


@dataclass(frozen=True)
class Measure:
    """Which number stands for a run.

    Args:
        stage: ``final_eval``, ``eval`` or ``train``.
        metric: Path of a statistic.
        at: ``last`` or ``best`` row of that stage.
        lower_is_better: Whether small numbers are good.
    """

    stage: str
    metric: str
    at: str
    lower_is_better: bool = False

    @property
    def curve_stage(self) -> str:
        """What is drawn over the run."""
        return EVAL if self.stage == FINAL else self.stage

    def of(self, values: Sequence[float]) -> float:
        """The number."""
        return values[-1] if self.at == "last" else min(values) if self.lower_is_better else max(values)


def read_runs(directories: Sequence[str], measure: Measure) -> tuple[list[ComparedRun], list[str]]:
    """Reads the runs in and below some directories.

    Returns:
        Those that can be compared, and a sentence for each that cannot.

    Raises:
        NothingUsableError: If there are none, or a directory is none.
        UserError: If no run has that statistic.
    """
    runs, left_out, known = [], [], dict[str, None]()
    for path in _found(directories):
        try:
            stored = StoredRun(path)
            config, rows = stored.config(), read_metrics(stored)
            known.update(dict.fromkeys(name for row in rows if row.stage == measure.stage for name in row.values))
            run = _compared(stored, config, rows, measure)
        except MazeError as error:
            left_out.append(f"{one_line(str(path), 200)}: {one_line(str(error), 300)}")
        else:
            left_out += [f"{stored.shown}: {run}"] if isinstance(run, str) else []
            runs += [run] if isinstance(run, ComparedRun) else []
    if known and measure.metric not in known:
        names = [one_line(name, MAX_SHOWN) for name in known]
        raise UserError(
            f"no run has the statistic {measure.metric!r} in stage {measure.stage}."
            f"{did_you_mean(measure.metric, names)}\nKnown: {', '.join(names[:40])}."
        )
    if not runs:
        reasons = "\n".join(left_out[:10])
        raise NothingUsableError(f"there is no run that can be compared:\n{reasons}")
    return runs, left_out


def _found(directories: Sequence[str]) -> list[Path]:
    """All run directories, each once.

    Raises:
        NothingUsableError: If a directory has none.
    """
    found: dict[Path, Path] = {}
    for name in directories:
        folder = Path(name).expanduser()
        entries_of(folder)
        inside = list(find_runs(folder))
        if not inside:
            raise NothingUsableError(f"there are no runs in or below {one_line(name, 200)}. See: maze runs")
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _compared(
    stored: StoredRun, config: Mapping[str, Any], rows: Sequence[MetricRow], measure: Measure
) -> ComparedRun | str:
    """A run, or why it cannot be compared."""
    scores = series(rows, measure.stage, measure.metric)
    seed, ended = config.get("seed"), rows[-1].stage == FINAL
    if type(seed) is not int or not isinstance(config.get(COMPONENTS), dict):
        return "its configuration does not say its seed and what it ran"
    if measure.stage == FINAL and not ended:
        return f"it {'is still running' if is_locked(stored.path) else 'did not end'}, so it has no final evaluation"
    if not len(scores.values):
        return f"it has no finite {one_line(measure.metric, MAX_SHOWN)} in stage {measure.stage}"
    curve = series(rows, measure.curve_stage, measure.metric)
    if max(abs(value) for value in (*scores.values, *curve.values)) > MAX_SCORE:
        return f"its {one_line(measure.metric, MAX_SHOWN)} is beyond {MAX_SCORE:g}"
    train_s = rows[-1].time.get("train_s", float("nan"))
    score = measure.of(scores.values.tolist())
    return ComparedRun(
        stored.shown, seed, settings_of(config), score, curve, ended, max(row.env_steps for row in rows), train_s
    )


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a recorded configuration by dotted key, and names of what was chosen by group."""
    chosen = config[COMPONENTS]
    names = {str(path): str(name) for path, name in chosen.items() if path.count(".") == 0}
    wrappers = [str(name) for path, name in chosen.items() if path.startswith("wrappers.")]
    values = dict(_flat({key: value for key, value in config.items() if key != COMPONENTS}))
    parts = {str(path): str(name) for path, name in chosen.items() if path.startswith(("model.", "critic."))}
    named = {**names, "wrappers": ", ".join(wrappers) or "none", **parts}
    found = {**named, **values, **named}
    unchosen = [group for group in GROUPS if found.get(group, "") is None]
    return {key: value for key, value in found.items() if not within(key, [*IRRELEVANT, *unchosen])}


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings by dotted key; a list is a value."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def within(key: str, keys: Sequence[str]) -> bool:
    """Whether a key is one of some keys, or below one."""
    return any(key == other or key.startswith(f"{other}.") for other in keys)


def value_text(value: Any) -> str:
    """A setting, to be printed."""
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, (bool, type(None))) else None
    return text or one_line(str(value), MAX_VALUE) or "''"
