"""Which segment of the traffic a cause is in: where single rows show it, and where only many together do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Mask, Role
from tallystick.parity.conclude import FEWEST_ROWS, Inquiry, of_one_cause
from tallystick.parity.detect.availability import detect_availability
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.precision import detect_precision
from tallystick.parity.history import Asked
from tallystick.parity.inquire import by_role, inquire
from tallystick.parity.live import Live
from tallystick.parity.screen import screen, suspects, z_p
from tallystick.parity.yardsticks import CLAIM_NATS

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Segments of one column that are looked into one by one, the largest first.
MOST_SEGMENTS = 50
#: Of these, those that detectors are asked in.
MOST_INQUIRIES = 4
#: Less than any cause has.
ANY_NATS = -np.inf
#: Kinds whose parameter is estimated together with the share of rows.
ESTIMATED = frozenset({"window_changed"})
#: Share of rows from which a cause is everybody's, and the chance of a column's rows below which they are far off.
WHOLE, FAR_P = 0.97, 1e-6


def by_segment(
    reference: Reference, frame: pd.DataFrame, asked: Asked, segments: pd.DataFrame, whole: Inquiry
) -> tuple[Inquiry, dict[str, Any]]:
    """Return the inquiry into the segment with the clearest cause; the inquiry into all rows when none has one.

    All segments are screened on the rows as read; detectors are asked in the few that stand out most. Where all rows
    together show a cause already, a segment's other one is believed if it is in all of its rows, and the other rows
    show none: a mixture of sound and broken rows can look like another fault.
    """
    best: tuple[float, Mask, dict[str, Any]] | None = None
    ranked = _standing_out(whole.sent, segments)
    # Each segment is one more look.
    enough = CLAIM_NATS + np.log(max(1, len(ranked)))
    for column, value, rows in ranked[:MOST_INQUIRIES]:
        if _is_everybodys(whole, rows):
            continue
        inquiry = inquire(reference, frame[rows].reset_index(drop=True), asked.taken(rows), enough)
        strong = [finding for finding in inquiry.findings if finding.nats > enough]
        if not strong or (best is not None and strong[0].gain <= best[0]):
            continue
        if not whole.findings or _tells_better(reference, frame, asked, strong[0], whole, rows):
            whose = {
                "column": column,
                "value": value,
                "share_of_rows": float(rows.mean()),
                "affected_inside": float(strong[0].share),
                "affected_outside": 0.0,
            }
            best = strong[0].gain, rows, whose
    if best is None:
        return whole, {}
    # Of the one segment that is told of, everything.
    return inquire(reference, frame[best[1]].reset_index(drop=True), asked.taken(best[1])), best[2]


def _is_everybodys(whole: Inquiry, rows: Mask) -> bool:
    """Whether the cause is in all rows, and its column is far from training's without these rows, too.

    Then the others have it as well, which an inquiry into each segment and its rest would find at a hundred times the
    cost.
    """
    first = next(iter(whole.findings), None)
    if first is None or first.share < WHOLE:
        return False
    names = whole.sent.reference.names
    rest = {names[part.column]: part.p for part in screen(whole.sent.taken(~rows))}
    return any(rest.get(name, 1.0) < FAR_P for name in first.features)


def _tells_better(
    reference: Reference, frame: pd.DataFrame, asked: Asked, found: Finding, whole: Inquiry, rows: Mask
) -> bool:
    """Whether a cause is in all rows of a segment and none in the rest, where all rows show another, or it in all."""
    first = whole.findings[0]
    # How long a window is, and in how many rows, tells one client's rows better than all rows together.
    is_told = found.kind == first.kind and first.share < WHOLE and found.kind not in ESTIMATED
    if is_told or found.share < WHOLE or (~rows).sum() < FEWEST_ROWS:
        return False
    return not inquire(reference, frame[~rows].reset_index(drop=True), asked.taken(~rows), ANY_NATS).findings


def _standing_out(sent: Live, segments: pd.DataFrame) -> list[tuple[str, str, Mask]]:
    """Return the segments in which a column is not as in training, those with the least chance first."""
    found: list[tuple[float, str, str, Mask]] = []
    for column in segments.columns:
        counts = segments[column].value_counts()
        for value in counts.index[:MOST_SEGMENTS]:
            rows = np.asarray(segments[column] == value, dtype=bool)
            if not FEWEST_ROWS <= rows.sum() < len(rows):
                continue
            screened = screen(sent.taken(rows))
            looked = [part for part in screened if part.is_looked_at]
            if looked:
                least = min(min(part.p, part.null_p, part.odd_p, z_p(part.coherence_z)) for part in looked)
                found.append((least, str(column), str(value), rows))
    found.sort(key=lambda each: each[:3])
    return [each[1:] for each in found]


def one_segment(reference: Reference, given: pd.DataFrame, inquiry: Inquiry) -> dict[str, Any]:
    """Return the segment in which alone the first cause is, where rows by themselves do not show it.

    A shift by five hours shows in no single row. Asked again in each segment and in the rest, it does.
    """
    main = inquiry.findings[0]
    if main.at_endpoint or main.share >= WHOLE or len(main.features) != 1:
        return {}
    names = reference.names
    column = names.index(main.features[0]) if main.features[0] in names else -1
    if column < 0 or column in inquiry.sent.absent:
        return {}
    affected = affected_rows(inquiry)
    best: tuple[float, dict[str, Any]] | None = None
    for name in given.columns:
        for value in given[name].value_counts().index[:MOST_SEGMENTS]:
            rows = np.asarray(given[name] == value, dtype=bool)
            if not FEWEST_ROWS <= rows.sum() <= len(rows) - FEWEST_ROWS:
                continue
            gap = float(affected[rows].mean() - affected[~rows].mean())
            if gap > 0.1 and (best is None or gap > best[0]):
                inside, outside = (_share_of(inquiry.sent.taken(part), column, main.kind) for part in (rows, ~rows))
                if inside > 0.6 and outside < inside / 3:
                    best = (
                        gap,
                        {
                            "column": str(name),
                            "value": str(value),
                            "share_of_rows": float(rows.mean()),
                            "affected_inside": inside,
                            "affected_outside": outside,
                        },
                    )
    return {} if best is None else best[1]


def _share_of(part: Live, column: int, kind: str) -> float:
    """Return the share of rows that the cause is found in again, 0 where it is not."""
    part = part.with_suspects(suspects(part))
    role = part.reference.columns[column].role
    again = [*detect_availability(part, column), *by_role(part, column, role)]
    if role is Role.NUMBER:
        again += detect_precision(part, column)
    return max((float(finding.share) for finding in again if finding.kind == kind), default=0.0)


def affected_rows(inquiry: Inquiry) -> Mask:
    """Return the rows that the first cause is in, as far as single rows show it."""
    if not inquiry.findings:
        return np.zeros(inquiry.sent.rows, dtype=bool)
    return np.asarray(np.logical_or.reduce([finding.rows for finding in of_one_cause(inquiry)]))
