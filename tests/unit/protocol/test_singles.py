"""Values of a row that have to be converted without looking at each column by itself, and those that must be."""

from typing import Any

import numpy as np
import pytest

from tallystick.protocol import singles
from tallystick.protocol.signature import ScalarType

LOOKED_AT_ALONE = "alone"


@pytest.mark.parametrize(
    ("kind", "values", "got", "changes"),
    [
        ("string", ["a", 7, None, True, [1]], ["a", 7, None, True, [1]], {"not_text": [1, 3, 4]}),
        ("datetime", ["2024-01-31", 1, 1.9, None], [1706659200 * 10**9, 1, 1, None], {"epoch_unit": [1, 2]}),
        ("datetime", ["31/01/2024", "2024-01-31", 2**63], [LOOKED_AT_ALONE, 1706659200 * 10**9, LOOKED_AT_ALONE], {}),
        ("datetime", ["2024-02-30", 5], [LOOKED_AT_ALONE, 5], {"epoch_unit": [1]}),
        (
            "binary",
            ["aGVs", "aG!Vs", "aG\nVs", "aGVsb"],
            [b"hel", b"hel", b"hel", LOOKED_AT_ALONE],
            {"bad_base64": [1]},
        ),
        ("binary", ["aGVs", 5], [LOOKED_AT_ALONE, LOOKED_AT_ALONE], {}),
    ],
)
def test_columns_and_changes_of_a_row(kind: str, values: list[Any], got: list[Any], changes: dict[str, Any]) -> None:
    columns, found = singles.convert(values, ScalarType(kind), by_frame=True)
    assert [LOOKED_AT_ALONE if column is None else single(column) for column in columns] == got
    assert {coercion.value: list(places) for coercion, places in found} == changes


def test_text_that_fits_is_a_list_and_what_is_kept_an_array() -> None:
    columns, _ = singles.convert(["a", 7, None], ScalarType.STRING, by_frame=True)
    assert [type(column) for column in columns] == [list, np.ndarray, list]


@pytest.mark.parametrize(
    ("kind", "values", "got", "changes"),
    [
        ("string", ["a", 7, None, [1]], ["a", "7", "None", LOOKED_AT_ALONE], {"text_from_value": [1], "null_to_text": [2]}),
        ("datetime", [7, 1.5], [7, LOOKED_AT_ALONE], {"epoch_unit": [0]}),
        ("binary", ["aGVs", "a\0"], [b"aGVs", b"a"], {"base64_kept": [0, 1]}),
    ],
)  # fmt: skip
def test_numpy_reads_a_row_otherwise(kind: str, values: list[Any], got: list[Any], changes: dict[str, Any]) -> None:
    columns, found = singles.convert(values, ScalarType(kind), by_frame=False)
    assert [LOOKED_AT_ALONE if column is None else single(column) for column in columns] == got
    assert {coercion.value: list(places) for coercion, places in found} == changes


def single(column: Any) -> Any:
    """Return the value of a column of one; nanoseconds for a date."""
    assert len(column) == 1
    if isinstance(column, np.ndarray) and column.dtype.kind == "M":
        return None if np.isnat(column[0]) else int(column.view(np.int64)[0])
    return column[0]
