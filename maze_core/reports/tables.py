"""Tables as files: comma-separated values that spreadsheets and data frames read."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from maze_core.runs.files import write_file

FORMULA = re.compile(r"[=+\-@\t\r]")
"""What a text begins with that a spreadsheet would take for a formula: names in a run are a stranger's."""


def csv_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Rows as comma-separated values with a header.

    A cell is empty where a row lacks a column or has None there. Numbers keep all their digits. A text that a
    spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        rows: Cells by column.
        columns: Those that come first, in this order; all others follow as they are met.
    """
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def write_csv(path: str | Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> Path:
    """Writes rows into a file, as `csv_text` makes them; one that is there is replaced.

    Raises:
        StorageError: If it cannot be written.
    """
    target = Path(path).expanduser()
    content = csv_text(rows, columns).encode(errors="backslashreplace")
    write_file(target, lambda file: file.write(content))
    return target


def number_texts(values: Sequence[float | None], signed: bool = False) -> list[str]:
    """Numbers that stand side by side, to be read: as many decimals for all as the largest needs for four digits.

    Args:
        values: None becomes ``-``.
        signed: Whether positive ones get a plus.
    """
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    digits = math.floor(math.log10(largest)) if largest > 0 else 0
    plus = "+" if signed else ""
    form = f"{plus}.3e" if digits < -4 or digits > 12 else f"{plus},.{max(0, 3 - max(digits, -1))}f"
    return ["-" if value is None else f"{value:{form}}" for value in values]
