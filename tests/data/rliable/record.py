"""Writes what rliable says of some scores to recorded.json, beside this file.

In an environment of its own, with the versions that the file names: pip install rliable "pandas<3", then run this.
Every interval is computed REPEATS times with other random numbers, so that its spread is known.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPEATS = 20
N_RESAMPLES = {"interquartile_mean": 5000, "mean": 5000, "improvement_probability": 2000}
GROUPS = {"interquartile_mean": metrics.aggregate_iqm, "mean": metrics.aggregate_mean}


def matrices() -> dict[str, np.ndarray]:
    """Scores by name, [runs, tasks]."""
    rng = np.random.default_rng(2021)
    matrices = {f"{n} runs": rng.normal(100, 30, (n, 1)) for n in (1, 2, 3, 4, 5, 6, 7, 10, 20)}
    matrices["5 runs, 6 tasks"] = rng.lognormal(0, 1, (5, 6))
    matrices["10 runs, 4 tasks"] = rng.normal(0.5, 0.2, (10, 4)) + np.array([0, 0.2, 0.4, 1.0])
    matrices["capped"] = np.minimum(500, np.round(rng.normal(480, 60, (9, 1))))
    matrices["all the same"] = np.full((5, 1), 7.0)
    return {name: scores.round(6) for name, scores in matrices.items()}


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of two sides by name, [runs, tasks] each."""
    rng = np.random.default_rng(1947)
    pairs = {
        "5 against 5": (rng.normal(1, 1, (5, 1)), rng.normal(0, 1, (5, 1))),
        "5 against 8, 3 tasks": (rng.normal(0.5, 1, (5, 3)), rng.normal(0, 1, (8, 3))),
        "ties": (rng.integers(0, 4, (6, 1)) * 1.0, rng.integers(1, 5, (7, 1)) * 1.0),
        "ties, 4 tasks": (rng.integers(0, 3, (4, 4)) * 1.0, rng.integers(0, 3, (9, 4)) * 1.0),
        "always better": (rng.normal(100, 1, (5, 1)), rng.normal(0, 1, (5, 1))),
    }
    rounded = {name: (x.round(6), y.round(6)) for name, (x, y) in pairs.items()}
    return rounded | {"with itself": (rounded["ties"][0], rounded["ties"][0])}


def intervals(scores, statistic, n_resamples) -> list[list[float]]:
    """Both ends of its 95 % interval, REPEATS times."""
    ends = []
    for seed in range(REPEATS):
        np.random.seed(seed)
        _, interval = library.get_interval_estimates({"": scores}, statistic, reps=n_resamples)
        ends.append(interval[""].ravel().tolist())
    return ends


def record_of(scores, name, statistic, inputs) -> dict[str, object]:
    """What rliable says of one statistic of some scores."""
    ends = intervals(scores, lambda *drawn: np.array([statistic(*drawn)]), N_RESAMPLES[name])
    value = statistic(*scores) if isinstance(scores, list) else statistic(scores)
    return {**inputs, "statistic": name, "value": float(value), "n_resamples": N_RESAMPLES[name], "intervals": ends}


def main() -> None:
    """Writes the file."""
    records = []
    for name, scores in matrices().items():
        inputs = {"name": name, "scores": scores.tolist()}
        records += [record_of(scores, statistic, function, inputs) for statistic, function in GROUPS.items()]
    for name, (x, y) in pairs().items():
        inputs = {"name": name, "scores_x": x.tolist(), "scores_y": y.tolist()}
        function = metrics.probability_of_improvement
        records.append(record_of([x, y], "improvement_probability", function, inputs))
    versions = {name: version(name) for name in ("rliable", "arch", "numpy", "scipy", "pandas")}
    versions["python"] = platform.python_version()
    lines = ",\n".join(json.dumps(record) for record in records)
    text = f'{{"versions": {json.dumps(versions)},\n"records": [\n{lines}\n]}}\n'
    Path(__file__).with_name("recorded.json").write_text(text)


if __name__ == "__main__":
    main()
