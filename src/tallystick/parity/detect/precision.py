"""Numbers that lost digits: rounded, cut to integers, sent through 32-bit floats.

Source: IEEE 754 and decimal lattices; exact. False positives: a coarser instrument looks the same, and is reported the
same way. Training columns that were already as coarse say nothing and are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.finding import Finding, agreement
from tallystick.parity.distribution import cdf, cdf_below
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.matched import matched
from tallystick.parity.profile import MOST_DECIMALS, ColumnProfile, NumberProfile, has_decimals
from tallystick.parity.readings import part_apart
from tallystick.parity.yardsticks import (
    CLAIM_NATS,
    binomial_nats,
    ks_bound,
    ks_distance,
    odd_rate,
    upper_share,
    z_nats,
)

#: 10 to the minus this, per row, for a training value to have so few digits by chance, is the most that counts.
MOST_DIGITS_UP = -4
#: Points of the grid or lattice on each side that count as near.
NEIGHBOURS = 12
#: Share from which a value of a lattice is taken for one that many rows have as it is.
LATTICE_ATOM = 0.15
#: Gain of a cause that leaves nothing to be explained, over any that explains it by other values.
NOTHING_ELSE = 1000.0
#: Nats by which rounding must tell whole numbers better than a cast.
CAST_NATS = 1.0
#: Distance to training that is not of digits lost past the seventh, nor in some of the rows.
ELSEWHERE = 0.5
#: The same of the values with few digits, to training's when it is cut as they are.
COARSE_ELSEWHERE = 0.35
#: Share of training's values with few digits that is told from none, and what digits say against a rounded value.
LEAST_COARSE, FINE_NATS = 0.02, 4.0
#: Maps that rounding may be taken for, and the part of their rows that must be coarse. Nats that it is worth to need
#: no constant, and that it is worth to a constant with a name that gives so coarse values without rounding.
_NEAR_MAPS, MOSTLY_COARSE, SIMPLER_NATS = frozenset({"unit", "affine", "wrong_scaler"}), 0.95, 4.0


def detect_precision(live: Live, column: int) -> list[Finding]:
    """Return the loss of digits in one column of numbers; no other column has a say in it."""
    return [found for found in _all_lost(live, column) if found.gain > 0]


def _all_lost(live: Live, column: int) -> list[Finding]:
    return live.once(column, "precision", lambda: _detected(live, column))


def _detected(live: Live, column: int) -> list[Finding]:
    """Return the loss of digits that is believed first, and the same of values beyond training's, whose gain is 0."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = np.isfinite(values)
    # With any privacy the reference has no resolution of training to compare with.
    if numbers is None or known.sum() < 5 or numbers.distinct < 8 or profile.privacy != "raw":
        return []
    found = _float32(profile, values, known)
    if found is not None:
        return [found]
    best: dict[bool, Finding] = {}
    for digits in range(MOST_DIGITS_UP, min(numbers.decimals, MOST_DECIMALS)):
        finding = _rounded(live, column, digits)
        if finding is None:
            continue
        # The coarsest lattice that holds as many rows is the one that was rounded to.
        before = best.get(finding.gain > 0)
        if before is None or finding.nats > before.nats * 1.02 + CLAIM_NATS:
            best[finding.gain > 0] = finding
    if True in best and best[True].gain >= best[True].nats:
        # Cut to fewer digits, a value may leave training's range by more than fewer digits left would explain.
        return [best[True]]
    return [best[is_inside] for is_inside in (True, False) if is_inside in best]


def is_of_the_mix(live: Live, column: int, found: Finding) -> bool:
    """Whether training rows that are like the live ones in other columns have so few decimals, too."""
    numbers, digits = live.reference.columns[column].numbers, found.transformation.get("decimals")
    mix = matched(live, column) if numbers is not None and digits is not None else None
    if mix is None or numbers is None or digits is None:
        return False
    own, plain = mix.golden.numbers(column), _coarse_atoms(live.reference.columns[column], digits)
    told = np.isfinite(own) & ~np.isin(own, plain)
    weights = np.where(told, mix.weights, 0.0)
    if not weights.sum() > 0:
        return False
    weights = weights / weights.sum()
    usual = float(weights @ has_decimals(np.where(told, own, 0.5), digits))
    values = live.numbers(column)
    rest = np.isfinite(values) & ~np.isin(values, plain)
    coarse = int((rest & has_decimals(np.where(rest, values, 0.5), digits)).sum())
    rate = min(0.97, upper_share(usual, 1.0 / float(np.sum(weights**2))))
    return binomial_nats(coarse, int(rest.sum()), rate) * part_apart(live, column, rest) < 1.5 * CLAIM_NATS


def _float32(profile: ColumnProfile, values: Floats, known: Any) -> Finding | None:
    numbers = profile.numbers
    assert numbers is not None
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32).astype(np.float64) == values
    # A decimal with few digits is seldom a float32 exactly; what counts is that live values are, and have no such form.
    if numbers.float32_share > 0.9:
        return None
    coarse = has_decimals(
        np.where(known, values, 0.0), min(max(numbers.decimals, 0), MOST_DECIMALS) if numbers.decimals <= 6 else 5
    )
    hits = known & narrow & ~coarse
    count, rows = int(hits.sum()), int(known.sum())
    nats = binomial_nats(count, rows, 0.003 + (numbers.float32_share if numbers.decimals > 6 else 0.0))
    if nats < CLAIM_NATS or count < 3:
        return None
    share = float((narrow & known).sum() / rows)
    share = 1.0 if share > 0.99 else count / rows / max(0.05, 1 - numbers.float32_share)
    evidence = (
        f"{count} of {rows} values are 32-bit floats exactly and not training's decimals; "
        f"in training {numbers.float32_share:.1%}",
    )
    return Finding(
        "float32",
        (profile.name,),
        {"bits": 32},
        min(1.0, share),
        nats,
        True,
        evidence,
        hits,
        {},
        lambda columns: {profile.name: np.asarray(columns[profile.name], dtype=np.float32).astype(np.float64)},
        gain=_float32_gain(numbers, values, nats),
    )


def _float32_gain(numbers: NumberProfile, values: Floats, nats: float) -> float:
    """Return the gain of 32-bit floats: of a column that is training's but for them, nothing else is to be explained.

    Of one that went elsewhere as a whole, what took it there is the cause.
    """
    distance = ks_distance(numbers, np.round(values, min(max(numbers.decimals, 0), MOST_DECIMALS)))
    if distance > ELSEWHERE:
        return min(nats, CLAIM_NATS)
    return nats + (NOTHING_ELSE if distance <= ks_bound(numbers, int(np.isfinite(values).sum())) else 0.0)


def _rounded(live: Live, column: int, digits: int) -> Finding | None:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    coarse = known & has_decimals(np.where(known, values, 0.0), digits)
    count, rows = int(coarse.sum()), int(known.sum())
    if len(np.unique(values[coarse])) < 3:
        return None
    usual = _usual_share(profile, digits, values[known])
    nats = binomial_nats(count, rows, _most_usual(numbers, usual))
    plain = _coarse_atoms(profile, digits)
    if len(plain):
        # What many training rows have as it is, mostly 0, hides what the others lost.
        rest = known & ~np.isin(values, plain)
        rate = _usual_share(profile, digits, values[rest], plain) if rest.any() else 1.0
        others = binomial_nats(int((coarse & rest).sum()), int(rest.sum()), _most_usual(numbers, rate))
        if others > nats:
            nats, usual, count, rows = others, rate, int((coarse & rest).sum()), int(rest.sum())
    if usual > 0.8 or nats < 1.5 * CLAIM_NATS:
        return None
    nats = max(nats, _odd_nats(live, column, coarse, digits))
    share = float(np.clip((count / rows - usual) / (1 - usual), 0.0, 1.0))
    share = 1.0 if count / rows > 0.99 else share
    if share < 1.0 and ks_distance(numbers, values[known]) > ELSEWHERE:
        # The column went elsewhere as a whole, and not to fewer digits: that some have few is a side effect.
        return None
    kind = _cast_kind(live, column, values[coarse], digits)
    gain = max(nats, _lattice_gain(numbers, values[known], digits, kind, share))
    evidence = (f"{count} of {rows} values have at most {digits} decimals; in training {usual:.1%}",)
    return Finding(
        kind,
        (profile.name,),
        {"decimals": digits},
        share,
        nats,
        usual < 0.2,
        evidence,
        coarse,
        {},
        _forward(profile.name, kind, digits),
        gain=_gain(profile, values[coarse], digits, gain),
    )


def _lattice_gain(numbers: NumberProfile, values: Floats, digits: int, kind: str, share: float) -> float:
    """Return how much likelier values of a lattice are where some were cut: each that it has not, and all that grew."""
    if not numbers.is_lattice:
        return 0.0
    cut = _log_shares(numbers, _cut(numbers.lattice, digits, cut=kind == "lossy_cast"), values)
    own = _log_shares(numbers, numbers.lattice, values)
    part = float(np.clip(share, 1e-3, 1 - 1e-3))
    return float(np.logaddexp(np.log1p(-part), np.log(part) + cut - own).sum())


def _gain(profile: ColumnProfile, values: Floats, digits: int, nats: float) -> float:
    """Return the gain of lost digits: little, where the coarse values lie elsewhere than training's, cut, would.

    What took them there is the cause. None, where they are beyond training's range.
    """
    assert profile.numbers is not None
    if not _rest_fits(profile, values, digits):
        return 0.0
    return nats if _off_cut(profile.numbers, values, digits) <= COARSE_ELSEWHERE else min(nats, CLAIM_NATS)


@dataclass(frozen=True)
class CoarseElsewhere:
    """Rows whose values have lost digits, and lie where training's would not for that: something else moved them.

    `usual` is the share of training's values with as few digits, `nats` what the digits tell against a population.
    """

    rows: Mask
    usual: float
    nats: float

    def has(self, rows: Mask) -> bool:
        """Whether all of these rows have lost digits."""
        return bool(self.rows[rows].all())

    def weighed(self, ratio: Floats) -> Floats:
        """Return log-likelihood ratios of rows for a map whose results were rounded: digits tell which went through."""
        return np.asarray(ratio + np.where(self.rows, -np.log(max(self.usual, LEAST_COARSE)), -FINE_NATS))


def coarse_elsewhere(live: Live, column: int) -> CoarseElsewhere | None:
    """Return the rows whose values have lost digits and lie elsewhere than training's cut ones; None without any."""
    return live.once(column, "coarse elsewhere", lambda: _coarse_elsewhere(live, column))


def _coarse_elsewhere(live: Live, column: int) -> CoarseElsewhere | None:
    profile, values = live.reference.columns[column], live.numbers(column)
    for lost in _all_lost(live, column):
        if lost.kind == "float32" or lost.gain >= lost.nats:
            continue
        usual = _coarse_share(profile, int(lost.transformation["decimals"]), None)
        assert profile.numbers is not None
        told = _but_commonest(values[live.known(column)], lost.rows[live.known(column)], profile.numbers, usual)
        if told >= CLAIM_NATS:
            return CoarseElsewhere(np.asarray(lost.rows), usual, min(told, lost.nats))
    return None


def _but_commonest(values: Floats, coarse: Mask, numbers: NumberProfile, usual: float) -> float:
    """Return what coarse values say without the commonest of them, in nats: one value alone may be a default."""
    same = int(np.unique(values[coarse], return_counts=True)[1].max(initial=0))
    return binomial_nats(int(coarse.sum()) - same, len(values) - same, _most_usual(numbers, usual))


def _off_cut(numbers: NumberProfile, values: Floats, digits: int) -> float:
    """Return the Kolmogorov-Smirnov distance of values to training's, rounded or cut, whichever is nearer."""
    points, weights = _points(numbers)
    at, places = np.unique(values, return_counts=True)
    ours, total = np.cumsum(places) / len(values), weights.sum()
    distances = []
    for cut in (False, True):
        made = _cut(points, digits, cut=cut)
        order = np.argsort(made, kind="stable")
        upto = np.append(0.0, np.cumsum(weights[order]) / total)
        theirs = upto[np.searchsorted(made[order], at + 1e-9 * np.maximum(1.0, np.abs(at)), side="right")]
        distances.append(float(np.abs(ours - theirs).max(initial=0.0)))
    return min(distances)


def _odd_nats(live: Live, column: int, coarse: Any, digits: int) -> float:
    """Return how much coarse values that training never had, but has when it is rounded, speak against other rows.

    Of one value it says nothing, which a bound or a default may be.
    """
    profile, values = live.reference.columns[column], live.numbers(column)
    numbers = profile.numbers
    assert numbers is not None
    if not numbers.is_lattice:
        return 0.0
    odd = live.odd(column) & coarse
    made = [_cut(numbers.lattice, digits, cut=cut) for cut in (True, False)]
    odd &= np.isin(values, np.concatenate(made))
    if not odd.any():
        return 0.0
    rows, usual = int(live.known(column).sum()), odd_rate(profile)
    commonest = int(np.unique(values[odd], return_counts=True)[1].max())
    others = binomial_nats(int(odd.sum()) - commonest, rows, usual)
    return binomial_nats(int(odd.sum()), rows, usual) if others >= CLAIM_NATS else 0.0


def _cut(values: Floats, digits: int, *, cut: bool) -> Floats:
    return np.trunc(values) if cut and digits == 0 else np.round(values, digits)


def _coarse_atoms(profile: ColumnProfile, digits: int) -> Floats:
    """Return the values that many training rows had and that have so few decimals."""
    numbers = profile.numbers
    assert numbers is not None
    if not numbers.is_lattice:
        return np.asarray(numbers.atoms[has_decimals(numbers.atoms, digits)])
    shares = numbers.counts / numbers.counts.sum()
    return np.asarray(numbers.lattice[(shares >= LATTICE_ATOM) & has_decimals(numbers.lattice, digits)])


def _most_usual(numbers: NumberProfile, share: float) -> float:
    """Return the share of values with so few digits that another sample, or part, of the population may have."""
    # The reference knows as many values as its grid has points, or its lattice rows.
    trained = numbers.rows if numbers.is_lattice else min(numbers.rows, len(numbers.grid))
    return min(0.97, max(1.25 * share + 0.01, upper_share(share, trained)))


def _usual_share(profile: ColumnProfile, digits: int, at: Floats, but: Floats | None = None) -> float:
    return max(_coarse_share(profile, digits, None, but), _coarse_share(profile, digits, at, but))


def _coarse_share(profile: ColumnProfile, digits: int, at: Floats | None, but: Floats | None = None) -> float:
    """Return the share of training with so few decimals: of all `but` some, or of those that lie near the values `at`.

    Instruments give significant digits: large values have fewer decimals, and a population of large values too.
    """
    numbers = profile.numbers
    assert numbers is not None
    points, weights = _points(numbers)
    if but is not None:
        kept = ~np.isin(points, but)
        if not kept.any():
            return 1.0
        points, weights = points[kept], weights[kept]
    coarse = weights * has_decimals(points, digits)
    if at is None:
        return float(coarse.sum() / weights.sum())
    place = np.searchsorted(points, at)
    low, high = np.maximum(place - NEIGHBOURS, 0), np.minimum(place + NEIGHBOURS, len(points))
    totals, hits = np.concatenate(([0.0], np.cumsum(weights))), np.concatenate(([0.0], np.cumsum(coarse)))
    return float(np.mean((hits[high] - hits[low]) / np.maximum(totals[high] - totals[low], 1e-9)))


def _points(numbers: NumberProfile) -> tuple[Floats, Floats]:
    """Return training's values, or its quantiles, and how many rows each stands for."""
    if numbers.is_lattice:
        return numbers.lattice, np.asarray(numbers.counts, dtype=np.float64)
    return numbers.grid, np.ones(len(numbers.grid))


def _rest_fits(profile: ColumnProfile, values: Floats, digits: int) -> bool:
    """Whether coarse values lie where training's would after rounding; another unit is coarse elsewhere."""
    numbers = profile.numbers
    assert numbers is not None
    step = 10.0**-digits
    low, high = numbers.minimum - step, numbers.maximum + step
    return bool(np.mean((values >= low) & (values <= high)) > 0.97)


def _cast_kind(live: Live, column: int, values: Floats, digits: int) -> str:
    """Tell a cast to integer (towards zero) from rounding, by the distribution that each would give."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    if digits != 0:
        return "rounded"
    gain = _over_cast(numbers, values)
    # Where the two look alike, a cast is the likelier: parsers cut silently, and few round to no decimals.
    return "rounded" if gain > CAST_NATS else "lossy_cast"


def _over_cast(numbers: NumberProfile, values: Floats) -> float:
    """Return how much likelier whole numbers are as rounded ones than as cut ones, in nats."""
    least = 0.5 / numbers.rows
    if numbers.is_lattice:
        total = float(numbers.counts.sum())
        made = [each(numbers.lattice)[None, :] == values[:, None] for each in (np.round, np.trunc)]
        rounded, cut = (np.maximum(hits @ numbers.counts / total, least) for hits in made)
        return float(np.log(rounded / cut).sum())
    # A value cut towards zero stands for what lies up to the next one, a rounded one for half a unit on both sides.
    upwards = cdf_below(numbers, values + 1) - cdf_below(numbers, values)
    downwards = cdf(numbers, values) - cdf(numbers, values - 1)
    own = cdf(numbers, values) - cdf_below(numbers, values)
    cut = np.where(values > 0, upwards, np.where(values < 0, downwards, upwards + downwards - own))
    halves = [(each(numbers, values + 0.5) - each(numbers, values - 0.5)) / 2 for each in (cdf, cdf_below)]
    return float(np.log(np.maximum(halves[0] + halves[1], least) / np.maximum(cut, least)).sum())


def _forward(name: str, kind: str, digits: int) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given = np.asarray(columns[name], dtype=np.float64)
        return {name: _cut(given, digits, cut=kind == "lossy_cast")}

    return put


def is_only_rounded(live: Live, column: int, found: Finding) -> bool:
    """Whether the loss of digits tells a lattice's values better than a map that needs rounding to lead back to it.

    Rounding leaves a lattice coarser than one, or near it. Any factor near 1 then leads back to some value of training
    within half a unit. What training's values give when they are rounded, and when they are mapped and rounded, tells.
    """
    numbers, values = live.reference.columns[column].numbers, live.numbers(column)
    if numbers is None or not numbers.is_lattice or found.kind not in _NEAR_MAPS or column not in found.undo:
        return False
    for lost in detect_precision(live, column):
        if lost.kind == "float32" or np.mean(lost.rows[found.rows]) < MOSTLY_COARSE:
            continue
        digits, sent = int(lost.transformation["decimals"]), values[lost.rows]
        scaled = _put(found, numbers.lattice)
        is_named = found.kind == "unit" and found.transformation.get("name") != "unnamed"
        whole = float(numbers.counts @ has_decimals(scaled, digits)) / numbers.counts.sum()
        is_exact = is_named and whole > MOSTLY_COARSE
        for_map = _log_shares(numbers, np.round(scaled, digits), sent).sum()
        if found.share == 1.0:
            # Elsewhere the rows that a map is in were chosen for what the others say of them.
            near = agreement(live, column, _nearest(numbers, values))
            for_map += z_nats(paired_z(agreement(live, column, found.undo[column]) - near))
        for_loss = _log_shares(numbers, _put(lost, numbers.lattice), sent).sum()
        if for_loss - for_map > (SIMPLER_NATS if is_exact else -SIMPLER_NATS):
            return True
    return False


def _put(found: Finding, values: Floats) -> Floats:
    assert found.forward is not None
    with np.errstate(all="ignore"):
        return np.asarray(found.forward({found.features[0]: values})[found.features[0]], dtype=np.float64)


def _nearest(numbers: NumberProfile, values: Floats) -> Floats:
    """Return the value of training's lattice that each is next to: rounding took it from there, or nearly so."""
    middles = (numbers.lattice[1:] + numbers.lattice[:-1]) / 2
    return np.asarray(np.where(np.isfinite(values), numbers.lattice[np.searchsorted(middles, values)], np.nan))


def _log_shares(numbers: NumberProfile, made: Floats, sent: Floats) -> Floats:
    """Return the logarithm of the share that each value sent has among what was made of training's lattice."""
    points, place = np.unique(np.round(made, MOST_DECIMALS), return_inverse=True)
    shares = np.bincount(place, numbers.counts) / numbers.counts.sum()
    at = np.minimum(np.searchsorted(points, sent), len(points) - 1)
    return np.log(np.where(points[at] == sent, shares[at], 0.0) + 0.5 / numbers.rows)
