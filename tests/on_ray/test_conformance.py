"""The runner keeps the contract of runners."""

import pytest

from maze_core.testing import RunnerConformance

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]


class TestRunner(RunnerConformance):
    name = "ray"

    @pytest.fixture(autouse=True)
    def _joined(self, cluster: str, token: None) -> None:
        self.overrides = {"n_workers": 2, "address": cluster}
