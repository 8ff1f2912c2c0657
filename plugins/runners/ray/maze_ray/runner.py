"""A run whose workers are in a Ray cluster."""

from __future__ import annotations

import os
from typing import Any

from maze_core import Blueprint, LocalRunner, UserError
from maze_ray.cluster import Cluster, joined, left
from maze_ray.config import RayRunnerConfig
from maze_ray.host import RayHost
from maze_ray.job_actor import JOB

PAYS_FROM_S = 0.002
"""Env steps that take longer are worth a worker; a round trip to a few workers takes about that."""


class RayRunner(LocalRunner):
    """Executes in workers of a Ray cluster; what decides, learns and writes stays in this process.

    Args:
        config: Options.
    """

    config: RayRunnerConfig

    def __init__(self, config: RayRunnerConfig) -> None:
        super().__init__(config)
        self._cluster: Cluster | None = None
        self._host: RayHost | None = None

    def choose_workers(self, actors: Any, probe: Any) -> tuple[int, str]:
        """As many as were asked for, or as have room in the cluster."""
        n_workers = self.config.n_workers
        if n_workers is None and JOB in os.environ:
            return 0, "in this process, because it is one of several jobs in a Ray cluster"
        if n_workers == 0:
            return 0, ""
        self._cluster = joined(self.config, n_workers)
        where = "on this machine" if self._cluster.is_own else f"at {self._cluster.address}"
        n_workers = n_workers or self._cluster.n_places(self.config, now=not self._cluster.is_own)
        return n_workers, f" of a Ray cluster {where}"

    def steps_here(self, actors: Any, probe: Any) -> tuple[bool, str]:
        """Envs that are too quick step in this process, unless the number of workers was given."""
        step_s = self.step_s(actors, probe)
        if step_s is None or step_s >= PAYS_FROM_S:
            return False, ""
        here = self.config.n_workers is None
        why = f"a step takes {1000 * step_s:.2g} ms and a round trip to a worker about {1000 * PAYS_FROM_S:g}"
        return here, f", because {why}" if here else f", which does not pay: {why}"

    def host(self, blueprint: Blueprint, n_workers: int) -> RayHost:
        """Places in the cluster for the workers."""
        assert self._cluster is not None
        self._host = RayHost(self._cluster, self.config, blueprint, n_workers)
        return self._host

    def close(self) -> None:
        """Ends the workers, and the cluster if it is this run's own."""
        host, self._host = self._host, None
        cluster, self._cluster = self._cluster, None
        try:
            super().close()
            if host is not None:
                host.close()
        finally:
            if cluster is not None:
                left()


def refuse_foreign(config: RayRunnerConfig) -> None:
    """Refuses what would hand this process over to others.

    Raises:
        UserError: If a configuration that was read from a run directory names a cluster.
    """
    if config.address is not None:
        raise UserError(
            f"the run was trained on a Ray cluster at {config.address}, which is not joined on the word of a run "
            f"directory. Say yourself which one to use: runner.address={config.address}, or runner.address=null for "
            "one on this machine."
        )
    if config.send_folder:
        raise UserError(
            "the run sent its folder to a Ray cluster, which is not done on the word of a run directory. Say yourself "
            "whether to: runner.send_folder=true or runner.send_folder=false."
        )
