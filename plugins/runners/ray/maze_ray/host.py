"""Workers in a cluster, as a pool sees them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from maze_core import Blueprint, Progress, Request, UserError, Worker
from maze_ray.actor import Actor
from maze_ray.cluster import Cluster, first_line
from maze_ray.config import RayRunnerConfig

LOG = logging.getLogger("maze")

NOTHING = Progress(0, 0, 0, -1, 0)
CLOSE = "close"
"""The request that needs no answer."""

TOLD_AFTER_S = 5.0
REPLACED_S = 30.0
"""How long the place of a worker that died may stay full, before the next one begins without one."""


class RayHost:
    """Starts workers in a cluster, and waits for them.

    Args:
        cluster: Which.
        config: What each worker reserves, and where.
        blueprint: What they build.
        n_workers: For how many there is to be room.

    Raises:
        UserError: If there is no room.
    """

    shares_memory = False

    def __init__(self, cluster: Cluster, config: RayRunnerConfig, blueprint: Blueprint, n_workers: int) -> None:
        self._config = config
        self._arguments = ray.put(blueprint.to_bytes()), metadata.version("maze-core"), config.send_folder
        self._actor = ray.remote(concurrency_groups={"progress": 1}, max_restarts=0, max_task_retries=0)(Actor)
        self._common: tuple[Any, Any] = None, None
        self._places = reserved(cluster, config, n_workers)
        self._free: list[int] = []
        self._begun = [self._new(place) for place in reversed(range(n_workers))]  # all at the same time

    def start(self) -> RayWorker:
        """Starts a worker in a place that is free; in none if that stays full, as when its node is gone.

        Raises:
            OSError: If the cluster does not answer.
            UserError: If its nodes lack what a worker needs.
        """
        patience_s = self._config.placement_timeout if self._begun else REPLACED_S
        worker = self._begun.pop() if self._begun else self._new(self._free.pop())
        if not worker.is_placed(patience_s):
            LOG.warning("there is no room for a worker (%g s): it begins without a core of its own.", patience_s)
            worker.end()
            worker = self._new(self._free.pop(), reserves=False)
        return worker

    def _new(self, place: int, reserves: bool = True) -> RayWorker:
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}
        if reserves:
            strategy = PlacementGroupSchedulingStrategy(self._places, placement_group_bundle_index=place)
            reserved_ = {"num_cpus": self._config.cpus_per_worker, "resources": dict(self._config.resources)}
            options = {**reserved_, "scheduling_strategy": strategy}
        try:
            actor = self._actor.options(**options).remote(*self._arguments)
        except RayError as error:
            raise OSError(first_line(error)) from error
        return RayWorker(self, actor, place)

    def ready(self, workers: Sequence[Worker], patience_s: float) -> Sequence[int]:
        """Waits until one of these workers has answered or is dead."""
        places = {w.pending: place for place, w in enumerate(workers) if isinstance(w, RayWorker)}
        done, left = ray.wait(list(places), num_returns=1, timeout=patience_s)
        if done and left:
            done += ray.wait(left, num_returns=len(left), timeout=0)[0]
        return [places[reference] for reference in done]

    def common(self, value: Any) -> Any:
        """A reference to what many requests have in common: each node gets it once."""
        if value is None:
            return None
        if value is not self._common[0]:
            self._common = value, ray.put(Request("", common=value).common_bytes())
        return self._common[1]

    def give_back(self, place: int) -> None:
        """The worker in this place is gone."""
        self._free.append(place)

    def close(self) -> None:
        """Gives back all that was reserved."""
        with contextlib.suppress(RayError):
            for worker in self._begun:
                worker.end()
            remove_placement_group(self._places)


class RayWorker:
    """A worker in a cluster; see `maze_core.Worker`.

    Args:
        host: Which.
        actor: Handle of its actor.
        place: Number of its place.
    """

    def __init__(self, host: RayHost, actor: Any, place: int) -> None:
        self._host, self._actor, self._place = host, actor, place
        self.pending: Any = None
        self._ended, self._seen = "", NOTHING
        self._looking: Any = self._look()

    def _look(self) -> Any:
        return self._actor.progress.options(concurrency_group="progress").remote()

    def is_placed(self, patience_s: float) -> bool:
        """Whether its process runs, or has ended, before so many seconds are over.

        Raises:
            UserError: If its node lacks what it needs.
        """
        placed, _ = ray.wait([self._looking], timeout=patience_s)
        if placed:
            try:
                ray.get(self._looking)
            except RayActorError as error:
                missing = [line for line in str(error).splitlines() if "No module named" in line]
                if missing:
                    raise UserError(
                        f"a node of the Ray cluster lacks a package: {missing[-1].strip()}. Install maze-core, "
                        "maze-ray and the plugins of this run on all nodes, in the same versions."
                    ) from None
        return bool(placed)

    def send(self, request: Request, patience_s: float | None) -> None:
        """Sends a request."""
        try:
            common = self._host.common(request.common)
            answer = self._actor.answer.remote(request.to_bytes(with_common=False), common)
        except RayError as error:
            raise OSError(first_line(error)) from error
        if request.name != CLOSE:
            self.pending, self._seen = answer, NOTHING

    def receive(self, patience_s: float | None) -> bytes:
        """Its answer."""
        try:
            return ray.get(self.pending)  # type: ignore[no-any-return]
        except RayActorError as error:
            self._ended = "died with its node" if "node" in first_reason(error) else "died"
            raise EOFError from error
        except RayTaskError as error:
            self._ended = f"cannot work ({type(error.cause).__name__}: {error.cause})"
            raise EOFError from error
        except RayError as error:
            raise OSError(first_line(error)) from error

    def has_ended(self) -> bool:
        """Whether it is known to be dead; `RayHost.ready` tells of it anyway."""
        return bool(self._ended)

    def progress(self) -> Progress:
        """How far it was when it last said so; it is asked again."""
        done, _ = ray.wait([self._looking], timeout=0)
        if done:
            with contextlib.suppress(RayError):
                self._seen = Progress(*ray.get(self._looking))
                self._looking = self._look()
        return self._seen

    def let_go(self) -> None:
        """Tells it to close its envs."""
        if not self._ended:
            with contextlib.suppress(RayError):
                self.pending = self._actor.close.remote()

    def end(self, patience_s: float = 0.0) -> str:
        """Kills it, after it closed its envs or had so many seconds to do so."""
        with contextlib.suppress(RayError):
            if patience_s > 0 and not self._ended and self.pending is not None:
                ray.wait([self.pending], timeout=patience_s)
            ray.kill(self._actor)
        self._host.give_back(self._place)
        return self._ended or "did not answer and was killed"


def first_reason(error: RayActorError) -> str:
    """The line of an error that says why an actor died."""
    return next((line for line in str(error).splitlines() if line.startswith("The actor is dead because")), "")


def reserved(cluster: Cluster, config: RayRunnerConfig, n_workers: int) -> PlacementGroup:
    """Room for all workers, all of it or none.

    Raises:
        UserError: If there is none in time.
    """
    place = {"CPU": config.cpus_per_worker, **config.resources}
    group = placement_group([place] * n_workers, strategy=config.placement.name.upper())
    told_after = min(TOLD_AFTER_S, config.placement_timeout)
    if group.wait(told_after):
        return group
    what = ", ".join(f"{amount:g} {name}" for name, amount in place.items())
    wanted = f"{n_workers} workers of {what} each have no room on the Ray cluster, with {cluster.has()}"
    LOG.warning("%s; waiting.", wanted)
    if not group.wait(config.placement_timeout - told_after):
        remove_placement_group(group)
        raise UserError(
            f"{wanted}, after {config.placement_timeout:g} s (runner.placement_timeout). "
            "Choose fewer (runner.n_workers, runner.cpus_per_worker), or add nodes."
        )
    return group
