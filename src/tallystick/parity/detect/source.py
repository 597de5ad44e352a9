"""Values that the source had at another time: live rows replayed against the history of their keys.

Source: comparing logged features with what the offline store had for the same key and time (as-of join, lag scan), as
online/offline consistency jobs do; the lag itself is found by counting spans (`parity.lags`). This is a replay: a
value that is the source's of a day ago, row after row, is no other mix of the population.
False positives: a feature that rarely changes is the same at many lags, and its rows tell nothing; they are not
counted. A flag is at some old time whatever it should be; other keys' values give the rate of that. Values that were
corrected in the source after they were served match as of no lag but a few, and stay below the share that is asked
for. A column that is the source's at no lag is left to other detectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tallystick.parity.columns import Mask
from tallystick.parity.detect.finding import Finding
from tallystick.parity.history import Aligned, Asked, History
from tallystick.parity.lags import FEWEST_ROWS, Compared, Lag, compared, lag_of, snapshot_of
from tallystick.parity.live import Live
from tallystick.parity.parameters import percent, span
from tallystick.parity.timing import digits_of
from tallystick.parity.yardsticks import CLAIM_NATS

#: Part of the rows in question that must match, and the evidence, from which no other explanation is left.
SURE, SURE_NATS = 0.9, 12.0
#: Kinds of what is not there, and the part of such rows from which their keys, or the lookup, are to blame.
MISSING = frozenset({"nulls", "default_fill", "constant", "feature_absent"})
COLD = 0.5
#: Part of the rows that must be the source's as of their own time, for training's lead to be what differs.
FRESH = 0.8
#: Part of its rows that a column must match more often on time than late, to be on time.
FASTER = 0.05


def detect_source(live: Live, asked: Asked) -> list[Finding]:
    """Return the columns that lag behind the source as training's did not, the clearest first."""
    aligned = asked.aligned
    if asked.history is None or aligned is None or int(aligned.known.sum()) < FEWEST_ROWS:
        return []
    source = read_source(live, asked.history)
    found, others = [], []
    for name, values in source.items():
        j = live.reference.names.index(name)
        if j not in live.absent:
            column = compared(aligned, values, live.values[j], digits_of(live.reference.columns[j]))
            finding = _judge(live, j, column, values)
            if finding is not None:
                found.append(finding)
            else:
                others.append(column)
    return sorted(_with_clocks(found, others), key=lambda each: -each.nats)


def _with_clocks(found: list[Finding], others: list[Compared]) -> list[Finding]:
    """Say of columns that have one lag together, and none of which is on time, that a clock may be what differs."""
    lagging = [finding for finding in found if "interval" in finding.transformation]
    if len(found) < 2 or len(lagging) < len(found):
        return found
    spans = [finding.transformation["interval"] for finding in lagging]
    low, high = max(span[0] for span in spans), min(span[1] for span in spans)
    base_s = max(float(finding.transformation.get("training_lag_s", 0.0)) for finding in lagging)
    if low > high or any(_is_on_time(column, base_s, (low + high) / 2) for column in others):
        return found
    text = (
        f"{len(found)} columns have this lag, and none is on time: the clocks or time zones of the source and of the "
        "rows may differ instead"
    )
    return [
        replace(each, evidence=(*each.evidence, text), transformation={**each.transformation, "all_columns": True})
        for each in found
    ]


def _is_on_time(column: Compared, base_s: float, lag_s: float) -> bool:
    """Whether a column is the source's at the usual lag, and would not be at the other: slow ones are at both."""
    due = column.matches(base_s)
    return bool(due.mean() >= COLD and due.mean() > column.matches(lag_s).mean() + FASTER)


def with_lookups(live: Live, asked: Asked, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings; those of missing values with what the source has for the rows: a value, or no such key."""
    aligned = asked.aligned
    if asked.history is None or aligned is None:
        return tuple(findings)
    told = []
    for finding in findings:
        is_shared = len(finding.features) == 1 and finding.features[0] in asked.history.features
        if finding.kind in MISSING and is_shared and finding.rows.any():
            text = _lookup(aligned, asked.history, finding)
            finding = replace(finding, evidence=(*finding.evidence, *([text] if text else [])))
        told.append(finding)
    return tuple(told)


def _lookup(aligned: Aligned, history: History, finding: Finding) -> str:
    rows = finding.rows
    cold = ~aligned.known
    inside, outside = float(cold[rows].mean()), float(cold[~rows].mean()) if not rows.all() else 0.0
    if inside > COLD and inside > 3 * outside:
        return (
            f"{percent(inside)} of these rows have a key that the source does not know, {percent(outside)} of the "
            "others: cold keys"
        )
    place = aligned.as_of(0.0)
    has = ~history.frame[finding.features[0]].isna().to_numpy()
    found = (place >= 0) & (has[aligned.order[np.maximum(place, 0)]] if len(aligned.order) else False)
    share = float(found[rows].mean())
    return f"the source has a value for {percent(share)} of these rows: the lookup lost it" if share > COLD else ""


def read_source(live: Live, history: History) -> Mapping[str, Any]:
    """Return the source's columns that training has too, read as training's are."""
    from tallystick.parity.reference import parse_column

    shared = [profile for profile in live.reference.columns if profile.name in history.features]
    return {profile.name: parse_column(profile, history.frame[profile.name]) for profile in shared}


def _judge(live: Live, j: int, column: Compared, source: Any) -> Finding | None:
    name = live.reference.names[j]
    timing = live.reference.timing.get(name)
    trained = timing.lag if timing is not None else None
    if timing is not None and trained is None and any(each.lag for each in live.reference.timing.values()):
        # Training's values were not the source's at any lag, so that lags of live ones say nothing.
        return None
    base_s = trained.lag_s if trained is not None and trained.is_told else 0.0
    if base_s < 0 and column.comparable(base_s).sum() < 0.5 * column.comparable(0.0).sum():
        return _ahead(live, j, column, trained)
    lag = lag_of(column, base_s)
    if lag is None or not lag.is_told or lag.share < SURE:
        copied = _copied(live, j, column, source, base_s)
        if copied is not None:
            return copied
    if lag is None or not lag.is_told:
        return None
    if trained is not None and trained.is_told and lag.low_s < trained.high_s and lag.high_s > trained.low_s:
        return None
    found = _finding(live, j, column, lag, base_s, trained)
    return replace(found, undo={j: _undone(live, j, column, source, base_s, found.rows)})


def _finding(live: Live, j: int, column: Compared, lag: Lag, base_s: float, trained: Lag | None) -> Finding:
    old, due = column.at(lag.lag_s), column.at(base_s)
    differs = np.isfinite(old) & np.isfinite(due) & np.isfinite(column.served) & ~column.near(old, due)
    late = differs & column.near(old, column.served)
    # Rows whose value did not change in between are in it too, as many as of those that show it.
    share = float(late.sum() / max(1, differs.sum()))
    off = column.comparable(base_s) & ~column.matches(base_s)
    explained = float(late.sum() / max(1, off.sum()))
    evidence = [
        f"{_rows(late, off)} that are not the source's value {_when(base_s)} are its value {_when(lag.lag_s)}",
        f"of {lag.rows:,} rows {percent(lag.share)} are the source's value {_when(lag.lag_s)}, "
        f"{percent(lag.share_without)} its value {_when(base_s)}",
        _interval(lag),
        _of_training(trained, base_s),
    ]
    return Finding(
        "stale",
        (live.reference.names[j],),
        _parameters(lag, base_s, trained),
        share,
        lag.nats,
        explained >= SURE and lag.nats >= SURE_NATS,
        tuple(text for text in (*evidence, _unknown(column.aligned)) if text),
        late,
        gain=lag.nats,
        is_replayed=True,
    )


def _copied(live: Live, j: int, column: Compared, source: Any, base_s: float) -> Finding | None:
    """Return that rows carry a copy of one time, where that explains nearly all rows that nothing else does."""
    copy = snapshot_of(column, base_s)
    if copy is None or copy.nats < CLAIM_NATS:
        return None
    off = column.comparable(base_s) & ~column.matches(base_s)
    # A row from before the copy was made cannot carry it.
    late = copy.rows & off & (column.aligned.times >= copy.low_s)
    if late.sum() < SURE * off.sum():
        return None
    due = column.at(base_s)
    held = replace(column, aligned=replace(column.aligned, times=np.full(len(off), copy.at_s))).at(0.0)
    differs = np.isfinite(held) & np.isfinite(due) & np.isfinite(column.served) & ~column.near(held, due)
    low, high = (_moment(edge) for edge in (copy.low_s, copy.high_s))
    evidence = (
        f"{_rows(late, off)} that are not the source's value {_when(base_s)} are its value of {_moment(copy.at_s)}",
        f"copies made from {low} to {high} fit as well, no constant lag does",
        _unknown(column.aligned),
    )
    return Finding(
        "stale",
        (live.reference.names[j],),
        {"as_of": _moment(copy.at_s), "between": [low, high]},
        float(min(1.0, late.sum() / max(1, differs.sum()))),
        copy.nats,
        copy.nats >= SURE_NATS,
        tuple(text for text in evidence if text),
        late,
        {j: _undone(live, j, column, source, base_s, late)},
        gain=copy.nats,
        is_replayed=True,
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ahead(live: Live, j: int, column: Compared, trained: Lag | None) -> Finding | None:
    """Return that training had what comes after, where live rows are of their own time and what comes is not known."""
    assert trained is not None
    fair = column.comparable(0.0)
    if fair.sum() < FEWEST_ROWS:
        return None
    share = float(column.matches(0.0)[fair].mean())
    if share < FRESH:
        return None
    evidence = (
        f"of {int(fair.sum()):,} rows {percent(share)} are the source's value as of the request",
        _of_training(trained, trained.lag_s),
        "what the source says after the request is not known, so the rows cannot be undone",
        _unknown(column.aligned),
    )
    return Finding(
        "stale",
        (live.reference.names[j],),
        {"lag_s": 0.0, "training_lag_s": trained.lag_s},
        1.0,
        trained.nats,
        trained.share >= SURE and share >= SURE and trained.nats >= SURE_NATS,
        tuple(text for text in evidence if text),
        fair,
        gain=trained.nats,
        is_replayed=True,
    )


def _undone(live: Live, j: int, column: Compared, source: Any, base_s: float, late: Mask) -> Any:
    """Return the column with the source's value of the time that is due in the rows that are late."""
    place = column.aligned.as_of(base_s)
    rows = np.flatnonzero(late & (place >= 0))
    values = np.array(live.values[j], copy=True)
    values[rows] = np.asarray(source)[column.aligned.order[place[rows]]]
    return values


def _parameters(lag: Lag, base_s: float, trained: Lag | None) -> dict[str, Any]:
    found: dict[str, Any] = {"lag_s": lag.lag_s, "interval": [round(lag.low_s, 1), round(lag.high_s, 1)]}
    return found | ({"training_lag_s": base_s} if trained is not None else {})


def _rows(late: Mask, off: Mask) -> str:
    return f"{int((late & off).sum()):,} of {int(off.sum()):,} rows"


def _when(lag_s: float) -> str:
    if not lag_s:
        return "as of the request"
    return f"as of {span(abs(lag_s))} {'before' if lag_s > 0 else 'after'} the request"


def _interval(lag: Lag) -> str:
    return f"lags from {span(lag.low_s)} to {span(lag.high_s)} fit as well, others do not"


def _of_training(trained: Lag | None, base_s: float) -> str:
    if trained is None:
        return "training's own lag to the source is not known, and taken as none"
    where = (
        "its rows' times"
        if not base_s
        else f"{span(abs(base_s))} {'before' if base_s > 0 else 'AFTER'} its rows' times"
    )
    return f"training had the source's values as of {where} in {percent(trained.share)} of {trained.rows:,} rows"


def _unknown(aligned: Aligned) -> str:
    missing = int((~aligned.known).sum())
    return f"{missing:,} rows have a key or a time that the source does not know" if missing else ""
