"""What the journal of a sweep outlives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from maze_optuna.config import OptunaConfig
from maze_optuna.sweeper import JOURNAL, OptunaSweeper

from maze_core import Outcome, Parameter

SPACE = {"algorithm.lr": Parameter(low=0.1, high=0.2), "algorithm.gamma": Parameter(choices=[0.9, 0.99])}


def make(folder: Path) -> OptunaSweeper:
    return OptunaSweeper(OptunaConfig(), SPACE, folder, seed=1)


@pytest.mark.parametrize("lost_bytes", [1, 30])
def test_a_line_that_was_not_finished_is_dropped(lost_bytes: int, tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.tell(sweeper.ask(), Outcome.complete, 1.0)
    second = sweeper.ask()
    sweeper.tell(second, Outcome.complete, 2.0)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-lost_bytes])
    again = make(tmp_path)
    assert [one.value for one in again.ended()] == [1.0]
    assert again.unfinished() == [second]
    again.tell(second, Outcome.complete, 3.0)
    assert [one.value for one in make(tmp_path).ended()] == [1.0, 3.0]


def test_a_trial_that_was_being_proposed_failed(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.ask()
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))  # one of its two values is lost
    again = make(tmp_path)
    assert again.unfinished() == []
    assert [one.outcome for one in again.ended()] == [Outcome.failed]
    assert again.ask().number == 2


def test_nothing_but_the_journal_can_be_left_of_one_that_is_killed(tmp_path: Path) -> None:
    """A lock would be, and the next command would wait for who has it."""
    opened: list[str] = []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in ("open", "os.symlink", "os.link", "os.mkdir", "os.rename") and str(tmp_path) in str(args):
            opened.extend(str(arg) for arg in args if str(tmp_path) in str(arg))

    sys.addaudithook(hook)  # for good: it does nothing for other folders
    sweeper = make(tmp_path)
    trial = sweeper.ask()
    assert not sweeper.report(trial, 1, 0.5)
    sweeper.tell(trial, Outcome.complete, 1.0)
    assert set(opened) == {str(tmp_path / JOURNAL)}
