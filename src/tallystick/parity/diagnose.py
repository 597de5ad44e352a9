"""From live rows to one verdict: read, screen, propose, undo, look again, prove, say.

Order is what keeps it honest. Faults of form are undone first; then the strongest proposal is undone and everything is
looked at again, so that side effects of one cause are not told as causes of their own; only what remains is called a
change of the population.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.columns import Role
from tallystick.parity.detect.availability import detect_availability
from tallystick.parity.detect.categorical import detect_relabelled, detect_unseen
from tallystick.parity.detect.finding import CLAIM_NATS, Finding
from tallystick.parity.detect.numeric import detect_maps
from tallystick.parity.detect.permutation import detect_permutations
from tallystick.parity.detect.precision import detect_precision
from tallystick.parity.detect.schema import read_live
from tallystick.parity.detect.stale import detect_stale
from tallystick.parity.detect.times import detect_cycle, detect_times
from tallystick.parity.kinds import Family, Status
from tallystick.parity.live import Live
from tallystick.parity.screen import ColumnScreen, screen, suspects
from tallystick.parity.verdict import Evidence, Verdict, family_of

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Causes that are undone in turn before the rest is called population.
MOST_ROUNDS = 6
#: Rows that a judgement of distributions needs; faults of form need one.
FEWEST_ROWS = 30
#: More rows than this tell nothing new, and cost time.
MOST_ROWS = 5000
#: Columns up to which evidence needs no surcharge for having been looked for in many places.
FREE_COLUMNS = 10

Rescore = Callable[[pd.DataFrame], Any]


@dataclass(frozen=True)
class Inquiry:
    """What was found, round by round: findings in the order of weight, rows as sent and as undone, the last screen."""

    sent: Live
    undone: Live
    findings: tuple[Finding, ...]
    first: tuple[ColumnScreen, ...]
    last: tuple[ColumnScreen, ...]


def diagnose(
    reference: Reference,
    live: pd.DataFrame,
    labels: Any = None,
    segments: Any = None,
    timestamps: Any = None,
    predictions: Any = None,
    rescore: Rescore | None = None,
) -> Verdict:
    """Return why live rows give odd predictions, or that they do not, or that it cannot be told."""
    started = time.perf_counter()
    if not isinstance(live, pd.DataFrame):
        raise InvalidParameter(f"expected a pandas DataFrame of live rows, got {type(live).__name__}")
    inquiry = inquire(reference, live)
    verdict = conclude(reference, inquiry)
    import msgspec

    return msgspec.structs.replace(verdict, seconds=round(time.perf_counter() - started, 3))


def inquire(reference: Reference, frame: pd.DataFrame) -> Inquiry:
    """Return all causes that the rows show, each undone before the next is looked for."""
    sent, findings = read_live(reference, _without_repeats(reference, frame))
    sent = sent.with_suspects(suspects(sent))
    rows, first = sent, screen(sent)
    last = first
    for _ in range(MOST_ROUNDS):
        proposed = _propose(rows, last)
        if not proposed:
            break
        best = max(proposed, key=lambda finding: finding.gain)
        same = _of_one_kind(best, proposed)
        findings += same
        changed = {column: values for finding in same for column, values in finding.undo.items()}
        broken = {rows.reference.names.index(name) for finding in same for name in finding.features if not finding.undo}
        rows = rows.with_values(changed).with_broken(frozenset(broken))
        rows = rows.with_suspects(suspects(rows))
        last = screen(rows)
    return Inquiry(sent, rows, tuple(findings), tuple(first), tuple(last))


def _without_repeats(reference: Reference, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows once each, where training rows do not repeat: a retried request is one observation."""
    if frame.shape[1] < 3 or not len(reference.rows) or reference.rows.astype(str).duplicated().mean() > 0.01:
        return frame
    repeated = frame.astype(str).duplicated()
    return frame[~repeated].reset_index(drop=True) if 0 < repeated.sum() < len(frame) - 1 else frame


def _of_one_kind(best: Finding, proposed: list[Finding]) -> list[Finding]:
    """Return the best finding and those of its kind in other columns: one cause often hits several."""
    taken, found = set(best.features), [best]
    for finding in sorted(proposed, key=lambda finding: -finding.gain):
        rival = max((f.gain for f in proposed if set(f.features) & set(finding.features)), default=0.0)
        if finding.kind == best.kind and not taken & set(finding.features) and finding.gain >= rival:
            found.append(finding)
            taken |= set(finding.features)
    return found


def _propose(live: Live, screened: list[ColumnScreen] | tuple[ColumnScreen, ...]) -> list[Finding]:
    if live.rows < FEWEST_ROWS:
        return []
    flagged = [part.column for part in screened if part.is_looked_at]
    found: list[Finding] = []
    for part in screened:
        j = part.column
        if j in live.absent or j in live.broken:
            continue
        role = live.reference.columns[j].role
        if part.is_looked_at:
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


def conclude(reference: Reference, inquiry: Inquiry) -> Verdict:
    """Return the verdict of an inquiry, before interventions."""
    findings = list(inquiry.findings)
    flagged = [part for part in inquiry.first if part.is_flagged]
    rows = inquiry.sent.rows
    if findings:
        return _claimed(reference, findings, rows)
    if flagged:
        names = tuple(reference.names[part.column] for part in flagged)
        evidence = tuple(
            Evidence(k + 1, f"{reference.names[part.column]}: distance to training {part.distance:.2f}")
            for k, part in enumerate(sorted(flagged, key=lambda part: part.p)[:5])
        )
        return Verdict(
            status=Status.POPULATION_CHANGED, family=Family.POPULATION, kind="covariate_shift", features=names, share=1.0,
            evidence=evidence, degraded=reference.degraded, rows=rows,
        )
    if rows < FEWEST_ROWS:
        return Verdict(
            status=Status.CANNOT_TELL, rows=rows, degraded=reference.degraded,
            settle=(f"{FEWEST_ROWS} rows or more: only the form of values was checked",),
        )
    return Verdict(status=Status.CONSISTENT, rows=rows, degraded=reference.degraded, confidence=0.95)


def _claimed(reference: Reference, findings: list[Finding], rows: int) -> Verdict:
    main = findings[0]
    same = [finding for finding in findings if finding.kind == main.kind]
    others = [finding for finding in findings if finding.kind != main.kind]
    features = tuple(dict.fromkeys(name for finding in same for name in finding.features))
    exact = main.exact
    evidence = tuple(Evidence(k + 1, text) for k, text in enumerate(main.evidence))
    return Verdict(
        status=Status.CAUSE_FOUND if exact else Status.SUSPECTED,
        family=family_of(main.kind),
        kind=main.kind,
        features=features,
        transformation=dict(main.transformation),
        share=max(finding.share for finding in same),
        strength="proof" if exact else "strong" if main.nats > 12 else "weak",
        confidence=float(1 / (1 + np.exp(-min(main.nats, 12.0) / 3))),
        evidence=evidence,
        also=tuple(f"{finding.kind}: {', '.join(finding.features)}" for finding in others[:3]),
        degraded=reference.degraded,
        rows=rows,
    )
