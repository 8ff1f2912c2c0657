"""A worker of a cluster has the versions of the run, or says what differs."""

from __future__ import annotations

from typing import Any

import pytest
from maze_ray import host
from support.workers import trained

from maze_core import EnvFaultError, UserError, blueprint

pytestmark = [
    pytest.mark.ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300),
    pytest.mark.usefixtures("workdir", "token"),
]  # fmt: skip


def test_a_node_with_another_plugin_ends_the_run(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blueprint, "_distributions", lambda *_: {"maze-es": "9.9"})
    with pytest.raises(UserError, match=r"a worker on .* has maze-es .* instead of 9\.9\. .*pip install maze-es==9\.9"):
        trained("es", place="ray", n_workers=1, address=cluster)


def test_a_node_with_another_core_ends_the_run(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Metadata:
        """Of a run that has another core."""

        def version(self, name: str) -> str:
            return "9.9"

    monkeypatch.setattr(host, "metadata", Metadata())
    with pytest.raises(UserError, match=r"a worker on .* has maze-core .* instead of 9\.9\. .*pip install"):
        trained("es", place="ray", n_workers=1, address=cluster)


def test_a_node_with_another_numpy_warns_once(
    cluster: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here: dict[str, Any] = blueprint._versions()
    monkeypatch.setattr(blueprint, "_versions", lambda: {**here, "numpy": "0.1"})
    trained("es", place="ray", n_workers=2, address=cluster)
    (told,) = [record.message for record in caplog.records if "last bits" in record.message]
    assert f"has numpy {here['numpy']} instead of 0.1: the last bits of results may differ." in told


def test_what_keeps_a_worker_from_starting_is_told(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blueprint.Blueprint, "to_bytes", lambda self: b"cut")
    with pytest.raises(EnvFaultError, match=r"worker 0 cannot work \(UnpicklingError: .*\), at try 1"):
        trained("es", place="ray", n_workers=1, address=cluster, max_worker_restarts=0)
