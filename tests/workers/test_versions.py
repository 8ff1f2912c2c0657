"""Workers have what the process has that they work for, or say what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.workers import no_worker_is_left, trained  # noqa: F401  # a fixture

from maze_core import UserError, blueprint
from maze_core.blueprint import Blueprint
from maze_core.plugins import PluginSources


def described(plugins: dict[str, str], **versions: str) -> Blueprint:
    """A run of a process that has these versions, and else what this one has."""
    return Blueprint([], "", PluginSources(), {}, b"", plugins, {**blueprint._versions(), **versions})


def test_a_process_with_the_same_versions_passes() -> None:
    assert described(blueprint._distributions(blueprint.Registry([]), None)).check() == []


def test_another_version_of_a_plugin_is_refused_and_what_to_install_is_told() -> None:
    here = str(blueprint._installed("maze-core"))
    words = rf"^a worker on \S+ has maze-core {here} instead of 9\.9, maze-none none instead of 2\.0\. Install the same"
    with pytest.raises(UserError, match=rf"{words} .*pip install maze-core==9\.9 maze-none==2\.0$"):
        described({"maze-core": "9.9", "maze-none": "2.0"}).check()


def test_what_only_last_bits_depend_on_is_told() -> None:
    here = blueprint._versions()
    told = described({}, numpy="0.1", processor="another").check()
    assert told == [f"numpy {here['numpy']} instead of 0.1", f"processor {here['processor']} instead of another"]


@pytest.mark.workers
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("workdir", "no_worker_is_left")
class TestWorkers:
    """In a run."""

    def test_one_with_another_plugin_ends_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blueprint, "_distributions", lambda *_: {"maze-es": "9.9"})
        with pytest.raises(UserError, match=r"a worker on .* has maze-es .* instead of 9\.9\. .*maze-es==9\.9"):
            trained("es", n_workers=1)

    def test_one_with_another_numpy_warns(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        here: dict[str, Any] = blueprint._versions()
        with monkeypatch.context() as patch:
            patch.setattr(blueprint, "_versions", lambda: {**here, "numpy": "0.1"})
            warned = trained("es", n_workers=1, run_dir=Path("warned"))
        (told,) = [record.message for record in caplog.records if "last bits" in record.message]
        assert f"has numpy {here['numpy']} instead of 0.1: the last bits of results may differ." in told
        assert warned == trained("es")
