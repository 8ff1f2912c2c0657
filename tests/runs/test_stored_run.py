"""A run directory seen from outside: what is in it decides what is said of it, and never the other way round."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data.hostile import CASES, make_base, place
from data.hostile.tools import MANIFEST, RED, STATE, TENSORS, checkpoints, newest, sign
from support import resume
from support.resume import flip

from maze_core.api import RunContext
from maze_core.errors import NothingUsableError
from maze_core.runs import stored_run
from maze_core.runs.lock import RunLock
from maze_core.runs.stored_run import METRICS, StoredRun, find_runs, is_run_directory, stored_weights
from maze_core.runs.weights import BEST, FINAL


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed."""
    return make_base(tmp_path_factory.mktemp("base") / "run")


@pytest.fixture(scope="module")
def ended(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, gone on with to its end."""
    return resume.ended(base, tmp_path_factory.mktemp("ended") / "run")


@pytest.fixture
def killed(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "run"))


@pytest.fixture
def finished(ended: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ended, tmp_path / "run"))


# What it is


def test_a_killed_run(killed: Path) -> None:
    condition = StoredRun(killed).condition()
    assert (condition.status, condition.problems, condition.holder) == ("killed", [], None)
    summary = condition.summary
    assert (summary["epoch"], summary["updates"], summary["stop_reason"]) == (1, 2, None)
    assert summary["env_steps"] > 0
    assert isinstance(summary["best_reward"], float)


def test_a_finished_run(finished: Path) -> None:
    condition = StoredRun(finished).condition()
    assert (condition.status, condition.problems) == ("finished", [])
    assert condition.summary["stop_reason"] == "3 epochs done"


@pytest.mark.parametrize("which", ["killed", "finished"])
def test_a_run_that_somebody_has_is_running(which: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(which)
    lock = RunLock(run)
    condition = StoredRun(run).condition()
    assert condition.status == "running"
    assert condition.holder is not None
    assert condition.holder.pid == os.getpid()
    lock.release()
    assert StoredRun(run).condition().holder is None


@pytest.mark.parametrize("file", [TENSORS, STATE, MANIFEST])
def test_if_the_newest_checkpoint_is_damaged_the_one_before_speaks(file: str, killed: Path) -> None:
    flip(newest(killed) / file)
    condition = StoredRun(killed).condition()
    assert (condition.status, condition.summary["updates"]) == ("killed", 1)
    (problem,) = condition.problems
    assert problem.startswith("checkpoint 000002: ")
    assert file in problem


def test_a_finished_run_whose_last_checkpoint_is_damaged_is_a_killed_one(finished: Path) -> None:
    flip(newest(finished) / TENSORS)
    condition = StoredRun(finished).condition()
    assert (condition.status, len(condition.problems)) == ("killed", 1)


def test_if_all_checkpoints_are_damaged_the_run_is(killed: Path) -> None:
    for name in checkpoints(killed):
        flip(killed / "checkpoints" / name / STATE)
    condition = StoredRun(killed).condition()
    assert (condition.status, condition.summary["updates"]) == ("damaged", None)
    assert [problem[:17] for problem in condition.problems] == ["checkpoint 000002", "checkpoint 000001"]
    assert condition.problems[1].endswith("(and 1 more)")


@pytest.mark.parametrize("which", ["killed", "finished"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("a: !evil 1")])
def test_without_its_configuration_a_run_is_damaged(
    which: str, damage: Callable[[Path], Any], request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(which)
    damage(run / "config.yaml")
    condition = StoredRun(run).condition()
    assert condition.status == "damaged"
    (problem,) = condition.problems
    assert "config.yaml" in problem


def test_the_name_of_a_folder_is_no_problem(base: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(base, tmp_path / "config.yaml damaged"))
    flip(newest(run) / STATE)
    assert StoredRun(run).condition().status == "killed"


def test_a_run_that_has_weights_and_no_checkpoint_is_damaged(finished: Path) -> None:
    shutil.rmtree(finished / "checkpoints")
    condition = StoredRun(finished).condition()
    assert condition.status == "damaged"
    assert condition.problems == ["it was trained, and has no checkpoint in checkpoints"]


def test_a_run_that_was_killed_before_its_first_checkpoint(killed: Path) -> None:
    shutil.rmtree(killed / "checkpoints")
    for name in (METRICS, BEST, FINAL):
        (killed / name).unlink(missing_ok=True)
    condition = StoredRun(killed).condition()
    assert (condition.status, condition.problems, condition.summary["updates"]) == ("killed", [], None)


@pytest.mark.parametrize("evidence", [METRICS, BEST, FINAL])
def test_a_run_that_was_trained_and_has_no_checkpoint_says_so_when_it_is_to_go_on(evidence: str, killed: Path) -> None:
    for name in {METRICS, BEST, FINAL} - {evidence}:
        (killed / name).unlink(missing_ok=True)
    (killed / evidence).write_bytes(b"x")
    shutil.rmtree(killed / "checkpoints")
    (killed / "checkpoints").mkdir()
    assert StoredRun(killed).condition().status == "damaged"
    with pytest.raises(NothingUsableError, match=f"no usable checkpoint in {killed / 'checkpoints'}"):
        RunContext.resume(killed)


def test_a_configuration_that_was_changed_is_told(killed: Path) -> None:
    file = killed / "config.yaml"
    file.write_text(file.read_text().replace("n_epochs: 3", "n_epochs: 4"))
    condition = StoredRun(killed).condition()
    assert (condition.status, condition.problems) == ("damaged", ["config.yaml is not the one that the run began with"])
    file.write_text("# the same\n" + file.read_text().replace("n_epochs: 4", "n_epochs: 3"))
    assert StoredRun(killed).condition().status == "killed"


# Without permission


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets nobody look into a folder; the superuser, who may run these tests, could otherwise."""

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            inside = folder in Path(os.fspath(path)).parents if isinstance(path, (str, Path)) else False
            if inside or (call is scandir and Path(path) == folder):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *args, **kwargs)

        return ask

    scandir = os.scandir
    for name in ("scandir", "lstat", "stat"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


@pytest.mark.parametrize(
    "use", [StoredRun, stored_weights, RunContext.resume, lambda path: RunContext(input_dir=path).train()]
)
def test_a_run_that_cannot_be_looked_into_is_refused(
    use: Callable[[Path], Any], killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, killed)
    with pytest.raises(NothingUsableError, match="cannot be read: Permission denied"):
        use(killed)


def test_a_folder_that_cannot_be_looked_into_does_not_hide_the_others(
    killed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (killed.parent / "closed").mkdir()
    refuse(monkeypatch, killed.parent / "closed")
    assert list(find_runs(killed.parent)) == [killed]
    assert "closed cannot be read: Permission denied" in caplog.text


def test_to_look_changes_nothing(killed: Path) -> None:
    def everything() -> list[Any]:
        return [(path, path.lstat().st_mtime_ns) for path in sorted(killed.rglob("*"))]

    before = everything()
    StoredRun(killed).condition()
    assert everything() == before


def test_its_age_is_that_of_the_newest_change(killed: Path) -> None:
    long_ago = time.time() - 1000
    for path in (killed, *killed.rglob("*")):
        os.utime(path, (long_ago, long_ago))
    assert 999 < StoredRun(killed).condition().age_s < 1100
    os.utime(killed / "checkpoints")
    assert StoredRun(killed).condition().age_s < 100


def test_a_change_in_the_future_is_just_now(killed: Path) -> None:
    os.utime(killed / "log.txt", (2**33, 2**33))
    assert StoredRun(killed).condition().age_s == 0


# What it says of itself


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"epoch": 10**400, "updates": -1, "env_steps": 2**63}, {}),
        ({"epoch": True, "updates": 1.0, "env_steps": "5"}, {}),
        ({"epoch": [1], "updates": {}, "env_steps": None}, {}),
        ({"best_reward": 10**400}, {}),
        ({"best_reward": float("nan")}, {}),
        ({"best_reward": float("inf")}, {}),
        ({"best_reward": True}, {}),
        ({"stop_reason": [RED]}, {}),
        ({"epoch": 2**63 - 1, "best_reward": -1e308}, {"epoch": 2**63 - 1, "best_reward": -1e308}),
        ({"stop_reason": RED + "\nnext  rm"}, {"stop_reason": r"\x1b[31mred\x07\u202e\nnext  rm"}),
        ({"stop_reason": "x" * 10**5}, {"stop_reason": "x" * 200}),
        ({"evil": RED}, {}),
        ({}, {}),
    ],
)
def test_only_what_is_expected_is_believed(summary: dict[str, Any], expected: dict[str, Any], killed: Path) -> None:
    config = json.loads((newest(killed) / MANIFEST).read_text())["summary"]["config"]
    sign(killed, manifest={"summary": summary | {"config": config}})
    condition = StoredRun(killed).condition()
    nothing = dict.fromkeys(("epoch", "updates", "env_steps", "best_reward", "stop_reason"))
    assert condition.summary == nothing | expected
    assert condition.status == ("finished" if "stop_reason" in expected else "killed")


@pytest.mark.parametrize("name", [name for name in CASES if "checkpoint" in name or name.startswith("newest/")])
def test_whatever_was_done_to_checkpoints_there_is_an_answer(name: str, base: Path, tmp_path: Path) -> None:
    run = place(base, tmp_path / "home")
    CASES[name].make(run)
    try:
        condition = StoredRun(run).condition()
    except NothingUsableError as error:
        texts = [str(error)]
    else:
        assert condition.status in ("killed", "damaged")
        texts = condition.problems
        assert len(texts) <= 3
        json.dumps(condition.summary, allow_nan=False)
    assert all(text.isprintable() and len(text) < 600 for text in texts)


# What is none


@pytest.mark.parametrize("make", [lambda path: None, Path.touch, os.mkfifo, lambda path: path.symlink_to("/nothing")])
def test_what_is_no_directory_is_told(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / RED)
    with pytest.raises(NothingUsableError) as caught:
        StoredRun(tmp_path / RED)
    assert str(caught.value) == rf"{tmp_path}/\x1b[31mred\x07\u202e is no directory; name that of a run."


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NothingUsableError, match=r"is no run directory: it has no config\.yaml"):
        StoredRun(tmp_path)


def test_a_directory_that_lost_its_configuration_is_one_all_the_same(killed: Path) -> None:
    (killed / "config.yaml").unlink()
    assert is_run_directory(killed)
    (killed / "run.lock").unlink()
    assert not is_run_directory(killed)


@pytest.mark.parametrize("name", ["config.yaml", "log.txt", "checkpoints", "run.lock", "evil"])
def test_a_directory_with_links_is_not_used(name: str, killed: Path) -> None:
    if (killed / name).exists():
        (killed / name).rename(killed.parent / name)
    (killed / name).symlink_to(killed.parent / name)
    with pytest.raises(NothingUsableError, match=f"is not used: {name} in it is a link"):
        StoredRun(killed)


def test_weights_of_a_directory_with_links_are_not_used(killed: Path) -> None:
    (killed / "evil").symlink_to("/")
    with pytest.raises(NothingUsableError, match="is not used: evil in it is a link"):
        stored_weights(killed)


def test_weights_alone_are_enough(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(finished / BEST, tmp_path / "alone")
    assert list(stored_weights(tmp_path / "alone")) == list(StoredRun(finished).weights())


def test_a_link_to_a_run_directory_is_followed(killed: Path) -> None:
    """Whoever names it decides."""
    (killed.parent / "latest").symlink_to(killed)
    assert StoredRun(killed.parent / "latest").condition().status == "killed"


# Where they are


def test_runs_are_found_below_a_folder_and_links_are_not_followed(killed: Path, tmp_path: Path) -> None:
    for name in ("b/deep/er", "a"):
        shutil.copytree(killed, tmp_path / "all" / name)
    (tmp_path / "all" / "link").symlink_to(killed)
    (tmp_path / "all" / "round").symlink_to(tmp_path / "all")
    os.mkfifo(tmp_path / "all" / "pipe")
    shutil.copytree(killed, tmp_path / "all" / "a" / "inside")
    found = [str(path.relative_to(tmp_path / "all")) for path in find_runs(tmp_path / "all")]
    assert found == ["a", "b/deep/er"]
    assert list(find_runs(killed)) == [killed]


def test_folders_are_searched_to_a_depth(killed: Path, tmp_path: Path) -> None:
    for depth in (6, 7):
        shutil.copytree(killed, tmp_path / "all" / "/".join("d" * depth) / f"run{depth}")
    assert [path.name for path in find_runs(tmp_path / "all")] == []
    assert [path.name for path in find_runs(tmp_path / "all" / "d")] == ["run6"]


def test_only_so_many_folders_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MAX_FOLDERS", 20)
    looked: list[Path] = []
    monkeypatch.setattr(stored_run, "is_run_directory", lambda path: bool(looked.append(path)))
    for first in range(5):
        for second in range(20):
            (tmp_path / str(first) / str(second)).mkdir(parents=True)
    assert list(find_runs(tmp_path)) == []
    assert len(looked) < 60


def test_a_report_that_is_written_into_a_run_does_not_make_it_young(finished: Path) -> None:
    for path in [finished, *finished.rglob("*")]:
        os.utime(path, (1e9, 1e9))
    (finished / "report.html").touch()
    assert StoredRun(finished).condition().age_s > 1e8
