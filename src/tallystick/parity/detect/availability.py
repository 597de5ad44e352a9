"""Values that are not there: nulls, defaults in their place, one value for all, values of other rows.

Source: excess of one value over training (binomial), with the rest of the column as it was. False positives: a popular
value may grow popular, and missing values may go with a part of the population. Then the rows that hold it look like
training rows that held it; filled rows look like any row. That *slice test* is asked before anything is claimed, except
for values that training never gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.finding import (
    CLAIM_NATS,
    Finding,
    binomial_nats,
    far_rate,
    far_rows,
    ks_bound,
    ks_distance,
    odd_rows,
)
from tallystick.parity.detect.levels import FILL_WORDS
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, cdf, cdf_below, quantiles_of

#: Rows in excess that make a fill worth naming.
LEAST_EXCESS_ROWS = 4
CANDIDATES = 5
SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 1e9, -1e9)


def detect_availability(live: Live, column: int) -> list[Finding]:
    """Return nulls, fills, constants and bounds of one column."""
    found = [_nulls(live, column)]
    if live.reference.columns[column].role is not Role.TEXT:
        found.append(_one_value(live, column))
    return [finding for finding in found if finding is not None]


def slice_nats(live: Live, column: int, rows: Mask, cell: int, excess: float) -> float:
    """Return how much better the rows look like any rows than like training's rows of that cell, in nats.

    `excess` is the part of them that would be filled. Bounded per row; negative where the population explains it.
    """
    table = live.table(column)
    if cell >= table.shape[1] - 1 or not rows.any():
        return 0.0
    apart = table[rows, cell]
    # A mixture: some of the rows hold the value rightly. Against: all of them do.
    mixed = np.log(excess + (1 - excess) * np.exp(apart))
    gap = mixed - apart
    spread = float(gap.std(ddof=1)) if len(gap) > 1 else 0.0
    # Other columns that agree too well with each other overstate each row; the spread of the rows keeps that in bounds.
    z = float(gap.mean()) / max(spread / np.sqrt(len(gap)), 1e-3)
    return float(np.sign(z) * min(z * z / 2, abs(float(gap.sum())), 50.0))


def _nulls(live: Live, column: int) -> Finding | None:
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
    whole = count / rows > 0.99
    if whole and not never:
        nats = max(nats, gain / 2) if nats > -3 else nats
    if nats < CLAIM_NATS / 2:
        return None
    evidence = (f"{count} of {rows} values are missing; in training {profile.null_share:.1%}",)
    strength = live.reference.label_strength.get(profile.name, 0.0)
    kind = "feature_absent" if whole and strength > 0.95 else "nulls"
    share = 1.0 if whole else excess
    return Finding(
        kind,
        (profile.name,),
        {"null_share": count / rows},
        share,
        nats,
        never,
        evidence,
        missing,
        {},
        _fill_forward(profile, None, share),
        gain=gain,
    )


def _one_value(live: Live, column: int) -> Finding | None:
    """Judge the value that grew most: a fill, a constant, or the bound of a clip."""
    picked = _grown_value(live, column)
    if picked is None:
        return None
    value, holds, expected = picked
    profile = live.reference.columns[column]
    known = live.known(column)
    count, rows = int(holds.sum()), int(known.sum())
    gain = _spike_nats(live, column, picked)
    excess = float(np.clip((count / rows - expected) / max(1 - expected, 1e-9), 0.0, 1.0))
    if gain < CLAIM_NATS or count - expected * rows < LEAST_EXCESS_ROWS:
        return None
    name, is_default = _recognised(profile, value)
    never = _is_new(profile, value, expected)
    if never and profile.numbers is not None and not bool(far_rows(profile, np.array([float(value)]))[0]):
        # Inside the range and of training's resolution, it may just not have come up yet: unless it floods.
        never = gain > 15.0
    cell = int(live.cells(column)[holds][0])
    sliced = 0.0 if never else slice_nats(live, column, holds, cell, min(1.0, excess * rows / count))
    if profile.numbers is not None and profile.numbers.distinct > 10:
        # A mix of the population changes neighbouring numbers alike; one number alone it seldom does.
        sliced += min(6.0, gain / 8) * (sliced > -2.0)
    if profile.numbers is not None and count != rows:
        clipped = _clipped(live, column, float(value), holds, gain, is_default)
        if clipped is not None:
            return clipped
    if not never and sliced < CLAIM_NATS / 2:
        return None
    if profile.numbers is None and never and not is_default:
        return None
    if count < rows and not _rest_is_as_trained(live, column, holds):
        return None
    kind = "default_fill" if count < rows or is_default else "constant"
    nats = gain / 2 if never else max(sliced, CLAIM_NATS)
    evidence = [f"{count} of {rows} values are {value}{name}; in training {expected:.1%}"]
    if not never:
        evidence.append(f"rows that hold it look like any rows, not like training's rows with it ({sliced:.0f} nats)")
    if count < rows:
        evidence.append("the rest of the column is as in training")
    return Finding(
        kind,
        (profile.name,),
        {"value": value, **({"is": name.strip(" ()")} if name else {})},
        1.0 if count == rows else excess,
        nats,
        bool(never and count >= 5),
        tuple(evidence),
        holds,
        # What stood there is not known, so nothing is undone: the column takes no further part.
        {},
        _fill_forward(profile, value, 1.0 if count == rows else excess),
        gain=gain,
    )


def spike_p(live: Live, column: int) -> float:
    """Return the chance that any value is as much more frequent than in training as the one that grew most."""
    picked = _grown_value(live, column)
    if picked is None:
        return 1.0
    return float(min(1.0, np.exp(-_spike_nats(live, column, picked))))


def _spike_nats(live: Live, column: int, picked: tuple[Any, Mask, float]) -> float:
    """Return how much the value grew, in nats, less what the best of as many values as there are grows by chance."""
    value, holds, expected = picked
    known = live.known(column)
    profile = live.reference.columns[column]
    if profile.numbers is not None and bool(far_rows(profile, np.array([float(value)]))[0]):
        return binomial_nats(int(holds.sum()), int(known.sum()), far_rate(profile))
    tries = len(set(live.values[column][known].tolist()))
    return _growth(profile, int(holds.sum()), int(known.sum()), expected) - float(np.log(tries))


def _growth(profile: ColumnProfile, count: int, rows: int, expected: float) -> float:
    """Return the log-likelihood ratio of two shares against one: training is a sample too, and may be a small one."""
    if profile.numbers is not None:
        trained = profile.numbers.rows
    else:
        assert profile.levels is not None
        trained = profile.levels.rows
    before = expected * trained
    pooled = (count + before) / (rows + trained)
    if not rows or count <= pooled * rows:
        return 0.0
    return binomial_nats(count, rows, pooled) + _under(before, trained, pooled)


def _under(count: float, rows: int, rate: float) -> float:
    """Return rows * KL(count / rows, rate) for a share below the rate."""
    seen = max(count / rows, 1e-12)
    return float(rows * (seen * np.log(seen / rate) + (1 - seen) * np.log((1 - seen) / (1 - rate))))


def _grown_value(live: Live, column: int) -> tuple[Any, Mask, float] | None:
    """Return the value whose share grew most against training, its rows, and its share in training."""
    profile = live.reference.columns[column]
    known = live.known(column)
    if known.sum() < 5:
        return None
    if profile.numbers is None:
        texts = live.texts(column)
        named = Counter(texts[known].tolist())
        values, counts = np.array(list(named), dtype=object), np.array(list(named.values()))
        expected = np.array([_level_share(profile, str(value)) for value in values])
    else:
        values, counts = np.unique(live.numbers(column)[known], return_counts=True)
        expected = _number_shares(profile, values)
    # Only values that came at least twice, the most frequent and the most overdue, are worth weighing.
    ahead = np.argsort(expected * known.sum() - counts)[:CANDIDATES]
    grown = [_growth(profile, int(counts[k]), int(known.sum()), float(expected[k])) for k in ahead]
    best = int(ahead[int(np.argmax(grown))])
    value = float(values[best]) if profile.numbers is not None else str(values[best])
    holds = live.values[column] == values[best]
    return value, np.asarray(holds, dtype=bool) & known, float(expected[best])


def _level_share(profile: ColumnProfile, value: str) -> float:
    assert profile.levels is not None
    total = float(profile.levels.counts.sum()) + 1.0
    try:
        return float((profile.levels.counts[profile.levels.levels.index(value)] + 0.5) / total)
    except ValueError:
        return max(0.5 / total, 0.002)


def _number_shares(profile: ColumnProfile, values: Floats) -> Floats:
    """Return the share of each value in training; for continuous columns at least what one more repeat would be."""
    numbers = profile.numbers
    assert numbers is not None
    if numbers.is_lattice:
        place = np.clip(np.searchsorted(numbers.lattice, values), 0, len(numbers.lattice) - 1)
        hit = np.isclose(numbers.lattice[place], values, rtol=1e-9, atol=0)
        # A value of no lattice point has half a row's share; one beyond the range a tenth of that.
        outside = (values < numbers.minimum) | (values > numbers.maximum)
        none = np.where(outside, 0.05, 0.5) / (numbers.rows + 1)
        return np.asarray(np.where(hit, (numbers.counts[place] + 0.5) / (numbers.rows + 1), none))
    # Of a grid of quantiles: equal neighbours show an atom; otherwise a value has less than one step of mass.
    steps = np.searchsorted(numbers.grid, values, side="right") - np.searchsorted(numbers.grid, values, side="left")
    shares = np.where(steps > 1, steps / len(numbers.grid), 0.0)
    for atom, share in zip(numbers.atoms, numbers.atom_shares, strict=True):
        shares = np.where(values == atom, share, shares)
    usual = min(0.5 / len(numbers.grid), 3.0 / max(1.0, numbers.distinct))
    return np.asarray(np.maximum(shares, usual))


def _is_new(profile: ColumnProfile, value: Any, expected: float) -> bool:
    """Whether training gave the value so rarely that no part of the population can consist of it."""
    if profile.numbers is None:
        assert profile.levels is not None
        return str(value) not in profile.levels.levels
    numbers = profile.numbers
    if numbers.is_lattice:
        return not bool(np.isclose(numbers.lattice, float(value), rtol=1e-9, atol=0).any())
    if bool(odd_rows(profile, np.array([float(value)]))[0]):
        return True
    # Where training rarely repeats itself, a repeated value is news; where it does, some part may repeat one more.
    usual = min(0.5 / len(numbers.grid), 3.0 / max(1.0, numbers.distinct))
    return numbers.distinct > 0.5 * numbers.rows and expected <= usual + 1e-12


def _recognised(profile: ColumnProfile, value: Any) -> tuple[str, bool]:
    """Return what a value is known as, and whether that is what defaults are made of."""
    if profile.numbers is None:
        assert profile.levels is not None
        if str(value).strip().lower() in FILL_WORDS:
            return "", True
        is_mode = bool(profile.levels.levels) and value == profile.levels.levels[0]
        return (" (training's most frequent)", False) if is_mode else ("", False)
    numbers, number = profile.numbers, float(value)
    if number == 0.0:
        return "", True
    if number in SENTINELS and bool(odd_rows(profile, np.array([number]))[0]):
        return " (a sentinel)", True
    if abs(number - numbers.mean) <= 1e-3 * max(numbers.sd, 1e-12):
        return " (training's mean)", True
    below, upto, step = (
        cdf_below(numbers, np.array([number]))[0],
        cdf(numbers, np.array([number]))[0],
        1 / len(numbers.grid),
    )
    if below <= 0.5 + step and upto >= 0.5 - step:
        return " (training's median)", True
    if len(numbers.lattice) and number == float(numbers.lattice[int(np.argmax(numbers.counts))]):
        return " (training's most frequent)", False
    return "", False


def _rest_is_as_trained(live: Live, column: int, holds: Mask) -> bool:
    """Whether the other values have the distribution that training had without this value."""
    profile = live.reference.columns[column]
    rest = live.known(column) & ~holds
    count = int(rest.sum())
    if count < 10:
        return True
    cells = live.cells(column)
    held = np.unique(cells[holds])
    shares = profile.cell_shares.copy()
    observed = np.bincount(cells[rest], minlength=len(shares) + 1)[: len(shares)].astype(np.float64)
    if profile.null_share > 0:
        shares[-1] = 0.0
        observed[-1] = 0.0
    # The value's own cell is left out on both sides: in a continuous column it keeps its other values.
    shares[held[held < len(shares)]] = 0.0
    observed[held[held < len(shares)]] = 0.0
    if np.mean(cells[rest] >= len(shares)) > 0.1:
        return False
    if shares.sum() <= 0 or observed.sum() < 10:
        return True
    expected = shares / shares.sum() * observed.sum()
    kept = expected > 1
    statistic = float(np.sum((observed[kept] - expected[kept]) ** 2 / expected[kept]))
    freedom = max(1, int(kept.sum()) - 1)
    return bool(statistic < freedom + 3.5 * np.sqrt(2 * freedom) + 3)


def _clip_nats(held: int, beyond: int, rows: int, usual: float) -> float:
    """Return how much better the counts on, beyond and within a bound fit a clip than a fill, in nats.

    Both have one free share: a clip moves rows from beyond only, a fill from beyond and within alike.
    """
    counts = np.array([held, beyond, rows - held - beyond], dtype=np.float64)

    def fit(cells: Any) -> float:
        shares = np.linspace(0.005, 0.995, 199)
        table = np.log(np.maximum(np.stack(cells(shares)), 1e-9))
        return float((counts @ table).max())

    clip = fit(lambda s: (s * usual, (1 - s) * usual, np.full(len(s), 1 - usual)))
    fill = fit(lambda s: (s, (1 - s) * usual, (1 - s) * (1 - usual)))
    return clip - fill


def _clipped(live: Live, column: int, value: float, holds: Mask, gain: float, is_default: bool) -> Finding | None:
    """Return a clip at `value` when what lay beyond it in training stands on it, wholly or for a share of rows."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    rows = int(known.sum())
    for side, beyond_live, beyond in (
        ("upper", known & (values > value), 1 - float(cdf(numbers, np.array([value]))[0])),
        ("lower", known & (values < value), float(cdf(numbers, np.array([value - 1e-9 * max(1.0, abs(value))]))[0])),
    ):
        held = int(holds.sum())
        if not 0.01 < beyond < 0.6 or beyond_live.sum() > 0.9 * beyond * rows:
            continue
        # Rows on the bound and rows beyond it must together be what training had beyond it.
        together, error = (held + beyond_live.sum()) / rows, np.sqrt(beyond * (1 - beyond) / rows)
        own = _number_shares(profile, np.array([value]))[0]
        share = float(np.clip(1 - beyond_live.sum() / (beyond * rows), 0.0, 1.0))
        if abs(together - beyond - own) > 3.5 * error + 0.01 or share < 0.15:
            continue
        if _clip_nats(held, int(beyond_live.sum()), rows, beyond) < (4.0 if is_default else 0.0):
            continue
        inner = values[known & ~holds & ~beyond_live]
        if not _inner_fits(profile, inner, value, side):
            continue
        heard = _beyond_nats(live, column, holds, value, side)
        if own > 0.002 and (heard < 0 or heard + gain < 25.0):
            continue
        share = 1.0 if share > 0.9 else share
        evidence = (
            f"{held} of {rows} values stand on {value:g}, {int(beyond_live.sum())} beyond; "
            f"in training {beyond:.1%} lay beyond",
            "values on the inner side are as in training",
        )
        return Finding(
            "clipped",
            (profile.name,),
            {"bound": value, "side": side},
            share,
            gain,
            bool(own < 0.002 and held >= 5 and gain > 15),
            evidence,
            holds,
            {},
            _clip_forward(profile.name, value, side),
            gain=gain + 2.0,
        )
    return None


def _beyond_nats(live: Live, column: int, holds: Mask, value: float, side: str) -> float:
    """Return how much better the rows on a bound fit the cells beyond it than the bound's own, in nats."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    table = live.table(column)[holds]
    cell = int(live.cells(column)[holds][0])
    middle = quantiles_of(numbers, np.linspace(0.01, 0.99, 99))
    from tallystick.parity.profile import cells_of

    beyond = np.unique(cells_of(profile, middle[middle > value] if side == "upper" else middle[middle < value]))
    beyond = beyond[beyond < profile.cell_count]
    if not len(beyond) or not len(table):
        return 0.0
    weight = profile.cell_shares[beyond] / max(1e-12, float(profile.cell_shares[beyond].sum()))
    return float(np.sum(np.log(np.exp(table[:, beyond]) @ weight + 1e-300) - table[:, cell]))


def _inner_fits(profile: ColumnProfile, inner: Floats, value: float, side: str) -> bool:
    numbers = profile.numbers
    assert numbers is not None
    if len(inner) < 10:
        return True
    edge = cdf(numbers, np.array([value]))[0]
    ranks = cdf(numbers, np.sort(inner))
    scaled = ranks / edge if side == "upper" else (ranks - edge) / (1 - edge)
    steps = np.arange(1, len(inner) + 1) / len(inner)
    return bool(np.abs(scaled - steps).max() < 1.3 * ks_bound(numbers, len(inner)) + 1 / len(inner))


def _fill_forward(profile: ColumnProfile, value: Any, share: float) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given = np.array(columns[profile.name], dtype=object if profile.numbers is None else np.float64)
        picked = np.random.default_rng(0).random(len(given)) < share
        given[picked] = (np.nan if profile.numbers is not None else None) if value is None else value
        return {profile.name: given}

    return put


def _clip_forward(name: str, value: float, side: str) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given = np.asarray(columns[name], dtype=np.float64)
        return {name: np.minimum(given, value) if side == "upper" else np.maximum(given, value)}

    return put


__all__ = ["detect_availability", "ks_distance", "slice_nats"]
