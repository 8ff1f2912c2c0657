"""Whatever happens to a run between its kills: it ends as if nothing had happened, or refuses and says why."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from support.resume import Recipe, cut_off, defaults_composed_once, differing, leftovers, result, store

from maze_core.api import RunContext
from maze_core.errors import NothingUsableError

pytestmark = [pytest.mark.usefixtures("workdir"), pytest.mark.kill]

RECIPES = {
    "es": Recipe("es"),
    "a2c, one by one": Recipe("a2c", {"env.kwargs.render_mode": "rgb_array"}),
}
UPDATES = 4
PARTS = ("tensors.safetensors", "state.json", "manifest.json")


class KilledError(BaseException):
    """What a process that is killed does not live to see."""


class Story:
    """What happens to a run, and which of its checkpoints are damaged.

    Args:
        run: Its directory.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._written: dict[int, Any] = {}  # what those contained that something happened to

    def folder(self, number: int) -> Path:
        return self.run / "checkpoints" / f"{number:06d}"

    def checkpoint(self, back: int) -> Path | None:
        """The folder of a checkpoint; 0 is the newest, None if there are not as many."""
        numbers = store(self.run).numbers()
        return self.folder(numbers[-1 - back]) if back < len(numbers) else None

    def damage(self, folder: Path, change: Callable[[], None]) -> None:
        """Changes a checkpoint."""
        self._written.setdefault(int(folder.name), _content(folder))
        change()

    def lose(self, folder: Path) -> None:
        """Deletes a checkpoint."""
        shutil.rmtree(folder)
        self._written.pop(int(folder.name), None)

    def good(self) -> list[int]:
        """Numbers of the checkpoints that are as they were written."""
        contents = {number: _content(self.folder(number)) for number in store(self.run).numbers()}
        return [number for number, content in contents.items() if self._written.get(number, content) == content]

    def go_on(self, updates: int = 100, flushes: int = 10_000) -> bool:
        """Resumes it, and kills it after so many updates or flushes to the disk; False if it was refused."""
        good = self.good()
        if not good:
            with pytest.raises(NothingUsableError) as refusal:
                RunContext.resume(self.run, silent=True)
            assert str(self.run / "checkpoints") in str(refusal.value)
            return False
        bad = {n: _content(self.folder(n)) for n in store(self.run).numbers() if n not in good}
        updates_so_far = store(self.run).manifest(good[-1])["summary"]["updates"]
        with RunContext.resume(self.run, silent=True) as context:
            assert context.trainer.updates == updates_so_far
            with killed_after(context, updates, flushes):
                if context.finished is None:
                    context.train()
        for number, content in bad.items():
            if not self.folder(number).exists() or _content(self.folder(number)) != content:
                del self._written[number]  # it was set aside, and there may be another one now
        return True


class Happening(Protocol):
    """What may happen."""

    def happen_in(self, story: Story) -> None: ...


@dataclass(frozen=True)
class GoOn:
    """The run is resumed, and killed in a later update or while something is written; it may finish before."""

    updates: int
    flushes: int

    def happen_in(self, story: Story) -> None:
        story.go_on(self.updates, self.flushes)


@dataclass(frozen=True)
class Damage:
    """A part of a checkpoint is damaged; `place` is the share of the file before the damage."""

    back: int
    part: str
    how: str
    place: float

    def happen_in(self, story: Story) -> None:
        folder = story.checkpoint(self.back)
        if folder is not None and (folder / self.part).is_file():
            file = folder / self.part
            story.damage(folder, lambda: WAYS[self.how](file, int(self.place * (file.stat().st_size - 1))))


@dataclass(frozen=True)
class Lose:
    """A checkpoint is lost."""

    back: int

    def happen_in(self, story: Story) -> None:
        folder = story.checkpoint(self.back)
        if folder is not None:
            story.lose(folder)


def truncate(file: Path, place: int) -> None:
    os.truncate(file, place)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << place % 8
    file.write_bytes(content)


def lengthen(file: Path, place: int) -> None:
    with file.open("ab") as content:
        content.write(b"\n")


def delete(file: Path, place: int) -> None:
    file.unlink()


def swap(file: Path, place: int) -> None:
    """The same file of an earlier checkpoint takes its place, if there is one."""
    others = [other for other in file.parent.parent.glob(f"[0-9]*/{file.name}") if other < file and other.is_file()]
    if others:
        file.write_bytes(max(others).read_bytes())


def link(file: Path, place: int) -> None:
    """It becomes a link to what it was."""
    file.symlink_to(file.rename(file.parents[3] / f"{file.parent.name}-{file.name}"))


def folder(file: Path, place: int) -> None:
    file.unlink()
    file.mkdir()


WAYS: dict[str, Callable[[Path, int], None]] = {
    way.__name__: way for way in (truncate, flip, lengthen, delete, swap, link, folder)
}


def _content(folder: Path) -> list[Any]:
    return [(f.name, f.is_symlink(), f.read_bytes() if f.is_file() else None) for f in sorted(folder.iterdir())]


@contextmanager
def killed_after(context: RunContext, updates: int, flushes: int) -> Iterator[None]:
    """Ends what happens within like a kill: in the middle of an update, or of writing."""

    def counted(action: Callable[..., Any], left: int) -> Callable[..., Any]:
        def act(*args: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return action(*args)

        return act

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context.trainer, "step", counted(context.trainer.step, updates))
        patch.setattr(os, "fsync", counted(os.fsync, flushes))
        try:
            yield
        except KilledError:
            event("killed")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with defaults_composed_once():
        yield


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each recipe that was never interrupted."""
    return {name: recipe.train(tmp_path_factory.mktemp("reference") / "run") for name, recipe in RECIPES.items()}


newest = st.sampled_from([0, 0, 0, 1, 2])
go_on = st.builds(GoOn, updates=st.integers(0, UPDATES), flushes=st.integers(0, 40))
damage = st.builds(Damage, newest, st.sampled_from(PARTS), st.sampled_from(sorted(WAYS)), st.floats(0, 1))
happening = st.one_of(go_on, damage, st.builds(Lose, newest))
happenings = st.lists(happening, max_size=4)


def tell(reference: Path, killed_at: int, happenings: list[Happening]) -> None:
    """What happens to a run after it was killed, and that it ends well."""
    with tempfile.TemporaryDirectory() as place:
        story = Story(cut_off(reference, Path(place, "run"), killed_at))
        for happening in happenings:
            happening.happen_in(story)
        if story.go_on():
            event("ended")
            assert differing(result(reference), result(story.run)) == []
            assert leftovers(story.run) == []
        else:
            event("refused")


quickly = settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
@quickly
@given(killed_at=st.integers(0, UPDATES), happenings=happenings)
def test_a_run_ends_as_if_nothing_had_happened_or_refuses(
    name: str, references: dict[str, Path], killed_at: int, happenings: list[Happening]
) -> None:
    tell(references[name], killed_at, happenings)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", RECIPES)
@settings(quickly, max_examples=200)
@given(killed_at=st.integers(0, UPDATES), happenings=st.lists(happening, max_size=8))
def test_so_does_a_run_to_which_much_happens(
    name: str, references: dict[str, Path], killed_at: int, happenings: list[Happening]
) -> None:
    tell(references[name], killed_at, happenings)


def test_such_a_story_would_notice_a_difference(
    references: dict[str, Path], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is used although it is damaged."""
    story = Story(cut_off(references["es"], workdir / "run", 2))
    Damage(0, "tensors.safetensors", "flip", 0.9).happen_in(story)
    monkeypatch.setattr("maze_core.runs.checkpoints._hash", lambda data: "0")
    monkeypatch.setattr("maze_core.runs.checkpoints._manifest", parsed_only)
    with pytest.raises(AssertionError):
        story.go_on()


def parsed_only(data: bytes, number: int) -> Any:
    """A manifest that is believed, whatever it says of its files."""
    import json

    manifest = json.loads(data)
    return {**manifest, "files": {name: {**part, "sha256": "0"} for name, part in manifest["files"].items()}}
