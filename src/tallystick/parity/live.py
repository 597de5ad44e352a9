"""Live rows, read once as the reference reads them, and what detectors ask of them.

A `Live` is a value: undoing a suspected fault gives another `Live`, whose other columns are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role, Texts, in_dtype
from tallystick.parity.history import Asked
from tallystick.parity.joint import Discriminant, Values, column_scores, discriminant, table_of, tempered
from tallystick.parity.profile import Ints, cells_of
from tallystick.parity.yardsticks import Sample, odd_rows, sample_of

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference


#: Golden rows that training's own habits can be seen in.
FEWEST_GOLDEN = 100
#: What is known of each value by itself: of some of the rows, it is a part of what is known of all.
_BY_ROW = ("known", "cells", "scores", "odd")

T = TypeVar("T")


@dataclass(frozen=True)
class Live:
    """Parsed live rows in the reference's column order; a column that is not there is all missing.

    `absent` are such columns, and `broken` those that a fault was found in and could not be undone: neither takes part
    in what the other columns say of a row.
    """

    reference: Reference
    values: tuple[Values, ...]
    absent: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()
    #: Columns whose values lie where training's never did: until that is explained they tell nothing of others.
    suspects: frozenset[int] = frozenset()
    #: When each row was asked for, in seconds since 1970, where that is known.
    requests: Floats | None = None
    #: Whom each row is about, and the source of its values, where that was given.
    asked: Asked | None = None
    #: By column and by the columns that are left out.
    _tables: dict[tuple[int, frozenset[int]], Floats] = field(default_factory=dict, repr=False)
    _memo: dict[str, Any] = field(default_factory=dict, repr=False)
    #: What follows from the reference alone: all rows that come of these share it. The second is by column and by the
    #: columns that are left out.
    _trained: dict[str, Any] = field(default_factory=dict, repr=False)
    _discriminants: dict[tuple[int, frozenset[int]], Discriminant] = field(default_factory=dict, repr=False)
    #: What was worked out of one column's values and its profile, by column: it holds until they are replaced.
    _own: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        """Number of live rows."""
        return len(self.values[0]) if self.values else 0

    def numbers(self, column: int) -> Floats:
        """Return a number column's values."""
        return np.asarray(self.values[column], dtype=np.float64)

    def texts(self, column: int) -> Texts:
        """Return a level or text column's values, None where missing."""
        return np.asarray(self.values[column], dtype=object)

    def once(self, column: int, what: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, which is made once.

        It may depend on the values of this column and on the reference, and on nothing else: not on other columns, nor
        on which of them are left out. It outlasts changes of other columns, and is not to be written to.
        """
        own = self._own.setdefault(column, {})
        if what not in own:
            own[what] = make()
        return cast("T", own[what])

    def of_training(self, what: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, which is made once and may depend on nothing but the reference."""
        if what not in self._trained:
            self._trained[what] = make()
        return cast("T", self._trained[what])

    def of_rows(self, what: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, which is made once and may depend on all values and on what is left out."""
        what = f"{what} without {sorted(self.absent | self.broken)}"
        if what not in self._memo:
            self._memo[what] = make()
        return cast("T", self._memo[what])

    def known(self, column: int) -> Mask:
        """Return which rows have a value."""
        return self.once(column, "known", lambda: self._known(column))

    def _known(self, column: int) -> Mask:
        if self.reference.columns[column].numbers is not None:
            return np.asarray(np.isfinite(self.numbers(column)))
        return np.array([text is not None for text in self.values[column]], dtype=bool)

    def counts(self, column: int) -> Counter[str]:
        """Return how often each level of a column of texts is there."""
        return self.once(column, "counts", lambda: Counter(self.values[column][self.known(column)].tolist()))

    def sample(self, column: int) -> Sample:
        """Return the known values of a column of numbers as a sample."""
        return self.once(column, "sample", lambda: sample_of(self.numbers(column)))

    def odd(self, column: int) -> Mask:
        """Return which numbers training could hardly give; see `odd_rows`."""
        return self.once(column, "odd", lambda: odd_rows(self.reference.columns[column], self.numbers(column)))

    def cells(self, column: int) -> Ints:
        """Return the cell of each row's value."""
        return self.once(column, "cells", lambda: cells_of(self.reference.columns[column], self.values[column]))

    def scores(self) -> Floats:
        """Return the scores of all columns: rows x q."""
        if "scores" not in self._memo:
            parts = [self._scores(j) for j in range(len(self.values))]
            # Column by column, as some of the columns are taken for each table.
            self._memo["scores"] = np.asfortranarray(np.hstack(parts) if parts else np.zeros((self.rows, 0)))
        scored: Floats = self._memo["scores"]
        return scored

    def _scores(self, column: int) -> Floats:
        profile, joint = self.reference.columns[column], self.reference.joint
        return self.once(
            column,
            "scores",
            lambda: column_scores(
                profile, joint.embeddings[column], self.values[column], self.cells(column), joint.folded
            ),
        )

    def table(self, column: int, excluded: frozenset[int] = frozenset()) -> Floats:
        """Return rows x (cells + 1): how well the other columns fit each cell of this one, in nats."""
        left_out = excluded | self.absent | self.broken | (self.suspects - {column})
        key = (column, left_out)
        if key not in self._tables:
            joint = self.reference.joint
            if key not in self._discriminants:
                self._discriminants[key] = discriminant(
                    joint.means[column], joint.shares[column], joint.covariance, joint.owners, column, left_out
                )
            table = table_of(self._discriminants[key], joint.shares[column], self.scores())
            self._tables[key] = tempered(table, float(joint.temper[column]), joint.shares[column])
        return self._tables[key]

    def with_values(self, changed: Mapping[int, Values]) -> Live:
        """Return these rows with some columns replaced."""
        values = tuple(changed.get(j, column) for j, column in enumerate(self.values))
        own = {j: known for j, known in self._own.items() if j not in changed}
        return replace(self, values=values, _tables={}, _memo={}, _own=own)

    def read_by(self, reference: Reference, changed: Mapping[int, Values]) -> Live:
        """Return these rows with some columns replaced, to be compared with another reference of the same joint."""
        return replace(self.with_values(changed), reference=reference, _own={}, _trained={})

    def sharing(self, other: Live) -> Live:
        """Return these rows with all that was worked out of the reference for other rows, where it is the same."""
        if other.reference is not self.reference:
            return self
        return replace(self, _trained=other._trained, _discriminants=other._discriminants)

    def with_broken(self, columns: frozenset[int]) -> Live:
        """Return these rows with more columns marked as broken."""
        return replace(self, broken=self.broken | columns)

    def with_suspects(self, columns: frozenset[int]) -> Live:
        """Return these rows with these columns as the suspects."""
        return self if columns == self.suspects else replace(self, suspects=columns)

    def taken(self, rows: Any) -> Live:
        """Return some of the rows, by mask or numbers."""
        requests = None if self.requests is None else self.requests[rows]
        asked = None if self.asked is None else self.asked.taken(rows)
        values = tuple(column[rows] for column in self.values)
        own = {j: {what: known[what][rows] for what in _BY_ROW if what in known} for j, known in self._own.items()}
        return replace(self, values=values, requests=requests, asked=asked, _tables={}, _memo={}, _own=own)

    def golden(self) -> Live | None:
        """Return training's golden rows, read the same way, with the same columns left out; None where few are kept."""
        golden = self.of_training("golden", self._golden)
        if golden is None:
            return None
        return replace(golden, absent=self.absent, broken=self.broken, suspects=self.suspects)

    def _golden(self) -> Live | None:
        from tallystick.parity.reference import parse_column

        rows, reference = self.reference.rows, self.reference
        if len(rows) < FEWEST_GOLDEN or list(rows.columns) != list(reference.names):
            return None
        values = tuple(parse_column(profile, rows[profile.name]) for profile in reference.columns)
        golden = replace(self, values=values, requests=None, asked=None, _tables={}, _memo={}, _own={})
        return golden.whole()

    def whole(self) -> Live:
        """Return these rows with no column left out."""
        return replace(self, absent=frozenset(), broken=frozenset(), suspects=frozenset())

    def bare(self) -> Live:
        """Return these rows without what was worked out of them, which takes most of the room."""
        return replace(self, _tables={}, _memo={}, _trained={}, _discriminants={}, _own={})

    def frame(self) -> pd.DataFrame:
        """Return the rows as a frame with training's names, order and dtypes where values allow them."""
        columns = {}
        for profile, column in zip(self.reference.columns, self.values, strict=True):
            columns[profile.name] = _as_trained(column, profile.role, profile.dtype, profile.encoding)
        return pd.DataFrame(columns)


def _as_trained(column: Values, role: Role, dtype: str, encoding: str) -> pd.Series[Any]:
    series: pd.Series[Any] = pd.Series(column)
    if role is Role.TIME:
        stamps = pd.to_datetime(series, unit="s")
        if encoding.startswith("text:"):
            return stamps.dt.strftime(encoding.removeprefix("text:"))
        if encoding.startswith("epoch_"):
            factor = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[encoding.removeprefix("epoch_")]
            return in_dtype(pd.Series(np.asarray(column, dtype=np.float64) * factor), dtype)
        return stamps
    if dtype in ("bool", "boolean") and series.notna().all():
        return series.map({"True": True, "False": False}).astype(bool)
    if role is Role.NUMBER:
        return in_dtype(series, dtype)
    return series.astype("category") if dtype == "category" else series.astype(object)
