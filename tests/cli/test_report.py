"""``maze report``: what it says, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import run_cli
from support.reports import learning, write_rows
from support.trained import Runs

pytestmark = pytest.mark.usefixtures("workdir")


def test_it_says_where_the_page_is(runs: Runs, workdir: Path) -> None:
    run = write_rows(runs.copy("flat", workdir / "run"), learning())
    said = run_cli("report", "run", "--no-animation", "--csv", "rows.csv", "--png", "curves.png")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == "Report:  run/report.html\nPicture: curves.png\nTable:   rows.csv\n"
    assert all(file.is_file() for file in (run / "report.html", Path("curves.png"), Path("rows.csv")))


def test_of_several_runs_it_lies_in_the_current_folder(runs: Runs) -> None:
    said = run_cli("report", str(runs("flat")), str(runs("structured")), "--no-animation")
    assert said.stdout == "Report:  report.html\n"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, "Missing argument"),
        (("nowhere",), 6, "nowhere is no directory"),
        (("nowhere", "--png", "a.doc"), 6, "nowhere is no directory"),
    ],
    ids=["nothing", "nowhere", "more than one mistake"],
)  # fmt: skip
def test_mistakes_end_in_a_sentence(args: tuple[str, ...], code: int, words: str) -> None:
    said = run_cli("report", *args)
    assert said.exit_code == code
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert said.stdout == ""


CLASHES = {
    "page and table": (["--to", "c.html", "--csv", "c.html"], "c.html is named for two files"),
    "the same in other words": (["--png", "./x.png", "--csv", "../{here}/x.png"], "is named for two files"),
    "weights": (["--csv", "run/state_dict.pt"], "run/state_dict.pt exists already, in the directory of a run"),
    "no folder": (["--csv", "nowhere/a.csv"], "there is no directory nowhere. Make it first."),
    "a folder": (["--csv", "run"], "run is a directory. Name a file."),
}


@pytest.mark.parametrize(("args", "words"), CLASHES.values(), ids=CLASHES)
def test_files_that_would_replace_others_are_refused_before_any_work(
    args: list[str], words: str, runs: Runs, workdir: Path
) -> None:
    run = runs.copy("flat", workdir / "run")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    said = run_cli("report", "run", *(text.format(here=workdir.name) for text in args))
    assert (said.exit_code, said.stdout) == (2, "")
    assert words in said.stderr
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before
    assert not (run / "report.html").exists()
