"""Columns of numbers that went through a map: units, scalers, logarithms, signs, affine maps; wholly or in part.

Source: the catalogue of maps is `maps`; the share of affected rows is fitted by EM, rows being weighed by how well
both the value and the other columns fit. False positives: any location-scale drift looks like an affine map, and wide
columns survive a factor of two. So a map counts only by values that training could not give, or by the other columns;
its distance to training after undoing must be within the noise of a fair sample of that size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tallystick.parity.columns import EPOCH_UNITS, Floats, epoch_unit
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.finding import Finding, agreement_z
from tallystick.parity.detect.fitting import (
    Undone,
    map_ratios,
    near_map,
    undone_by,
    upper_end,
)
from tallystick.parity.detect.maps import (
    NumberMap,
)
from tallystick.parity.detect.oddness import made_odd_by, odd_misfit
from tallystick.parity.detect.own_values import (
    FEWEST_VALUES,
    HALF,
    MOSTLY,
    exactly_back,
    is_chosen,
    is_free,
    is_spread,
    is_training_s,
    may_be_default,
    needs_rounding,
    step_for,
)
from tallystick.parity.detect.peers import peers_of
from tallystick.parity.detect.precision import coarse_elsewhere
from tallystick.parity.detect.rounding import by_itself, room_in, rounded_distance, widest_share
from tallystick.parity.detect.shape import shape_nats
from tallystick.parity.detect.suggested import of_coarse_rows, of_one_value
from tallystick.parity.detect.trial import (
    NEARLY_SAME,
    best_of,
    constant_maps,
    gains_of,
    maps_for,
    on_trial,
    sent_step,
    trial_rows,
    tried_on,
)
from tallystick.parity.distribution import cdf
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints, NumberProfile, cells_of
from tallystick.parity.yardsticks import (
    CLAIM_NATS,
    impossible_of,
    ks_bound,
    ks_of,
    odd_rate,
    odd_rows,
    trusted_nats,
)

#: Rows that a map needs, and what names a map besides its constants.
FEWEST_KNOWN, _WORDS = 8, ("name", "function", "base", "of", "to")
#: Part of the gain of a map that explains a column which another's must be on the rows of the trial to be looked at.
FAR_BEHIND = 0.25
#: Nats by which a map with fitted constants must be better than one with a name, its cost being paid.
OVER_NAMED = 2.0
#: Kinds whose constants were counted on training's rows, and nats by which a line is clearly another map than these.
COUNTED, CLEARLY = frozenset({"standardized", "standardized_twice", "minmax_scaled", "wrong_scaler"}), 20.0
#: A map that undoes this share of the distance is believed with other evidence, though a rest remains.
REST_SHARE = 0.4
#: Below this share a fitted mixture is taken for noise.
LEAST_SHARE = 0.02
#: Part of the distance that a map of fewer than half of the rows may leave when no value is odd. The other part is for
#: maps that change no distribution (a sign), and what noise may add.
HARDLY_BETTER, WORSE = 0.9, 1.5
#: Part of the odd values that may still be odd when a map is undone.
STILL_ODD = 0.3
#: Nats that training's digits speak at most against a map that leaves hardly any: as many as others speak for one.
SOUND_NATS = 4.0
#: Logarithm below which a factor is near 1, and gain that one needs in a part of the rows, where no value is odd.
NEAR_ONE, NEAR_ONE_NATS = 0.35, 30.0
#: Nats that refute a map.
MISFIT_NATS = 7.0
#: Other columns may say nothing of a map, but must not speak against it, unless values that training could not give
#: say many times as much.
OPPOSED_Z, OPPOSED_TIMES = -3.0, 20.0


def detect_maps(live: Live, column: int) -> list[Finding]:
    """Return the maps that explain a column of numbers, best first."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = np.isfinite(values)
    if numbers is None or known.sum() < FEWEST_KNOWN or numbers.distinct < 2:
        return []
    if len(np.unique(values[known])) < FEWEST_VALUES:
        judged = [_judge(live, column, each) for each in of_one_value(live, column)]
        return sorted((each for each in judged if each is not None), key=lambda finding: -finding.gain)
    tried = live.once(column, "maps", lambda: on_trial(live, column))
    maps, gain = tried.maps, gains_of(live, column, tried)
    first, sent = int(np.argmax(gain)), sent_step(live, column)
    more = near_map(profile, maps[first], float(gain[first]), values[known], sent)
    if more is not None:
        again = tried_on(live, column, [more], tried.rows)
        maps, gain = [*maps, more], np.append(gain, gains_of(live, column, again))
    more_maps = of_coarse_rows(live, column)
    if more_maps:
        told = gains_of(live, column, tried_on(live, column, more_maps, tried.rows))
        maps, gain = [*maps, *more_maps], np.append(gain, told)
    fitting = _judged(live, column, maps, gain)
    named = [finding for finding in fitting if finding.exact or not _is_fitted(finding)]
    if named:
        # Constants with a name are not fitted: a fitted map that is a little better has only more freedom.
        best = max(finding.gain for finding in named)
        fitting = [
            finding
            for finding in fitting
            if any(finding is other for other in named) or finding.gain > best + OVER_NAMED
        ]
    fitting = [finding for finding in fitting if not _is_named_too(finding, fitting, column, numbers.sd)]
    fitting = _without_coincidences(numbers, column, values, fitting)
    return sorted(fitting, key=lambda finding: -finding.gain)


def _without_coincidences(numbers: NumberProfile, column: int, values: Floats, found: list[Finding]) -> list[Finding]:
    """Leave out units and scalings that meet training's values only about, where another meets them exactly."""
    # Six decimals are met by any factor of few digits; a lattice is not, nor are whole numbers.
    kinds = COUNTED | {"unit"} if numbers.is_lattice or numbers.decimals == 0 else {"unit"}
    lines = [each for each in found if each.kind in kinds and _is_led_back(numbers, column, each)]
    settled = [np.where(each.rows, np.asarray(each.undo[column], dtype=np.float64), np.nan) for each in lines]
    given = [(float(each.transformation["factor"]), float(each.transformation.get("offset", 0.0))) for each in lines]
    stays = by_itself(numbers, values, settled, given)
    out = {id(each) for each, is_kept in zip(lines, stays, strict=True) if not is_kept}
    return [each for each in found if id(each) not in out]


def detect_map_like(live: Live, column: int, found: Finding) -> list[Finding]:
    """Return the map that was found in another column, where it explains this one too."""
    if live.reference.columns[column].numbers is None or live.known(column).sum() < FEWEST_KNOWN:
        return []
    # Of those that training alone tells, mostly: fitted ones take as long as all of the rest.
    is_fitted = _is_fitted(found)
    all_maps = (
        maps_for(live, column)
        if is_fitted
        else live.of_training(f"maps of {column}", lambda: constant_maps(live, column))[0]
    )
    maps = [each for each in all_maps if each.kind == found.kind and _has_same_name(each, found)]
    if not maps:
        return []
    tried = tried_on(live, column, maps, trial_rows(live, column))
    judged = _judge(live, column, maps[int(np.argmax(gains_of(live, column, tried)))])
    return [] if judged is None else [judged]


def _has_same_name(each: NumberMap, found: Finding) -> bool:
    """Whether a map has the words of another; its constants may be its own column's."""
    return all(found.transformation.get(name) == each.parameters.get(name) for name in _WORDS)


def _judged(live: Live, column: int, maps: list[NumberMap], gain: Floats) -> list[Finding]:
    """Return what the best maps explain; those far behind one that does are left out."""
    found: list[Finding] = []
    for k in best_of(maps, gain):
        if found and gain[k] < FAR_BEHIND * max(finding.gain for finding in found):
            break
        finding = _judge(live, column, maps[k])
        if finding is not None and not _is_slight(finding):
            found.append(finding)
    return found


def _is_led_back(numbers: NumberProfile, column: int, finding: Finding) -> bool:
    """Whether undoing leads nearly all values to values, or digits, of training."""
    undone = np.asarray(finding.undo[column], dtype=np.float64) if column in finding.undo else np.zeros(0)
    return bool(len(undone)) and bool(is_training_s(numbers, undone[finding.rows]).mean() > MOSTLY)


def _is_slight(finding: Finding) -> bool:
    """Whether a map of some rows is told by other columns alone, and by too little.

    The best of many maps fits chance as well, and a factor near 1 any part of the population.
    """
    if finding.exact or finding.share == 1:
        return False
    factor = float(finding.transformation.get("factor", np.inf)) if finding.kind == "unit" else np.inf
    is_near = factor > 0 and abs(np.log(factor)) < NEAR_ONE
    return finding.gain < (NEAR_ONE_NATS if is_near else CLAIM_NATS)


def _is_named_too(finding: Finding, others: list[Finding], column: int, sd: float) -> bool:
    """Whether a fitted map undoes to what a map with a name undoes to; scalers differ by a row in how they count."""
    if not _is_fitted(finding):
        return False
    for other in others:
        if not _is_fitted(other) and (other.kind in COUNTED or finding.gain < other.gain + CLEARLY):
            apart = np.asarray(other.undo[column], dtype=np.float64) - np.asarray(
                finding.undo[column], dtype=np.float64
            )
            if float(np.nanmedian(np.abs(apart[finding.rows]))) < NEARLY_SAME * sd:
                return True
    return False


def _is_fitted(finding: Finding) -> bool:
    return finding.kind in ("affine", "not_standardized") or finding.transformation.get("name") == "unnamed"


@dataclass(frozen=True)
class _Own:
    """A column as it was sent: without gaps, how far from training, and how much of it is impossible.

    `points` are its values, each once, `place` is where each row's stands among them, and `density` how likely they
    are. `ranks` are those of training at its sample's points.
    """

    safe: Floats
    points: Floats
    place: Ints
    density: Floats
    distance: float
    impossible: float
    ranks: Floats


def _own(live: Live, column: int) -> _Own:
    return live.once(column, "own", lambda: _as_sent(live, column))


def _as_sent(live: Live, column: int) -> _Own:
    profile, values = live.reference.columns[column], live.numbers(column)
    numbers = profile.numbers
    assert numbers is not None
    safe = np.where(live.known(column), values, numbers.median)
    points, place = np.unique(safe, return_inverse=True)
    density, sample = log_density(numbers, numbers.decimals, points), live.sample(column)
    impossible = impossible_of(profile, values, live.odd(column))
    return _Own(safe, points, place, density, ks_of(numbers, sample), impossible, cdf(numbers, sample.points))


def _judge(live: Live, column: int, each: NumberMap) -> Finding | None:
    """Fit the share on all rows and weigh the evidence; None when the map does not explain the column."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known, sent = live.known(column), step_for(live, column, each)
    own = _own(live, column)
    # Each value once: counts and codes repeat a few.
    made, place = undone_by(numbers, [each], own.points, sent), own.place
    tried = Undone(made.exact[:, place], made.settled[:, place], made.slope[:, place])
    alone = np.where(known, map_ratios(profile, made, own.density)[0, place], 0.0)
    trained, made_odd = made_odd_by(profile, each, sent)
    odd_before = live.odd(column)
    # A map that leaves hardly a value with training's digits seldom made one that has them.
    left = max(1 - float(made_odd.mean()), float(np.exp(-SOUND_NATS)))
    lost = None if is_free(each) else coarse_elsewhere(live, column)
    if lost is not None:
        alone = np.where(known, lost.weighed(alone), 0.0)
    else:
        # What a map leaves where it is, as a factor does 0, says nothing.
        alone = np.where(known & ~odd_before & (tried.settled[0] != own.safe), alone + np.log(left), alone)
    undone, room = np.where(known, tried.settled[0], np.nan), room_in(tried.slope[0], own.safe, sent)
    table, rows = live.table(column), np.arange(live.rows)
    here, back = table[rows, live.cells(column)], table[rows, cells_of(profile, made.settled[0])[place]]
    heard = np.where(known, back - here, 0.0)
    shares, gains = fit_share((alone + heard)[None, known])
    share, gain = float(shares[0]), float(gains[0]) - each.cost
    if share < LEAST_SHARE:
        return None
    weight_alone = posterior(alone, share)
    weight = posterior(alone + heard, share)
    z = mixture_z(weight_alone[known], here[known], back[known])
    affected = known & (weight > 0.5)
    if share > 0.9 or (share > 0.6 and affected[known].mean() > 0.97):
        share, affected = 1.0, known
    if not is_spread(numbers, undone[affected], widest_share(numbers, undone, room)):
        return None
    moved = affected & (undone != values)
    if may_be_default(numbers, each, values[moved], odd_before[moved]):
        return None
    if needs_rounding(numbers, each, values[affected], sent) and odd_before[affected].mean() < HALF:
        # Values that training could give, and with its digits: another population has them too.
        return None
    repaired = np.where(affected, undone, values)
    count = int(known.sum())
    odd_after = np.where(affected, odd_rows(profile, undone), odd_before)
    impossible = own.impossible - impossible_of(profile, repaired, odd_after)
    said = trusted_nats(z, float(mixed(weight_alone, heard)[known].sum()) - each.cost)
    nats = impossible + said + (shape_nats(numbers, each, undone, own.distance) if share == 1 else 0.0)
    was_rounded = lost is not None and lost.has(affected)
    nats += lost.nats if lost is not None and was_rounded else 0.0
    opposed = z < OPPOSED_Z and impossible < OPPOSED_TIMES * z * z / 2
    if opposed or nats < CLAIM_NATS or affected.sum() < 2:
        return None
    before, after = own.distance, _distance_after(live, column, each, tried, share, sent)
    # Few rows, of which the others alone speak: undoing them must bring the column nearer to training.
    nearer = HARDLY_BETTER if said < 4 * CLAIM_NATS else WORSE
    if impossible < CLAIM_NATS and share < HALF and after > nearer * before:
        return None
    bound = ks_bound(numbers, count)
    fair = odd_rate(profile) * count
    rest = after <= REST_SHARE * before and odd_after.sum() <= max(STILL_ODD * odd_before.sum(), 2 * fair + 2)
    peers = peers_of(profile, each, values, undone, affected, odd_before, sent)
    # Chosen constants may lead to anybody's rows.
    as_others = peers.are_alike and not is_chosen(each)
    if not (after <= bound or ((rest or as_others) and nats > 3 * CLAIM_NATS)):
        return None
    gain -= 0.5 * np.log(count) * is_chosen(each)
    misfit = odd_misfit(profile, each, values[affected], trained, made_odd, share == 1, sent) * (not was_rounded)
    if misfit > MISFIT_NATS and not as_others:
        return None
    gain -= _misfit_nats(numbers, count, after) + misfit if peers.misfit is None else peers.misfit
    explained = odd_before.sum() >= 0.9 * affected.sum() and odd_after.sum() <= max(0.1 * odd_before.sum(), fair)
    named = each.kind not in ("affine",) and each.parameters.get("name") != "unnamed"
    evidence = [
        f"KS to training {before:.2f}, after undoing {after:.2f} (a fair sample stays under {bound:.2f})",
        f"{int(odd_before.sum())} of {count} values are none that training could give, "
        f"{int(odd_after.sum())} after undoing",
    ]
    if abs(z) > 1:
        evidence.append(f"the other columns {'agree' if z > 0 else 'do not agree'} with undoing it (z = {z:.1f})")
    kind, parameters = _named_for_times(each, values, undone)
    return Finding(
        kind,
        (profile.name,),
        parameters,
        share if share < 1 else 1.0,
        nats,
        bool(explained and named and odd_before.sum() >= 5),
        tuple(evidence),
        affected,
        {column: repaired},
        _forward(profile.name, each),
        gain + exactly_back(numbers, each, values[affected & odd_before], sent),
    )


def _misfit_nats(numbers: NumberProfile, rows: int, distance: float) -> float:
    """Return what the distance that undoing leaves speaks against a map (Kolmogorov's tail, two samples)."""
    size = rows * numbers.rows / (rows + numbers.rows)
    return 2.0 * size * max(0.0, distance - 1 / len(numbers.grid)) ** 2


def _distance_after(live: Live, column: int, each: NumberMap, tried: Undone, share: float, sent: float) -> float:
    """Return the KS distance that undoing a map leaves: of a share of rows, to training mixed with mapped training."""
    numbers, own, sample = live.reference.columns[column].numbers, _own(live, column), live.sample(column)
    assert numbers is not None
    if share == 1:
        exact, back = (np.where(live.known(column), made[0], np.nan) for made in (tried.exact, tried.settled))
        return rounded_distance(numbers, exact, room_in(tried.slope[0], own.safe, sent), back)
    undone = upper_end(numbers, each, sample.points, sent)
    mapped = cdf(numbers, np.nan_to_num(undone, nan=numbers.minimum - 1, posinf=1e300, neginf=-1e300))
    if each.is_decreasing:
        mapped = 1 - mapped
    return float(np.abs(sample.upper - ((1 - share) * own.ranks + share * mapped)).max(initial=0.0))


def _named_for_times(each: NumberMap, values: Floats, undone: Floats) -> tuple[str, Mapping[str, Any]]:
    """A factor of 1000 between two counts of the epoch is a matter of its unit."""
    was, now = epoch_unit(undone), epoch_unit(values)
    if each.kind == "unit" and was and now and was != now:
        return "epoch_unit", {"from": was, "to": now, "factor": EPOCH_UNITS[now] / EPOCH_UNITS[was]}
    return each.kind, each.parameters


def _forward(name: str, each: NumberMap) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        with np.errstate(all="ignore"):
            return {name: each.forward(np.asarray(columns[name], dtype=np.float64))}

    return put


__all__ = ["agreement_z", "detect_maps"]
