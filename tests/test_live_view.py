"""A run that a person looks at: the view is on the terminal while it trains, and nowhere else."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from support.terminal import Screen, Terminal

from maze_core import Callback, RunContext
from maze_core.errors import MazeError
from maze_core.runs import progress

SMALL = {
    "algorithm.n_rollouts_per_update": 4, "runner.n_epochs": 2, "runner.evaluation.n_episodes": 2,
    "runner.stop_at_reward": float("inf"), "runner.n_workers": 0, "model.hidden_sizes": [4],
}  # fmt: skip


class Warns(Callback):
    """Warns and prints after the first epoch."""

    def on_epoch_end(self, report: Any) -> None:
        if report.epoch == 0:
            logging.getLogger("maze").warning("the disk is nearly full")
            print("printed by a callback")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Iterator[None]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "TELL_EVERY_S", 0.0)
    yield


def train(*more: Callback) -> str:
    """What a terminal gets of a small run with the directory ``run``; streams are as before at its end."""
    with Terminal() as terminal, redirect_stdout(terminal.file):
        with RunContext(seed=3, run_dir="run", overrides=SMALL, callbacks=["console", *more]) as context:
            context.train()
        assert sys.stdout is terminal.file
    assert "maze-live-block" not in {thread.name for thread in threading.enumerate()}
    return terminal.text


def seen_at_the_end(text: str) -> list[str]:
    """The lines on the terminal when the run is over, from the first table on."""
    screen = Screen(columns=400, rows=50)
    screen.feed(text)
    lines = screen.lines
    return lines[lines.index("********** Iteration 0 **********") :]


def logged() -> list[str]:
    lines = Path("run/log.txt").read_text().splitlines()
    return lines[lines.index("********** Iteration 0 **********") :]


def test_the_view_is_shown_and_nothing_of_it_is_left() -> None:
    text = train()
    for words in ("1 of 2", "2 of 2", "epochs of patience left", "in iteration 0", "not evaluated yet"):
        assert words in text
    assert seen_at_the_end(text) == logged()


def test_the_log_has_no_codes_and_no_view() -> None:
    train()
    log = Path("run/log.txt").read_text()
    assert "\x1b" not in log
    assert "patience left" not in log
    assert "********** Iteration 1 **********" in log


def test_warnings_and_prints_come_above_it_and_the_newest_warning_stays_in_sight() -> None:
    text = train(Warns())
    assert "warning  \x1b[0m\x1b[33mthe disk is nearly full" in text
    end = seen_at_the_end(text)
    assert [line for line in end if line not in logged()] == ["printed by a callback"]
    assert logging.getLogger("maze").filters == []


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = train()
    assert "patience left" in text
    assert not any(f"\x1b[{code}m" in text for code in ("36", "1;32", "33"))


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = train()
    assert "\x1b[1A" not in text
    assert "patience left" not in text
    assert "\nepoch 1 of 2, " in text


@pytest.mark.parametrize("colours", ["", "1"])
def test_a_pipe_gets_plain_lines(
    colours: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that takes colours."""
    monkeypatch.setenv("FORCE_COLOR", colours)
    with RunContext(seed=3, run_dir="run", overrides=SMALL, callbacks=["console"]) as context:
        context.train()
    text = capsys.readouterr().out
    assert ("\x1b" in text) == bool(colours)
    assert "\x1b[J" not in text
    assert "patience left" not in text
    assert "\nepoch 1 of 2, " in text


def test_a_run_that_fails_gives_the_terminal_back() -> None:
    class Fails(Callback):
        def on_epoch_end(self, report: Any) -> None:
            raise MazeError("it failed")

    with Terminal() as terminal, redirect_stdout(terminal.file):
        context = RunContext(seed=3, run_dir="run", overrides=SMALL, callbacks=["console", Fails()])
        with pytest.raises(MazeError, match="it failed"), context:
            context.train()
        assert sys.stdout is terminal.file
    assert "not evaluated yet" in terminal.text
    assert seen_at_the_end(terminal.text) == logged()


def test_returns_of_before_are_part_of_the_curve_when_a_run_goes_on() -> None:
    train()
    with Terminal() as terminal, redirect_stdout(terminal.file):  # noqa: SIM117
        with RunContext.resume("run", overrides={"runner.n_epochs": 3}) as context:
            context.train()
    first = terminal.text.partition("return   ")[2].partition("\n")[0]
    assert sum(spark in first for spark in "▁▂▃▄▅▆▇█") == 2
