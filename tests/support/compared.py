"""Run directories as training leaves them, as far as a comparison reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

REWARD = "BaseEnvEvents/reward/mean"


def row(stage: str, epoch: int, env_steps: int, value: float, metric: str = REWARD) -> dict[str, Any]:
    """A row of `metrics.jsonl`; a second of training has 1000 env steps."""
    time = {"train_s": env_steps / 1000, "evaluation_s": 0.0, "wall_s": env_steps / 1000}
    counts = {"epoch": epoch, "stage": stage, "update": epoch + 1, "env_steps": env_steps}
    return {**counts, "time": time, "values": {metric: value}}


def config(algorithm: str, seed: int, changed: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is recorded."""
    components = {"env": "gym_env", "model": "flatten_concat", "algorithm": algorithm, "runner": "local"}
    data: dict[str, Any] = {
        "components": {**components, "callbacks.jsonl": "jsonl"},
        "env": {"name": "CartPole-v1", "kwargs": {}},
        "wrappers": {},
        "model": {"hidden_sizes": [64, 64]},
        "critic": None,
        "algorithm": {"lr": 0.001} if algorithm == "es" else {"lr": 0.001, "gamma": 0.99},
        "runner": {"n_epochs": 10, "stop_at_reward": None, "n_workers": None},
        "callbacks": {"jsonl": {}},
        "seed": seed,
        "run_dir": f"outputs/{algorithm}/{seed}",
        "input_dir": None,
    }
    for key, value in changed.items():
        *above, last = key.split(".")
        node = data
        for part in above:
            node = node[part]
        node[last] = value
    return data


def make_run(
    path: Path,
    algorithm: str = "ppo",
    seed: int = 0,
    final: float | None = 1.0,
    evals: Sequence[tuple[int, float]] = ((1000, 1.0), (2000, 2.0)),
    metric: str = REWARD,
    **changed: Any,
) -> Path:
    """A run directory.

    Args:
        path: Where.
        algorithm: What it trained.
        seed: Its seed.
        final: Score of its final evaluation; None for a run that did not come so far.
        evals: Env steps and value of each evaluation.
        metric: Path of the only statistic.
        changed: Other settings by key; ``__`` stands for the dot.
    """
    path.mkdir(parents=True)
    settings = {key.replace("__", "."): value for key, value in changed.items()}
    (path / "config.yaml").write_text(yaml.safe_dump(config(algorithm, seed, settings), sort_keys=False))
    rows = [row("eval", epoch, steps, value, metric) for epoch, (steps, value) in enumerate(evals)]
    if final is not None:
        rows.append(row("final_eval", max(len(rows) - 1, 0), evals[-1][0] if evals else 0, final, metric))
    (path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def make_group(
    folder: Path, algorithm: str, finals: Sequence[float | None], first_seed: int = 0, **options: Any
) -> None:
    """Runs of one algorithm with these final scores, each of another seed."""
    name = "-".join([algorithm, *(f"{key}={value}" for key, value in options.items() if "__" in key)])
    for seed, final in enumerate(finals, first_seed):
        make_run(folder / name.replace("/", "_") / str(seed), algorithm, seed, final, **options)
