"""Whatever is damaged in a run directory: the run ends as if nothing had happened, or is refused and says what."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from data.hostile import make_base
from data.hostile.tools import checkpoints, newest
from support.cli import Result, run_cli
from support.resume import defaults_composed_once, ended

from maze_core.api import RunContext

CHECKPOINT = ("tensors.safetensors", "state.json", "manifest.json")
WRAPPER = "wrappers=observation_normalization"
UPDATES = 3


@pytest.fixture(scope="module", autouse=True)
def _composed_once() -> Iterator[None]:
    with defaults_composed_once():
        yield


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed after its second update of three, with a checkpoint after each."""
    return make_base(tmp_path_factory.mktemp("killed") / "run", WRAPPER)


@pytest.fixture(scope="module")
def finished_run(killed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ended(killed_run, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="module")
def expected(killed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What a run that was never interrupted ends with."""
    run = tmp_path_factory.mktemp("whole") / "run"
    overrides = dict(line.split("=", 1) for line in (killed_run / "overrides.txt").read_text().splitlines())
    with RunContext(overrides=[f"{k}={v}" for k, v in (overrides | {"run_dir": run}).items()], silent=True) as context:
        context.train()
    return final_weights(run)


@pytest.fixture(params=["killed", pytest.param("finished", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    source = request.getfixturevalue(f"{request.param}_run")
    return Path(shutil.copytree(source, tmp_path / "run"))


@pytest.fixture
def killed(killed_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_run, tmp_path / "run"))


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "final_state_dict.pt", weights_only=True)
    return state


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(other)
    for name in one:
        assert torch.equal(one[name], other[name]), name


def updates_at(run: Path, number: str) -> int:
    found: int = json.loads((run / "checkpoints" / number / "manifest.json").read_text())["summary"]["updates"]
    return found


def went_on_at(run: Path) -> int | None:
    """The update from which the last process went on; None if none did."""
    lines = (run / "log.txt").read_text(errors="replace").splitlines() if (run / "log.txt").exists() else []
    places = [int(line.split()[3].rstrip(",")) for line in lines if line.startswith("Resumed at update ")]
    return places[-1] if places else None


def resume(run: Path) -> Result:
    result = run_cli("resume", str(run))
    assert "Traceback" not in result.stdout + result.stderr
    assert len(result.stderr.splitlines()) <= 3
    return result


def assert_refused(result: Result, name: str) -> None:
    assert result.exit_code == 6, result
    assert name in result.stderr


# What can happen to a file


def cut(size: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size(path.stat().st_size))


def flip(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= 0b100
        path.write_bytes(data)

    return damage


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut to 0": cut(lambda size: 0), "cut to 1": cut(lambda size: 1), "cut in half": cut(lambda size: size // 2),
    "cut by 1": cut(lambda size: size - 1), "first bit": flip(0), "a bit": flip(0.5), "last bit": flip(1),
    "removed": Path.unlink,
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINT)
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_checkpoint_before_a_damaged_one_is_used_and_the_damaged_one_named(
    damage: str, name: str, run: Path, expected: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    last, before = newest(run), checkpoints(run)[-2]
    DAMAGE[damage](last / name)
    place = updates_at(run, before)
    assert place > 0
    assert resume(run).exit_code == 0
    assert went_on_at(run) == place
    assert_equal(final_weights(run), expected)
    (warning,) = [message for message in caplog.messages if "damaged" in message]
    assert str(last) in warning
    assert name in warning
    assert (run / "checkpoints" / f"damaged-{last.name}").is_dir()
    assert run_cli("runs", str(run), "--json").json["status"] == "finished"


@pytest.mark.parametrize("name", CHECKPOINT)
@pytest.mark.parametrize("damage", DAMAGE)
def test_if_every_checkpoint_is_damaged_that_is_said_and_nothing_begins_anew(
    damage: str, name: str, killed: Path
) -> None:
    for number in checkpoints(killed):
        DAMAGE[damage](killed / "checkpoints" / number / name)
    files = sorted(path for path in killed.rglob("*") if path.name != "run.lock")
    before = {path: path.read_bytes() for path in files if path.is_file()}
    assert_refused(resume(killed), name)
    assert sorted(path for path in killed.rglob("*") if path.name != "run.lock") == files
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_configuration_is_that_of_the_checkpoints_or_refused(
    damage: str, killed: Path, expected: dict[str, torch.Tensor]
) -> None:
    text = (killed / "config.yaml").read_text()
    DAMAGE[damage](killed / "config.yaml")
    result = resume(killed)
    if damage == "cut by 1":  # the last newline
        assert (killed / "config.yaml").read_text() == text.rstrip("\n")
        assert result.exit_code == 0
        assert_equal(final_weights(killed), expected)
    else:
        assert_refused(result, "config.yaml")
        assert not (killed / "final_state_dict.pt").exists()


def not_needed(run: Path) -> Iterator[Path]:
    """All files but the configuration and the checkpoints."""
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name != "config.yaml" and path.parent.parent.name != "checkpoints":
            yield path


@pytest.mark.parametrize("damage", DAMAGE)
def test_all_other_files_may_be_damaged_together(damage: str, killed: Path, expected: dict[str, torch.Tensor]) -> None:
    names = {path.name.partition(".out")[0] for path in not_needed(killed)}
    assert names >= {"metrics.jsonl", "log.txt", "events", "run.lock", "environment.json", "command.txt",
                     "overrides.txt", "normalization.json", "state_dict.pt"}  # fmt: skip
    place = updates_at(killed, checkpoints(killed)[-1])
    for path in not_needed(killed):
        DAMAGE[damage](path)
    assert resume(killed).exit_code == 0
    assert went_on_at(killed) == place
    assert_equal(final_weights(killed), expected)


@pytest.mark.parametrize("damage", DAMAGE)
def test_of_a_finished_run_they_change_nothing(damage: str, finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for path in not_needed(run):
        DAMAGE[damage](path)
    result = resume(run)
    assert result.exit_code == 0
    assert result.stdout.startswith("This run is finished: 3 epochs done.")


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE)
def test_each_other_file_may_be_damaged_alone(
    damage: str, killed_run: Path, expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for number, name in enumerate(path.relative_to(killed_run) for path in not_needed(killed_run)):
        run = Path(shutil.copytree(killed_run, tmp_path / str(number)))
        DAMAGE[damage](run / name)
        assert resume(run).exit_code == 0, name
        assert_equal(final_weights(run), expected)


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name not in ("a bit", "last bit")])
def test_damaged_weights_are_refused_by_name(damage: str, finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    DAMAGE[damage](run / "state_dict.pt")
    result = run_cli("train", f"input_dir={run}", WRAPPER, "model.hidden_sizes=[4]", f"run_dir={tmp_path / 'new'}")
    assert_refused(result, "state_dict.pt")
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def run_with_given_statistics(killed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed, too; the file that was given is gone."""
    file = tmp_path_factory.mktemp("given") / "given.json"
    shutil.copy(killed_run / "normalization.json", file)
    name = "wrappers.observation_normalization"
    run = make_base(file.parent / "run", WRAPPER, f"{name}.statistics=given", f"{name}.file={file}")
    file.unlink()
    return run


@pytest.mark.parametrize("damage", DAMAGE)
def test_given_statistics_are_read_again_or_refused_by_name(
    damage: str, run_with_given_statistics: Path, tmp_path: Path
) -> None:
    """They are part of the checkpoint; the file is only looked at."""
    run = Path(shutil.copytree(run_with_given_statistics, tmp_path / "run"))
    DAMAGE[damage](run / "normalization.json")
    result = resume(run)
    if result.exit_code != 0:
        assert result.exit_code in (2, 6)
        assert "normalization.json" in result.stderr
    else:
        assert damage in ("cut by 1", "a bit", "last bit")


# What can be exchanged


@pytest.mark.parametrize("name", CHECKPOINT)
def test_a_file_of_another_checkpoint_is_noticed(name: str, killed: Path, expected: dict[str, torch.Tensor]) -> None:
    _, old, new = (killed / "checkpoints" / number for number in checkpoints(killed))
    (old / name).rename(killed / "kept")
    (new / name).rename(old / name)
    (killed / "kept").rename(new / name)
    assert resume(killed).exit_code == 0
    assert went_on_at(killed) == 0
    assert_equal(final_weights(killed), expected)


def test_checkpoints_that_were_exchanged_are_noticed(killed: Path, expected: dict[str, torch.Tensor]) -> None:
    _, old, new = (killed / "checkpoints" / number for number in checkpoints(killed))
    old.rename(killed / "kept")
    new.rename(old)
    (killed / "kept").rename(new)
    assert resume(killed).exit_code == 0
    assert went_on_at(killed) == 0
    assert_equal(final_weights(killed), expected)


def test_a_checkpoint_that_got_another_number_is_noticed(killed: Path, expected: dict[str, torch.Tensor]) -> None:
    _, old, new = (killed / "checkpoints" / number for number in checkpoints(killed))
    old.rename(killed / "checkpoints" / "000009")
    place = updates_at(killed, new.name)
    assert resume(killed).exit_code == 0
    assert went_on_at(killed) == place
    assert_equal(final_weights(killed), expected)


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of another seed."""
    return make_base(tmp_path_factory.mktemp("other") / "run", WRAPPER, "seed=2")


def test_a_checkpoint_of_another_run_is_refused(killed: Path, other_run: Path) -> None:
    shutil.rmtree(newest(killed))
    shutil.copytree(newest(other_run), killed / "checkpoints" / "000002")
    result = resume(killed)
    assert_refused(result, "config.yaml is not the one that the run began with")
    assert "seed: 2 -> 1" in result.stderr


def test_the_configuration_of_another_run_is_refused(killed: Path, other_run: Path) -> None:
    shutil.copy(other_run / "config.yaml", killed)
    assert_refused(resume(killed), "config.yaml is not the one that the run began with")


def test_records_of_another_run_do_no_harm(killed: Path, other_run: Path, expected: dict[str, torch.Tensor]) -> None:
    for path in not_needed(other_run):
        if path.parent == other_run:
            shutil.copy(path, killed)
    assert resume(killed).exit_code == 0
    assert_equal(final_weights(killed), expected)


def test_a_run_goes_on_wherever_it_is_moved(killed: Path, expected: dict[str, torch.Tensor], tmp_path: Path) -> None:
    moved: Any = killed.rename(tmp_path / "moved away")
    assert resume(moved).exit_code == 0
    assert_equal(final_weights(moved), expected)
