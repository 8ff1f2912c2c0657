"""A cluster for the tests of this folder, and the check that nothing of it is left."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from maze_ray.cluster import TOKEN, _started
from maze_ray.config import RayRunnerConfig
from support.ray_processes import Node, commands, none_left


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test there are no more processes of Ray than before."""
    before = commands()
    yield
    none_left(before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster of four cores, which the runs of all tests join."""
    before, variables = commands(), dict(os.environ)
    keeper, address = _started(RayRunnerConfig(), 4)
    os.environ.clear()
    os.environ.update(variables)
    yield address
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    keeper.wait()
    keeper.stdout.close()
    none_left(before)


@pytest.fixture
def node(cluster: str, token: None) -> Iterator[Node]:
    """One more node."""
    started = Node(cluster)
    yield started
    started.kill()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process one that may use the cluster, as its environment would."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
