"""Rows and histories in files, as the command line is given them: .parquet and .csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tallystick.errors import InvalidParameter, NotFound
from tallystick.parity.columns import read_times
from tallystick.parity.history import History


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
    time = time or _only_time(path, frame, keys)
    missing = [name for name in (*keys, time) if name not in frame]
    if missing:
        has = ", ".join(str(name) for name in list(frame.columns)[:8])
        raise InvalidParameter(f"{path.name}: there is no column {', '.join(missing)}; it has {has}")
    return History(frame, tuple(keys), time)


def _only_time(path: Path, frame: pd.DataFrame, keys: Sequence[str]) -> str:
    """Return the only column of times. Raises InvalidParameter when there are none or several."""
    head = frame.head(1000)
    found = [str(name) for name in frame.columns if name not in keys and read_times(head[name]) is not None]
    if len(found) != 1:
        told = f"several columns of times: {', '.join(found[:5])}" if found else "no column of times"
        raise InvalidParameter(f"{path.name} has {told}; say with --history-time which one says since when a row holds")
    return found[0]
