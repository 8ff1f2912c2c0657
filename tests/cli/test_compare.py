"""``maze compare``: the table, what is said below it, and what it writes."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from support.cli import Result, run_cli
from support.compared import make_group, make_run

pytestmark = pytest.mark.usefixtures("workdir")

LOW, HIGH = [10.0, 12.0, 11.0, 13.0, 9.0], [20.0, 25.0, 22.0, 21.0, 24.0]


@pytest.fixture
def two_groups(workdir: Path) -> None:
    make_group(workdir / "outputs", "es", LOW)
    make_group(workdir / "outputs", "ppo", HIGH)


def lines(result: Result) -> list[list[str]]:
    """What was printed, line by line, in cells."""
    assert (result.exit_code, result.stderr) == (0, "")
    return [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("two_groups")
def test_table_and_verdict() -> None:
    told = lines(run_cli("compare", "outputs", "--by", "algorithm"))
    assert told[0] == ["CartPole-v1: mean return, final evaluation of the best policy"]
    assert told[1] == ["group", "runs", "IQM", "95 % interval", "median", "lowest", "highest"]
    (name, n, iqm, interval, *rest), other, empty = told[2:5]
    assert (name, n, iqm, rest) == ("ppo", "5", "22.33", ["22.00", "20.00", "25.00"])
    assert re.fullmatch(r"2\d\.\d\d to 2\d\.\d\d", interval)
    assert (other[:3], empty) == (["es", "5", "11.00"], [""])
    assert told[5] == ["Training, median of the runs; threshold 475, where Gymnasium calls CartPole-v1 solved"]
    assert told[6:9] == [
        ["group", "env steps", "seconds", "reached", "after env steps", "after seconds"],
        ["ppo", "2,000", "2.0", "0 of 5", "-", "-"],
        ["es", "2,000", "2.0", "0 of 5", "-", "-"],
    ]
    assert told[-1][0].startswith("ppo is better than es: probability of improvement 1.00 [1.00, 1.00]")


def test_few_runs_are_warned_of_and_get_no_verdict() -> None:
    make_group(Path("outputs"), "es", LOW[:3])
    make_group(Path("outputs"), "ppo", HIGH[:2])
    result = run_cli("compare", "outputs")
    assert [line[3] for line in lines(result)[2:4]] == ["-", "-"]
    assert "Warning: too few runs: ppo has 2, es has 3." in result.stdout
    assert "better than" not in result.stdout


def test_runs_that_are_left_out_are_named() -> None:
    make_run(Path("outputs/a"))
    make_run(Path("outputs/b"), seed=1, final=None)
    told = run_cli("compare", "outputs").stdout
    assert "Left out: 1 run. If they failed at what they ran, the rest looks too good." in told
    assert "outputs/b: it did not end, so it has no final evaluation" in told


@pytest.mark.usefixtures("two_groups")
def test_charts_and_tables_are_written() -> None:
    args = ("--png", "curves.png", "--csv", "groups.csv", "--runs-csv", "runs.csv")
    told = run_cli("compare", "outputs", *args).stdout.splitlines()
    assert told[-3:] == ["Written: curves.png", "Written: groups.csv", "Written: runs.csv"]
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    with Path("groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["runs"], row["median"]) for row in rows] == [("ppo", "5", "22.0"), ("es", "5", "11.0")]
    with Path("runs.csv").open() as file:
        scores = [float(row["score"]) for row in csv.DictReader(file) if row["by algorithm"] == "es"]
    assert scores == LOW


@pytest.mark.usefixtures("two_groups")
def test_json_has_groups_pairs_and_runs() -> None:
    data = run_cli("compare", "outputs", "--json").json
    assert [group["group"] for group in data["groups"]] == ["ppo", "es"]
    assert [(pair["first"], pair["verdict"]) for pair in data["pairs"]] == [("ppo", "better")]
    assert len(data["runs"]) == 10


@pytest.mark.usefixtures("two_groups")
def test_envs_are_taken_together_where_scores_are_normalised() -> None:
    make_group(Path("outputs"), "ppo", HIGH, env__name="Acrobot-v1")
    make_group(Path("outputs"), "es", LOW, env__name="Acrobot-v1")
    scales = ("--normalize", "CartPole-v1=0,500", "--normalize", "Acrobot-v1=-500,0")
    told = lines(run_cli("compare", "outputs", *scales))
    titles = [line[0].split(":")[0] for line in told if line[0].endswith("of the best policy")]
    assert titles == ["CartPole-v1", "Acrobot-v1", "all envs, normalised"]
    assert [line[:2] for line in told if line[0] == "ppo over es"] == 3 * [["ppo over es", "better"]]
    assert told[-1][0].startswith("There are 3 comparisons.")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["nowhere"], 6, "nowhere is no directory"),
        (["outputs", "--by", "algorithn"], 2, "Did you mean 'algorithm'?"),
        (["outputs", "--metric", "reward"], 2, "no run has the statistic 'reward' in stage final_eval"),
        (["outputs", "--png", "curves.gif"], 2, "curves.gif is no name of a chart: it must end in .png, .svg or .pdf."),
        (["outputs", "--normalize", "CartPole-v1=0"], 2, "it must be ENV=LOW,HIGH, such as CartPole-v1=0,500."),
        (["outputs", "--stage", "final"], 2, "'final' is not one of 'final_eval', 'eval', 'train'"),
        ([], 2, "Missing argument 'RUN_DIR...'"),
    ],
)
@pytest.mark.usefixtures("two_groups")
def test_mistakes_end_in_a_sentence(args: list[str], code: int, words: str) -> None:
    result = run_cli("compare", *args)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--html", "z.html", "--csv", "z.html"], "z.html is named for two files"),
        (["--csv", "t.csv", "--runs-csv", "./t.csv"], "./t.csv is named for two files"),
        (["--csv", "outputs/es/0/config.yaml"], "exists already, in the directory of a run: it is not replaced"),
    ],
    ids=["page and table", "two tables", "a file of a run"],
)
@pytest.mark.usefixtures("two_groups")
def test_files_that_would_replace_others_are_refused(args: list[str], words: str) -> None:
    before = Path("outputs/es/0/config.yaml").read_bytes()
    result = run_cli("compare", "outputs", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert Path("outputs/es/0/config.yaml").read_bytes() == before
    assert not Path("z.html").exists() and not Path("t.csv").exists()
