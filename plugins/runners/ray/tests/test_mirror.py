"""Files of a run that executes elsewhere come here, in an order in which they can be used at any time."""

from __future__ import annotations

from pathlib import Path

import pytest
from maze_ray import mirror
from maze_ray.mirror import Source, repeat


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path: (folder / path).read_text() for path in mirror.paths_in(folder)}


def test_only_what_changed_is_told_and_repeating_it_gives_the_same(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    source = Source(there)
    assert source.changes() == ({}, [])
    write(there, config="1", metrics="a", checkpoints__1__state="x")
    repeat(here, *source.changes())
    assert content(here) == content(there)
    write(there, metrics="ab", checkpoints__2__state="y")
    (there / "checkpoints/1/state").unlink()
    files, gone = source.changes()
    assert (set(files), gone) == ({"metrics", "checkpoints/2/state"}, ["checkpoints/1/state"])
    repeat(here, files, gone)
    assert content(here) == content(there)
    assert not (here / "checkpoints/1").exists()


def test_checkpoints_are_read_first_and_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever grows meanwhile then holds at least what a checkpoint refers to."""
    there, order = tmp_path / "there", list[str]()
    write(there, config="1", checkpoints__1__state="x", metrics="a")
    files, _ = Source(there).changes()
    assert next(iter(files)) == "checkpoints/1/state"
    real = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    repeat(tmp_path / "here", files, [])
    assert order[-1] == "state"


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_written_outside(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out of"):
        repeat(tmp_path / "here", {path: b"x"}, [])
    assert not (tmp_path / "outside").exists()


def test_locks_and_links_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, config="1", **{"run.lock": "held"})
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert mirror.paths_in(tmp_path) == ["config"]
