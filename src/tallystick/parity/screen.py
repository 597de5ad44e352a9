"""The screen: which columns are not as in training, over all columns at once.

Two keys: the chance of it (with Holm's correction over columns and tests) and its size. A third test looks at nothing
but agreement with the other columns, for faults that leave each distribution as it was (an hour shifted by five).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betainc, betaincc, chdtrc, kolmogorov, ndtr

from tallystick.parity.columns import Mask, Role
from tallystick.parity.detect.availability import spike_p
from tallystick.parity.live import Live
from tallystick.parity.yardsticks import far_rate, far_rows, ks_of, odd_rate, unseen_bound

#: Chance that a fair sample flags any column.
ALPHA = 0.01
#: Coherence has estimated moments on both sides; it is asked for more.
COHERENCE_Z = 4.0
SUSPECT_SHARE = 0.08
#: Agreement with the others, in nats a row, of which a loss means something.
LEAST_COHERENCE = 0.02
#: Rows that a cell must be due for in the G-test, or it is pooled with others.
LEAST_EXPECTED = 3
#: Detectors have their own threshold for what they claim; they are asked earlier than an alarm is raised.
LOOK_P = 0.02
LOOK_Z = 2.5


@dataclass(frozen=True)
class ColumnScreen:
    """Tests of one column. `p` is the least p-value; `distance` KS or total variation; `coherence_z` below 0 is bad.

    `is_flagged`: it differs, after correction for the number of columns. `is_looked_at`: worth the detectors' time.
    """

    column: int
    p: float
    distance: float
    null_p: float
    odd_p: float
    coherence_z: float
    is_flagged: bool
    is_looked_at: bool = False


def screen(live: Live) -> list[ColumnScreen]:
    """Return the tests of each column, in column order."""
    live = live.with_suspects(suspects(live))
    raw = [_test(live, j) for j in range(len(live.reference.columns))]
    least = np.array([min(1.0, 4 * min(part.p, part.null_p, part.odd_p)) for part in raw])
    order = np.argsort(least)
    flagged = set()
    for place, j in enumerate(order):
        # Holm (1979): step down, stop at the first that is not significant.
        if least[j] > ALPHA / (len(order) - place):
            break
        flagged.add(int(j))
    return [
        ColumnScreen(
            part.column,
            part.p,
            part.distance,
            part.null_p,
            part.odd_p,
            part.coherence_z,
            part.column in flagged or part.coherence_z < -COHERENCE_Z,
            part.column in flagged or part.coherence_z < -LOOK_Z or least[part.column] < LOOK_P,
        )
        for part in raw
    ]


def suspects(live: Live) -> frozenset[int]:
    """Return the columns of which a large part are values that training could not give."""
    found = set()
    for j, profile in enumerate(live.reference.columns):
        known = live.known(j)
        if j in live.absent or not known.any():
            continue
        if profile.numbers is not None:
            odd = float(live.odd(j)[known].mean()) - odd_rate(profile)
        else:
            unseen = float(np.mean(live.cells(j)[known] >= profile.cell_count))
            odd = unseen - (profile.levels.unseen_rate if profile.levels is not None else 0.0)
        if odd > SUSPECT_SHARE:
            found.add(j)
    return frozenset(found)


def _test(live: Live, j: int) -> ColumnScreen:
    if j in live.absent or j in live.broken or not live.rows:
        return ColumnScreen(j, 1.0, 0.0, 1.0, 1.0, 0.0, False)
    return replace(alone(live, j), coherence_z=coherence_z(live, j))


def alone(live: Live, j: int) -> ColumnScreen:
    """Return what a column's own values show."""
    return live.once(j, "screen", lambda: _alone(live, j))


def _alone(live: Live, j: int) -> ColumnScreen:
    profile = live.reference.columns[j]
    rows = live.rows
    known = live.known(j)
    p, distance, odd_p = 1.0, 0.0, 1.0
    if profile.numbers is not None and known.any():
        distance = ks_of(profile.numbers, live.sample(j))
        size = known.sum() * profile.numbers.rows / (known.sum() + profile.numbers.rows)
        p = float(kolmogorov(max(0.0, distance - 1 / len(profile.numbers.grid)) * np.sqrt(size)))
    for is_odd, rate in odd_rates(live, j) if known.any() else ():
        odd_p = min(odd_p, _upper(int(is_odd[known].sum()), int(known.sum()), rate))
    if profile.role is not Role.TEXT and known.any():
        # The value that grew most, among as many as there are: a default in one row of twenty shows nowhere else.
        odd_p = min(odd_p, spike_p(live, j))
    cell_p, cell_distance = _cells_p(live, j)
    if profile.role is not Role.TEXT:
        p, distance = min(p, cell_p), max(distance, cell_distance) if profile.numbers is None else distance
    nulls = rows - int(known.sum())
    expected = (profile.null_share * profile.rows + 0.5) / (profile.rows + 1)
    null_p = 2 * min(_upper(nulls, rows, expected), _lower(nulls, rows, expected))
    return ColumnScreen(j, p, distance, min(1.0, null_p), odd_p, 0.0, False)


def odd_rates(live: Live, j: int) -> list[tuple[Mask, float]]:
    """Return which known values of a column are odd, in each sense that there is, and the rate of them in training."""
    profile = live.reference.columns[j]
    if profile.numbers is not None:
        far = live.once(j, "far", lambda: far_rows(profile, live.numbers(j)))
        return [(live.odd(j), odd_rate(profile)), (far, far_rate(profile))]
    if profile.role is Role.LEVEL and profile.levels is not None:
        return [(live.cells(j) == profile.cell_count, unseen_bound(profile.levels) + 0.003)]
    return []


def _upper(hits: int, rows: int, rate: float) -> float:
    """Return the chance of so many hits or more: the binomial distribution as a beta function, which is quick."""
    return float(betainc(hits, rows - hits + 1, min(rate, 1.0))) if hits else 1.0


def _lower(hits: int, rows: int, rate: float) -> float:
    """Return the chance of so many hits or fewer."""
    return float(betaincc(hits + 1, rows - hits, rate)) if hits < rows else 1.0


def _cells_p(live: Live, j: int) -> tuple[float, float]:
    """Return p of the G-test over cells, rare ones pooled, and total variation."""
    profile = live.reference.columns[j]
    count = profile.cell_count
    counted = np.bincount(live.cells(j), minlength=count + 1)[:count].astype(np.float64)
    rows = counted.sum()
    if rows < 5 or count < 2:
        return 1.0, 0.0
    expected = profile.cell_shares * rows
    rare = expected < LEAST_EXPECTED
    observed = np.append(counted[~rare], counted[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0.5
    observed, expected = observed[kept], expected[kept]
    if len(observed) < 2:
        return 1.0, 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        g = 2 * np.sum(np.where(observed > 0, observed * np.log(observed / expected), 0.0))
    # Training is a sample too: the statistic is smaller by the part of the variance that is its own.
    g *= profile.rows / (profile.rows + rows)
    distance = 0.5 * float(np.abs(observed - expected).sum() / rows)
    return float(chdtrc(len(observed) - 1, max(g, 0.0))), distance


def coherence_z(live: Live, j: int) -> float:
    """Return how much less than in training a column agrees with the others, as a z-statistic; 0 when it never did."""
    joint = live.reference.joint
    mean, sd = agreement_of(live, j) if live.rows >= 20 else (0.0, 0.0)
    if sd <= 0:
        return 0.0
    table, cells = live.table(j), live.cells(j)
    inside = cells < live.reference.columns[j].cell_count
    if inside.sum() < 20:
        return 0.0
    given = table[np.arange(live.rows), cells][inside]
    # The live rows' own spread counts where it is larger: in a mixture it is.
    spread = max(sd, float(given.std()))
    return float((given.mean() - mean) / (spread * np.sqrt(1 / len(given) + 2 / max(20, joint.rows))))


def agreement_of(live: Live, j: int) -> tuple[float, float]:
    """Return mean and deviation of a column's agreement in training with those that take part; 0 for hardly any."""
    mean, sd = (float(each) for each in live.reference.joint.coherence[j])
    if sd <= 0 or mean <= LEAST_COHERENCE:
        return 0.0, 0.0
    mean *= _agreement_left(live, j)
    return (mean, sd) if mean > LEAST_COHERENCE else (0.0, 0.0)


def _agreement_left(live: Live, j: int) -> float:
    """Return the part of a column's agreement in training that columns still taking part account for, by golden rows.

    A column that only its square knew cannot lose more when the square is broken.
    """
    if not live.absent and not live.broken and not live.suspects - {j}:
        return 1.0
    control = live.golden()
    if control is None:
        return 1.0
    full = live.of_training(f"agreement of {j}", lambda: _agreement(control.whole(), j))
    return float(np.clip(_agreement(control, j) / full, 0.0, 1.0)) if full > 0 else 1.0


def _agreement(golden: Live, j: int) -> float:
    cells = np.minimum(golden.cells(j), golden.reference.columns[j].cell_count)
    return float(golden.table(j)[np.arange(golden.rows), cells].mean())


def z_p(z: float) -> float:
    """Return the chance of a normal deviate at most z."""
    return float(ndtr(z))
