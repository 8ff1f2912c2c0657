"""The learning table in Markdown: interquartile means with bootstrap intervals, gates, every seed."""

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from statistics import median

import numpy as np
from common import BENCH_PYTHON, Run, processor, table, versions
from learning_rows import N_SEEDS, ROWS, Row

from maze_core.stats import aggregates
from maze_core.stats.aggregates import Floats, percentile_interval

Results = Mapping[tuple[str, str], Sequence[Run]]
"""Lines of the results by row and side, a failed run's too."""

N_RESAMPLES = 10_000
MEDIANS = {"env_steps": "env steps", "train_s": "train s", "peak_rss_mb": "peak MB"}
PACKAGES = ("stable-baselines3", "numpy", "torch", "gymnasium", "Box2D")
NOTES = """\
- A seed's score is the mean return of the final policy over 100 deterministic episodes; in rows marked
  "training" it is the mean of the last 100 episodes of training.
- IQM: interquartile mean of the ten scores, the mean of their middle half. In brackets its 95 % interval:
  percentiles of 10,000 bootstrap resamples of the seeds, for the difference of each side by itself.
- not worse: the interval of the difference covers 0 or lies above. level: how many seeds have to reach it.
  "control" is a negative control: nothing is to be learned there, and a seed that reaches the level is suspicious.
- train s: median seconds of training at one thread, under whatever load there was; speed is compared in
  `throughput.md`."""

COMMAND_NOTE = """\
- All with `runner.stop_at_reward=inf runner.patience=null`, and without evaluations before the end. The job of
  stable-baselines3 is derived from this configuration."""


def interquartile_mean(scores: Floats) -> Floats:
    """Return the mean of the middle half along the last axis, [..., n] -> [...].

    Where a quarter of n is not whole, the scores at the border count with the part that lies inside. That is how the
    recorded results were made; `aggregates.interquartile_mean` cuts whole scores only, as rliable does.
    """
    n = scores.shape[-1]
    borders = np.clip(np.arange(n + 1), n / 4, 3 * n / 4)
    return np.asarray(np.sort(scores, axis=-1) @ np.diff(borders) / (n / 2))


def resampled(scores: Floats, rng: np.random.Generator) -> Floats:
    """Return interquartile means of bootstrap resamples of the seeds, [N_RESAMPLES]."""
    return aggregates.resampled([scores], interquartile_mean, rng, N_RESAMPLES)


def interval(values: Floats) -> tuple[float, float]:
    """Return the percentiles that 95 % of the values lie between."""
    return percentile_interval(values)


def difference(ours: Floats, theirs: Floats) -> tuple[float, float, float]:
    """Return ours - theirs in interquartile means, and its 95 % interval; each side is resampled by itself."""
    rng = np.random.default_rng(0)
    value = float(interquartile_mean(ours) - interquartile_mean(theirs))
    return value, *interval(resampled(ours, rng) - resampled(theirs, rng))


def report(results: Results) -> str:
    """Return the whole report."""
    scores = {
        (row.key, side): _scores(row, results.get((row.key, side), ())) for row in ROWS for side in ("ours", "sb3")
    }
    run = [row for row in ROWS if row.default or any(len(scores[row.key, side]) for side in ("ours", "sb3"))]
    header = ["row", "level", "Maze", "SB3", "Maze - SB3", "seeds at level", "not worse", "level"]
    gates = [gates_row(row, scores[row.key, "ours"], scores[row.key, "sb3"]) for row in run]
    seeds = [seeds_row(row, side, results.get((row.key, side), ())) for row in run for side in _sides(row)]
    optional = [f"- {row.key}: {row.note}" for row in ROWS if row not in run]
    optional.append("- The cutting problem has a benchmark of its own: `cutting_2d.md`.")
    parts = [
        "# Learning",
        "\n".join(f"- {name}: {value}" for name, value in about(results).items()),
        "Interquartile mean [95 % interval] of ten seeds:",
        table(header, gates),
        NOTES,
        "## Every seed",
        table(["row", "side", *map(str, range(1, N_SEEDS + 1)), *MEDIANS.values()], seeds, left=2),
        "## What the rows are",
        table(["row", "maze train"], [[row.key, command(row)] for row in run], left=2),
        COMMAND_NOTE,
        "## Not run",
        "\n".join(optional),
    ]
    return "\n\n".join(parts) + "\n"


def command(row: Row) -> str:
    """Write what is to be trained, as options of `maze train`."""
    values = {name: "null" if value is None else str(value) for name, value in row.overrides.items()}
    return f"`{' '.join([f'experiment={row.experiment}', *(f'{name}={value}' for name, value in values.items())])}`"


def _sides(row: Row) -> tuple[str, ...]:
    return ("ours", "sb3") if row.peer else ("ours",)


def _scores(row: Row, lines: Sequence[Run]) -> Floats:
    return np.array([row.score(line) for line in lines if "error" not in line], dtype=float)


def about(results: Results) -> dict[str, str]:
    """Return when and on what the results were made."""
    dates = sorted({line["date"] for lines in results.values() for line in lines})
    n_failed = sum("error" in line for lines in results.values() for line in lines)
    told = {"date": date.today().isoformat(), "processor": processor()}
    if dates:
        told["runs"] = f"{dates[0]} to {dates[-1]}; {n_failed or 'none'} failed"
    told["versions"] = versions(sys.executable, PACKAGES)
    if BENCH_PYTHON.exists():
        told["versions, stable-baselines3"] = versions(BENCH_PYTHON, PACKAGES)
    return told


def gates_row(row: Row, ours: Floats, theirs: Floats) -> list[str]:
    """Write one row: the level, both sides, their difference, and whether the gates are passed."""
    sides = (ours, theirs)[: len(_sides(row))]
    both = len(ours) and len(theirs)
    return [
        row.key + (", training" if row.measure == "training" else ""),
        level_text(row),
        *(estimate(scores, row.decimals) for scores in sides),
        *["none"] * (2 - len(sides)),
        "{:+.1f} [{:+.1f}, {:+.1f}]".format(*difference(ours, theirs)) if both else "-",
        "-" if row.level is None else " / ".join(_count(scores, row.level) for scores in sides),
        not_worse(ours, theirs) if row.peer else "-",
        level_reached(row, ours),
    ]


def _count(scores: Floats, level: float) -> str:
    return str(int((scores >= level).sum())) if len(scores) else "-"


def estimate(scores: Floats, decimals: int = 1) -> str:
    """Write the interquartile mean and its interval."""
    if not len(scores):
        return "not run"
    low, high = interval(resampled(scores, np.random.default_rng(0)))
    few = "" if len(scores) == N_SEEDS else f" ({len(scores)} of {N_SEEDS} seeds)"
    mean, *bounds = (f"{value:.{decimals}f}" for value in (interquartile_mean(scores), low, high))
    return f"{mean} [{', '.join(bounds)}]{few}"


def level_text(row: Row) -> str:
    """Write what is to be reached and in how many seeds."""
    if row.level is None:
        return "published"
    if row.control:
        return f"control: < {row.n_reach} of {N_SEEDS} at {row.level:g}"
    return f">= {row.level:g}" + ("" if row.n_reach is None else f" in {row.n_reach} of {N_SEEDS}")


def not_worse(ours: Floats, theirs: Floats) -> str:
    """Give the verdict on the comparison; only all seeds of both sides decide."""
    if min(len(ours), len(theirs)) < N_SEEDS:
        return "not run"
    return "pass" if difference(ours, theirs)[2] >= 0 else "FAIL"


def level_reached(row: Row, ours: Floats) -> str:
    """Give the verdict on the level, if it is a gate; only all seeds decide."""
    if row.n_reach is None or row.level is None:
        return "no gate"
    if len(ours) < N_SEEDS:
        return "not run"
    enough = int((ours >= row.level).sum()) >= row.n_reach
    return "FAIL" if enough == row.control else "pass"


def seeds_row(row: Row, side: str, lines: Sequence[Run]) -> list[str]:
    """Write every seed's score of one row and side, and the medians of env steps, time and memory."""
    by_seed = {line["seed"]: line for line in lines}
    cells = []
    for seed in range(1, N_SEEDS + 1):
        line = by_seed.get(seed)
        score = "" if line is None or "error" in line else f"{row.score(line):.{row.decimals}f}"
        cells.append("FAILED" if line is not None and not score else score)
    good = [line for line in lines if "error" not in line]
    medians = [f"{median(line[name] for line in good):,.0f}" if good else "" for name in MEDIANS]
    return [row.key, "Maze" if side == "ours" else "SB3", *cells, *medians]
