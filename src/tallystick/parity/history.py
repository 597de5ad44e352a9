"""The offline source of features: what it said of a key, and when; and live or training rows set beside it.

Keys are identifiers of people and things. They are matched here and forgotten: none is stored or shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.columns import EPOCH_RANGE_S, EPOCH_UNITS, Floats, Texts, read_texts, seconds_in
from tallystick.parity.profile import Ints
from tallystick.printable import listed_names, printable

#: Between the parts of a key of several columns; it is in no text that people write.
_JOINT = "\x1f"


@dataclass(frozen=True)
class History:
    """A table of the source: `frame` has a row for each change (or each copy) of a key's features.

    `keys` are its columns that say whom a row is about, in the order of the keys of live rows; `time` is since when
    the row holds. A row holds until the key's next one. Raises InvalidParameter when a column is not there.
    """

    frame: pd.DataFrame
    keys: str | Sequence[str]
    time: str

    def __post_init__(self) -> None:
        if not isinstance(self.frame, pd.DataFrame):
            raise InvalidParameter(f"history: expected a pandas DataFrame, got {type(self.frame).__name__}")
        if not isinstance(self.keys, str) and not pd.api.types.is_list_like(self.keys):
            told = "the name of a column, or a list of names"
            raise InvalidParameter(f"history: expected keys to be {told}, got {type(self.keys).__name__}")
        names = (self.keys,) if isinstance(self.keys, str) else tuple(self.keys)
        twice = sorted({str(name) for name in self.frame.columns[self.frame.columns.duplicated()]})
        if twice:
            raise InvalidParameter(f"history: column names stand twice: {', '.join(map(repr, twice[:5]))}")
        object.__setattr__(self, "keys", names)
        missing = [name for name in (*names, self.time) if name not in self.frame.columns]
        if missing or not names:
            told = ", ".join(repr(name) for name in missing) or "a key"
            raise InvalidParameter(f"history: there is no column {told}; it has {listed_names(self.frame.columns)}")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the other columns."""
        return tuple(str(name) for name in self.frame.columns if name not in (*self.keys, self.time))

    @cached_property
    def labels(self) -> Texts:
        """The key of each row as text, None where it has none."""
        return key_texts(self.frame[list(self.keys)])

    @property
    def first_s(self) -> float:
        """The earliest time that it has."""
        known = self.seconds[np.isfinite(self.seconds)]
        return float(known.min()) if len(known) else np.inf

    @cached_property
    def seconds(self) -> Floats:
        """Since when each row holds, in seconds since 1970; NaN where that cannot be read."""
        return seconds_of(self.frame[self.time])


@dataclass(frozen=True)
class Asked:
    """Whom each row is about and when it was asked for, as far as known; and the source, where there is one."""

    #: Seconds since 1970, NaN where a time cannot be read.
    times: Floats | None = None
    #: None where a row has no key.
    keys: Texts | None = None
    history: History | None = None

    @cached_property
    def aligned(self) -> Aligned | None:
        """The rows beside the source's rows of their keys; None where one of the three is not known."""
        if self.history is None or self.keys is None or self.times is None:
            return None
        return align(self.history, self.keys, self.times)

    def taken(self, rows: Any) -> Asked:
        """Return what is known of some of the rows, by mask or numbers."""
        times, keys = (None if each is None else each[rows] for each in (self.times, self.keys))
        return replace(self, times=times, keys=keys)


def asked_of(rows: int, keys: Any = None, timestamps: Any = None, history: History | None = None) -> Asked:
    """Return what is known of so many rows.

    Raises InvalidParameter for other lengths, for timestamps of which none is a time, and for keys without times.
    """
    faults = [
        f"{name} has {len(given)} entries, expected {rows}"
        for name, given in (("keys", keys), ("timestamps", timestamps))
        if given is not None and hasattr(given, "__len__") and len(given) != rows
    ]
    faults += [
        f"{name}: expected an entry for each row, got {type(given).__name__}"
        for name, given in (("keys", keys), ("timestamps", timestamps))
        if given is not None and not hasattr(given, "__len__")
    ]
    if history is not None and not isinstance(history, History):
        faults.append(f"history: expected History(frame, keys, time), got {type(history).__name__}")
    if history is not None and (keys is None or timestamps is None):
        faults.append("history needs keys and timestamps: whom each row is about, and when it was asked for")
    if faults:
        raise InvalidParameter("; ".join(faults))
    times = None if timestamps is None or not len(timestamps) else seconds_of(timestamps)
    odd = [] if times is None else unread(timestamps, times)
    if times is not None and len(odd) and not np.isfinite(times).any():
        raise InvalidParameter(
            f"timestamps: none of {rows} entries is a time (the first is {printable(repr(odd[0]))[:40]}); expected "
            "dates with times, ISO 8601 text, or seconds, ms, µs or ns since 1970"
        )
    return Asked(times, None if keys is None else key_texts(keys), history)


def key_texts(keys: Any) -> Texts:
    """Return keys as text: a Series, an array, or a frame of several columns. 7, 7.0 and "7" are one key.

    >>> key_texts(pd.DataFrame({"shop": [1.0, None], "till": ["a", "b"]})).tolist()
    ['1\\x1fa', None]
    """
    if not isinstance(keys, pd.DataFrame):
        keys = pd.DataFrame({"key": keys if isinstance(keys, pd.Series) else pd.Series(_flat(keys))})
    if not keys.shape[1]:
        raise InvalidParameter("keys: a frame without columns")
    parts = [_column_texts(keys.iloc[:, place]) for place in range(keys.shape[1])]
    if len(parts) == 1:
        return parts[0]
    whole = [None if None in row else _JOINT.join(row) for row in zip(*parts, strict=True)]
    return np.array(whole, dtype=object)


def _flat(keys: Any) -> Any:
    array = np.asarray(keys)
    if array.ndim != 1:
        raise InvalidParameter(
            f"keys: expected one entry for each row, or a DataFrame, got an array of {array.ndim} axes"
        )
    return keys


def _column_texts(series: pd.Series[Any]) -> Texts:
    texts = read_texts(series.reset_index(drop=True))
    codes, distinct = pd.factorize(texts)
    # A whole number is one key, whether a missing one made it a float or not.
    names = [text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text for text in distinct]
    return np.asarray(np.array([*names, None], dtype=object)[codes], dtype=object)


def seconds_of(times: Any) -> Floats:
    """Return seconds since 1970, NaN where a time cannot be read. Numbers are seconds, or ms, µs or ns by their size.

    >>> seconds_of(["1970-01-01T00:01:00Z", "soon"]).tolist()
    [60.0, nan]
    """
    given = (times if isinstance(times, pd.Series) else pd.Series(np.asarray(times))).infer_objects()
    if pd.api.types.is_bool_dtype(given.dtype):
        return np.full(len(given), np.nan)
    if pd.api.types.is_numeric_dtype(given.dtype):
        numbers = given.astype("Float64").to_numpy(np.float64, na_value=np.nan)
        known = numbers[np.isfinite(numbers)]
        middle = float(np.median(known)) if len(known) else 0.0
        low, high = EPOCH_RANGE_S
        factor = next((f for f in EPOCH_UNITS.values() if low * f < middle < high * f), 1.0)
        return np.asarray(numbers / factor, dtype=np.float64)
    return seconds_in(given)


def unread(given: Any, times: Floats) -> list[Any]:
    """Return what was given and is none of the `times` that were read of it; what is missing is no fault."""
    values = given.to_numpy(dtype=object) if isinstance(given, pd.Series) else np.asarray(given, dtype=object)
    return [value for value in values[~np.isfinite(times)] if not pd.isna(value)]


@dataclass(frozen=True)
class Aligned:
    """Rows beside the source's rows of their keys, which are sorted by key and time.

    `begin` and `end` are the places of each row's key in the source, equal where the source does not know the key (or
    the row has no key or time). `order` gives the source's rows in these places.
    """

    order: Ints
    starts: Floats
    codes: Ints
    times: Floats
    begin: Ints
    end: Ints
    #: The source's latest time: what it would say later is not known.
    last_s: float

    @property
    def known(self) -> Any:
        """Which rows have a key that the source knows."""
        return self.end > self.begin

    def as_of(self, lag_s: float, rows: Any = slice(None), codes_of: Any = None) -> Ints:
        """Return the place of the source's row that held `lag_s` before each row; -1 where there was none.

        With `codes_of`, rows are taken to be of the keys of these rows.
        """
        whose = rows if codes_of is None else codes_of
        codes = self.codes[whose]
        rank = np.searchsorted(self._moments, self.times[rows] - lag_s, side="right")
        place = np.searchsorted(self._ranked, codes * (len(self._moments) + 2) + rank, side="right") - 1
        return np.asarray(np.where((codes >= 0) & (place >= self.begin[whose]), place, -1), dtype=np.int64)

    @cached_property
    def _moments(self) -> Floats:
        return np.unique(self.starts)

    @cached_property
    def _ranked(self) -> Ints:
        """Key and time of each place as one number, ascending."""
        keys = np.searchsorted(self._firsts, np.arange(len(self.starts)), side="right") - 1
        rank = np.searchsorted(self._moments, self.starts, side="left") + 1
        return np.asarray(keys * (len(self._moments) + 2) + rank, dtype=np.int64)

    @cached_property
    def _firsts(self) -> Ints:
        known = self.codes >= 0
        firsts = np.zeros(int(self.codes.max(initial=-1)) + 1, dtype=np.int64)
        firsts[self.codes[known]] = self.begin[known]
        return firsts


def align(history: History, keys: Texts, times: Floats) -> Aligned:
    """Return rows beside the source's rows of their keys. O(n log n) in the source's rows of these keys."""
    labels, seconds = history.labels, history.seconds
    asked = np.isfinite(times) & np.array([key is not None for key in keys], dtype=bool)
    distinct = pd.Index(np.unique(keys[asked].astype(str)) if asked.any() else [], dtype=object)
    of_history = np.asarray(distinct.get_indexer(pd.Index(labels, dtype=object)), dtype=np.int64)
    used = np.flatnonzero((of_history >= 0) & np.isfinite(seconds))
    # Of rows with one key and time the last one holds.
    order = used[np.lexsort((seconds[used], of_history[used]))]
    # Keys that the source does not know get no code, so that codes count what is in it.
    present, held = np.unique(of_history[order], return_inverse=True)
    first = np.searchsorted(held, np.arange(len(present)))
    after = np.append(first[1:], len(order))
    wanted = np.asarray(distinct.get_indexer(pd.Index(np.where(asked, keys, ""), dtype=object)), dtype=np.int64)
    place = np.clip(np.searchsorted(present, wanted), 0, max(0, len(present) - 1))
    is_known = asked & (wanted >= 0) & (present[place] == wanted) if len(present) else np.zeros(len(keys), dtype=bool)
    codes = np.where(is_known, place, -1)
    begin = np.where(is_known, first[place], 0) if len(present) else np.zeros(len(keys), dtype=np.int64)
    end = np.where(is_known, after[place], 0) if len(present) else np.zeros(len(keys), dtype=np.int64)
    last_s = float(np.nanmax(seconds)) if np.isfinite(seconds).any() else -np.inf
    return Aligned(order, seconds[order], codes, np.where(asked, times, np.nan), begin, end, last_s)
