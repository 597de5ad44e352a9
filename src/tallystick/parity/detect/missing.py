"""Values that are missing: more of them than in training.

Source: excess over training's rate (binomial). False positives: where training has missing values too, a part of the
population may have more. Then rows without a value look like training's rows without one (the slice test); or, where no
column tells that, others are not as in training either, as parts of a population differ in more than one thing. Nulls
that came alone are a lookup that fails.
"""

from __future__ import annotations

import numpy as np
from scipy.special import kolmogorov

from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.slices import filled, rest_is_as_trained, slice_nats
from tallystick.parity.live import Live
from tallystick.parity.readings import part_apart
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, ks_of

#: Share of missing values from which all are.
ALL_MISSING = 0.99
#: Nats of the slice test below which rows without a value look like training's: then the population has more of these.
EXPLAINED = -2.0
#: What it says that nulls came alone, as a part of their excess and at most; and the chance that known values are as in
#: training above which they are.
ALONE_PART, ALONE_MOST, AS_TRAINED_P = 0.25, 1.5 * CLAIM_NATS, 1e-3


def detect_missing(live: Live, column: int) -> Finding | None:
    """Return nulls in excess of training's, where they are no part of the population."""
    profile = live.reference.columns[column]
    missing = ~live.known(column)
    count, rows = int(missing.sum()), live.rows
    usual = (profile.null_share * profile.rows + 0.5) / (profile.rows + 1)
    gain = binomial_nats(count, rows, usual)
    if gain < CLAIM_NATS or count < 2:
        return None
    excess = (count / rows - usual) / max(1 - usual, 1e-9)
    never = profile.null_share == 0
    nats = gain if never else slice_nats(live, column, missing, profile.cell_count - 1, min(1.0, excess * rows / count))
    whole = count / rows > ALL_MISSING
    evidence = [f"{count} of {rows} values are missing; in training {profile.null_share:.1%}"]
    if whole and not never:
        nats = max(nats, gain / 2) if nats > -3 else nats
    elif not never and nats > EXPLAINED and _came_alone(live, column):
        nats += min(ALONE_MOST, ALONE_PART * gain * part_apart(live, column, missing))
        evidence.append("they came alone: all other values, in this column and others, are as in training")
    if nats < CLAIM_NATS / 2:
        return None
    share = 1.0 if whole else excess
    return Finding(
        "nulls",
        (profile.name,),
        {"null_share": count / rows},
        share,
        nats,
        never,
        tuple(evidence),
        missing,
        {},
        filled(profile, None, share),
        gain=gain,
    )


def _came_alone(live: Live, column: int) -> bool:
    """Whether the values that are there are as in training, in this column and in all others that take part."""
    left_out = (live.absent | live.broken) - {column}
    return all(_is_as_trained(live, k) for k in range(len(live.reference.columns)) if k not in left_out)


def _is_as_trained(live: Live, column: int) -> bool:
    return live.once(column, "known values as trained", lambda: _compared(live, column))


def _compared(live: Live, column: int) -> bool:
    numbers, known = live.reference.columns[column].numbers, live.known(column)
    if numbers is not None and known.any():
        size = known.sum() * numbers.rows / (known.sum() + numbers.rows)
        distance = ks_of(numbers, live.sample(column)) - 1 / len(numbers.grid)
        if kolmogorov(max(0.0, distance) * np.sqrt(size)) < AS_TRAINED_P:
            return False
    return rest_is_as_trained(live, column, ~known)
