"""What the kit finds of sweepers, and that it finds nothing where there is nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.conformance import failures

from maze_core import EndedTrial, Outcome, SweeperConfig, SweeperSpec, Trial
from maze_core.scaffold import distribution_files, write_new
from maze_core.testing import SweeperConformance


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The random search that `maze plugins new` writes."""
    folder = tmp_path_factory.mktemp("sweeper")
    write_new(folder, distribution_files("searching", "sweeper"))
    sys.path.insert(0, str(folder))
    found = importlib.import_module("maze_searching.sweeper")
    yield found.SearchingSweeper
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("maze_searching")]:
        del sys.modules[name]


def sweeper(search: Any, **methods: Any) -> SweeperSpec:
    """A spec of a sweeper with other methods."""
    made = type("Other", (search,), methods)
    namespace = {"__doc__": "Options.", "__module__": __name__, "end_below": None}
    config = dataclass(kw_only=True)(type("OwnConfig", (SweeperConfig,), namespace))
    return SweeperSpec(name="subject", summary="A sweeper.", config=config, build=made)


def shifted(self: Any) -> Trial:
    trial = type(self).__mro__[1].ask(self)
    return Trial(trial.number - 1, trial.values)


def too_large(self: Any) -> Trial:
    trial = type(self).__mro__[1].ask(self)
    return Trial(trial.number, {**trial.values, "algorithm.lr": 2.0})


def forgets(self: Any, trial: Trial, outcome: Outcome, value: float | None) -> None:
    self._ended[trial.number] = EndedTrial(trial, outcome, value)


def begins_anew(self: Any) -> Trial:
    if not hasattr(self, "n_drawn"):
        self.n_drawn = 0
    trial = type(self).__mro__[1].ask(self)
    self.n_drawn += 1
    return Trial(trial.number, {**trial.values, "algorithm.lr": 0.01 + 1e-4 * self.n_drawn})


@pytest.mark.parametrize(
    ("methods", "check", "words"),
    [
        ({"ask": too_large}, "test_it_proposes_members_of_the_space", "it proposed algorithm.lr=2.0, outside of"),
        (
            {"ask": shifted, "tell": lambda *_: None},
            "test_trials_are_counted_from_1",
            "its trials have the numbers [0, 1",
        ),
        ({"unfinished": lambda self: []}, "test_several_trials_run_at_the_same_time", "it says that [] did not end"),
        ({"tell": forgets}, "test_another_process_goes_on", "made again, it says that [] ended"),
        ({"ask": begins_anew}, "test_another_process_proposes_something_new", "values that it proposed before"),
        ({"ask": begins_anew}, "test_its_seed_says_what_it_proposes", "nothing"),
        ({"report": lambda *_: None}, "test_it_says_whether_a_trial_should_end", "report returned None"),
        ({"tell": None}, "test_trials_are_counted_from_1", "has no method tell"),
    ],
    ids=lambda value: None,
)
def test_of_a_sweeper_it_finds(search: Any, methods: dict[str, Any], check: str, words: str) -> None:
    assert words in failures(SweeperConformance, sweeper(search, **methods), only=check).get(check, "nothing")


def test_a_seed_that_nothing_depends_on_is_found(search: Any, tmp_path: Path) -> None:
    def unseeded(self: Any, config: Any, space: Any, directory: Path, seed: int) -> None:
        search.__init__(self, config, space, directory, 0)

    found = failures(SweeperConformance, sweeper(search, __init__=unseeded), only="test_its_seed_says_what_it_proposes")
    assert "with another seed it proposes the same values" in "".join(found.values())


def test_a_sweeper_that_keeps_the_contract_passes(search: Any) -> None:
    assert failures(SweeperConformance, sweeper(search)) == {}
