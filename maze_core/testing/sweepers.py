"""Checks of a sweeper."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maze_core.sweeps import Outcome, Parameter, Sweeper, Trial
from maze_core.testing.conformance import Conformance

SPACE: Mapping[str, Parameter] = {
    "algorithm.lr": Parameter(low=1e-4, high=1e-1, log=True),
    "algorithm.gamma": Parameter(low=0.5, high=1.0, step=0.125),
    "algorithm.n_envs": Parameter(low=2, high=9, integer=True),
    "model.hidden_sizes": Parameter(choices=[[8], [16, 16], []]),
    "critic.model": Parameter(choices=["a", None, 3, True]),
}
"""What varies in the checks: a number of each kind, and values of each type."""

N_TRIALS = 12
ROUNDING = 1e-9


class SweeperConformance(Conformance):
    """Checks of a sweeper: ``name = "my_sweeper"``."""

    what = "sweeper"

    def started(self, folder: Path, seed: int = 3) -> Sweeper:
        """The sweeper at work in a folder, perhaps again."""
        sweeper: Sweeper = self.make(self.config(), SPACE, folder, seed)
        for method in ("ended", "unfinished", "ask", "report", "tell"):
            self.expect(
                callable(getattr(sweeper, method, None)),
                f"{type(sweeper).__name__} has no method {method}; maze_core.Sweeper says what it does.",
            )
        return sweeper

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder."""
        with tempfile.TemporaryDirectory() as folder, self.telling():
            yield Path(folder)

    def asked(self, sweeper: Sweeper, n_trials: int = N_TRIALS) -> list[Trial]:
        """Proposals, each of which ends at once."""
        trials = []
        for number in range(n_trials):
            trials.append(sweeper.ask())
            sweeper.tell(trials[-1], Outcome.complete, float(number))
        return trials

    def test_it_proposes_members_of_the_space(self) -> None:
        """A value for each key that varies, of the type and within the limits that its parameter says."""
        with self.folder() as folder:
            for trial in self.asked(self.started(folder)):
                keys = set(trial.values)
                self.expect(keys == set(SPACE), f"it proposed values for {sorted(keys)}; wanted are {sorted(SPACE)}.")
                for key, value in trial.values.items():
                    self.expect(is_member(value, SPACE[key]), f"it proposed {key}={value!r}, outside of {SPACE[key]}.")

    def test_trials_are_counted_from_1(self) -> None:
        """Their numbers name directories."""
        with self.folder() as folder:
            numbers = [trial.number for trial in self.asked(self.started(folder))]
            self.expect(numbers == list(range(1, N_TRIALS + 1)), f"its trials have the numbers {numbers}.")

    def test_several_trials_run_at_the_same_time(self) -> None:
        """It proposes more before it is told what came of the first, and is told in any order."""
        with self.folder() as folder:
            sweeper = self.started(folder)
            trials = [sweeper.ask() for _ in range(4)]
            unfinished = [trial.number for trial in sweeper.unfinished()]
            self.expect(unfinished == [1, 2, 3, 4], f"of four trials it says that {unfinished} did not end.")
            for trial in reversed(trials):
                sweeper.tell(trial, Outcome.complete, 1.0)
            self.expect(not sweeper.unfinished(), "it says that trials did not end which were told.")

    def test_another_process_goes_on(self) -> None:
        """What it was told is on the disk: made again in the same folder it knows all trials and their values."""
        with self.folder() as folder:
            sweeper = self.started(folder)
            first, second, third, left = (sweeper.ask() for _ in range(4))
            sweeper.tell(first, Outcome.complete, 2.5)
            sweeper.report(second, 0, 1.0)
            sweeper.tell(second, Outcome.pruned, None)
            sweeper.tell(third, Outcome.failed, None)
            again = self.started(folder)
            ended = [(one.trial, one.outcome) for one in again.ended()]
            expected = [(first, Outcome.complete), (second, Outcome.pruned), (third, Outcome.failed)]
            self.expect(ended == expected, f"made again, it says that {ended} ended; it was told {expected}.")
            self.expect(again.ended()[0].value == 2.5, f"it was told 2.5 and says {again.ended()[0].value}.")
            self.expect(
                list(again.unfinished()) == [left], f"made again, it says that {again.unfinished()} did not end."
            )
            self.expect(again.ask().number == 5, "made again, it gives a number twice.")

    def test_another_process_proposes_something_new(self) -> None:
        """A generator that begins anew would propose what was tried already."""
        with self.folder() as folder:
            before = self.asked(self.started(folder), 3)
            after = self.asked(self.started(folder), 3)
            both = [trial.values["algorithm.lr"] for trial in (*before, *after)]
            self.expect(
                len(set(both)) == len(both),
                "made again, it proposes values that it proposed before. Let what it draws depend on the number of "
                "trials so far.",
            )

    def test_its_seed_says_what_it_proposes(self) -> None:
        """The same seed proposes the same, another one something else."""
        proposed = []
        for seed in (3, 3, 4):
            with self.folder() as folder:
                proposed.append([trial.values for trial in self.asked(self.started(folder, seed), 3)])
        self.expect(proposed[0] == proposed[1], "with the same seed it proposes other values.")
        self.expect(proposed[0] != proposed[2], "with another seed it proposes the same values.")

    def test_it_says_whether_a_trial_should_end(self) -> None:
        """`report` returns True or False."""
        with self.folder() as folder:
            sweeper = self.started(folder)
            self.asked(sweeper)
            answer: Any = sweeper.report(sweeper.ask(), 0, 1.0)
            self.expect(isinstance(answer, bool), f"report returned {answer!r}; it must be True or False.")


def is_member(value: Any, parameter: Parameter) -> bool:
    """Whether a value is one that a parameter allows."""
    if parameter.choices is not None:
        return any(type(value) is type(choice) and value == choice for choice in parameter.choices)
    if type(value) is not (int if parameter.integer else float) or not parameter.low <= value <= parameter.high:
        return False
    steps = (value - parameter.low) / parameter.step if parameter.step else 0.0
    return abs(steps - round(steps)) < ROUNDING
