"""Names of parametrised tests."""

from __future__ import annotations

import re
from typing import Any


def shown(value: Any) -> str:
    """A value as text that is the same in every process: without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
