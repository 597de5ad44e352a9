"""From live rows to one verdict: read, screen, propose, undo, look again, prove, say.

Order is what keeps it honest. Faults of form are undone first; then the strongest proposal is undone and everything is
looked at again, so that side effects of one cause are not told as causes of their own; only what remains is called a
change of the population.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.columns import Mask, Role
from tallystick.parity.conclude import FEWEST_ROWS, Context, Inquiry, conclude
from tallystick.parity.detect.availability import detect_availability
from tallystick.parity.detect.categorical import detect_relabelled, detect_unseen
from tallystick.parity.detect.finding import CLAIM_NATS, Finding
from tallystick.parity.detect.numeric import detect_maps
from tallystick.parity.detect.permutation import detect_permutations
from tallystick.parity.detect.precision import detect_precision
from tallystick.parity.detect.prediction import paired_difference, unpaired_difference
from tallystick.parity.detect.schema import read_live
from tallystick.parity.detect.stale import detect_stale
from tallystick.parity.detect.times import detect_cycle, detect_times
from tallystick.parity.golden import label_numbers
from tallystick.parity.intervene import Repair, Replay, Transplant, repair, replay, transplant
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints
from tallystick.parity.screen import ColumnScreen, screen, suspects
from tallystick.parity.segments import blame, onset, segment_frame
from tallystick.parity.verdict import Verdict

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Causes that are undone in turn before the rest is called population.
MOST_ROUNDS = 6
#: Segments of one column that are looked into one by one, the largest first.
MOST_SEGMENTS = 20
#: Looks of all detectors at one column, over all rounds: what keeps a frame with everything broken affordable.
MOST_LOOKS = 60
#: Kinds that leave a column's own distribution as it was, or nearly: only the other columns tell them.
TOLD_BY_OTHERS = frozenset({"time_zone", "category_relabelled"})
MOST_RIVALS = 4
#: More rows than this tell nothing new, and cost time.
MOST_ROWS = 5000
#: Columns up to which evidence needs no surcharge for having been looked for in many places.
FREE_COLUMNS = 10

Rescore = Callable[[pd.DataFrame], Any]


@dataclass(frozen=True)
class Examination:
    """A verdict with the rows that it rests on: as they were sent, and with all that was found undone.

    Both frames hold the rows that were judged, in the same order: the newest ones, each once, and where a fault was
    found in one segment only, that segment's. `undone_frame` has training's names and order of columns. `judged` are
    the positions of these rows in the live frame, `affected` those of them that the cause touches.
    """

    verdict: Verdict
    sent_frame: pd.DataFrame
    undone_frame: pd.DataFrame
    judged: Ints
    affected: Ints


def diagnose(
    reference: Reference,
    live: pd.DataFrame,
    labels: Any = None,
    segments: Any = None,
    timestamps: Any = None,
    predictions: Any = None,
    rescore: Rescore | None = None,
) -> Verdict:
    """Return why live rows give odd predictions, or that they do not, or that it cannot be told.

    `labels` are outcomes of the live rows; `segments` a column or frame that says who sent each; `timestamps` when.
    `predictions` are what the endpoint answered; `rescore` predicts rows through the endpoint (golden rows are sent
    through it). The reference's own model, where there is one, is the offline truth. Raises InvalidParameter when one
    of them has another length than `live`. Takes tens of milliseconds for a thousand rows of ten columns.
    """
    return examine(reference, live, labels, segments, timestamps, predictions, rescore).verdict


def examine(
    reference: Reference,
    live: pd.DataFrame,
    labels: Any = None,
    segments: Any = None,
    timestamps: Any = None,
    predictions: Any = None,
    rescore: Rescore | None = None,
    replayed: Replay | None = None,
) -> Examination:
    """Return what `diagnose` does, with the rows that were judged as sent and as undone: a report draws them.

    `replayed` is how golden rows came out, where they were replayed already; without it `rescore` is asked.
    """
    started = time.perf_counter()
    _check(live, labels=labels, segments=segments, timestamps=timestamps, predictions=predictions)
    frame = live.reset_index(drop=True)
    kept = _kept_rows(reference, frame)
    inquiry = inquire(reference, frame.iloc[kept].reset_index(drop=True))
    given = segment_frame(_taken(segments, kept), len(kept))
    whose: dict[str, Any] = {}
    if not inquiry.findings and given is not None:
        inquiry, whose = _by_segment(reference, frame.iloc[kept].reset_index(drop=True), given, inquiry)
    if replayed is None and rescore is not None:
        replayed = replay(reference, rescore)
    answered = _taken(predictions, kept)
    inquiry, equal = _with_predictions(reference, inquiry, answered, replayed)
    if equal is None and rescore is not None and replayed is not None and replayed.is_equal:
        equal = _scores_again(inquiry, answered, rescore)
    affected = _affected(inquiry)
    first_seen, is_step = onset(_taken(timestamps, kept), affected) if not whose else ("", False)
    repaired, moved = _interventions(reference, inquiry, _taken(labels, kept), answered, rescore)
    context = Context(
        segment=whose or (blame(given, affected) if given is not None and len(affected) == len(given) else {}),
        first_seen=first_seen,
        is_step=is_step,
        replayed=replayed,
        repaired=repaired,
        transplanted=moved,
        labels=labels,
        rescored_equal=equal,
    )
    verdict = conclude(reference, inquiry, context)
    verdict = msgspec.structs.replace(verdict, seconds=round(time.perf_counter() - started, 3))
    judged = kept if not whose or given is None else kept[(given[whose["column"]] == whose["value"]).to_numpy()]
    sent = frame.iloc[judged].reset_index(drop=True)
    return Examination(verdict, sent, inquiry.undone.frame(), judged, judged[affected])


def _check(live: Any, **beside: Any) -> None:
    if not isinstance(live, pd.DataFrame):
        raise InvalidParameter(f"expected a pandas DataFrame of live rows, got {type(live).__name__}")
    names = [str(name) for name in live.columns]
    faults = [f"column {name!r} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [
        f"{name} has {len(values)} entries, expected {len(live)}"
        for name, values in beside.items()
        if values is not None and len(values) != len(live)
    ]
    if faults:
        raise InvalidParameter("live rows: " + "; ".join(faults))


def _taken(values: Any, kept: Ints) -> Any:
    if values is None:
        return None
    if isinstance(values, pd.DataFrame | pd.Series):
        return values.iloc[kept].reset_index(drop=True)
    return np.asarray(values)[kept]


def _kept_rows(reference: Reference, frame: pd.DataFrame) -> Ints:
    """Return the rows to judge: the last ones, once each where training rows do not repeat.

    A request that was retried is one observation.
    """
    rows = np.arange(len(frame))[-MOST_ROWS:]
    if frame.shape[1] < 3 or not len(reference.rows) or reference.rows.astype(str).duplicated().mean() > 0.01:
        return rows
    repeated = frame.iloc[rows].astype(str).duplicated().to_numpy()
    return rows[~repeated] if 0 < repeated.sum() < len(rows) - 1 else rows


def _by_segment(
    reference: Reference, frame: pd.DataFrame, segments: pd.DataFrame, whole: Inquiry
) -> tuple[Inquiry, dict[str, Any]]:
    """Return the inquiry into the segment with the clearest cause; the inquiry into all rows when none has one."""
    best: tuple[float, Inquiry, dict[str, Any]] | None = None
    for column in segments.columns:
        counts = segments[column].value_counts()
        for value in counts.index[:MOST_SEGMENTS]:
            rows = (segments[column] == value).to_numpy()
            if not FEWEST_ROWS <= rows.sum() < len(frame):
                continue
            inquiry = inquire(reference, frame[rows].reset_index(drop=True))
            # Each segment is one more look.
            strong = [f for f in inquiry.findings if f.nats > CLAIM_NATS + np.log(min(len(counts), MOST_SEGMENTS))]
            if strong and (best is None or strong[0].gain > best[0]):
                share = float(strong[0].share)
                whose = {
                    "column": str(column),
                    "value": str(value),
                    "share_of_rows": float(rows.mean()),
                    "affected_inside": share,
                    "affected_outside": 0.0,
                }
                best = strong[0].gain, inquiry, whose
    return (whole, {}) if best is None else (best[1], best[2])


def _with_predictions(
    reference: Reference, inquiry: Inquiry, predictions: Any, replayed: Replay | None
) -> tuple[Inquiry, bool | None]:
    """Return the inquiry with what predictions show put first, and whether live rows score the same again."""
    found: Finding | None = None
    equal: bool | None = None
    if replayed is not None and replayed.kind:
        text = (
            f"golden rows through the endpoint: {replayed.rows - replayed.equal} of {replayed.rows} predictions differ"
        )
        rows = np.ones(inquiry.sent.rows, dtype=bool)
        share = 1 - replayed.equal / replayed.rows
        found = Finding(replayed.kind, (), {"largest": replayed.largest}, share, 100.0, True, (text,), rows, gain=1e7)
    elif predictions is not None and len(predictions) == inquiry.sent.rows:
        answered = label_numbers(np.asarray(predictions))
        rescored = _predicted(reference, inquiry.sent)
        if rescored is not None:
            found = paired_difference(answered, rescored, "live")
            equal = found is None
        elif not inquiry.findings:
            quiet = not any(part.is_flagged for part in inquiry.first)
            found = unpaired_difference(reference, answered, quiet)
    if found is None:
        return inquiry, equal
    return replace(inquiry, findings=(found, *inquiry.findings)), equal


def _scores_again(inquiry: Inquiry, answered: Any, rescore: Rescore) -> bool | None:
    """Return True when the endpoint gives the rows the same predictions again; None when that says nothing.

    Rows are as read, not as sent, so another prediction may come of that.
    """
    if answered is None or len(answered) != inquiry.sent.rows:
        return None
    try:
        again = label_numbers(np.asarray(rescore(inquiry.sent.frame())))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return True if paired_difference(label_numbers(np.asarray(answered)), again, "live") is None else None


def _predicted(reference: Reference, live: Live) -> Any:
    try:
        return reference.predict(live.frame())
    except (ValueError, TypeError, KeyError, AttributeError):
        # The model cannot take these rows as they were sent.
        return None


def _affected(inquiry: Inquiry) -> Mask:
    if not inquiry.findings:
        return np.zeros(inquiry.sent.rows, dtype=bool)
    main = inquiry.findings[0]
    return np.asarray(np.logical_or.reduce([finding.rows for finding in inquiry.findings if finding.kind == main.kind]))


def _interventions(
    reference: Reference, inquiry: Inquiry, labels: Any, predictions: Any, rescore: Rescore | None
) -> tuple[Repair | None, Transplant | None]:
    predict = rescore if rescore is not None else reference.model
    if predict is None or not inquiry.findings or not inquiry.findings[0].features:
        return None, None
    main = [finding for finding in inquiry.findings if finding.kind == inquiry.findings[0].kind]
    repaired = repair(reference, inquiry.sent, inquiry.undone, predict)
    outcomes, scores = _labelled(labels, predictions)
    return repaired, transplant(reference, main, predict, outcomes, scores)


def _labelled(labels: Any, predictions: Any) -> tuple[Any, Any]:
    """Return labels and predictions of the rows that have a label, as numbers: labels come late, and not for all."""
    if labels is None:
        return None, None
    known = ~pd.isna(np.asarray(labels, dtype=object))
    if known.sum() < FEWEST_ROWS:
        return None, None
    outcomes = label_numbers(pd.Series(np.asarray(labels)[known]).infer_objects().to_numpy())
    return outcomes, None if predictions is None else label_numbers(np.asarray(predictions)[known])


def inquire(reference: Reference, frame: pd.DataFrame) -> Inquiry:
    """Return all causes that the rows show, each undone before the next is looked for."""
    sent, findings = read_live(reference, frame)
    sent = sent.with_suspects(suspects(sent))
    rows, first = sent, screen(sent)
    last = first
    looks = MOST_LOOKS
    for _ in range(MOST_ROUNDS):
        proposed = _propose(rows, last, looks) if looks > 0 else []
        looks -= sum(part.is_looked_at for part in last)
        if not proposed:
            break
        best = _survivor(rows, proposed)
        same = [best] if best.kind in TOLD_BY_OTHERS else _of_one_kind(best, proposed)
        findings += same
        changed = {column: values for finding in same for column, values in finding.undo.items()}
        broken = {rows.reference.names.index(name) for finding in same for name in finding.features if not finding.undo}
        rows = rows.with_values(changed).with_broken(frozenset(broken))
        rows = rows.with_suspects(suspects(rows))
        last = screen(rows)
    return Inquiry(sent, rows, tuple(findings), tuple(first), tuple(last))


def _survivor(live: Live, proposed: list[Finding]) -> Finding:
    """Return the finding to believe first: the largest gain, or, where the others' word is all there is, the cause.

    A broken column makes its partners look broken. Judged without its rivals' columns, a cause is still found, and
    a victim is not.
    """
    best = max(proposed, key=lambda finding: finding.gain)
    rivals: dict[int, Finding] = {}
    for finding in sorted(proposed, key=lambda finding: -finding.gain):
        if finding.kind in TOLD_BY_OTHERS and len(finding.features) == 1 and len(rivals) < MOST_RIVALS:
            rivals.setdefault(live.reference.names.index(finding.features[0]), finding)
    if best.kind not in TOLD_BY_OTHERS or len(rivals) < 2:
        return best
    alone: list[tuple[float, Finding]] = []
    for column in rivals:
        rest = live.with_broken(frozenset(rivals) - {column})
        again = _by_role(rest, column, live.reference.columns[column].role)
        alone += [(found.nats, found) for found in again if found.kind in TOLD_BY_OTHERS]
    return max(alone, key=lambda pair: pair[0])[1] if alone else best


def _of_one_kind(best: Finding, proposed: list[Finding]) -> list[Finding]:
    """Return the best finding and those of its kind in other columns: one cause often hits several."""
    taken, found = set(best.features), [best]
    for finding in sorted(proposed, key=lambda finding: -finding.gain):
        rival = max((f.gain for f in proposed if set(f.features) & set(finding.features)), default=0.0)
        if finding.kind == best.kind and not taken & set(finding.features) and finding.gain >= rival:
            found.append(finding)
            taken |= set(finding.features)
    return found


def _propose(live: Live, screened: list[ColumnScreen] | tuple[ColumnScreen, ...], looks: int) -> list[Finding]:
    if live.rows < FEWEST_ROWS:
        return []
    flagged = [part.column for part in screened if part.is_looked_at]
    found: list[Finding] = []
    looked_at = [part for part in screened if part.is_looked_at]
    order = sorted(looked_at, key=lambda part: min(part.p, part.null_p, part.odd_p))
    chosen = {part.column for part in order[:looks]}
    for part in screened:
        j = part.column
        if j in live.absent or j in live.broken:
            continue
        role = live.reference.columns[j].role
        if j in chosen:
            found += detect_availability(live, j)
            found += _by_role(live, j, role)
        if role is Role.NUMBER:
            found += detect_precision(live, j)
    found += detect_permutations(live, flagged)
    # Asked last, and only when nothing explains the loss of agreement by values themselves.
    found = found if found else detect_stale(live, screened)
    surcharge = np.log(max(1.0, len(live.reference.columns) / FREE_COLUMNS))
    return [finding for finding in found if finding.nats >= CLAIM_NATS / 2 + surcharge]


def _by_role(live: Live, column: int, role: Role) -> list[Finding]:
    if role is Role.TIME:
        return detect_times(live, column)
    if role is Role.LEVEL:
        return [*detect_unseen(live, column), *detect_relabelled(live, column)]
    if role is Role.NUMBER:
        return [*detect_maps(live, column), *detect_cycle(live, column), *detect_relabelled(live, column)]
    return []
