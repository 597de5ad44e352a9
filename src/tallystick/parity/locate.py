"""Which segment of the traffic a cause is in: where single rows show it, and where only many together do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.alike import alike
from tallystick.parity.columns import Mask, Role
from tallystick.parity.conclude import FEWEST_ROWS, Inquiry
from tallystick.parity.detect.availability import detect_availability
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.permutation import swapped
from tallystick.parity.detect.precision import detect_precision
from tallystick.parity.detect.stale import LOST_Z
from tallystick.parity.history import Asked
from tallystick.parity.inquire import Begun, begun, by_role, carried_on
from tallystick.parity.live import Live
from tallystick.parity.parts import screen_parts
from tallystick.parity.profile import Ints
from tallystick.parity.screen import alone, coherence_z, suspects
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Segments of one column that are looked into one by one, the largest first.
MOST_SEGMENTS = 50
#: Of these, those that detectors are asked in.
MOST_INQUIRIES = 4
#: Segments in which a cause that shows in no single row is asked for again, the likeliest first.
MOST_ASKED = 8
#: Looks of detectors at one column in all of these inquiries together.
MOST_LOOKS = 16
#: The same in the rows without a segment, at least.
FEWEST_LOOKS = 8
#: Nats from which a cause that is found again in other rows would be told there.
SURE_NATS = 2 * CLAIM_NATS
#: Less than any cause has.
ANY_NATS = -np.inf
#: Kinds whose parameter is estimated together with the share of rows.
ESTIMATED = frozenset({"window_changed"})
#: Share of rows from which a cause is everybody's, and the chance of a column's rows below which they are far off.
WHOLE, FAR_P = 0.97, 1e-6
#: Columns that are odd in a segment, and in no other rows, from which it is inquired into before all rows are; and the
#: part of its rows that its cause must be in.
MANY_ODD, MOSTLY = 10, 0.5
#: Part of a segment's rows, and of all that are affected, from which these are that segment's.
MOST = 0.9


def inquire_segments(
    reference: Reference, frame: pd.DataFrame, asked: Asked, segments: pd.DataFrame | None
) -> tuple[Inquiry, dict[str, Any]]:
    """Return the inquiry into the segment with the clearest cause, and which it is; where none has one, into all rows.

    All segments are screened on the rows as read; detectors are asked in the few that stand out most. Where all rows
    together show a cause already, a segment's other one is believed if it is in all of its rows, and the other rows
    show none: a mixture of sound and broken rows can look like another fault.
    """
    whole = begun(reference, frame, asked)
    if segments is not None:
        ranked = _standing_out(whole.sent, segments)
        # Each segment is one more look.
        enough, parts = CLAIM_NATS + np.log(max(1, len(ranked))), _Parts(reference, frame, asked, whole.sent)
        plain = _plain_one(whole, parts, segments, ranked, enough)
        if plain is not None:
            return parts.inquire_again(plain[0].rows), plain[0].whose(plain[1].share)
        parts.start_over()
        # Of all rows nothing but the first cause matters here; more are looked for where no segment has one.
        whole = carried_on(whole, ANY_NATS)
        if not (whole.findings and whole.findings[0].exact):
            inquiry, whose = _of_segments(parts, ranked, enough, whole.told())
            if inquiry is not None:
                return inquiry, whose
    return carried_on(whole).told(), {}


def _plain_one(
    whole: Begun, parts: _Parts, segments: pd.DataFrame, ranked: list[_Segment], enough: float
) -> tuple[_Segment, Finding] | None:
    """Return the segment in which many columns are wrong, with its cause, where the other rows are as in training.

    What all rows show together is a mixture of the two then, and would be asked for in vain.
    """
    first = next(iter(ranked), None)
    if first is None or whole.findings or not _is_all_odd(whole.sent, first, ~first.rows):
        return None
    # A client stands out by its broken version as much as that version does.
    inside = [each for each in ranked if each.is_inside(first) and len(each.odd) > MANY_ODD][:MOST_INQUIRIES]
    inside.sort(key=lambda each: int(each.rows.sum()))
    segment = next((each for each in inside if _is_all_odd(whole.sent, each, first.rows & ~each.rows)), first)
    strong = parts.strongest(segment.rows, enough)
    if strong is None or strong.share < MOSTLY or _is_made_up_for(whole.sent, strong):
        return None
    if segment is first and strong.share < WHOLE and (inside or _is_divided(segments[first.rows], strong.rows)):
        return None
    return (segment, strong) if parts.is_sound(~segment.rows) else None


def _is_divided(segments: pd.DataFrame, affected: Mask) -> bool:
    """Whether affected rows and the others are of other segments, of which some may have too few rows to stand out."""
    for column in segments.columns:
        by_value = pd.Series(affected).groupby(segments[column].to_numpy()).agg(["sum", "size"])
        by_value = by_value[by_value["size"] < len(affected)]
        if (by_value["sum"] >= MOST * np.maximum(by_value["size"], affected.sum())).any():
            return True
    return False


def _is_all_odd(whole: Live, segment: _Segment, others: Mask) -> bool:
    """Whether many columns are odd in a segment, and none of these is far from training in the other rows."""
    if len(segment.odd) <= MANY_ODD or others.sum() < FEWEST_ROWS:
        return False
    rest = whole.taken(others)
    return not any(_is_far_off(rest, int(column)) for column in segment.odd)


def _of_segments(
    parts: _Parts, ranked: list[_Segment], enough: float, whole: Inquiry
) -> tuple[Inquiry | None, dict[str, Any]]:
    """Return the inquiry into the segment with the clearest cause, and which it is; None where none has one."""
    best: tuple[float, Mask, dict[str, Any]] | None = None
    without = np.zeros(whole.sent.rows, dtype=bool)
    for each in ranked[:MOST_INQUIRIES]:
        if parts.looks <= 0 or _is_everybodys(whole, each) or _is_elsewhere(whole, each.rows):
            continue
        strong = parts.strongest(each.rows, enough)
        if strong is None:
            without |= each.rows
            continue
        if (best is not None and strong.gain <= best[0]) or _is_made_up_for(whole.sent, strong):
            continue
        if _is_of_others(whole.sent, strong, each.rows, without):
            continue
        if not whole.findings or _tells_better(parts, whole.findings[0], strong, each.rows):
            best = strong.gain, each.rows, each.whose(strong.share)
    if best is None:
        return None, {}
    # Of the one segment that is told of, everything.
    return parts.inquire_again(best[1]), best[2]


@dataclass
class _Parts:
    """Inquiries into parts of the rows, which share a number of looks."""

    reference: Reference
    frame: pd.DataFrame
    asked: Asked
    sent: Live
    looks: int = MOST_LOOKS
    #: Inquiries that were made, by the bytes of their mask of rows: before the first round, and as far as they went.
    _made: dict[bytes, tuple[Begun, Begun]] = field(default_factory=dict)
    #: Those of them whose looks are taken off.
    _counted: set[bytes] = field(default_factory=set)

    def start_over(self) -> None:
        """Give all looks back: what is known of a part is taken off when it is asked for again."""
        self.looks = MOST_LOOKS
        self._counted.clear()

    def strongest(self, rows: Mask, enough_nats: float) -> Finding | None:
        """Return the first cause of some of the rows that has more than enough nats."""
        found = self.inquire(rows, enough_nats).findings
        return next((finding for finding in found if finding.nats > enough_nats), None)

    def is_sound(self, rows: Mask) -> bool:
        """Whether no cause is found in some of the rows."""
        self.looks = max(self.looks, FEWEST_LOOKS)
        return not self.inquire(rows, ANY_NATS).findings

    def inquire(self, rows: Mask, enough_nats: float) -> Inquiry:
        """Return the inquiry into some of the rows; one that was made is carried on."""
        key = rows.tobytes()
        if key in self._made:
            first, so_far = self._made[key]
        else:
            part = self.frame[rows].reset_index(drop=True)
            first = begun(self.reference, part, self.asked.taken(rows), self.sent)
            first = so_far = replace(first, left=self.looks)
        found = carried_on(so_far, enough_nats)
        self._made[key] = first, found
        self.looks -= found.looks - (so_far.looks if key in self._counted else 0)
        self._counted.add(key)
        return found.told()

    def inquire_again(self, rows: Mask) -> Inquiry:
        """Return the inquiry into rows that were inquired into before, with all looks and to its end."""
        first, found = self._made[rows.tobytes()]
        if first.left != MOST_LOOKS:
            # With fewer looks it may have gone another way; its rows are the same.
            found = replace(first, left=MOST_LOOKS)
        return carried_on(found).told()


@dataclass(frozen=True)
class _Segment:
    """A segment, its rows, and the columns that are not as in training there."""

    column: str
    value: str
    rows: Mask
    odd: Ints

    def is_inside(self, other: _Segment) -> bool:
        """Whether all of its rows are some of the other's."""
        return bool(self.rows.sum() < other.rows.sum() and not (self.rows & ~other.rows).any())

    def whose(self, share: float) -> dict[str, Any]:
        """Return the segment as a verdict names it; a cause is in this share of its rows and in no others."""
        return {
            "column": self.column,
            "value": self.value,
            "share_of_rows": float(self.rows.mean()),
            "affected_inside": float(share),
            "affected_outside": 0.0,
        }


def _is_everybodys(whole: Inquiry, segment: _Segment) -> bool:
    """Whether what is odd in a segment is far from training in the other rows, too.

    Then the others have it as well, which an inquiry into each segment and its rest would find at a hundred times the
    cost. Of a cause in all rows one column is enough; else it has to be all that are odd.
    """
    first, rest = next(iter(whole.findings), None), whole.sent.taken(~segment.rows)
    if first is not None and first.share >= WHOLE:
        names = whole.sent.reference.names
        return any(_is_far_off(rest, names.index(name)) for name in first.features if name in names)
    return bool(len(segment.odd)) and all(_is_far_off(rest, int(column)) for column in segment.odd)


def _is_far_off(live: Live, column: int) -> bool:
    """Whether a column is far from training, by its own values or by how they go with the others."""
    return alone(live, column).p < FAR_P or coherence_z(live, column) < LOST_Z


def _is_made_up_for(whole: Live, found: Finding) -> bool:
    """Whether a sender has more missing values than training, and others so many less that all have as many.

    Then training's senders may have differed so, too.
    """
    names = whole.reference.names
    if found.kind != "nulls" or found.exact or found.features[0] not in names:
        return False
    column = names.index(found.features[0])
    usual = whole.reference.columns[column].null_share
    missing = int((~whole.known(column)).sum())
    return missing <= usual * whole.rows or binomial_nats(missing, whole.rows, usual) < CLAIM_NATS / 2


def _is_of_others(whole: Live, found: Finding, rows: Mask, without: Mask) -> bool:
    """Whether what a part of a segment's rows shows are rows of segments that are `without` a cause.

    A region of other customers is a part of each hour, too, and there it can look like a map of some rows.
    """
    rest, names = rows & ~without, whole.reference.names
    if found.exact or found.share >= WHOLE or rest.sum() < FEWEST_ROWS or not (rows & without).any():
        return False
    _, is_odd = screen_parts(whole, np.where(rest, 0, -1), 1)
    return not any(is_odd[names.index(name), 0] for name in found.features if name in names)


def _is_elsewhere(whole: Inquiry, rows: Mask) -> bool:
    """Whether the first cause of all rows is found in those without a segment too: then it is not that segment's."""
    first = next(iter(whole.findings), None)
    names = whole.sent.reference.names
    if first is None or (~rows).sum() < FEWEST_ROWS or not set(first.features) <= set(names):
        return False
    columns = [names.index(name) for name in first.features]
    rest = whole.sent.taken(~rows)
    rest = rest.with_suspects(suspects(rest))
    if first.kind == "stale" and not first.undo:
        return all(coherence_z(rest, column) < LOST_Z for column in columns)
    if len(columns) == 1:
        again = [*_quick(rest, columns[0]), *alike(rest, first, columns)]
    else:
        again = [each for each in [swapped(rest, *sorted(columns))] if each] if len(columns) == 2 else []
    return any(each.kind == first.kind and each.nats > SURE_NATS for each in again)


def _tells_better(parts: _Parts, first: Finding, found: Finding, rows: Mask) -> bool:
    """Whether a cause is in all rows of a segment and none in the rest, where all rows show another, or it in all.

    `first` is what all rows show.
    """
    # How long a window is, and in how many rows, tells one client's rows better than all rows together.
    is_told = found.kind == first.kind and first.share < WHOLE and found.kind not in ESTIMATED
    if is_told or found.share < WHOLE or (~rows).sum() < FEWEST_ROWS:
        return False
    return parts.is_sound(~rows)


def _standing_out(sent: Live, segments: pd.DataFrame) -> list[_Segment]:
    """Return the segments in which a column is not as in training, those with the least chance first."""
    parts: list[Ints] = []
    named: list[tuple[str, str]] = []
    for column in segments.columns:
        counts = segments[column].value_counts()[:MOST_SEGMENTS]
        values = counts.index[(counts >= FEWEST_ROWS) & (counts < len(segments))]
        part = np.asarray(values.get_indexer(pd.Index(segments[column])), dtype=np.int64)
        parts.append(np.where(part >= 0, part + len(named), -1))
        named += [(str(column), str(value)) for value in values]
    if not named:
        return []
    chances, is_odd = screen_parts(sent, np.stack(parts), len(named))
    found = sorted((float(chances[k]), *named[k], k) for k in np.flatnonzero(chances < 1).tolist())
    return [
        _Segment(column, value, np.logical_or.reduce([part == k for part in parts]), np.flatnonzero(is_odd[:, k]))
        for _, column, value, k in found
    ]


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
    candidates = []
    for name in given.columns:
        for value in given[name].value_counts().index[:MOST_SEGMENTS]:
            rows = np.asarray(given[name] == value, dtype=bool)
            if FEWEST_ROWS <= rows.sum() <= len(rows) - FEWEST_ROWS:
                gap = float(affected[rows].mean() - affected[~rows].mean())
                candidates.append((gap, str(name), str(value), rows))
    # Those that differ most from the rest first; of the others one is the cause's only if all of these are not.
    candidates = sorted((each for each in candidates if each[0] > 0.1), key=lambda each: -each[0])
    for _, name, value, rows in candidates[:MOST_ASKED]:
        inside = _share_of(inquiry.sent.taken(rows), column, main.kind)
        outside = _share_of(inquiry.sent.taken(~rows), column, main.kind) if inside > 0.6 else 1.0
        if outside < inside / 3:
            return {
                "column": name,
                "value": value,
                "share_of_rows": float(rows.mean()),
                "affected_inside": inside,
                "affected_outside": outside,
            }
    return {}


def _share_of(part: Live, column: int, kind: str) -> float:
    """Return the share of rows that the cause is found in again, 0 where it is not."""
    again = _asked_again(part.with_suspects(suspects(part)), column)
    return max((float(finding.share) for finding in again if finding.kind == kind), default=0.0)


def _asked_again(part: Live, column: int) -> list[Finding]:
    return [*_quick(part, column), *by_role(part, column, part.reference.columns[column].role)]


def _quick(part: Live, column: int) -> list[Finding]:
    """Return what is quickly seen of one column: nulls, fills, bounds and digits."""
    if column in part.absent:
        return []
    is_number = part.reference.columns[column].role is Role.NUMBER
    return [*detect_availability(part, column), *(detect_precision(part, column) if is_number else [])]


def affected_rows(inquiry: Inquiry) -> Mask:
    """Return the rows that the first cause is in, as far as single rows show it."""
    if not inquiry.findings:
        return np.zeros(inquiry.sent.rows, dtype=bool)
    return np.asarray(np.logical_or.reduce([finding.rows for finding in inquiry.of_one_cause]))
