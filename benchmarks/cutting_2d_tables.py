"""The rows of the cutting benchmark's tables."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

import numpy as np
from common import Run, bar, rate, spread
from cutting_2d_cases import (
    DEMANDS,
    FORMS,
    HEURISTICS,
    LARGE_SEEDS,
    LEVEL_BUDGETS,
    N_SEEDS,
    OPTIMUM,
    REPEATS,
    SPEED_BARS,
    SPEED_ENVS,
)
from learning_report import N_RESAMPLES, Floats, difference, estimate, interquartile_mean, interval

Results = dict[tuple[str, str], list[Run]]
"""Lines of the results by part and case, a failed run's too."""

POINTS = (100_000, 300_000, 900_000, 1_200_000)
NEAR_OPTIMUM = OPTIMUM - 0.5
ORDER_AT = (100_000, 300_000)
"""Env steps at which masked is compared with structured, and structured with flat."""
PUBLISHED = {
    "masked": "-31 by about 0.3M",
    "structured": "-31 to -32 by about 0.9M",
    "flat": "-34 to -36 at 1.2M",
}
ACTIONS = {"evaluations": "deterministic", "training": "sampled, training"}


def lines_of(results: Results, part: str, key: str) -> list[Run]:
    """Return the lines of one case, without those of runs that failed."""
    return [line for line in results.get((part, key), ()) if "error" not in line]


def curves(lines: Sequence[Run], name: str) -> tuple[Floats, Floats]:
    """Return env steps [k] and mean episode returns of all seeds [n, k].

    Args:
        lines: Of one form, at least one.
        name: `evaluations` or `training`.

    Raises:
        ValueError: If the seeds do not have the same env steps.
    """
    points = np.array([line[name] for line in lines], dtype=float)
    if not (points[:, :, 0] == points[:1, :, 0]).all():
        raise ValueError(f"the runs of {lines[0]['case']} were evaluated after different env steps")
    return points[0, :, 0], points[:, :, 1]


def steps(value: float) -> str:
    """Write env steps: 8.0k, 30.7k, 300k, 1.2M."""
    if math.isinf(value):
        return "never"
    if value >= 999_500:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.0f}k" if value >= 99_950 else f"{value / 1e3:.1f}k"


def level_rows(results: Results) -> list[list[str]]:
    """Write for each demand and algorithm how soon it was at the optimum."""
    rows = []
    for demand in DEMANDS:
        for algorithm, budget in LEVEL_BUDGETS.items():
            lines = lines_of(results, "levels", f"{algorithm}-{demand}")
            needed = f"<= {steps(budget)}"
            if not lines:
                rows.append([algorithm, demand, "not run", "-", needed, "-", "-", "-", "-"])
                continue
            reached = [_reached(line) for line in lines]
            middle, complete = median(reached), len(lines) == N_SEEDS
            spread_of = f"{steps(middle)} ({steps(min(reached))}..{steps(max(reached))})"
            count = f"{sum(map(math.isfinite, reached))} of {len(lines)}"
            verdict = "-" if not complete else "pass" if middle <= budget else "FAIL"
            rest = [_middle(line["untrained"] for line in lines), _middle(line["final"] for line in lines)]
            sampled = _middle(line["training"][-1][1] for line in lines)
            rows.append([algorithm, demand, spread_of, count, needed, verdict, *rest, sampled])
    return rows


def _middle(values: Iterable[float]) -> str:
    return f"{median(values):.1f}"


def _reached(line: Run) -> float:
    return math.inf if line["reached"] is None else float(line["reached"])


def seed_rows(results: Results) -> list[list[str]]:
    """Write the env steps of every seed, and behind them the return of its policy before training."""
    rows = []
    for demand in DEMANDS:
        for algorithm in LEVEL_BUDGETS:
            by_seed = {line["seed"]: line for line in lines_of(results, "levels", f"{algorithm}-{demand}")}
            cells = [
                f"{steps(_reached(line))} ({line['untrained']:g})" if (line := by_seed.get(seed)) else "not run"
                for seed in range(1, N_SEEDS + 1)
            ]
            rows.append([algorithm, demand, *cells])
    return rows


def form_rows(results: Results) -> list[list[str]]:
    """Write the returns of each form on its way, of evaluations and of training."""
    rows = []
    for form, published in PUBLISHED.items():
        lines = lines_of(results, "forms", form)
        for name, actions in ACTIONS.items():
            if not lines:
                rows.append([form, actions, *["not run"] * len(POINTS), "-", published])
                continue
            env_steps, values = curves(lines, name)
            near = np.flatnonzero(interquartile_mean(values.T) >= NEAR_OPTIMUM)
            cells = [_at(point, env_steps, values) for point in POINTS]
            rows.append([form, actions, *cells, steps(env_steps[near[0]]) if len(near) else "never", published])
    return rows


def _at(point: int, env_steps: Floats, values: Floats) -> str:
    """Write the interquartile mean at the point of a curve that is nearest; `-` after its end."""
    if point > 1.05 * env_steps[-1]:
        return "-"
    return estimate(values[:, np.abs(env_steps - point).argmin()])


def order_rows(results: Results) -> list[list[str]]:
    """Write whether each form is better than the next, where both were trained as long and the better one is done."""
    rows = []
    for (better, worse), point in zip(pairwise(FORMS), ORDER_AT, strict=True):
        at_point = []
        for form in (better, worse):
            lines = lines_of(results, "forms", form)
            env_steps, values = curves(lines, "training") if lines else (np.zeros(1), np.zeros((0, 1)))
            at_point.append(values[:, np.abs(env_steps - point).argmin()])
        name = f"{better} - {worse}, {steps(point)}"
        if not all(map(len, at_point)):
            rows.append([name, "not run", "> 0", "-"])
            continue
        value, low, high = difference(*at_point)
        verdict = "-" if min(map(len, at_point)) < N_SEEDS else "pass" if low > 0 else "FAIL"
        rows.append([name, f"{value:+.1f} [{low:+.1f}, {high:+.1f}]", "> 0", verdict])
    return rows


def _returns(line: Run) -> Floats:
    return np.array(line["returns"], dtype=float)


def _mean(values: Floats) -> tuple[float, float, float]:
    """Return the mean over episodes, and its 95 % interval."""
    resamples = np.random.default_rng(0).choice(values, (N_RESAMPLES, len(values))).mean(axis=1)
    return float(values.mean()), *interval(resamples)


def policy_rows(results: Results) -> list[list[str]]:
    """Write the mean return of every policy on the large instance."""
    lines = {key: lines[0] for key in HEURISTICS if (lines := lines_of(results, "large", key))}
    lines |= {f"ppo, seed {line['seed']}": line for line in lines_of(results, "large", "ppo")}
    rows = []
    for name in [*HEURISTICS, *(f"ppo, seed {seed}" for seed in LARGE_SEEDS)]:
        text = "{:.2f} [{:.2f}, {:.2f}]".format(*_mean(_returns(lines[name]))) if name in lines else "not run"
        rows.append([name, text])
    return rows


def large_rows(results: Results) -> list[list[str]]:
    """Write by how much each training seed is better than each heuristic, on the same orders."""
    trained = {line["seed"]: _returns(line) for line in lines_of(results, "large", "ppo")}
    untrained = {key: _returns(lines[0]) for key in HEURISTICS if (lines := lines_of(results, "large", key))}
    one_cut = [key for key in ("greedy-x_first", "greedy-y_first") if key in untrained]
    needed = {max(one_cut, key=lambda key: untrained[key].mean(), default=""): "gate: > 0", "greedy-best": "goal: > 0"}
    middle = sorted(trained, key=lambda seed: trained[seed].mean())[len(trained) // 2] if trained else None
    rows = []
    for key in HEURISTICS:
        differences = {seed: _mean(trained[seed] - untrained[key]) for seed in trained if key in untrained}
        cells = [
            "{:+.2f} [{:+.2f}, {:+.2f}]".format(*differences[seed]) if seed in differences else "not run"
            for seed in LARGE_SEEDS
        ]
        verdict = "" if key not in needed else "-"
        if verdict and middle is not None and len(differences) == len(LARGE_SEEDS):
            verdict = f"{'pass' if differences[middle][1] > 0 else 'FAIL'} (seed {middle})"
        rows.append([key, *cells, needed.get(key, ""), verdict])
    return rows


def speed_rows(results: Results) -> list[list[str]]:
    """Write the env steps per second of everything that was timed."""
    rows = []
    for key in SPEED_ENVS:
        lines = lines_of(results, "speed", f"env-{key}")
        cells = [_env_rates(lines), _env_rates(lines, drawing=True)]
        rows.append([f"env, {key}", *(spread(rates) if rates else "not run" for rates in cells)])
    for key in ("preset", "dense"):
        lines = lines_of(results, "speed", f"ppo-{key}")
        kernel = f", {lines[0]['kernel']} kernel" if lines else ""
        rows.append([f"training, {key}{kernel}", spread([*map(rate, lines)]) if lines else "not run", ""])
    return rows


def _env_rates(lines: Sequence[Run], drawing: bool = False) -> list[float]:
    return [line["env_steps"] / (line["step_s"] + drawing * line["draw_s"]) for line in lines]


def speed_bars(results: Results) -> list[list[str]]:
    """Write the bars; the large instance has none."""
    rows = []
    for key in FORMS:
        rates = _env_rates(lines_of(results, "speed", f"env-{key}"))
        rows.append(_speed_bar(f"env, {key}", rates, SPEED_BARS["env"]))
    for key in ("preset", "dense"):
        rates = [rate(line) for line in lines_of(results, "speed", f"ppo-{key}")]
        rows.append(_speed_bar(f"training, {key}", rates, SPEED_BARS["training"]))
    return rows


def _speed_bar(name: str, rates: Sequence[float], needed: float) -> list[str]:
    return bar(name, median(rates) if len(rates) == len(REPEATS) else None, needed, unit=" env steps/s")
