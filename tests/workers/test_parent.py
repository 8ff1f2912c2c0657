"""Workers end with their parent, however it ends and whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.workers import FAULTY, workers_of

pytestmark = [pytest.mark.usefixtures("workdir"), pytest.mark.workers, pytest.mark.timeout(120)]

COMMAND = [
    "train", "env=faulty", "algorithm=ppo", "runner.n_workers=2", "runner.step_timeout=null", "run_dir=run",
    "runner.n_epochs=100000", "runner.patience=null", "runner.checkpoint.every_updates=1", "model.hidden_sizes=[4]",
    "algorithm.n_envs=4", "algorithm.n_rollout_steps=16", "runner.evaluation.every_epochs=1000",
]  # fmt: skip


@contextmanager
def maze(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(Path(sys.executable).with_name("maze")), arguments[0], "--plugin", str(FAULTY), *arguments[1:]]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("fault", ["hold_the_lock", "stop", "sleep"])
def test_no_worker_outlives_a_parent_that_was_killed(fault: str, workdir: Path) -> None:
    with maze(*COMMAND, f"env.fault={fault}", f"env.once={workdir / 'once'}") as parent:
        wait_for((workdir / "once").exists)  # a worker hangs
        workers = workers_of(parent.pid)
        assert len(workers) == 2
    wait_for(lambda: not any(map(is_alive, workers)), 10.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_workers_without_a_word_of_theirs(number: signal.Signals, workdir: Path) -> None:
    with maze(*COMMAND) as parent:
        wait_for((workdir / "run" / "checkpoints" / "000003").exists)
        workers = workers_of(parent.pid)
        assert len(workers) == 2
        os.killpg(parent.pid, number)  # as a terminal does
        _, errors = parent.communicate()
    assert parent.returncode == 128 + number
    assert "Traceback" not in errors
    assert not any(map(is_alive, workers))
    with maze("resume", "run", "runner.n_workers=1", "runner.n_epochs=1") as resumed:
        output, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert "exact." in output


@pytest.mark.parametrize("fault", ["", "hard_exit"])
def test_a_context_that_nobody_closes_leaves_no_worker_and_does_not_hang(fault: str, workdir: Path) -> None:
    code = f"""
import sys, os
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.workers import faulty, workers_of
context = faulty("ppo", 2, fault={fault!r}, max_worker_restarts=0)
try:
    context.train()
except Exception as error:
    print(error, file=sys.stderr)
print(*workers_of(os.getpid()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    workers = list(map(int, ended.stdout.split()))
    assert ("hard_exit" in fault) == ("ended with exit code 7" in ended.stderr)
    assert len(workers) == (0 if fault else 2)
    wait_for(lambda: not any(map(is_alive, workers)), 10.0)
