"""From an inquiry to the words of a verdict: status, the nine questions as evidence, what was ruled out, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity import classes
from tallystick.parity.advice import before_training, fix_for, leads, settle
from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.finding import Finding
from tallystick.parity.endpoint import Environment, Routing, cleared
from tallystick.parity.intervene import Repair, Replay, Transplant
from tallystick.parity.kinds import Family, Status
from tallystick.parity.live import Live
from tallystick.parity.parameters import percent
from tallystick.parity.population import is_undecidable, reweighted_distance, slice_of
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.segments import Senders, are_apart
from tallystick.parity.told import parameters_of, with_time
from tallystick.parity.verdict import Evidence, OtherCause, Verdict, family_of, plain
from tallystick.parity.words import brief_name
from tallystick.printable import listed_names

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Evidence, in nats, from which a finding is called strong.
STRONG_NATS = 12.0
#: Rows of training below which nothing is said of values: the reference has not seen what is usual.
FEWEST_TRAINED = 50
#: Rows that a judgement of distributions needs; faults of form need one.
FEWEST_ROWS = 30
#: Other causes that are told beside the first.
MOST_OTHERS = 5
#: Kinds that are about columns together: of one alone they say nothing.
_JOINT = frozenset({"columns_swapped", "column_shift"})


@dataclass(frozen=True)
class Inquiry:
    """What was found, round by round: findings in order, rows as sent and as undone, the first and the last screen."""

    sent: Live
    undone: Live
    findings: tuple[Finding, ...]
    first: tuple[ColumnScreen, ...]
    last: tuple[ColumnScreen, ...]
    #: Columns with more digits than in training; they were rounded before they were compared.
    finer: tuple[str, ...] = ()
    #: Who sent each row; None where that is not known, or all are one sender's.
    senders: pd.DataFrame | None = None
    #: How often detectors looked at a column.
    looks: int = 0

    @cached_property
    def of_one_cause(self) -> list[Finding]:
        """The findings that are one cause with the first: those of its kind, but for those in other rows."""
        return self.like(self.findings[0], self.findings)

    def like(self, first: Finding, findings: Sequence[Finding]) -> list[Finding]:
        """Return those of findings that are one cause with the first of them."""
        alike = (finding for finding in findings if finding.kind == first.kind)
        return [each for each in alike if each is first or not are_apart(first.rows, each.rows, self._traced)]

    @cached_property
    def _traced(self) -> Senders | None:
        is_known = self.senders is not None and len(self.senders) == self.sent.rows
        return Senders(self.senders) if self.senders is not None and is_known else None


@dataclass(frozen=True)
class Context:
    """What surrounds the rows: who sent them, since when, and what the interventions showed."""

    segment: dict[str, Any] = field(default_factory=dict)
    #: How many rows there are, where those of the segment were judged by themselves; 0 where all were.
    all_rows: int = 0
    first_seen: str = ""
    is_step: bool = False
    replayed: Replay | None = None
    repaired: Repair | None = None
    transplanted: Transplant | None = None
    labels: Any = None
    #: What was answered to the judged rows, as numbers, where all have a number.
    scores: Floats | None = None
    rescored_equal: bool | None = None
    environment: Environment | None = None
    routing: Routing | None = None


def conclude(reference: Reference, inquiry: Inquiry, context: Context) -> Verdict:
    """Return the verdict of an inquiry."""
    if inquiry.findings:
        return _claimed(reference, inquiry, context)
    if trained_rows(reference) < FEWEST_TRAINED:
        needed = f"a reference of {FEWEST_TRAINED} rows or more: this one was made from {trained_rows(reference)}"
        ruled_out = _ruled_out(inquiry, context)
        return _verdict(reference, inquiry, Status.CANNOT_TELL, settle=(needed,), ruled_out=ruled_out)
    mix = _class_mix(reference, inquiry, context)
    if mix is not None:
        return _label_shift(reference, inquiry, context, mix)
    if any(part.is_flagged for part in inquiry.first):
        return _population(reference, inquiry, context)
    rows = inquiry.sent.rows
    ruled_out = _ruled_out(inquiry, context)
    if rows < FEWEST_ROWS:
        needed = f"{FEWEST_ROWS} rows or more"
        if rows:
            needed += f": of {rows} only the form of values was checked, and it is as in training"
        return _verdict(reference, inquiry, Status.CANNOT_TELL, settle=(needed,), ruled_out=ruled_out)
    return _verdict(reference, inquiry, Status.CONSISTENT, confidence=0.95, ruled_out=ruled_out)


def _class_mix(reference: Reference, inquiry: Inquiry, context: Context) -> classes.ClassMix | None:
    """Return the mix of classes where it is another one and all that changed, by labels or else by scores."""
    if inquiry.sent.rows < FEWEST_ROWS:
        return None
    mix = None
    if context.labels is not None:
        mix = classes.mix_of_labels(reference, _known(context.labels))
    elif context.scores is not None:
        mix = classes.mix_of_scores(reference, context.scores)
        if mix is not None and classes.preference(inquiry.sent, mix) <= 0:
            mix = None
    return mix if mix is not None and classes.explains(inquiry.sent, inquiry.first, mix) else None


def _label_shift(reference: Reference, inquiry: Inquiry, context: Context, mix: classes.ClassMix) -> Verdict:
    was = reference.label_shares
    told = [f"{name} {was.get(name, 0.0):.0%} → {share:.0%}" for name, share in sorted(mix.shares.items())[:5]]
    evidence = [
        Evidence(1, "classes, by " + ("labels: " if context.labels is not None else "scores: ") + ", ".join(told))
    ]
    flagged = [reference.names[part.column] for part in inquiry.first if part.is_flagged]
    if flagged:
        text = f"{len(flagged)} columns differ from training as rows of another mix of classes do"
        evidence.append(Evidence(2, text, "re-weighting"))
    return _verdict(
        reference,
        inquiry,
        Status.POPULATION_CHANGED,
        family=Family.POPULATION,
        kind="label_shift",
        features=tuple(flagged),
        transformation=plain({"classes": mix.shares}),
        evidence=tuple(evidence),
        share=1.0,
        confidence=0.8,
        ruled_out=_ruled_out(inquiry, context),
    )


def _known(labels: Any) -> Any:
    values = np.asarray(labels)
    return values[~pd.isna(values.astype(object))]


def trained_rows(reference: Reference) -> int:
    """Return how many rows of training a reference was made from."""
    return reference.columns[0].rows


def _verdict(reference: Reference, inquiry: Inquiry, status: Status, **fields: Any) -> Verdict:
    also = (*fields.pop("also", ()), *_finer(inquiry))
    fields = {"rows": inquiry.sent.rows} | fields
    return Verdict(status=status, degraded=reference.degraded, also=also, **fields)


def _finer(inquiry: Inquiry) -> tuple[str, ...]:
    if not inquiry.finer:
        return ()
    return (f"more digits than in training: {listed_names(inquiry.finer, 5)} (compared at training's)",)


def _population(reference: Reference, inquiry: Inquiry, context: Context) -> Verdict:
    flagged = sorted((part for part in inquiry.first if part.is_flagged), key=lambda part: part.p)
    names = tuple(reference.names[part.column] for part in flagged)
    evidence = tuple(
        Evidence(k + 1, f"{reference.names[part.column]}: distance to training {part.distance:.2f}", "columns")
        for k, part in enumerate(flagged[:5])
    )
    ruled_out = _ruled_out(inquiry, context)
    if is_undecidable(inquiry.sent, inquiry.first):
        return _verdict(
            reference,
            inquiry,
            Status.CANNOT_TELL,
            features=names,
            evidence=evidence,
            ruled_out=ruled_out,
            settle=(
                "one row whose true values are known, sent through the same path",
                *(() if context.replayed is not None else ("golden rows replayed through the endpoint",)),
                *(() if context.labels is not None else ("labels of some live rows",)),
            ),
        )
    found = slice_of(inquiry.sent, inquiry.first)
    if found:
        found = with_time(reference.column(found["column"]).role, found)
    text = "the columns agree with each other as in training, and no fault that is known explains the difference"
    return _verdict(
        reference,
        inquiry,
        Status.POPULATION_CHANGED,
        family=Family.POPULATION,
        kind="subpopulation" if found else "covariate_shift",
        features=names,
        transformation=plain(found),
        share=1.0,
        evidence=(*evidence, Evidence(len(evidence) + 1, text, "dependence")),
        ruled_out=ruled_out,
        confidence=0.8,
        settle=before_training(
            context.replayed is not None,
            context.routing is not None and context.routing.is_cleared,
            context.environment is not None,
        ),
    )


def _claimed(reference: Reference, inquiry: Inquiry, context: Context) -> Verdict:
    main, same = inquiry.findings[0], inquiry.of_one_cause
    features = tuple(dict.fromkeys(name for finding in same for name in finding.features))
    is_repaired = bool(context.repaired and context.repaired.is_proof and main.nats > STRONG_NATS)
    # Values that no population gives leave no doubt; what they do to predictions is shown by replay or repair only.
    is_certain = main.exact or is_repaired
    is_proven = is_repaired or (main.exact and (main.at_endpoint or main.is_replayed))
    # What the endpoint answers is told of the answers that were looked at; what is sent, of all rows.
    rows = inquiry.sent.rows if main.at_endpoint else max(inquiry.sent.rows, context.all_rows)
    part = inquiry.sent.rows / max(1, rows)
    others = _others(inquiry, set(features), bool(context.segment), part)
    explained = context.transplanted.explained if context.transplanted else None
    has_model = reference.model is not None or context.repaired is not None
    return _verdict(
        reference,
        inquiry,
        # That the endpoint answers otherwise is proven by replay, though the reason may be a suspicion.
        Status.CAUSE_FOUND if is_certain or main.kind == "environment_differs" else Status.SUSPECTED,
        family=family_of(main.kind),
        kind=main.kind,
        features=features,
        transformation=plain(parameters_of(reference, same)),
        rows=rows,
        share=float(max(finding.share for finding in same)) * part,
        segment=plain(context.segment),
        stage=_stage(main, context),
        first_seen=context.first_seen,
        strength="proof" if is_proven else "strong" if is_certain or main.nats > STRONG_NATS else "weak",
        confidence=_confidence(main, is_certain),
        evidence=_evidence(main, inquiry, context),
        ruled_out=_ruled_out(inquiry, context),
        also=tuple(name for name, _ in others),
        others=tuple(other for _, other in others if other is not None),
        explained=explained,
        fix=fix_for(main.kind, parameters_of(reference, same)),
        settle=()
        if is_certain
        else settle(
            main.kind,
            has_model,
            inquiry.sent.rows,
            100,
            is_replayed=context.replayed is not None,
            has_labels=context.labels is not None,
        ),
        reproduce="diagnose(reference, live)",
    )


def _stage(main: Finding, context: Context) -> str:
    if main.kind == "wrong_version":
        return "routing"
    if main.at_endpoint:
        step = str(main.transformation.get("step", ""))
        return f"endpoint, step {step}" if step else "endpoint"
    if main.is_replayed:
        return "training data" if leads(main.transformation) else "feature lookup"
    return "client request" if context.replayed and context.replayed.is_equal else ""


def _confidence(main: Finding, is_certain: bool) -> float:
    """Return the probability that the kind is right: evidence in nats, discounted, as a probability."""
    odds = 1 / (1 + np.exp(-min(main.nats, 20.0) / 4))
    return float(max(odds, 0.97)) if is_certain else float(min(odds, 0.95))


def _others(inquiry: Inquiry, features: set[str], has_sender: bool, part: float) -> list[tuple[str, OtherCause | None]]:
    """Return the other strong findings in words, and as causes; on the same columns they are side effects of the first.

    The rows of the inquiry are a `part` of all.
    One of rows that the first is not in is somebody else's, where the first is one sender's or of the same kind: that
    is in the words only.
    """
    main, same = inquiry.findings[0], inquiry.of_one_cause
    left = [f for f in inquiry.findings if _is_strong(f) and not any(f is one for one in same)]
    left = [f for f in left if not set(f.features) <= features and not (f.kind in _JOINT and features & {*f.features})]
    inside = np.logical_or.reduce([finding.rows for finding in same])
    found: list[tuple[str, OtherCause | None]] = []
    while left and len(found) < MOST_OTHERS:
        alike = inquiry.like(left[0], left)
        left = [finding for finding in left if not any(finding is one for one in alike)]
        if alike[0].kind == main.kind:
            left = [finding for finding in left if not {*finding.features} <= {n for f in alike for n in f.features}]
        rows = np.logical_or.reduce([finding.rows for finding in alike])
        kind = alike[0].kind
        other = OtherCause(
            family=family_of(kind),
            kind=kind,
            # A column has one cause: of those that the first has, nothing else is told.
            features=tuple(dict.fromkeys(n for f in alike for n in f.features if n not in features)),
            transformation=plain(parameters_of(inquiry.sent.reference, alike)),
            share=float(max(finding.share for finding in alike)) * part,
            fix=fix_for(kind, parameters_of(inquiry.sent.reference, alike)),
        )
        is_elsewhere = (has_sender or kind == main.kind) and _rate(rows, inside) < _rate(rows, ~inside)
        if is_elsewhere:
            found.append((f"{kind} in other rows: {listed_names(other.features, 5)}", None))
        else:
            found.append((brief_name(other), other))
    return found


def _rate(rows: Mask, inside: Mask) -> float:
    return float(rows[inside].mean()) if inside.any() else 0.0


def _to_the_second(time: str) -> str:
    """Return a time to the second, with the zone that it has.

    >>> _to_the_second("2026-01-31 14:02:11.5+00:00"), _to_the_second("2026-01-31 14:02:11.5+02:00")
    ('2026-01-31 14:02:11Z', '2026-01-31 14:02:11+02:00')
    >>> _to_the_second("2026-01-31 14:02:11.5")
    '2026-01-31 14:02:11'
    """
    zone = re.search(r"[+-]\d\d:\d\d$", time[19:])
    return time[:19] + (zone[0].replace("+00:00", "Z") if zone else "")


def _is_strong(finding: Finding) -> bool:
    return finding.exact or finding.nats > STRONG_NATS


def _evidence(main: Finding, inquiry: Inquiry, context: Context) -> tuple[Evidence, ...]:
    lines: list[tuple[str, str]] = []
    if context.replayed is not None:
        lines.append((_replay_text(context.replayed), "replay"))
    if context.rescored_equal is not None:
        lines.append(
            (f"live rows scored again by the model: {'equal' if context.rescored_equal else 'different'}", "replay")
        )
    lines += [
        (text, "support" if "could give" in text else "dependence" if "other columns" in text else "")
        for text in main.evidence
    ]
    name = str(main.transformation.get("name", "unnamed"))
    if name != "unnamed" and not name.startswith("10^"):
        lines.append((f"the constant has a name: {name}", "named constant"))
    told = [*inquiry.of_one_cause, *(finding for finding in inquiry.findings if _is_strong(finding))]
    touched = {name for finding in told for name in finding.features}
    still = sum(not part.is_flagged for part in inquiry.last)
    lines.append(
        (
            f"{len(touched)} of {len(inquiry.first)} columns are touched; with it undone {still} are as in training",
            "columns",
        )
    )
    lines += _reweighting(main, inquiry)
    if context.first_seen and context.is_step:
        lines.append((f"it began in a step at {_to_the_second(context.first_seen)}", "onset"))
    if context.segment:
        s = context.segment
        lines.append(
            (
                f"{percent(s['affected_inside'])} of rows with {s['column']} = {s['value']}, "
                f"{percent(s['affected_outside'])} of the others",
                "segment",
            )
        )
    if context.repaired is not None:
        r = context.repaired
        text = f"undone on live rows, predictions' distance to training {r.before:.2f} → {r.after:.2f}"
        if r.before <= r.bound and r.live is not None and r.live > r.bound:
            text = f"live predictions' distance to training {r.live:.2f}, with it undone {r.after:.2f}"
        elif r.before <= r.bound:
            text = f"predictions are hardly odd yet: distance to training {r.before:.2f}, up to {r.bound:.2f} is fair"
        lines.append((text, "intervention"))
    if context.transplanted is not None and np.isfinite(context.transplanted.broken):
        lines.append((_transplant_text(context.transplanted), "intervention"))
    return tuple(Evidence(k + 1, text, question) for k, (text, question) in enumerate(lines))


def _replay_text(replayed: Replay) -> str:
    told = f"golden rows: {replayed.equal}/{replayed.rows} equal"
    if replayed.is_equal:
        return f"{told}, the endpoint is not the cause"
    if replayed.no_numbers:
        told += f", {replayed.no_numbers} answers are no numbers where training's are"
    return told if replayed.largest <= 0 else f"{told}, largest difference {replayed.largest:.3g}"


def _transplant_text(moved: Transplant) -> str:
    text = f"put into labelled rows: {moved.metric} {moved.clean:.3f} → {moved.broken:.3f}"
    if moved.live is not None and moved.explained is not None:
        text += f", live {moved.live:.3f}: explains {moved.explained:.0%} of the gap"
    return text


def _reweighting(main: Finding, inquiry: Inquiry) -> list[tuple[str, str]]:
    live = inquiry.sent
    if len(main.features) != 1 or main.features[0] not in live.reference.names:
        return []
    j = live.reference.names.index(main.features[0])
    if live.reference.columns[j].numbers is None or j in live.absent:
        return []
    left = reweighted_distance(live, j)
    before = next(part.distance for part in inquiry.first if part.column == j)
    if left is None or before < 0.2:
        return []
    return (
        [
            (
                f"no mix of training rows does it: weighed to the other columns, the distance is still {left:.2f}",
                "re-weighting",
            )
        ]
        if left > 0.5 * before
        else []
    )


def _ruled_out(inquiry: Inquiry, context: Context) -> tuple[str, ...]:
    lines = []
    if context.replayed is not None and context.replayed.is_equal:
        lines.append("the endpoint's model path (golden rows are equal)")
    lines += cleared(context.environment, context.routing, context.replayed)
    misnamed = ("missing_column", "renamed_column", "column_shift")
    if inquiry.sent.rows and not any(finding.kind in misnamed for finding in inquiry.findings):
        lines.append("names and order of columns")
    return tuple(lines)
