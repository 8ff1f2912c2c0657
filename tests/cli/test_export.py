"""``maze export``: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import Result, run_cli
from support.projects import write
from support.trained import Runs, context

from maze_core import UserError, load_policy
from maze_core.exports import onnx

USER, STORAGE, NOTHING_USABLE = 2, 5, 6

pytestmark = pytest.mark.usefixtures("workdir")


def export(*args: str | Path) -> Result:
    result = run_cli("export", *map(str, args))
    assert result.exit_code == 0, result.stderr
    return result


def refused(code: int, *args: str | Path) -> str:
    """A sentence or two on stderr, and nothing else: not on stdout, and no file."""
    before = sorted(Path().rglob("*"))
    result = run_cli("export", *map(str, args))
    assert result.exit_code == code, result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert 1 <= len(result.stderr.splitlines()) <= 4
    assert sorted(Path().rglob("*")) == before
    return result.stderr


# What is written


def test_it_says_what_was_written_and_how_it_is_used(runs: Runs, workdir: Path) -> None:
    said = export(runs("flat")).stdout
    assert said == (
        "Policy: policy.safetensors\n"
        "Use:    maze_core.load_policy('policy.safetensors').compute_action(observation)\n"
    )  # fmt: skip
    assert [path.name for path in workdir.iterdir()] == ["policy.safetensors"]


def test_the_place_can_be_named(runs: Runs, workdir: Path) -> None:
    export(runs("flat"), "--to", "my policies/first")
    assert load_policy(workdir / "my policies" / "first").about["origin"]["algorithm"] == "es"


@pytest.mark.parametrize("name", ["flat", "structured", "sampled", "embedded", "per actor", "autograd"])
def test_it_writes_what_the_context_of_the_run_writes(name: str, runs: Runs) -> None:
    export(runs(name), "--to", "from_run")
    with context(name, input_dir=runs(name)) as run:
        run.export("from_context")
    assert Path("from_run").read_bytes() == Path("from_context").read_bytes()


def test_a_preset_of_an_env_changes_nothing_of_that(workdir: Path) -> None:
    with context("structured", env="tutorial_cutting_2d_struct_masked", run_dir="run") as run:
        run.train()
        run.export("from_context")
    export("run", "--to", "from_run")
    assert Path("from_run").read_bytes() == Path("from_context").read_bytes()


def test_the_best_policy_is_written_and_not_the_last(runs: Runs, workdir: Path) -> None:
    run = runs.copy("flat", workdir / "run")
    (run / "final_state_dict.pt").unlink()
    export("run")
    assert load_policy("policy.safetensors").actors


def test_nothing_of_the_run_changes(runs: Runs, workdir: Path) -> None:
    def state(run: Path) -> list[Any]:
        return [(path, path.stat().st_mtime_ns) for path in sorted(run.rglob("*"))]

    before = state(runs("flat"))
    export(runs("flat"))
    assert state(runs("flat")) == before


def test_the_normalisation_file_of_a_run_is_not_needed(runs: Runs, workdir: Path) -> None:
    run = runs.copy("sampled", workdir / "run")
    (run / "normalization.json").unlink()
    export("run", "--to", "one")
    export(runs("sampled"), "--to", "two")
    assert Path("one").read_bytes() == Path("two").read_bytes()


# ONNX


@pytest.mark.long
def test_an_onnx_model_decides_as_the_run(runs: Runs) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    said = export(runs("flat"), "--format", "onnx", "--to", "deployed/models").stdout
    assert said == "Policy: deployed/models\nModel:  deployed/models/substep_0.onnx\n"
    session = onnxruntime.InferenceSession("deployed/models/substep_0.onnx")
    batch = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    (actions,) = session.run(None, {session.get_inputs()[0].name: batch})
    with context("flat", input_dir=runs("flat")) as run:
        assert np.array_equal(actions, run.compute_action(batch))


def test_packages_that_are_missing_are_told_and_nothing_is_made(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    said = refused(USER, runs("flat"), "--format", "onnx", "--to", "deep/folder")
    assert 'pip install "maze-core[onnx]"' in said


def test_a_folder_that_cannot_be_filled_is_taken_away(
    runs: Runs, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(policy: Any, folder: Path) -> None:
        (folder / "substep_0.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("maze_core.api.exports.write_onnx", half)
    (workdir / "kept").mkdir()
    for place in ("kept/new/onnx", "policy_onnx"):
        result = run_cli("export", str(runs("flat")), "--format", "onnx", "--to", place)
        assert result.exit_code == 130
    assert sorted(workdir.rglob("*")) == [workdir / "kept"]


# What is refused


@pytest.mark.parametrize("form", ["maze", "onnx"])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["a folder", "a file"])
def test_what_is_there_is_not_replaced(make: Callable[[Path], None], form: str, runs: Runs) -> None:
    make(Path("there"))
    said = refused(USER, runs("flat"), "--to", "there", "--format", form)
    assert said == "maze: there exists already, and is not replaced. Name another place with --to PATH.\n"


@pytest.mark.parametrize(("place", "form"), [("/proc/nothing/policy", "maze"), ("/proc/nothing/models", "onnx"),
                                             ("file/policy", "maze"), ("file/models", "onnx")])  # fmt: skip
def test_a_place_that_cannot_be_written_is_told(place: str, form: str, runs: Runs, workdir: Path) -> None:
    write(workdir / "file", "")
    assert place in refused(STORAGE, runs("flat"), "--to", place, "--format", form)


def test_another_format_is_told(runs: Runs) -> None:
    said = refused(USER, runs("flat"), "--format", "pickle")
    assert "'pickle' is not one of 'maze', 'onnx'" in said


NO_RUN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda run: None, "is no directory; name that of a run"),
    "an empty folder": (lambda run: run.mkdir(), "is no run directory"),
    "what a rollout brought": (lambda run: write(run / "rollout.yaml", ""), "holds what a rollout brought, and no run"),
}


@pytest.mark.parametrize(("make", "words"), NO_RUN.values(), ids=NO_RUN)
def test_what_is_no_run_is_told(make: Callable[[Path], Any], words: str, workdir: Path) -> None:
    make(workdir / "run")
    assert words in refused(NOTHING_USABLE, "run")


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda run: (run / "state_dict.pt").unlink(), "has no state_dict.pt"),
    "weights cut": (lambda run: os.truncate(run / "state_dict.pt", 900), "holds no weights"),
    "no spaces": (lambda run: (run / "spaces.json").unlink(), "spaces.json cannot be read"),
    "spaces of nothing": (lambda run: (run / "spaces.json").write_text("[]"), "spaces.json holds no spaces"),
    "spaces that lie": (
        lambda run: (run / "spaces.json").write_text(
            (run / "spaces.json").read_text().replace('"n": 2', '"n": 3')
        ),
        "another network",
    ),
    "configuration of code": (lambda run: (run / "config.yaml").write_text("a: !!python/name:os.system ''\n"), "tag"),
    "a link": (lambda run: (run / "extra").symlink_to("/etc/passwd"), "is a link"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_run_is_told(damage: Callable[[Path], Any], words: str, runs: Runs, workdir: Path) -> None:
    damage(runs.copy("flat", workdir / "run"))
    assert words in refused(NOTHING_USABLE, "run")


def test_a_variable_of_the_model_stays_one(runs: Runs, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ACTIVATION", "tanh")
    run = runs.copy("flat", workdir / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("activation: tanh", "activation: ${oc.env:MY_ACTIVATION}"))
    assert "add --env MY_ACTIVATION" in refused(USER, "run")
    export("run", "--env", "MY_ACTIVATION")
    assert b"tanh" not in Path("policy.safetensors").read_bytes()
    with pytest.raises(UserError, match="uses the environment variables MY_ACTIVATION"):
        load_policy("policy.safetensors")
    assert load_policy("policy.safetensors", variables="MY_ACTIVATION").actors


def test_a_variable_of_the_env_does_not_matter(runs: Runs, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ENV", "CartPole-v1")
    run = runs.copy("flat", workdir / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("name: CartPole-v1", "name: ${oc.env:MY_ENV}"))
    export("run", "--env", "MY_ENV")
    assert b"CartPole-v1" not in Path("policy.safetensors").read_bytes()
