"""``maze runs``: which runs there are, how they are doing, and what to do next."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data.hostile import make_base
from data.hostile.tools import RED, checkpoints, newest, sign
from support import resume
from support.cli import Result, run_cli
from support.resume import flip

from maze_core.runs.lock import RunLock

pytestmark = pytest.mark.usefixtures("workdir")

HEADER = ["run", "status", "best", "epochs", "env steps", "age"]
CONTROL = re.compile(r"[^\n\x20-\x7e]")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed after its second update; it was in its second epoch."""
    return make_base(tmp_path_factory.mktemp("base") / "run")


@pytest.fixture(scope="module")
def ended(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resume.ended(base, tmp_path_factory.mktemp("ended") / "run")


def place(source: Path, name: str) -> Path:
    """A copy below outputs/."""
    return Path(shutil.copytree(source, Path("outputs") / name))


def rows(result: Result) -> list[list[str]]:
    """The cells of a table."""
    assert (result.exit_code, result.stderr) == (0, "")
    return [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]


def facts(result: Result) -> dict[str, str]:
    """What is said about one run."""
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines() if not line.startswith("env steps")]
    return {words[0]: words[1] for words in lines}


def test_runs_of_all_kinds_are_listed(base: Path, ended: Path) -> None:
    place(ended, "b/finished")
    place(base, "a/killed")
    for number in checkpoints(place(base, "a/lost")):
        flip(Path("outputs/a/lost/checkpoints") / number / "state.json")
    flip(newest(place(base, "a/older")) / "state.json")
    lock = RunLock(place(base, "c/running"))
    header, *listed = rows(run_cli("runs"))
    lock.release()
    assert header == HEADER
    assert [row[:2] for row in listed] == [
        ["a/killed", "killed"], ["a/lost", "damaged"], ["a/older", "killed"], ["b/finished", "finished"],
        ["c/running", "running"],
    ]  # fmt: skip
    by_name = {row[0]: row[2:] for row in listed}
    assert by_name["a/lost"][:3] == ["-", "-", "-"]
    assert by_name["a/killed"][1] == "1"
    assert float(by_name["b/finished"][0]) >= float(by_name["a/killed"][0]) > 0
    assert int(by_name["b/finished"][2]) > int(by_name["a/killed"][2]) > int(by_name["a/older"][2])
    assert all(row[3].endswith(" ago") for row in by_name.values())


def test_the_same_for_machines(base: Path, ended: Path) -> None:
    place(ended, "finished")
    flip(newest(place(base, "older")) / "state.json")
    lock = RunLock(place(base, "running"))
    found = {row["run"]: row for row in run_cli("runs", "--json").json}
    lock.release()
    assert list(found) == ["finished", "older", "running"]
    assert {key: found["finished"][key] for key in ("status", "epoch", "updates", "stop_reason", "problems")} == {
        "status": "finished", "epoch": 3, "updates": 3, "stop_reason": "3 epochs done", "problems": [],
    }  # fmt: skip
    assert (found["older"]["status"], found["older"]["updates"]) == ("killed", 1)
    assert "checkpoint 000002" in found["older"]["problems"][0]
    assert f"process {os.getpid()} on " in found["running"]["holder"]
    assert found["finished"]["holder"] is None


def test_a_killed_run_in_detail_tells_how_to_go_on(base: Path) -> None:
    found = facts(run_cli("runs", str(place(base, "my run"))))
    assert found["run"] == str(Path("outputs/my run").resolve())
    assert (found["status"], found["epochs"], found["next"]) == ("killed", "1", "maze resume 'outputs/my run'")
    assert not {"ended", "held", "damaged"} & set(found)


def test_that_command_goes_on(base: Path) -> None:
    command = facts(run_cli("runs", str(place(base, "run"))))["next"].split()
    assert command[0] == "maze"
    assert run_cli(*command[1:]).exit_code == 0
    assert facts(run_cli("runs", "outputs/run"))["status"] == "finished"


def test_a_finished_run_in_detail_tells_why_it_ended_and_what_can_follow(ended: Path) -> None:
    found = facts(run_cli("runs", str(place(ended, "run"))))
    assert (found["status"], found["ended"]) == ("finished", "3 epochs done")
    assert found["next"].startswith("maze train input_dir=outputs/run ")


def test_a_running_one_in_detail_tells_who_has_it(base: Path) -> None:
    run = place(base, "run")
    lock = RunLock(run)
    found = facts(run_cli("runs", str(run)))
    lock.release()
    assert (found["status"], found["held"].split()[:3]) == ("running", ["by", "process", str(os.getpid())])
    assert "next" not in found


def test_damage_is_named_and_the_run_can_go_on_from_the_checkpoint_before(base: Path) -> None:
    run = place(base, "run")
    flip(newest(run) / "tensors.safetensors")
    found = facts(run_cli("runs", str(run)))
    assert (found["status"], found["next"]) == ("killed", "maze resume outputs/run")
    assert found["damaged"] == "checkpoint 000002: tensors.safetensors is not what was written"


def test_a_damaged_run_tells_what_is_damaged_and_no_command(base: Path) -> None:
    run = place(base, "run")
    (run / "config.yaml").write_text("a: !evil 1")
    found = facts(run_cli("runs", str(run)))
    assert found["status"] == "damaged"
    assert "config.yaml is not used: it has the tag '!evil'" in found["damaged"]
    assert "next" not in found
    assert run_cli("runs", str(run), "--json").json["status"] == "damaged"


def test_one_run_in_detail_for_machines(base: Path) -> None:
    found = run_cli("runs", str(place(base, "run")), "--json").json
    assert found["run"] == str(Path("outputs/run").resolve())
    assert (found["status"], found["updates"], found["problems"], found["holder"]) == ("killed", 2, [], None)


def test_without_runs_that_is_said() -> None:
    Path("outputs").mkdir()
    result = run_cli("runs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "There are no runs below outputs. Start one with: maze train\n"
    assert run_cli("runs", "--json").json == []


@pytest.mark.parametrize("make", [lambda path: None, Path.touch, os.mkfifo, lambda path: path.symlink_to("/nothing")])
def test_what_is_no_directory_is_refused(make: Callable[[Path], None]) -> None:
    make(Path("here"))
    result = run_cli("runs", "here")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr == ("maze: here is no directory. Runs are below outputs/ unless run_dir= named a place.\n")


def test_outputs_that_do_not_exist_yet_are_told() -> None:
    result = run_cli("runs")
    assert result.exit_code == 6
    assert "outputs is no directory" in result.stderr


def test_a_run_with_links_is_listed_and_not_looked_into(base: Path) -> None:
    run = place(base, "run")
    (run / "evil").symlink_to("/etc")
    assert rows(run_cli("runs"))[1] == ["run", "damaged", "-", "-", "-", "-"]
    (row,) = run_cli("runs", "--json").json
    assert row == {"run": "run", "status": "damaged", "problems": [f"{run} is not used: evil in it is a link."]}
    result = run_cli("runs", str(run))
    assert (result.exit_code, result.stderr) == (6, f"maze: {run} is not used: evil in it is a link.\n")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
@pytest.mark.parametrize("name", [RED, "a\nb  finished", "\udcff", "[red]bold[/red]"])
def test_names_of_folders_move_no_cursor(name: str, arguments: list[str], base: Path, ended: Path) -> None:
    for source, kind in ((base, "killed"), (ended, "finished")):
        place(source, f"{name}{kind}")
        for target in ("outputs", f"outputs/{name}{kind}"):
            result = run_cli("runs", target, *arguments)
            assert result.exit_code == 0
            assert not CONTROL.search(result.stdout)
    if not arguments:
        assert len(rows(run_cli("runs"))) == 3


@pytest.mark.parametrize(
    "summary",
    [{"stop_reason": RED + "\nnext      rm -rf ~"}, {"best_reward": 10**400}, {"env_steps": 10**400, "epoch": [RED]},
     {"best_reward": float("nan")}],
)  # fmt: skip
def test_what_a_checkpoint_says_of_itself_moves_no_cursor_and_adds_no_line(summary: dict[str, Any], base: Path) -> None:
    run = place(base, "run")
    before = json.loads((newest(run) / "manifest.json").read_text())["summary"]
    sign(run, manifest={"summary": before | summary})
    lines = run_cli("runs", str(run)).stdout.splitlines()
    assert len([line for line in lines if line.startswith("next")]) == 1
    for target in ("outputs", str(run)):
        result = run_cli("runs", target)
        assert result.exit_code == 0
        assert not CONTROL.search(result.stdout)
        text = run_cli("runs", target, "--json").stdout
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_old_runs_are_counted_in_days(base: Path) -> None:
    run = place(base, "run")
    for path in (run, *run.rglob("*")):
        os.utime(path, (path.lstat().st_mtime - 3 * 86400,) * 2)
    assert rows(run_cli("runs"))[1][-1] == "3 d ago"
