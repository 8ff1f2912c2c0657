"""How many threads compute: one where networks are small."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

_limited = ContextVar("_limited", default=False)
"""Whether one thread is used already: to limit them again would take half a millisecond."""

MANY_PARAMETERS = 500_000
"""Below, handing work to a second thread takes longer than the work."""


def one_thread_is_enough(networks: list[nn.Module]) -> bool:
    """True if all networks lie on the CPU and are so small that more threads would only get in the way."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    return on_cpu and sum(parameter.numel() for parameter in parameters) < MANY_PARAMETERS


@contextmanager
def limited_threads(one: bool) -> Iterator[None]:
    """Lets torch and NumPy use one thread within, if `one`; afterwards as many as before.

    The last bits of large products depend on the number: who does it, does it always.
    """
    if not one or _limited.get():
        yield
        return
    before, outer = torch.get_num_threads(), _limited.set(True)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
        _limited.reset(outer)


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def libraries() -> list[str]:
    """The libraries that multiply matrices, with version and the kind of processor that they chose."""
    found = [entry for entry in threadpool_info() if entry["user_api"] == "blas"]
    return sorted(f"{entry['internal_api']} {entry['version']} {entry.get('architecture')}" for entry in found)
