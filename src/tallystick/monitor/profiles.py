"""What live rows look like beside training, column by column, as REST gives it: from counts and sketches, no rows.

Training's side is exact, as its rows were all there when the reference was made. Of the live side counts are exact, and
quantiles, distinct values and levels are sketched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import bdtrc

from tallystick.errors import InvalidParameter, NotFound
from tallystick.monitor import sketches as sketched
from tallystick.monitor.counters import Counters, Violation, is_open
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.frequent import Segment
from tallystick.monitor.places import WatchedEndpoint, withheld_of
from tallystick.monitor.rings import DAY, HOUR, Ring
from tallystick.monitor.screening import Expected, are_far, moved_shares, upper_rates
from tallystick.monitor.sketches import ColumnSketch, Sketches, shortened
from tallystick.parity.columns import Role
from tallystick.parity.distribution import number_shares
from tallystick.parity.profile import LEVEL_CELLS, MAX_LEVELS, ColumnProfile, LevelProfile, NumberProfile, has_decimals
from tallystick.parity.reference import Reference
from tallystick.printable import listed_names
from tallystick.protocol.monitoring import AskProfile, Window

WIDTHS: Mapping[Window, int] = {Window.HOUR: HOUR, Window.DAY: DAY}
RANKS: Mapping[str, float] = {
    "p1": 0.01,
    "p5": 0.05,
    "p25": 0.25,
    "p50": 0.50,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
}
#: Of fewer values no quantile is told: it would be one person's row, and say little of the rest.
FEWEST_VALUES = 10
#: Levels, new levels and segments that are told of.
MOST_LEVELS, MOST_NEW, MOST_SEGMENTS = 12, 12, 24
#: A number is a spike that this part of the rows has, and so many times as many as in training; and chance of one in a
#: column, where rows are independent.
SPIKE_SHARE, SPIKE_TIMES, SPIKE_ALPHA = 0.02, 3.0, 1e-3
#: As `profile_numbers` reads decimals: this part of the values has at most so many.
_DECIMALS_SHARE = 0.999
#: Times beyond this many seconds have no year that anybody writes.
_LAST_S = 1e13


@dataclass(frozen=True)
class Looked:
    """One window of one segment, or of all rows."""

    start_s: int
    width_s: int
    counters: Counters | None
    sketches: Sketches | None
    ring: Ring


def profile_of(endpoint: WatchedEndpoint, name: str, watch: EntityWatch, asked: AskProfile, now_s: int) -> Any:
    """Return the profile of a served entity. Raises NotFound and InvalidParameter, with what there is."""
    reference = watch.reference
    assert reference is not None
    if asked.column and asked.column not in reference.names:
        raise NotFound(
            f"Training of '{name}' had no column '{asked.column[:80]}'; it had {listed_names(reference.names, 20)}."
        )
    width = WIDTHS[asked.window]
    number = now_s // width - asked.ago
    segment = _segment(asked.segment)
    looked = _look(watch, segment, width, number)
    end_s = (number + 1) * width
    return {
        "served_entity": name,
        "window": asked.window.value,
        "start": _time(number * width),
        "end": _time(end_s),
        "is_current": asked.ago == 0,
        "segment": asked.segment,
        "rows": looked.counters.rows if looked.counters is not None else 0,
        "segments": _segments(watch, width, number),
        "notes": [*_notes(looked, asked, watch), *([] if endpoint.is_watched else [_OFF])],
        "columns": _columns(reference, looked, asked.column, withheld_of(endpoint)),
    }


def _segment(text: str) -> Segment | None:
    if not text:
        return None
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise InvalidParameter(f"segment: expected COLUMN=VALUE, as in client=ios/4.2, got {text[:80]!r}")
    return column, value


def _look(watch: EntityWatch, segment: Segment | None, width: int, number: int) -> Looked:
    rings = watch.rings if segment is None else watch.segments.get(segment)
    if rings is None:
        there = ", ".join("=".join(each) for each in sorted(watch.segments))
        raise NotFound(
            f"No rows are told apart by {'='.join(segment or ())[:160]!r}. "
            + (f"There are {there}." if there else "There are no segments yet.")
        )
    ring = rings.by_width[width]
    return Looked(number * width, width, ring.windows.get(number), ring.sketches.get(number), ring)


def _segments(watch: EntityWatch, width: int, number: int) -> list[dict[str, Any]]:
    """Return the segments that have rows in the window, those with most rows first."""

    def rows(ring: Ring) -> int:
        counters = ring.windows.get(number)
        return 0 if counters is None else counters.rows

    found = [("=".join(key), rows(rings.by_width[width])) for key, rings in watch.segments.items()]
    found = sorted((each for each in found if each[1]), key=lambda each: (-each[1], each[0]))
    return [{"segment": text, "rows": count} for text, count in found[:MOST_SEGMENTS]]


def _notes(looked: Looked, asked: AskProfile, watch: EntityWatch) -> list[str]:
    """Return what to say of the whole profile."""
    rows = 0 if looked.counters is None else looked.counters.rows
    if not rows:
        return [_no_rows(looked, asked)]
    notes = []
    if rows < FEWEST_VALUES:
        notes.append(f"of fewer than {FEWEST_VALUES} values no quantiles are told")
    if asked.segment and asked.window is Window.HOUR:
        notes.append("segments have quantiles by day only; of this hour there are counts")
    elif looked.sketches is None:
        notes.append("only counts are kept of this window: quantiles and new levels are not")
    if watch.reference is not None and len(watch.reference.columns) > sketched.MAX_COLUMNS:
        notes.append(f"the first {sketched.MAX_COLUMNS} columns have quantiles, the others counts")
    if watch.passed_over:
        passed_over = f"{watch.passed_over:,} rows were passed over so far"
        notes.append(f"there was no time to count all of them, so a fair sample was: {passed_over}")
    return notes


def _no_rows(looked: Looked, asked: AskProfile) -> str:
    """Return that there are none, or none any more, and where there are some."""
    text = f"no rows were counted in this {asked.window.value}"
    number = looked.start_s // looked.width_s
    kept = looked.ring.length
    if looked.ring.windows and number <= max(looked.ring.windows) - kept:
        whose = "of one sender" if asked.segment else "of all rows"
        text = f"{whose} {kept} {asked.window.value}s are kept, and this {asked.window.value} is older"
    there = [each for each, counters in looked.ring.windows.items() if counters.rows and each <= number + asked.ago]
    if not there:
        return text
    newest = max(there)
    ago = number + asked.ago - newest
    return f"{text}; the newest are of the {asked.window.value} from {_time(newest * looked.width_s)} (ago={ago})"


def _columns(reference: Reference, looked: Looked, only: str, withheld: frozenset[str]) -> list[dict[str, Any]]:
    counters = looked.counters
    expected = Expected(reference)
    far = np.zeros(len(reference.columns), dtype=bool)
    moved = np.zeros(len(reference.columns))
    if counters is not None and counters.rows:
        far, moved = are_far(expected, counters), moved_shares(expected, counters)
    columns = []
    for j, profile in enumerate(reference.columns):
        if only not in ("", profile.name):
            continue
        if profile.name in withheld:
            columns.append({"name": profile.name, "role": profile.role.value, "withheld": _OFF_RECORD})
            continue
        sketch = None if looked.sketches is None else looked.sketches[j]
        column = _Column(profile, j, counters, sketch, reference.live_floor)
        found = column.document()
        found["is_far"] = bool(far[j])
        found["moved_share"] = _rounded(moved[j]) if expected.has_cells[j].any() else None
        if only:
            found["cells"] = column.cells()
        columns.append(found)
    return columns


_OFF = "watching is off for this endpoint: what comes now is not counted"
_OFF_RECORD = "its values are not recorded"
_CLOSED = "the reference does not keep values of this column"
_FREE_TEXT = "values of free text are not kept"


@dataclass(frozen=True)
class _Column:
    """One column of the reference, and what there is of it live."""

    profile: ColumnProfile
    place: int
    counters: Counters | None
    sketch: ColumnSketch | None
    k_anonymity: int

    def document(self) -> dict[str, Any]:
        profile, rows = self.profile, self._rows
        live: dict[str, Any] = {"rows": rows, "null_share": self._null_share()}
        trained: dict[str, Any] = {"rows": profile.rows, "null_share": _rounded(profile.null_share)}
        found: dict[str, Any] = {
            "name": profile.name,
            "role": profile.role.value,
            "withheld": "",
            "live": live,
            "training": trained,
            "violations": self._violations(),
        }
        if not sketched.is_sketched(profile):
            found["withheld"] = _FREE_TEXT if is_open(profile) else _CLOSED
            return found
        sketch = self.sketch or ColumnSketch()
        live["distinct"] = sketched.distinct_of(sketch) or None
        if profile.numbers is not None:
            trained |= _trained_numbers(profile, profile.numbers)
            live |= self._numbers(sketch)
            if profile.role is Role.NUMBER:
                found["spikes"] = self._spikes(sketch)
        elif profile.levels is not None:
            trained["distinct"] = len(profile.levels.levels) if len(profile.levels.levels) < MAX_LEVELS else None
            found |= self._levels(profile.levels, sketch)
        return found

    def cells(self) -> list[dict[str, Any]]:
        """Return how live and training's rows are spread over the reference's cells of numbers, or hours of times."""
        profile = self.profile
        if profile.numbers is None or not sketched.is_sketched(profile):
            return []
        places: list[dict[str, Any]] = []
        if len(profile.edges):
            bounds = [None, *(self._shown(float(edge)) for edge in profile.edges), None]
            places += [{"from": low, "to": high} for low, high in pairwise(bounds)]
        word = "hour" if profile.role is Role.TIME else "value"
        places += [{word: int(each) if word == "hour" else float(each)} for each in profile.points]
        shares = [*profile.cell_shares[: len(places)].tolist(), 0.0]
        counts = [0] * len(shares)
        if self.counters is not None:
            counts = self.counters.cells[self.place, [*range(len(places)), profile.cell_count]].tolist()
        return [
            place | {"live": self._live_share(count), "training": _rounded(share)}
            for place, count, share in zip([*places, {"elsewhere": True}], counts, shares, strict=True)
        ]

    def _live_share(self, count: int) -> float | None:
        """Return what share of the rows these are; None where fewer are than may be told of."""
        return _rounded(count / self._rows) if self._rows and not 0 < count < max(1, self.k_anonymity) else None

    @property
    def _rows(self) -> int:
        return 0 if self.counters is None else self.counters.rows

    def _count(self, *kinds: Violation) -> int:
        return 0 if self.counters is None else sum(int(self.counters.contract[self.place, kind]) for kind in kinds)

    def _null_share(self) -> float | None:
        return _rounded(self._count(Violation.NULL, Violation.MISSING) / self._rows) if self._rows else None

    def _violations(self) -> dict[str, int]:
        # What training had too is no violation, and is told as a share.
        kinds = [kind for kind in Violation if kind is not Violation.NULL or self.profile.null_share == 0]
        return {kind.name.lower(): count for kind in kinds if (count := self._count(kind))}

    def _numbers(self, sketch: ColumnSketch) -> dict[str, Any]:
        values = sketched.values_of(sketch)
        told = [rank for rank in (0.0, *RANKS.values(), 1.0) if self._is_told(rank, values)]
        found = dict(zip(told, sketched.quantiles_of(self.profile, sketch, told), strict=True)) if told else {}
        live: dict[str, Any] = {
            "minimum": self._shown(found.get(0.0)),
            "maximum": self._shown(found.get(1.0)),
            "quantiles": {name: self._shown(found.get(rank)) for name, rank in RANKS.items()},
        }
        if self.profile.role is Role.NUMBER:
            counts = sketched.decimals_of(sketch)
            total = int(counts.sum())
            fits = np.cumsum(counts) >= _DECIMALS_SHARE * total
            live["decimals"] = int(np.argmax(fits)) if total else None
            live["whole_share"] = _rounded(counts[0] / total) if total else None
        return live

    def _spikes(self, sketch: ColumnSketch) -> list[dict[str, Any]]:
        """Return single numbers that far more rows have than in training, such as one that is filled in."""
        profile, rows = self.profile, self._rows
        if self.counters is None or rows < FEWEST_VALUES:
            return []
        counts = {float(name): count for name, count in sketched.levels_of(sketch)}
        first = profile.cell_count - 1 - len(profile.points)
        for place, point in enumerate(profile.points):
            counts[float(point)] = int(self.counters.cells[self.place, first + place])
        hits, shares = np.array(list(counts.values())), number_shares(profile, np.array(list(counts)))
        is_sure = bdtrc(hits - 1, rows, upper_rates(shares, profile.rows)) * max(1, len(counts)) <= SPIKE_ALPHA
        is_large = hits >= np.maximum(max(SPIKE_SHARE * rows, self.k_anonymity), SPIKE_TIMES * shares * rows)
        order = sorted(np.flatnonzero(is_sure & is_large).tolist(), key=lambda place: -hits[place])
        values = list(counts)
        return [
            {
                "value": _shown(profile, values[place]),
                "rows": int(hits[place]),
                "live": _rounded(hits[place] / rows),
                "training": _rounded(shares[place]),
            }
            for place in order[:MOST_NEW]
        ]

    def _is_told(self, rank: float, values: int) -> bool:
        """Whether enough values are at least as far out as a quantile, so that it is nobody's own."""
        if values < max(FEWEST_VALUES, self.k_anonymity):
            return False
        return self.k_anonymity <= 1 or min(rank, 1.0 - rank) * values >= self.k_anonymity

    def _shown(self, value: float | None) -> float | str | None:
        return None if value is None else _shown(self.profile, value)

    def _levels(self, levels: LevelProfile, sketch: ColumnSketch) -> dict[str, Any]:
        # Training's shares are of rows with a value, and so are these.
        rows = self._rows - self._count(Violation.NULL, Violation.MISSING)
        floor = max(1, self.k_anonymity)
        known = {shortened(level): count / max(1, levels.rows) for level, count in zip(*_named(levels), strict=True)}
        live: dict[str, int] = {}
        if self.counters is not None:
            for place, level in enumerate(levels.levels[:LEVEL_CELLS]):
                live[shortened(level)] = int(self.counters.cells[self.place, place])
        beside = dict(sketched.levels_of(sketch))
        live |= {level: count for level, count in beside.items() if level in known}
        order = sorted(known, key=lambda level: -max(known[level], live.get(level, 0) / max(1, rows)))
        new = [(level, count) for level, count in beside.items() if level not in known and count >= floor]
        return {
            "levels": [
                {
                    "level": level,
                    "live": _rounded(live.get(level, 0) / rows)
                    if rows and not 0 < live.get(level, 0) < floor
                    else None,
                    "training": _rounded(known[level]),
                }
                for level in order[:MOST_LEVELS]
            ],
            "new_levels": [
                {"level": level, "rows": count, "live": _rounded(count / max(1, rows))}
                for level, count in new[:MOST_NEW]
            ],
        }


def _named(levels: LevelProfile) -> tuple[tuple[str, ...], Any]:
    return levels.levels, levels.counts


def _trained_numbers(profile: ColumnProfile, numbers: NumberProfile) -> dict[str, Any]:
    # The nearest point of the grid is a value of training; what lies between two may be none.
    at = numbers.grid[np.round(np.array(list(RANKS.values())) * (len(numbers.grid) - 1)).astype(int)]
    found: dict[str, Any] = {
        "distinct": numbers.distinct,
        "minimum": _shown(profile, numbers.minimum),
        "maximum": _shown(profile, numbers.maximum),
        "quantiles": {name: _shown(profile, float(value)) for name, value in zip(RANKS, at, strict=True)},
    }
    if profile.role is Role.NUMBER:
        whole = has_decimals(numbers.lattice if numbers.is_lattice else numbers.grid, 0).astype(np.float64)
        weights = numbers.counts if numbers.is_lattice else np.ones(len(whole))
        found |= {"decimals": numbers.decimals, "whole_share": _rounded(np.average(whole, weights=weights))}
    return found


def _shown(profile: ColumnProfile, value: float) -> float | str:
    """Return a number, or a time in ISO 8601."""
    if profile.role is not Role.TIME:
        return float(f"{value:.7g}") if abs(value) < 2**22 else float(f"{value:.12g}")
    return _time(int(np.clip(value, -_LAST_S, _LAST_S)))


def _time(seconds: int) -> str:
    if 0 <= seconds < 253_402_300_800:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{np.datetime64(seconds, 's')}Z"


def _rounded(share: float) -> float:
    """Return a share with what digits are worth."""
    return round(float(share), 6)
