"""Registers the runner that has its workers in a Ray cluster."""

from collections.abc import Iterator

from maze_core import RunnerSpec, hookimpl
from maze_ray.config import RayRunnerConfig

maze_api_version = 1


@hookimpl
def maze_runners() -> Iterator[RunnerSpec]:
    """The runner ``ray``."""
    yield RunnerSpec(
        name="ray",
        summary="Workers of a Ray cluster, on this machine or on many.",
        config=RayRunnerConfig,
        build="maze_ray.runner:RayRunner",
        build_jobs="maze_ray.jobs:RayJobs",
        check_foreign="maze_ray.runner:refuse_foreign",
    )
