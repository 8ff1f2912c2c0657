"""Checks of a callback."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from maze_core.api import RunContext
from maze_core.protocols import Callback, EpochReport, RunInfo, RunProgress, RunSummary
from maze_core.testing import toys
from maze_core.testing.conformance import Conformance

SEED, N_EPOCHS, SIGNAL = 3, 3, 15
SMALL: Mapping[str, Any] = {
    "runner.n_epochs": N_EPOCHS, "runner.n_workers": 0, "runner.evaluation.n_episodes": 2,
    "runner.stop_at_reward": math.inf, "algorithm.epoch_length": 2, "algorithm.n_episodes": 2,
}  # fmt: skip
"""A run of some ten milliseconds."""


class Recorder(Callback):
    """Remembers what a run tells."""

    def __init__(self) -> None:
        self.runs: list[RunInfo] = []
        self.progress: list[RunProgress] = []
        self.reports: list[EpochReport] = []
        self.summaries: list[RunSummary] = []

    def on_run_start(self, run: RunInfo) -> None:
        """A run begins."""
        self.runs.append(run)

    def on_update(self, progress: RunProgress) -> None:
        """The run goes on."""
        self.progress.append(progress)

    def on_epoch_end(self, report: EpochReport) -> None:
        """An epoch ended."""
        self.reports.append(report)

    def on_run_end(self, summary: RunSummary) -> None:
        """The run ended."""
        self.summaries.append(summary)


@cache
def recorded() -> Recorder:
    """What a small run tells, its final evaluation included; it runs once."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(
            env=toys.FLAT, model=toys.MODEL, algorithm=toys.ALGORITHM, runner="local", callbacks=recorder, seed=SEED,
            silent=True, overrides=SMALL, plugins=toys.PLUGIN, local_plugins=False, run_dir=Path(folder) / "run",
        )  # fmt: skip
        with context as run:
            run.train()
    return recorder


class CallbackConformance(Conformance):
    """Checks of a callback: ``name = "my_callback"``; it is told of a small run, in a temporary directory."""

    what = "callback"

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """A run directory with nothing in it."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def built(self) -> Callback:
        """A new one."""
        callback = self.make(self.config())
        self.expect(
            isinstance(callback, Callback),
            f"build returned a {type(callback).__name__}; derive it from maze_core.Callback.",
        )
        return callback  # type: ignore[no-any-return]

    def start(self, directory: Path) -> Callback:
        """One that was told of the start of the run."""
        callback = self.built()
        self.tell("on_run_start", callback.on_run_start, replace(recorded().runs[0], directory=directory))
        return callback

    def tell(self, what: str, method: Any, *arguments: Any) -> Any:
        """Calls a method, which must not raise."""
        try:
            return method(*arguments)
        except Exception as error:  # whatever a callback raises
            self.fail(f"{what} raised {type(error).__name__}: {error}. A callback must never end a run.")

    def epoch(self, callback: Callback, number: int) -> None:
        """Tells of an epoch."""
        self.tell(f"on_epoch_end of epoch {number}", callback.on_epoch_end, recorded().reports[number])

    def state(self, callback: Callback) -> dict[str, Any]:
        """Where it stands, as it would come back from a checkpoint."""
        state = self.tell("state_dict", callback.state_dict)
        try:
            same = isinstance(state, dict) and json.loads(json.dumps(state)) == state
        except (TypeError, ValueError):
            same = False
        self.expect(same, f"state_dict is {state!r}; it must be a dict of JSON values, with text as keys.")
        return dict(state)

    def resumed(self, directory: Path, state: Mapping[str, Any]) -> Callback:
        """A new one that goes on from a state, as `maze resume` lets it."""
        callback, run = self.built(), replace(recorded().runs[0], directory=directory)
        if state:
            self.tell("on_run_resume", callback.on_run_resume, run, state)
        else:
            self.tell("on_run_start", callback.on_run_start, run)
        return callback

    def test_is_told_of_a_run(self) -> None:
        """From start to end, interrupted or not, it raises nothing."""
        for signal in (None, SIGNAL):
            with self.directory() as directory:
                callback = self.start(directory)
                self.tell("on_progress", callback.on_progress, "counting", 1, 2)
                for number in range(len(recorded().reports) - (signal is not None)):
                    self.tell("on_update", callback.on_update, recorded().progress[number])
                    self.epoch(callback, number)
                summary = replace(recorded().summaries[0], directory=directory)
                if signal is not None:
                    summary = replace(summary, final=None, best_reward=None, best_epoch=None, signal=signal)
                self.tell("on_run_end", callback.on_run_end, summary)
                self.tell("close", callback.close)

    def test_takes_part_in_a_run(self) -> None:
        """Training goes to its end, and can be taken up again."""
        with self.directory() as directory:
            plugins = [toys.PLUGIN, *self.plugins]
            fields = {f"callbacks.{self.name}.{key}": value for key, value in self.overrides.items()}
            with self.telling("in a run"):
                context = RunContext(
                    env=toys.FLAT, model=toys.MODEL, algorithm=toys.ALGORITHM, runner="local", callbacks=[self.name],
                    seed=SEED, silent=True, run_dir=directory / "run", overrides={**SMALL, **fields}, plugins=plugins,
                    local_plugins=self.local_plugins,
                )  # fmt: skip
                with context as run:
                    run.train(n_epochs=1)
                context = RunContext.resume(
                    directory / "run", plugins=plugins, local_plugins=self.local_plugins, silent=True
                )
                with context as run:
                    run.train()

    def test_state_is_json(self) -> None:
        """At every checkpoint, the first one before the first update."""
        with self.directory() as directory:
            callback = self.start(directory)
            for number in range(N_EPOCHS):
                self.state(callback)
                self.epoch(callback, number)
            self.state(callback)
            callback.close()

    def test_tells_nothing_twice(self) -> None:
        """What was written after a checkpoint is gone when the run goes on from there; what was before stays."""
        with self.directory() as directory:
            callback = self.start(directory)
            self.epoch(callback, 0)
            state = self.state(callback)
            before = _contents(directory)
            self.epoch(callback, 1)
            after = _contents(directory)
            callback.close()
            again = self.resumed(directory, state)
            self._expect_cut(before, after, _contents(directory), bool(state))
            self.epoch(again, 1)
            again.close()

    def _expect_cut(
        self, before: Mapping[str, bytes], after: Mapping[str, bytes], now: Mapping[str, bytes], has_state: bool
    ) -> None:
        advice = "Let state_dict return how long the file is, and cut it in on_run_resume, as maze_core.runs.files does"
        for name, content in after.items():
            kept = before.get(name, b"")
            added = content[len(kept) :] if content.startswith(kept) else content
            left = name in now and bool(added) and now[name].startswith(kept + added)
            self.expect(not left, f"{name} still has what was told after the checkpoint: it is told twice. {advice}.")
            if has_state and kept:
                whole = now.get(name, b"").startswith(kept)
                self.expect(whole, f"{name} lost what was told before the checkpoint. {advice}.")

    def test_what_is_told_is_on_the_disk(self) -> None:
        """When `state_dict` returns, another process sees what it counts."""
        with self.directory() as directory:
            callback = self.start(directory)
            self.epoch(callback, 0)
            if not self.state(callback):
                self.skip("it keeps no state")
            seen = _contents(directory)
            callback.close()
            late = [name for name, content in _contents(directory).items() if len(content) > len(seen.get(name, b""))]
            self.expect(
                not late, f"after state_dict, close() still wrote to {', '.join(late)}. Flush before it returns."
            )

    def test_close_always_works(self) -> None:
        """Before the start, and a second time."""
        with self.directory() as directory:
            self.tell("close before the start", self.built().close)
            callback = self.start(directory)
            self.tell("close", callback.close)
            self.tell("close a second time", callback.close)


def _contents(directory: Path) -> dict[str, bytes]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}
