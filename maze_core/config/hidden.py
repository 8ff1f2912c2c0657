"""Keeps what environment variables hold out of messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from maze_core.errors import hide

ENVIRONMENT = re.compile(r"""\$\{\s*oc\.env\s*:\s*['"]?([A-Za-z_][A-Za-z0-9_]*)""")
"""An environment variable that a value refers to, in any of the forms that OmegaConf takes."""


def hide_variables(values: Any, path: str = "") -> None:
    """Hides what environment variables hold that a configuration refers to, but for where the run directory is.

    Args:
        values: Nested mappings and lists; interpolations are text in them.
        path: Where in the configuration they stand.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            hide_variables(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, (list, tuple)):
        for value in values:
            hide_variables(value, path)
    elif isinstance(values, str) and path != "run_dir":
        hide(os.environ[name] for name in ENVIRONMENT.findall(values) if name in os.environ)
