"""How checks run without pytest, and what is said of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maze_core.testing
from maze_core.registry import KINDS
from maze_core.testing.checks import CLASSES, checks_of, run_checks
from maze_core.testing.conformance import Checks, slow
from maze_core.testing.trainers import TrainerConformance

KIT = Path(maze_core.testing.__file__).parent
GUIDE = KIT.parents[1] / "docs" / "conformance.md"


class Sample(Checks):
    """Checks of nothing."""

    what, name = "env", "sample"

    def test_it_works(self) -> None:
        print("not to be seen")
        np.random.random()

    def test_it_is_noted(self) -> None:
        self.note("it is odd")

    def test_it_does_not_apply(self) -> None:
        self.skip("no")

    def test_it_fails(self) -> None:
        self.fail("it is wrong")

    def test_it_fails_again(self) -> None:
        self.fail("it is wrong")

    def test_it_raises(self) -> None:
        raise KeyError("part")

    @slow
    def test_it_takes_long(self) -> None:
        pass


def last(checks: type[Checks], **options: Any) -> Any:
    *_, report = run_checks(checks, **options)
    return report


def test_a_report_has_each_problem_once_and_says_where_an_error_comes_from() -> None:
    report = last(Sample)
    assert (report.what, report.n_checks, report.n_skipped, report.notes) == ("env sample", 7, 1, ["it is odd"])
    first, second = report.problems
    assert first == "env sample: it is wrong"
    assert second.startswith("env sample: KeyError where it was checked that it raises: 'part' (test_checks.py, line ")


def test_slow_checks_can_be_left_out() -> None:
    assert set(checks_of(Sample)) - set(checks_of(Sample, fast=True)) == {"test_it_takes_long"}
    left_out = set(checks_of(TrainerConformance)) - set(checks_of(TrainerConformance, fast=True))
    assert "test_learns" in left_out


def test_checks_print_nothing_and_move_no_generator(capsys: pytest.CaptureFixture[str]) -> None:
    before = np.random.get_state()[1].tobytes()
    last(Sample)
    assert capsys.readouterr() == ("", "")
    assert np.random.get_state()[1].tobytes() == before


def test_there_are_checks_for_every_kind() -> None:
    assert set(CLASSES) == set(KINDS)


def test_the_guide_names_every_class() -> None:
    text = GUIDE.read_text()
    assert [name for name in maze_core.testing.__all__ if f"`{name}`" not in text] == []


def test_no_module_of_the_kit_imports_pytest() -> None:
    found = [
        file.name
        for file in KIT.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "pytest" in ast.unparse(node)
    ]
    assert found == []


def test_the_toys_are_light_and_nobody_sees_them() -> None:
    code = (
        "import sys, maze_core.testing.toys\n"
        "from maze_core.registry import load_registry\n"
        "print([name for name in load_registry(local_plugins=False).names('env') if name.startswith('toy_')],"
        " [heavy for heavy in ('torch', 'gymnasium', 'numpy') if heavy in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[] []\n"
