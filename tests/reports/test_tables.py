"""Tables as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from maze_core.reports.tables import csv_text, number_texts, write_csv


def test_rows_have_all_columns_in_the_order_of_their_first_use() -> None:
    assert csv_text([{"b": 1, "a": "x"}, {"c": 0.1, "a": None}], ["a"]) == "a,b,c\nx,1,\n,,0.1\n"


def test_texts_with_commas_and_quotes_are_quoted() -> None:
    assert csv_text([{"a": 'x, "y"\nz'}]) == 'a\n"x, ""y""\nz"\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_a_text_is_no_formula(text: str) -> None:
    assert csv_text([{"a": text}]).splitlines()[1].strip('"').startswith("'")


def test_a_negative_number_stays_a_number() -> None:
    assert csv_text([{"a": -1.5}]) == "a\n-1.5\n"


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    for value in (1, 2):
        write_csv(target, [{"a": value}])
    assert target.read_text() == "a\n2\n"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([500, 9.5, None], ["500.0", "9.5", "-"]),
        ([12345.6, 1], ["12,346", "1"]),
        ([0.12345, 0.5], ["0.1235", "0.5000"]),
        ([-21.234], ["-21.23"]),
        ([2e-6], ["2.000e-06"]),
        ([0.0], ["0.000"]),
        ([], []),
    ],
)
def test_numbers_side_by_side_have_as_many_decimals(values: list[float | None], texts: list[str]) -> None:
    assert number_texts(values) == texts


def test_a_difference_has_its_sign() -> None:
    assert number_texts([3.0, -1.25], signed=True) == ["+3.000", "-1.250"]
