"""Tests of one group run in one process of pytest: they share what is dear, or look at the whole machine."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("groups")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process")
def test_groups_are_heard_of(request: pytest.FixtureRequest) -> None:
    """Versions of pytest and pytest-xdist that do not fit ignore them silently."""
    assert request.node.nodeid.endswith("@groups"), "pytest-xdist ignores groups, or --dist=loadgroup is missing"
