"""What the coercion ledger says by itself: values that had to be changed to fit the signature. Exact, from one row on.

The ledger is written where a request is parsed, so it sees what the decoded rows no longer show.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tallystick.monitor.rows import LiveRows
from tallystick.parity.advice import fix_for
from tallystick.parity.kinds import Status
from tallystick.parity.segments import blame, segment_frame
from tallystick.parity.verdict import Evidence, OtherCause, Verdict, family_of
from tallystick.parity.words import brief_name
from tallystick.printable import count, listed_names, named
from tallystick.protocol.ledger import Coercion

#: Kind of a coercion -> kind of a cause. What is left out gives the model what was meant, or may be so in training.
CAUSES: Mapping[str, str] = {
    Coercion.FRACTION_DROPPED: "lossy_cast",
    Coercion.OVERFLOW: "lossy_cast",
    Coercion.FLOAT_OVERFLOW: "lossy_cast",
    Coercion.NOT_TEXT: "numeric_as_text",
    Coercion.TRUTHY: "boolean_as_text",
    Coercion.NULL_TO_FALSE: "nulls",
    Coercion.NULL_TO_TRUE: "nulls",
    Coercion.NULL_TO_TEXT: "nulls",
    Coercion.EPOCH_UNIT: "epoch_unit",
}
#: Part of the rows from which it is a cause and no mishap.
LEAST_SHARE = 0.01


def verdict_of_ledger(live: LiveRows, rows: int, names: Collection[str]) -> Verdict | None:
    """Return the cause that the ledger shows: the most frequent change that gave the model another value, and whose.

    `rows` were answered; only columns of training count.
    """
    coercions = live.coercions
    counted: dict[str, dict[str, int]] = {}
    for column, kinds in coercions.items():
        for kind, changed in kinds.items():
            if column in names and kind in CAUSES and changed >= LEAST_SHARE * rows:
                counted.setdefault(kind, {})[column] = changed
    if not counted or not rows:
        return None
    kind = max(counted, key=lambda each: sum(counted[each].values()))
    columns = sorted(counted[kind], key=lambda each: -counted[kind][each])
    cause = CAUSES[kind]
    texts = [f"{named(column)}: {count(counted[kind][column], 'value')}, {kind}" for column in columns[:5]]
    return Verdict(
        status=Status.CAUSE_FOUND,
        family=family_of(cause),
        kind=cause,
        features=tuple(columns),
        transformation={"coercion": str(kind)},
        share=min(1.0, max(counted[kind].values()) / rows),
        segment=_sender(live, kind, columns),
        stage="client request",
        strength="strong",
        confidence=0.97,
        evidence=tuple(
            Evidence(number + 1, f"coercion ledger, written as requests were read: {text}")
            for number, text in enumerate(texts)
        ),
        fix=fix_for(cause),
        rows=rows,
    )


def _sender(live: LiveRows, kind: str, columns: Collection[str]) -> dict[str, Any]:
    """Return the sender of the requests in which columns were changed so; empty when it is no one sender."""
    segments = segment_frame(live.segments, len(live))
    if segments is None:
        return {}
    changed = {
        request
        for request, entries in zip(live.request_ids, live.ledger, strict=True)
        if any(entry["kind"] == kind and entry["column"] in columns for entry in entries or ())
    }
    return blame(segments, live.request_ids.isin(changed).to_numpy())


def with_ledger(verdict: Verdict, told: Verdict) -> Verdict:
    """Return a verdict that names another cause with what the ledger says beside it.

    In its own columns that is more evidence; in others it is another cause, in words only where it is another sender's.
    """
    known = {*verdict.features, *(name for other in verdict.others for name in other.features)}
    if set(told.features) <= known:
        already = len(verdict.evidence)
        more = tuple(msgspec.structs.replace(each, number=already + each.number) for each in told.evidence)
        return msgspec.structs.replace(verdict, evidence=(*verdict.evidence, *more))
    other = OtherCause(
        family=told.family,
        kind=told.kind,
        features=tuple(name for name in told.features if name not in known),
        transformation=told.transformation,
        share=told.share,
        fix=told.fix,
    )
    senders = [(each.segment.get("column"), each.segment.get("value")) for each in (verdict, told)]
    if senders[0] != senders[1] and verdict.segment:
        words = f"{told.kind} in other rows: {listed_names(told.features, 5)}"
        return msgspec.structs.replace(verdict, also=(*verdict.also, words))
    return msgspec.structs.replace(verdict, also=(*verdict.also, brief_name(other)), others=(*verdict.others, other))
