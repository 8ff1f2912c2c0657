"""What the benchmarks share: running children, describing the machine, writing tables."""

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
BENCH_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
SINGLE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}

Run = dict[str, Any]
"""The figures of one run, or `error` and `hint` instead."""


def pin(n_cores: int) -> Callable[[], None] | None:
    """Return what pins a child to the last `n_cores` cores, or None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[-n_cores:]
    return lambda: os.sched_setaffinity(0, cores)


def run_process(command: Sequence[str], *, job: Any = None, n_cores: int | None = None) -> Run:
    """Run a child with one thread, and return the figures that it prints.

    Args:
        command: The child; its last line that begins with `{"env_steps"` holds the figures.
        job: Written to its stdin as JSON, if given.
        n_cores: Cores that it and its children are pinned to; None leaves that to the system.
    """
    if not Path(command[0]).exists():
        return {"error": "not run", "hint": "make bench-install"}
    child = subprocess.run(
        command,
        input=None if job is None else json.dumps(job),
        capture_output=True,
        text=True,
        env=os.environ | SINGLE_THREAD,
        preexec_fn=None if n_cores is None else pin(n_cores),
    )
    figures = re.findall(r'^{"env_steps".*', child.stdout, re.MULTILINE)
    if child.returncode or not figures:
        print(child.stderr, file=sys.stderr)
        last = (child.stderr.strip().splitlines() or [""])[-1]
        return {"error": "failed", "hint": f"exit code {child.returncode}: {last[:200]}"}
    run: Run = json.loads(figures[-1])
    return run


def rate(run: Run) -> float:
    """Return the env steps per second of training."""
    return float(run["env_steps"] / run["train_s"])


def short(value: float) -> str:
    """Write a figure with about three digits: 1.23, 12.3, 12.3k, 123k."""
    if math.isinf(value):
        return "never"
    if value >= 1000:
        return short(value / 1000) + "k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Write the median and the range of some figures."""
    return f"{short(median(values))} ({short(min(values))}..{short(max(values))})"


def table(header: list[str], rows: list[list[str]], *, left: int = 1) -> str:
    """Write a Markdown table whose columns line up; the first `left` are left-aligned, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = []
    for row in [header, rule, *rows]:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bar(name: str, value: float | None, needed: float, *, unit: str = "", at_most: bool = False) -> list[str]:
    """Write one row of the bars: what was measured (None: nothing), what is needed, the verdict."""
    limit = f"{'<=' if at_most else '>='} {short(needed)}{unit}"
    if value is None:
        return [name, "not run", limit, "-"]
    passed = value <= needed if at_most else value >= needed
    return [name, f"{short(value)}{unit}", limit, "pass" if passed else "FAIL"]


def versions(python: Path | str, packages: Sequence[str]) -> str:
    """Return the versions of Python and of some packages, as the interpreter `python` sees them."""
    code = (
        "import importlib.metadata as m, platform\n"
        "names = {d.name.replace('_', '-'): d.version for d in m.distributions()}\n"
        f"known = [f'{{name}} {{names[name]}}' for name in sorted(names) if name in {tuple(packages)}]\n"
        "print(', '.join(['Python ' + platform.python_version(), *known]))"
    )
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def processor() -> str:
    """Return the model of the CPU and the number of its cores."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return f"{(models or [platform.machine()])[0]}, {os.cpu_count()} cores"
