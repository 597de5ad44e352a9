"""What the coercion ledger says by itself: values that had to be changed to fit the signature. Exact, from one row on.

The ledger is written where a request is parsed, so it sees what the decoded rows no longer show.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tallystick.parity.advice import fix_for
from tallystick.parity.kinds import Status
from tallystick.parity.verdict import Evidence, Verdict, family_of
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


def verdict_of_ledger(coercions: Mapping[str, Mapping[str, int]], rows: int, names: Collection[str]) -> Verdict | None:
    """Return the cause that the ledger shows: the most frequent change that gave the model another value.

    `coercions` is column -> kind -> values; only columns of training count.
    """
    counted: dict[str, dict[str, int]] = {}
    for column, kinds in coercions.items():
        for kind, count in kinds.items():
            if column in names and kind in CAUSES and count >= LEAST_SHARE * rows:
                counted.setdefault(kind, {})[column] = count
    if not counted or not rows:
        return None
    kind = max(counted, key=lambda each: sum(counted[each].values()))
    columns = sorted(counted[kind], key=lambda each: -counted[kind][each])
    cause = CAUSES[kind]
    texts = [f"{column}: {counted[kind][column]} values, {kind}" for column in columns[:5]]
    return Verdict(
        status=Status.CAUSE_FOUND,
        family=family_of(cause),
        kind=cause,
        features=tuple(columns),
        transformation={"coercion": str(kind)},
        share=min(1.0, max(counted[kind].values()) / rows),
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
