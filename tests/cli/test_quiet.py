"""``--quiet``: nothing but warnings, errors, and where the results are."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import run_cli
from support.projects import SCRIPTED

pytestmark = pytest.mark.usefixtures("workdir")

SMALL = (
    "runner.n_epochs=1", "runner.evaluation.n_episodes=2", "runner.n_workers=0", "algorithm.n_rollouts_per_update=4",
    "callbacks=[console]",
)  # fmt: skip


def test_a_quiet_run_prints_where_its_results_are_and_logs_all() -> None:
    result = run_cli("train", "-q", *SMALL, "run_dir=my runs/x")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Results: 'my runs/x'\n", "")
    log = Path("my runs/x/log.txt").read_text()
    assert "********** Iteration 0 **********" in log
    assert "Run ended: 1 epoch done." in log


def test_a_quiet_run_that_is_interrupted_says_how_to_go_on() -> None:
    scripted = (f"--plugin={SCRIPTED}", "env=dial", "algorithm=scripted", "model.hidden_sizes=[]", "run_dir=run")
    result = run_cli("train", "-q", *scripted, "algorithm.interrupt_at=3", "algorithm.signals=[SIGINT]")
    assert result.exit_code == 130
    results, further = result.stdout.splitlines()
    assert results == "Results: run"
    assert further.startswith("Go on where it ended:  maze resume ")
    assert further.endswith(" run")


def test_how_a_run_goes_on_decides_anew_whether_it_is_quiet() -> None:
    run_cli("train", "--quiet", *SMALL, "run_dir=run")
    loud = run_cli("resume", "run", "runner.n_epochs=2")
    assert "********** Iteration 1 **********" in loud.stdout
    quiet = run_cli("resume", "run", "runner.n_epochs=3", "--quiet")
    assert (quiet.exit_code, quiet.stdout) == (0, "Results: run\n")
    asked = run_cli("resume", "run", "runner.n_epochs=4", "callbacks.console.terminal=false")
    assert (asked.exit_code, asked.stdout) == (0, "")


def test_errors_are_told_all_the_same() -> None:
    result = run_cli("train", "-q", "env.name=NoSuchEnv-v0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("maze: ")
    assert "NoSuchEnv" in result.stderr


def test_a_quiet_rollout_prints_where_its_results_are() -> None:
    result = run_cli("rollout", "-q", "n_episodes=1", "run_dir=played")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Results: played\n", "")
    assert Path("played/episodes.csv").exists()
