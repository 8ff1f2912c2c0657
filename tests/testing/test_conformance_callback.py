"""What the kit finds of callbacks, and that it finds nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.conformance import failures, options

from maze_core import Callback, CallbackSpec
from maze_core.testing import CallbackConformance


class Good(Callback):
    """Writes a line for each epoch, and cuts the file when the run goes on."""

    def __init__(self, config: Any) -> None:
        self.path: Path | None = None

    def on_run_start(self, run: Any) -> None:
        self.path = run.directory / "epochs.txt"
        self.path.write_text("start\n")

    def on_run_resume(self, run: Any, state: Any) -> None:
        self.path = run.directory / "epochs.txt"
        self.path.write_bytes(self.path.read_bytes()[: state["size"]])

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.path.stat().st_size}

    def on_epoch_end(self, report: Any) -> None:
        with self.path.open("a") as file:
            file.write(f"{report.epoch}\n")


class Raises(Good):
    """Cannot be interrupted."""

    def on_run_end(self, summary: Any) -> None:
        summary.final.epoch + 1


class CountsUpdates(Good):
    """Is surprised that before the first evaluation there is no best one."""

    def on_update(self, progress: Any) -> None:
        progress.best_reward + 1


class OddState(Good):
    """Has a state that is no JSON."""

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path}


class Twice(Good):
    """Keeps what was written after the checkpoint."""

    def on_run_resume(self, run: Any, state: Any) -> None:
        self.path = run.directory / "epochs.txt"


class TwiceWithoutState(Twice):
    """The same, and has no state."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def on_run_start(self, run: Any) -> None:
        self.path = run.directory / "epochs.txt"
        self.path.touch()


class BeginsAnew(Good):
    """Forgets what was written before the checkpoint."""

    def on_run_resume(self, run: Any, state: Any) -> None:
        self.on_run_start(run)


class WritesLate(Good):
    """Writes when it is closed."""

    def close(self) -> None:
        if self.path is not None:
            with self.path.open("a") as file:
                file.write("end\n")


class ClosesLate(Good):
    """Cannot be closed before the start."""

    def close(self) -> None:
        self.path.touch()


class FailsInRun(Good):
    """Needs what only some runs have."""

    def on_run_resume(self, run: Any, state: Any) -> None:
        raise KeyError("size")


def spec(build: Any) -> CallbackSpec:
    return CallbackSpec(name="subject", summary="A callback.", config=options(), build=build)


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (lambda config: 3, "test_is_told_of_a_run", "build returned a int; derive it from maze_core.Callback"),
        (Raises, "test_is_told_of_a_run", "on_run_end raised AttributeError"),
        (CountsUpdates, "test_is_told_of_a_run", "on_update raised TypeError"),
        (FailsInRun, "test_takes_part_in_a_run", "callback subject cannot go on"),
        (OddState, "test_state_is_json", "it must be a dict of JSON values"),
        (Twice, "test_tells_nothing_twice", "epochs.txt still has what was told after the checkpoint"),
        (TwiceWithoutState, "test_tells_nothing_twice", "it is told twice"),
        (BeginsAnew, "test_tells_nothing_twice", "epochs.txt lost what was told before the checkpoint"),
        (WritesLate, "test_what_is_told_is_on_the_disk", "close() still wrote to epochs.txt"),
        (ClosesLate, "test_close_always_works", "close before the start raised AttributeError"),
    ],
    ids=lambda value: None,
)
def test_of_a_callback_it_finds(build: Any, check: str, words: str) -> None:
    assert words in failures(CallbackConformance, spec(build), only=check).get(check, "nothing")


def test_a_callback_that_keeps_the_contract_passes() -> None:
    assert failures(CallbackConformance, spec(Good)) == {}
