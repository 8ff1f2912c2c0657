"""What the bits of a run depend on besides its configuration."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch

from maze_core.runs.threads import libraries


def fingerprint(plugins: Mapping[str, str], device: str, one_thread: bool) -> dict[str, str]:
    """Versions and machine, as far as they change the last bit of a product of matrices.

    Args:
        plugins: Versions of the plugins that are used.
        device: Where networks are computed.
        one_thread: Whether one thread computes, however many there are.
    """
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "gymnasium": metadata.version("gymnasium"),
        "processor": platform.machine(),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "linear algebra": ", ".join(libraries()),
        "threads": "1" if one_thread else str(torch.get_num_threads()),
        "device": device if device == "cpu" else f"{device}, {torch.cuda.get_device_name(device)}",
        **plugins,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """What differs, in words; empty if the same bits are to be expected."""
    names = dict.fromkeys([*now, *map(str, before)])
    return [
        f"{name[:100]} was {str(before.get(name, 'absent'))[:100]} and is {now.get(name, 'absent')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
