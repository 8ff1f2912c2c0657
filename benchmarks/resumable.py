"""Runs that are remembered: each is a line of a file, and is not run again."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from common import Run

Task = TypeVar("Task")


def read_lines(file: Path, name: Callable[[Run], str]) -> dict[str, Run]:
    """Return the last line of each name."""
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return {name(line): line for line in lines}


def run_tasks(
    tasks: Sequence[Task], n_jobs: int, file: Path, run: Callable[[Task], Run], told: Callable[[Task, Run], str]
) -> int:
    """Run tasks, `n_jobs` at once, write each result as soon as it is there, and return how many failed.

    Args:
        tasks: What to run.
        n_jobs: How many at once.
        file: Takes a line of JSON for each.
        run: Runs one.
        told: Says in a few words which task it was and what came out, if it did not fail.
    """
    lock, lines = threading.Lock(), []

    def run_one(task: Task) -> None:
        line = run(task)
        with lock, file.open("a") as results:
            results.write(json.dumps(line) + "\n")
            lines.append(line)
            took = f" in {line['train_s']:.0f} s" if "train_s" in line else ""
            print(f"[{len(lines)}/{len(tasks)}] {told(task, line)}{took}", flush=True)

    with ThreadPoolExecutor(n_jobs) as pool:
        list(pool.map(run_one, tasks))
    return sum("error" in line for line in lines)
