"""Rows and histories in files, as the command line is given them: .parquet and .csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter, NotFound
from tallystick.parity.columns import EPOCH_RANGE_S, read_times
from tallystick.parity.history import History, seconds_of
from tallystick.printable import listed_names

#: How a date in ISO 8601 begins, a text that is a number, and the part of a column's values that have to be times.
_DATE = r"\d{4}-\d{2}-\d{2}"
_NUMBER = r"\s*[-+]?[\d.]+(e[-+]?\d+)?\s*"
_MOST_TIMES = 0.95


def read_table(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a file; `types` are those of a model's signature, as text does not say them.

    Raises InvalidParameter when it cannot be read.
    """
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if ".csv" in path.suffixes:
            texts = {name: str for name, kind in types.items() if kind == "string"}
            doubles = {name: float for name, kind in types.items() if kind == "double"}
            head = pd.read_csv(path, nrows=0).columns
            times = [name for name, kind in types.items() if kind == "datetime" and name in head]
            return pd.read_csv(path, dtype={**texts, **doubles}, parse_dates=times)
    except (ValueError, OSError) as error:
        raise InvalidParameter(f"{path.name} cannot be read: {error}") from error
    raise InvalidParameter(f"{path.name}: expected a .parquet or .csv file")


def read_history(path: Path, keys: Sequence[str], time: str, types: Mapping[str, str] | None = None) -> History:
    """Return the source of features in a file; without `time`, its only column of times is meant.

    Keys are read as text, as 007 is another one than 7. Raises NotFound and InvalidParameter.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    frame = read_table(path, {**(types or {}), **dict.fromkeys(keys, "string")})
    _there(path, frame, keys)
    time = time or _only_time(path, frame, keys)
    _there(path, frame, [time])
    if not _holds_times(frame[time]):
        raise InvalidParameter(
            f"{path.name}: {time} holds no times, such as {str(frame[time].iloc[0])[:40]!r}; expected since when a row "
            "holds, in ISO 8601, or in seconds (ms, us, ns) since 1970"
        )
    return History(frame, tuple(keys), time)


def _there(path: Path, frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise InvalidParameter when a column is not there."""
    missing = [name for name in names if name not in frame]
    if missing:
        told = f"there is no column {listed_names(missing)}; it has {listed_names(frame.columns)}"
        raise InvalidParameter(f"{path.name}: {told}")


def _holds_times(series: pd.Series[Any]) -> bool:
    """Whether nearly all values read as times: dates, texts of dates, or numbers of the size of an epoch's."""
    known = series.dropna()
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or not len(known):
        return True
    if not pd.api.types.is_numeric_dtype(series.dtype) and known.astype(str).head(50).str.fullmatch(_NUMBER).any():
        return False
    seconds = seconds_of(known)
    low, high = EPOCH_RANGE_S if pd.api.types.is_numeric_dtype(series.dtype) else (-np.inf, np.inf)
    return bool(np.mean((seconds > low) & (seconds < high)) > _MOST_TIMES)


def _looks_like_times(series: pd.Series[Any]) -> bool:
    """Whether a column that nobody named holds times: as in training's columns, or text in ISO 8601."""
    known = series.dropna()
    if not len(known) or read_times(series) is not None:
        return bool(len(known))
    is_text = not pd.api.types.is_numeric_dtype(series.dtype)
    return is_text and bool(known.astype(str).str.match(_DATE).all()) and _holds_times(known)


def _only_time(path: Path, frame: pd.DataFrame, keys: Sequence[str]) -> str:
    """Return the only column of times. Raises InvalidParameter when there are none or several."""
    head = frame.head(1000)
    found = [str(name) for name in frame.columns if name not in keys and _looks_like_times(head[name])]
    if len(found) != 1:
        told = f"several columns of times: {', '.join(found[:5])}" if found else "no column of times"
        raise InvalidParameter(f"{path.name} has {told}; say with --history-time which one says since when a row holds")
    return found[0]
