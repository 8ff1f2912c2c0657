"""Options of the runner, and what of them a run directory may decide."""

from __future__ import annotations

import pytest
from maze_ray.config import RayRunnerConfig
from maze_ray.runner import refuse_foreign

from maze_core import ConfigError, UserError
from maze_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    name = "ray"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": " "}, "address"), ({"cpus_per_worker": 0.0}, "cpus_per_worker"),
        ({"resources": {"highmem": 0.0}}, "resources"), ({"cpus_per_worker": 0.00001}, "four decimals"),
        ({"resources": {"CPU": 2.0}}, "cores are cpus_per_worker"), ({"placement_timeout": 0.0}, "placement_timeout"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_told(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RayRunnerConfig(**options)  # type: ignore[arg-type]


def test_a_cluster_is_not_joined_on_the_word_of_a_run_directory() -> None:
    with pytest.raises(UserError, match=r"trained on a Ray cluster at evil:6379.*runner\.address=evil:6379, or"):
        refuse_foreign(RayRunnerConfig(address="evil:6379"))
    with pytest.raises(UserError, match=r"sent its folder.*runner\.send_folder=true or runner\.send_folder=false"):
        refuse_foreign(RayRunnerConfig(send_folder=True))
    refuse_foreign(RayRunnerConfig(n_workers=4, resources={"gpu_node": 1.0}))
