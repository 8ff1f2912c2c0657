"""Options of runs on a Ray cluster."""

import math
from dataclasses import dataclass, field
from enum import Enum

from maze_core import LocalRunnerConfig, require

RAYS_OWN = {"CPU", "GPU", "memory", "object_store_memory"}
"""What Ray does not let be named among resources."""


AMOUNT = "a number > 0 with four decimals at most"
"""What Ray can reserve."""


class Placement(Enum):
    """On which nodes workers are: on as few as they fit on, or on as many as there are."""

    pack = "pack"
    spread = "spread"


@dataclass(kw_only=True)
class RayRunnerConfig(LocalRunnerConfig):
    """Episodes of populations and evaluations run in workers of a Ray cluster; envs step there if that pays."""

    address: str | None = None
    """Where the cluster is: ``host:port`` of its head, or ``auto`` for the one that this machine belongs to; null is
    what the variable RAY_ADDRESS says, or else a cluster on this machine that ends with the run."""

    cpus_per_worker: float = 1.0
    """Cores that each worker, or each job of several, reserves; each computes with one thread."""

    resources: dict[str, float] = field(default_factory=dict)
    """What else each of them reserves, by the cluster's names: ``{highmem: 1}``."""

    placement: Placement = Placement.pack
    """On which nodes workers are: pack takes as few as possible, spread as many as possible."""

    placement_timeout: float = 300.0
    """Seconds to wait until the cluster has room for all workers, such as for new nodes."""

    send_folder: bool = False
    """Whether nodes get a copy of the current directory, because they do not see it: for ``maze_plugins.py`` and files
    that an env reads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "address", self.address is None or self.address.strip() != "", "null, auto or host:port")
        require(self, "cpus_per_worker", _is_amount(self.cpus_per_worker), AMOUNT)
        require(self, "resources", all(map(_is_amount, self.resources.values())), f"{AMOUNT} by name")
        require(
            self, "resources", not RAYS_OWN & set(self.resources),
            "by the cluster's own names; cores are cpus_per_worker, and nothing else of Ray's can be reserved",
        )  # fmt: skip
        require(self, "placement_timeout", self.placement_timeout > 0, "a number > 0")


def _is_amount(value: float) -> bool:
    return 0 < value < math.inf and round(value, 4) == value
