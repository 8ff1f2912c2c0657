"""Makes run directories as a stranger could: ``python tests/data/hostile/make_hostile.py <folder>``.

Every case begins with a real run that was killed, and whatever was changed in a checkpoint has its right
hashes again, as an attacker would compute them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Makes all cases, each in a folder of its own."""
    from data.hostile import CASES, make_base, place

    base = make_base(folder / "base")
    for name, case in CASES.items():
        case.make(place(base, folder / folder_name(name)))


def folder_name(name: str) -> str:
    """The name of a case as that of a folder."""
    return re.sub(r"[^\w-]+", "_", name)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(Path(sys.argv[1]).absolute())
