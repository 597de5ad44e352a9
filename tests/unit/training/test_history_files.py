"""The features' source in a file: its times as text, and what is said of columns that are not there or hold no times."""

from pathlib import Path

import pandas as pd
import pytest

from tallystick.errors import InvalidParameter
from tallystick.training.files import read_history


def written(folder: Path, times: list[str]) -> Path:
    rows = {"customer_id": ["007", "008", "009"], "valid_from": times, "chol": [188.5, 204.0, 177.25]}
    pd.DataFrame(rows).to_csv(folder / "features.csv", index=False)
    return folder / "features.csv"


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        ("2025-06-01", 1748736000.0),
        ("2025-06-01 12:00:00", 1748779200.0),
        ("2025-06-01T12:00:00Z", 1748779200.0),
        ("2025-06-01T14:00:00.500+02:00", 1748779200.5),
        ("1748779200", 1748779200.0),
    ],
)
def test_the_only_column_of_times_of_a_csv_is_found(tmp_path: Path, first: str, seconds: float) -> None:
    later = [first.replace("2025-06-01", f"2025-06-{day}").replace("17487", f"174{day}") for day in (80, 90)]
    later = [text.replace("06-80", "06-10").replace("06-90", "06-20") for text in later]
    found = read_history(written(tmp_path, [first, *later]), ["customer_id"], "")
    assert (found.time, found.features) == ("valid_from", ("chol",))
    assert found.seconds[0] == seconds
    assert found.labels.tolist()[0] == "007"


@pytest.mark.parametrize("time", ["chol", "customer_name"])
def test_a_column_that_holds_no_times_is_refused(tmp_path: Path, time: str) -> None:
    path = written(tmp_path, ["2025-06-01", "2025-06-02", "2025-06-03"])
    pd.read_csv(path).assign(customer_name=["ann", "bob", "eve"]).to_csv(path, index=False)
    with pytest.raises(InvalidParameter, match=f"{time} holds no times"):
        read_history(path, ["customer_id"], time)


def test_a_key_that_is_not_there_is_told_before_times(tmp_path: Path) -> None:
    path = written(tmp_path, ["soon", "later", "never"])
    with pytest.raises(InvalidParameter, match="no column nope; it has customer_id, valid_from, chol"):
        read_history(path, ["nope"], "")
