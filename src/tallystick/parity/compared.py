"""Columns in three states, as a report draws them: in training, as sent, and after the cause is undone.

Values of columns whose privacy is not `raw` never leave here: numbers become shares of training's quantile ranges,
levels become places by frequency.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role, hour_of, read_numbers, read_texts
from tallystick.parity.distribution import cdf, cdf_below
from tallystick.parity.joint import Values
from tallystick.parity.live import Live
from tallystick.parity.parameters import number
from tallystick.parity.privacy import digest
from tallystick.parity.profile import ColumnProfile

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Ranges of equal training share that stand for the values of a column which may not be shown.
HIDDEN_RANGES = 8
MOST_LEVELS = 10
BINS = 20
REST, UNKNOWN, MISSING, RARE = "other levels", "not in training", "missing", "rare levels"


@dataclass(frozen=True)
class Compared:
    """One column. `sent` is None where it was not sent, `undone` where nothing was undone in it."""

    profile: ColumnProfile
    sent: Values | None
    undone: Values | None
    #: How numbers were written as sent, where not all were plain: form -> share.
    forms: dict[str, float]
    #: Rows as sent that undoing changed; None when frames do not go together row by row.
    changed: Mask | None = None

    @property
    def is_raw(self) -> bool:
        """Whether values may be shown."""
        return self.profile.privacy == "raw"


def compare(reference: Reference, profile: ColumnProfile, sent: pd.Series | None, undone: pd.Series | None) -> Compared:
    """Return a column as sent and after undoing."""
    given = None if sent is None else read_as_sent(reference, profile, sent)
    forms = {} if sent is None or profile.role is not Role.NUMBER else _forms(sent)
    if given is None or undone is None:
        return Compared(profile, given, None, forms)
    mended = _again(reference, profile, undone)
    if len(given) != len(mended):
        return Compared(profile, given, mended, forms)
    changed = _differs(profile, given, mended)
    return Compared(profile, given, mended if changed.any() or forms else None, forms, changed)


def _differs(profile: ColumnProfile, one: Values, other: Values) -> Mask:
    if profile.numbers is None:
        return np.array([a != b for a, b in zip(one, other, strict=True)], dtype=bool)
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second) > 1e-9 * np.maximum(1.0, np.abs(first))
    return np.asarray(apart | (np.isnan(first) != np.isnan(second)))


def read_as_sent(reference: Reference, profile: ColumnProfile, series: pd.Series) -> Values:
    """Return values as they came: no spelling is mended, but hidden levels are known by their digest."""
    from tallystick.parity.reference import parse_column

    values = parse_column(profile, series)
    if profile.levels is None:
        return values
    if profile.levels.is_boolean and pd.api.types.is_numeric_dtype(series.dtype):
        # 0 and 1 for false and true is an exact conversion, which no one need know of.
        truth = {0.0: "False", 1.0: "True"}
        return np.array([truth.get(value) for value in read_numbers(series).values.tolist()], dtype=object)
    if not profile.levels.hidden:
        return values
    hidden = {f"#{name}" for name in profile.levels.hidden}
    known = {text: f"#{digest(reference.hash_key, text)}" for text in set(values) if text is not None}
    names = {text: name if name in hidden else text for text, name in known.items()}
    return np.array([None if text is None else names[text] for text in values], dtype=object)


def _again(reference: Reference, profile: ColumnProfile, series: pd.Series) -> Values:
    """Return the values of a frame that was read once already: digests stand in it for hidden levels."""
    if profile.levels is None or not profile.levels.hidden:
        return read_as_sent(reference, profile, series)
    hidden = {f"#{name}" for name in profile.levels.hidden}
    texts = read_texts(series)
    again = read_as_sent(reference, profile, series)
    return np.array([old if old in hidden else new for old, new in zip(texts, again, strict=True)], dtype=object)


def _forms(series: pd.Series) -> dict[str, float]:
    read = read_numbers(series)
    masks = {
        "text, comma": read.comma,
        "text": read.as_text,
        "truth word": read.boolean,
        "null word": read.token,
        "no number": read.junk,
    }
    shares = {name: float(mask.mean()) for name, mask in masks.items() if mask.any()}
    if not shares:
        return {}
    missing = float(series.isna().mean())
    return {"number": 1 - sum(shares.values()) - missing, **shares, **({MISSING: missing} if missing else {})}


def mended(reference: Reference, undone: pd.DataFrame, broken: Collection[str] = ()) -> Live:
    """Return the rows of an undone frame; `broken` columns could not be undone and have no say about others."""
    values, absent = [], set()
    for j, profile in enumerate(reference.columns):
        column = _nothing(profile, len(undone))
        if profile.name in undone.columns and profile.privacy != "none":
            column = _again(reference, profile, undone[profile.name])
        if missing_share(column) == 1.0:
            absent.add(j)
        values.append(column)
    lost = frozenset(j for j, name in enumerate(reference.names) if name in broken)
    return Live(reference, tuple(values), frozenset(absent), lost)


def _nothing(profile: ColumnProfile, rows: int) -> Values:
    return np.full(rows, np.nan) if profile.numbers is not None else np.full(rows, None, dtype=object)


def level_shares(profile: ColumnProfile, states: Sequence[Values | None]) -> tuple[list[str], list[Floats]]:
    """Return labels, and shares of training and of each state: the most frequent levels, then the rest.

    Levels that privacy hides have no names: they are called by their place, and unknown ones are counted together.
    """
    levels = profile.levels
    assert levels is not None
    total = max(1.0, float(levels.rows)) / (1 - profile.null_share or 1.0)
    trained: dict[str | None, float] = dict(zip(levels.levels, (levels.counts / total).tolist(), strict=True))
    trained[None] = profile.null_share
    counts = [trained, *(_counted(state) for state in states)]
    seen = {name: max(one.get(name, 0.0) for one in counts) for one in counts for name in one if name is not None}
    known = [name for name in seen if name in trained]
    if profile.privacy == "raw":
        chosen = _cut([name for name in seen if not _is_hidden(profile, name)], trained, seen)
    else:
        chosen = sorted(known, key=lambda name: -trained[name])[:MOST_LEVELS]
    rows: list[tuple[str, list[str | None]]] = [(_called(profile, name, k), [name]) for k, name in enumerate(chosen)]
    rest = [name for name in seen if name not in chosen]
    for label, is_known in ((_rest_name(profile), True), (UNKNOWN, False)):
        names: list[str | None] = [name for name in rest if (name in trained) is is_known]
        rows += [(label, names)] if names else []
    if any(one.get(None, 0.0) for one in counts):
        rows.append((MISSING, [None]))
    columns = [np.array([sum(one.get(name, 0.0) for name in names) for _, names in rows]) for one in counts]
    return [label for label, _ in rows], columns


def _cut(names: list[str], trained: Mapping[str | None, float], seen: Mapping[str, float]) -> list[str]:
    """Return at most MOST_LEVELS names: those of training by share, then the most frequent of the new ones."""
    known = sorted((name for name in names if name in trained), key=lambda name: -trained[name])
    new = sorted((name for name in names if name not in trained), key=lambda name: -seen[name])
    room = max(MOST_LEVELS // 2, MOST_LEVELS - len(known))
    return [*known[: max(MOST_LEVELS // 2, MOST_LEVELS - len(new))], *new[:room]]


def _is_hidden(profile: ColumnProfile, name: str) -> bool:
    assert profile.levels is not None
    return name[:1] == "#" and name[1:] in profile.levels.hidden


def _called(profile: ColumnProfile, name: str, place: int) -> str:
    return (name if name.strip() else repr(name)) if profile.privacy == "raw" else f"level {place + 1}"


def _rest_name(profile: ColumnProfile) -> str:
    return RARE if profile.levels is not None and profile.levels.hidden and profile.privacy == "raw" else REST


def _counted(values: Values | None) -> dict[str | None, float]:
    if values is None or not len(values):
        return {}
    shares = pd.Series(np.asarray(values, dtype=object)).value_counts(normalize=True, dropna=False)
    return {None if name is None or name != name else str(name): float(share) for name, share in shares.items()}


def range_shares(profile: ColumnProfile, states: Sequence[Values | None]) -> tuple[list[str], list[Floats]]:
    """Return shares of ranges that each hold as much of training: what may be shown of hidden numbers."""
    numbers = profile.numbers
    assert numbers is not None
    step = (len(numbers.grid) - 1) // HIDDEN_RANGES
    edges = np.unique(numbers.grid[::step])
    labels = ["below training", *(f"range {k + 1}" for k in range(len(edges) - 1)), "above training"]
    inner = np.diff(cdf(numbers, edges))
    inner = inner / max(inner.sum(), 1e-9)
    columns = [np.concatenate(([0.0], inner, [0.0]))]
    for state in states:
        known = np.asarray(state if state is not None else np.zeros(0), dtype=np.float64)
        known = known[np.isfinite(known)]
        place = np.searchsorted(edges, known, side="left")
        place = np.where(known == edges[0], 1, place) if len(edges) else place
        counted = np.bincount(place, minlength=len(edges) + 1)[: len(edges) + 1]
        columns.append(counted / max(1, len(known)))
    return labels, columns


def value_shares(profile: ColumnProfile, states: Sequence[Values | None]) -> tuple[list[str], list[Floats]]:
    """Return shares of the few values that a column of numbers has, and of all others together."""
    numbers = profile.numbers
    assert numbers is not None
    lattice = numbers.lattice
    columns = [np.append(numbers.counts / numbers.counts.sum(), 0.0)]
    for state in states:
        known = np.asarray(state if state is not None else np.zeros(0), dtype=np.float64)
        known = known[np.isfinite(known)]
        shares = np.array([np.mean(np.isclose(known, value, rtol=1e-9)) if len(known) else 0.0 for value in lattice])
        columns.append(np.append(shares, max(0.0, 1 - shares.sum()) if len(known) else 0.0))
    labels = [f"{value:.6g}" for value in lattice] + [UNKNOWN]
    kept = len(labels) if any(column[-1] > 1e-9 for column in columns) else len(labels) - 1
    return labels[:kept], [column[:kept] for column in columns]


def hour_shares(profile: ColumnProfile, states: Sequence[Values | None]) -> list[Floats]:
    """Return shares of the 24 hours, in training and in each state, of a column of times or of hours."""
    numbers = profile.numbers
    assert numbers is not None
    columns = [_hours_in_training(profile)]
    for state in states:
        given = np.asarray(state if state is not None else np.zeros(0), dtype=np.float64)
        hours = hour_of(given) if profile.role is Role.TIME else given
        hours = hours[np.isfinite(hours) & (hours >= 0) & (hours < 24)].astype(np.int64)
        columns.append(np.bincount(hours, minlength=24)[:24] / max(1, len(hours)))
    return columns


def _hours_in_training(profile: ColumnProfile) -> Floats:
    numbers = profile.numbers
    assert numbers is not None
    if profile.role is Role.TIME:
        return profile.cell_shares[:24] / max(1e-9, float(profile.cell_shares[:24].sum()))
    counted = np.bincount(numbers.lattice.astype(np.int64), weights=numbers.counts, minlength=24)[:24]
    return np.asarray(counted / max(1.0, counted.sum()))


def counts_hours(profile: ColumnProfile) -> bool:
    """Whether a column of numbers holds the hours of a day."""
    numbers = profile.numbers
    if numbers is None or not numbers.is_lattice or numbers.decimals != 0:
        return False
    return bool(numbers.minimum >= 0 and numbers.maximum == 23 and len(numbers.lattice) >= 18)


def bin_shares(profile: ColumnProfile, edges: Floats, states: Sequence[Values | None]) -> list[Floats]:
    """Return shares between edges, in training and in each state; what lies outside is in the outermost bins."""
    numbers = profile.numbers
    assert numbers is not None
    inner = edges[1:-1]
    trained = np.diff(np.concatenate(([0.0], cdf(numbers, inner), [1.0])))
    columns = [np.asarray(trained)]
    for state in states:
        known = np.asarray(state if state is not None else np.zeros(0), dtype=np.float64)
        known = known[np.isfinite(known)]
        place = np.searchsorted(inner, known, side="left")
        columns.append(np.bincount(place, minlength=len(edges) - 1) / max(1, len(known)))
    return columns


def missing_share(values: Values | None) -> float:
    """Return the share of rows without a value."""
    if values is None or not len(values):
        return 0.0
    if np.asarray(values).dtype == object:
        return float(np.mean([value is None for value in values]))
    return float(np.mean(~np.isfinite(np.asarray(values, dtype=np.float64))))


def kept_shares(profile: ColumnProfile, value: Any, states: Sequence[Values]) -> tuple[list[str], list[Floats]]:
    """Return the share of one value, of all others, and of missing ones, in training and in each state."""
    trained = trained_share(profile, value)
    columns = [np.array([trained, 1 - trained - profile.null_share, profile.null_share])]
    for state in states:
        given = np.asarray(state)
        holds = given == value if given.dtype == object else np.isclose(given.astype(np.float64), float(value))
        missing = missing_share(state)
        columns.append(np.array([holds.mean(), 1 - holds.mean() - missing, missing]))
    kept = 3 if any(column[2] for column in columns) else 2
    labels = [number(value) if isinstance(value, float) else str(value), "other values", MISSING]
    return labels[:kept], [column[:kept] for column in columns]


def trained_share(profile: ColumnProfile, value: Any) -> float:
    """Return the share of training rows that hold a value."""
    if profile.levels is not None:
        counts = dict(zip(profile.levels.levels, profile.levels.counts.tolist(), strict=True))
        return float(counts.get(str(value), 0.0)) / max(1, profile.rows)
    numbers = profile.numbers
    assert numbers is not None
    at = np.array([float(value)])
    return float((cdf(numbers, at) - cdf_below(numbers, at))[0]) * (1 - profile.null_share)
