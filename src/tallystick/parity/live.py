"""Live rows, read once as the reference reads them, and what detectors ask of them.

A `Live` is a value: undoing a suspected fault gives another `Live`, whose other columns are shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role, Texts
from tallystick.parity.history import Asked
from tallystick.parity.joint import Values, log_likelihood, scores_of, tempered
from tallystick.parity.profile import Ints, cells_of

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference


#: Golden rows that training's own habits can be seen in.
FEWEST_GOLDEN = 100


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
    _tables: dict[tuple[int, frozenset[int]], Floats] = field(default_factory=dict, repr=False)
    _memo: dict[str, Any] = field(default_factory=dict, repr=False)

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

    def known(self, column: int) -> Mask:
        """Return which rows have a value."""
        if self.reference.columns[column].numbers is not None:
            return np.asarray(np.isfinite(self.numbers(column)))
        return np.array([text is not None for text in self.values[column]], dtype=bool)

    def cells(self, column: int) -> Ints:
        """Return the cell of each row's value."""
        key = f"cells {column}"
        if key not in self._memo:
            self._memo[key] = cells_of(self.reference.columns[column], self.values[column])
        cells: Ints = self._memo[key]
        return cells

    def scores(self) -> Floats:
        """Return the scores of all columns: rows x q."""
        if "scores" not in self._memo:
            reference = self.reference
            cells = [self.cells(j) for j in range(len(reference.columns))]
            values = list(self.values)
            scores, _ = scores_of(reference.columns, reference.joint.embeddings, values, cells, reference.joint.folded)
            self._memo["scores"] = scores
        scored: Floats = self._memo["scores"]
        return scored

    def table(self, column: int, excluded: frozenset[int] = frozenset()) -> Floats:
        """Return rows x (cells + 1): how well the other columns fit each cell of this one, in nats."""
        left_out = excluded | self.absent | self.broken | (self.suspects - {column})
        key = (column, left_out)
        if key not in self._tables:
            joint = self.reference.joint
            table = log_likelihood(
                joint.means[column],
                joint.shares[column],
                joint.covariance,
                joint.owners,
                column,
                self.scores(),
                left_out,
            )
            self._tables[key] = tempered(table, float(joint.temper[column]), joint.shares[column])
        return self._tables[key]

    def with_values(self, changed: Mapping[int, Values]) -> Live:
        """Return these rows with some columns replaced."""
        values = tuple(changed.get(j, column) for j, column in enumerate(self.values))
        return replace(self, values=values, _tables={}, _memo={})

    def with_broken(self, columns: frozenset[int]) -> Live:
        """Return these rows with more columns marked as broken."""
        return replace(self, broken=self.broken | columns, _tables={}, _memo=self._memo)

    def with_suspects(self, columns: frozenset[int]) -> Live:
        """Return these rows with these columns as the suspects."""
        return self if columns == self.suspects else replace(self, suspects=columns, _tables={})

    def taken(self, rows: Any) -> Live:
        """Return some of the rows, by mask or numbers."""
        requests = None if self.requests is None else self.requests[rows]
        asked = None if self.asked is None else self.asked.taken(rows)
        values = tuple(column[rows] for column in self.values)
        return replace(self, values=values, requests=requests, asked=asked, _tables={}, _memo={})

    def golden(self) -> Live | None:
        """Return training's golden rows, read the same way, with the same columns left out; None where few are kept."""
        from tallystick.parity.reference import parse_column

        rows, reference = self.reference.rows, self.reference
        if len(rows) < FEWEST_GOLDEN or list(rows.columns) != list(reference.names):
            return None
        values = tuple(parse_column(profile, rows[profile.name]) for profile in reference.columns)
        return replace(self, values=values, requests=None, asked=None, _tables={}, _memo={})

    def control(self) -> Live | None:
        """Return golden rows as `golden` does, read once for all that leave out more columns."""
        if "control" not in self._memo:
            golden = self.golden()
            self._memo["control"] = None if golden is None else golden.whole()
        control: Live | None = self._memo["control"]
        if control is None:
            return None
        return replace(control, absent=self.absent, broken=self.broken, suspects=self.suspects, _tables={})

    def whole(self) -> Live:
        """Return these rows with no column left out."""
        return replace(self, absent=frozenset(), broken=frozenset(), suspects=frozenset(), _tables={})

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
            return pd.Series(np.asarray(column, dtype=np.float64) * factor)
        return stamps
    if dtype in ("bool", "boolean") and series.notna().all():
        return series.map({"True": True, "False": False}).astype(bool)
    if role is Role.NUMBER and dtype.startswith(("int", "uint")) and series.notna().all():
        whole = np.round(np.asarray(column, dtype=np.float64))
        if np.allclose(whole, np.asarray(column, dtype=np.float64)):
            return pd.Series(whole).astype(np.int64)
    if dtype == "category" and role is not Role.NUMBER:
        return series.astype("category")
    return series if role is Role.NUMBER else series.astype(object)
