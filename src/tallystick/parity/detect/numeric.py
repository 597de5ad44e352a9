"""Columns of numbers that went through a map: units, scalers, logarithms, signs, affine maps; wholly or in part.

Source: the catalogue of maps is `maps`; the share of affected rows is fitted by EM, rows being weighed by how well
both the value and the other columns fit. False positives: any location-scale drift looks like an affine map, and wide
columns survive a factor of two. So a map counts only by values that training could not give, or by the other columns;
its distance to training after undoing must be within the noise of a fair sample of that size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tallystick.parity.columns import EPOCH_UNITS, Floats, epoch_unit
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.finding import (
    CLAIM_NATS,
    Finding,
    agreement_z,
    impossible_nats,
    ks_bound,
    ks_distance,
    odd_rows,
    trusted_nats,
)
from tallystick.parity.detect.maps import (
    NumberMap,
    affine,
    curve_maps,
    scaling_maps,
    sign_maps,
    temperature_maps,
    unit_maps,
)
from tallystick.parity.lint import is_standardized
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, NumberProfile, cdf, cells_of

#: Rows that all maps are tried on; the best are fitted on all rows.
TRIAL_ROWS = 160
TRIED_FULLY = 7
#: Nats that a map with fitted constants costs: there are many to choose from.
FITTED_COST = 20.0
TRIED_OF_A_KIND = 3
#: A map that undoes this share of the distance is believed with other evidence, though a rest remains.
REST_SHARE = 0.4
#: Below this share a fitted mixture is taken for noise.
LEAST_SHARE = 0.02
#: Distance, in training's deviations, below which two undoings are the same.
NEARLY_SAME = 0.05
#: Standard deviations that a far value lies off the mean, with room.
SCALER_ERROR = 4.0
#: Other columns may say nothing of a map, but must not speak against it.
OPPOSED_Z = -3.0


def detect_maps(live: Live, column: int) -> list[Finding]:
    """Return the maps that explain a column of numbers, best first."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = np.isfinite(values)
    if numbers is None or known.sum() < 8 or numbers.distinct < 2 or len(np.unique(values[known])) < 3:
        return []
    maps = _maps_for(live, column)
    trial = np.flatnonzero(known)[:: max(1, int(known.sum()) // TRIAL_ROWS)]
    ratio = _ratios(profile, maps, values[trial])
    table, here = live.table(column)[trial], live.cells(column)[trial]
    rows = np.arange(len(trial))
    for k, each in enumerate(maps):
        # The others' verdict on each row, so that a map with an unchanged distribution (a sign) can be seen.
        ratio[k] += table[rows, cells_of(profile, _inverse(each, values[trial]))] - table[rows, here]
    _, gain = fit_share(ratio, 15)
    gain[_collapsing(maps, numbers, values[trial])] = -np.inf
    gain = gain * (known.sum() / len(trial)) - np.array([each.cost for each in maps])
    found = [_judge(live, column, maps[k]) for k in _best(maps, gain)]
    fitting = [finding for finding in found if finding is not None]
    named = [finding for finding in fitting if finding.exact]
    if named:
        # Constants with a name are not fitted: a fitted map that is a little better has only more freedom.
        best = max(finding.gain for finding in named)
        fitting = [finding for finding in fitting if finding.exact or finding.gain > 1.05 * best + 20.0]
    fitting = [finding for finding in fitting if not _is_named_too(finding, fitting, column, numbers.sd)]
    return sorted(fitting, key=lambda finding: -finding.gain)


def _is_named_too(finding: Finding, others: list[Finding], column: int, sd: float) -> bool:
    """Whether a fitted map undoes to what a map with a name undoes to; scalers differ by a row in how they count."""
    if not _is_fitted(finding):
        return False
    for other in others:
        if not _is_fitted(other):
            apart = np.asarray(other.undo[column], dtype=np.float64) - np.asarray(
                finding.undo[column], dtype=np.float64
            )
            if float(np.nanmedian(np.abs(apart[finding.rows]))) < NEARLY_SAME * sd:
                return True
    return False


def _is_fitted(finding: Finding) -> bool:
    return finding.kind in ("affine", "not_standardized") or finding.transformation.get("name") == "unnamed"


def _collapsing(maps: list[NumberMap], numbers: NumberProfile, values: Floats) -> list[int]:
    """Return the maps under whose inverse distinct values become one: with enough of that, anything fits."""
    points = np.unique(values)
    found = []
    for k, each in enumerate(maps):
        undone = _settled(numbers, _inverse(each, points), False)
        inside = undone[(undone >= numbers.minimum) & (undone <= numbers.maximum)]
        if len(np.unique(inside)) < 0.6 * len(inside):
            found.append(k)
    return found


def _best(maps: list[NumberMap], gain: Floats) -> list[int]:
    """Return the maps worth a full look: the best, of each kind a few."""
    picked: list[int] = []
    for k in np.argsort(-gain):
        if gain[k] > 2.0 and sum(maps[j].kind == maps[k].kind for j in picked) < TRIED_OF_A_KIND:
            picked.append(int(k))
    return picked[:TRIED_FULLY]


def _inverse(each: NumberMap, values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return each.inverse(values)


def _maps_for(live: Live, column: int) -> list[NumberMap]:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    scaled = is_standardized(profile)
    maps = [*unit_maps(), *temperature_maps(), *curve_maps(numbers), *sign_maps(numbers)]
    maps += scaling_maps(live.reference, profile.name, numbers, scaled)
    maps += _fitted_maps(profile, live.numbers(column), scaled)
    return maps


def _fitted_maps(profile: ColumnProfile, values: Floats, scaled: bool) -> list[NumberMap]:
    """Return the affine maps that quantiles suggest: of all rows, and of the rows that training could not give."""
    numbers = profile.numbers
    assert numbers is not None
    known = values[np.isfinite(values)]
    odd = known[odd_rows(profile, known)]
    maps = []
    for part in (known, odd) if 15 <= len(odd) < 0.97 * len(known) else (known,):
        if len(part) < 15:
            continue
        ranks = np.linspace(0.05, 0.95, 37)
        theirs = np.interp(ranks, np.linspace(0, 1, len(numbers.grid)), numbers.grid)
        ours = np.quantile(part, ranks)
        # The regression is of training on live (the inverse), as live quantiles are the noisy ones only by sampling.
        if np.ptp(theirs) == 0 or np.ptp(ours) == 0:
            continue
        factor, offset = (float(x) for x in np.polyfit(theirs, ours, 1))
        if not numbers.is_lattice and factor > 0 and not (abs(factor - 1) < 0.02 and abs(offset) < 0.02 * numbers.sd):
            kind = "not_standardized" if scaled else "affine"
            maps.append(affine(kind, factor, offset, 3.0 if scaled else FITTED_COST))
        maps += _spacing_map(numbers, part, "not_standardized" if scaled else "affine")
        middle, size = np.median(part), numbers.median
        if size != 0 and middle / size > 0 and not scaled and not numbers.is_lattice:
            maps.append(affine("unit", float(middle / size), 0.0, FITTED_COST, name="unnamed"))
    return maps


def _spacing_map(numbers: NumberProfile, values: Floats, kind: str) -> list[NumberMap]:
    """Return the affine map that the spacing of live values shows: steps of a lattice survive it, only stretched."""
    if not numbers.is_lattice and numbers.decimals > 2:
        return []
    step = float(np.min(np.diff(numbers.lattice))) if len(numbers.lattice) > 1 else 10.0**-numbers.decimals
    points = np.unique(values)
    gaps = np.diff(points)
    gaps = gaps[gaps > 1e-9 * max(1.0, float(np.abs(points).max()))]
    if len(gaps) < 5:
        return []
    least = float(gaps.min())
    # The least gap that was sent may be several steps; the quantiles' slope tells how many.
    slope = float(np.quantile(values, 0.9) - np.quantile(values, 0.1)) / max(
        float(numbers.grid[int(0.9 * (len(numbers.grid) - 1))] - numbers.grid[int(0.1 * (len(numbers.grid) - 1))]),
        1e-12,
    )
    factor = least / (max(1.0, np.round(least / max(slope * step, 1e-12))) * step)
    # All gaps are whole multiples of the step, or there is no lattice left.
    whole = gaps / (factor * step)
    if np.mean(np.abs(whole - np.round(whole)) < 0.02 * np.maximum(1, whole)) < 0.95:
        return []
    factor = float((points[-1] - points[0]) / np.round((points[-1] - points[0]) / (factor * step)) / step)
    guess = float(np.median(values)) - factor * numbers.median
    origin = numbers.minimum
    steps = np.round((points[0] - guess - factor * origin) / (factor * step)) + np.arange(-3, 4)
    offsets = points[0] - factor * (origin + steps * step)
    if abs(factor - 1) < 1e-6:
        return []
    return [affine(kind, factor, float(offset) if abs(offset) > 1e-9 else 0.0, FITTED_COST) for offset in offsets]


def _ratios(profile: ColumnProfile, maps: list[NumberMap], values: Floats) -> Floats:
    numbers = profile.numbers
    assert numbers is not None
    with np.errstate(all="ignore"):
        undone = np.stack([_settled(numbers, each.inverse(values), each.is_estimated) for each in maps])
        slope = np.stack([np.broadcast_to(np.log(each.slope(values)), values.shape) for each in maps])
    decimals = profile.numbers.decimals if profile.numbers else None
    after = log_density(numbers, decimals, undone)
    if not numbers.is_lattice:
        # The slope stretches densities inside training's range; beyond it there is none to stretch.
        inside = (undone >= numbers.minimum) & (undone <= numbers.maximum) & np.isfinite(slope)
        after = after + np.where(inside, np.where(np.isfinite(slope), slope, 0.0), -5.0)
    return np.asarray(after - log_density(numbers, decimals, values)[None, :])


def _judge(live: Live, column: int, each: NumberMap) -> Finding | None:
    """Fit the share on all rows and weigh the evidence; None when the map does not explain the column."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    alone = np.where(known, _ratios(profile, [each], np.where(known, values, numbers.median))[0], 0.0)
    undone = _settled(numbers, _inverse(each, values), each.is_estimated)
    table, rows = live.table(column), np.arange(live.rows)
    here, back = table[rows, live.cells(column)], table[rows, cells_of(profile, undone)]
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
    if not is_spread(numbers, undone[affected]):
        return None
    repaired = np.where(affected, undone, values)
    before, after = ks_distance(numbers, values), _mixture_distance(live, column, each, share)
    odd_before, odd_after = odd_rows(profile, values), odd_rows(profile, repaired)
    count = int(known.sum())
    nats = impossible_nats(profile, values) - impossible_nats(profile, repaired)
    nats += trusted_nats(z, float(mixed(weight_alone, heard)[known].sum()) - each.cost)
    bound = ks_bound(numbers, count)
    fits = after <= bound or (after <= REST_SHARE * before and nats > 3 * CLAIM_NATS)
    if not fits or z < OPPOSED_Z or nats < CLAIM_NATS or affected.sum() < 2:
        return None
    if each.kind in ("affine", "not_standardized") or each.parameters.get("name") == "unnamed":
        gain -= 0.5 * np.log(count)
    explained = odd_before.sum() >= 0.9 * affected.sum() and odd_after.sum() <= 0.1 * odd_before.sum()
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
        gain,
    )


def is_spread(numbers: NumberProfile, undone: Floats) -> bool:
    """Whether undone values vary as training's do: one value repeated is a default, whatever map it may fit."""
    known = undone[np.isfinite(undone)]
    if len(known) < 2:
        return False
    _, counts = np.unique(np.round(known, 9), return_counts=True)
    top = float(
        (numbers.counts.max() / numbers.counts.sum()) if numbers.is_lattice else max(numbers.atom_shares, default=0.0)
    )
    usual = top * len(known)
    return bool(counts.max() <= usual + 3 * np.sqrt(usual * (1 - top)) + max(2.0, 0.1 * len(known)))


def _settled(numbers: NumberProfile, undone: Floats, is_estimated: bool) -> Floats:
    """Return undone values on training's lattice or resolution: estimated constants leave them a little off."""
    step = float(np.median(np.diff(numbers.lattice))) if len(numbers.lattice) > 1 else 10.0**-numbers.decimals
    # A deviation counted with one row more or less moves the tails by about this much.
    part = float(np.clip(SCALER_ERROR * numbers.sd / numbers.rows / step, 0.05, 0.5)) if is_estimated else 0.05
    if numbers.is_lattice:
        return _snapped(numbers.lattice, undone, part)
    if numbers.decimals > 6:
        return undone
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.round(undone, numbers.decimals)
        near = np.abs(rounded - undone) <= part * 10.0**-numbers.decimals
    return np.asarray(np.where(near, rounded, undone))


def _mixture_distance(live: Live, column: int, each: NumberMap, share: float) -> float:
    """Return the KS distance of live values to the fitted mixture of training and mapped training."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    if share >= 1.0:
        return ks_distance(numbers, _settled(numbers, _inverse(each, values), each.is_estimated))
    points = np.sort(values[np.isfinite(values)])
    points = np.unique(points)
    counted = np.searchsorted(np.sort(values[np.isfinite(values)]), points, side="right") / np.isfinite(values).sum()
    undone = _settled(numbers, _inverse(each, points), each.is_estimated)
    mapped = cdf(numbers, np.nan_to_num(undone, nan=numbers.minimum - 1, posinf=1e300, neginf=-1e300))
    if each.is_decreasing:
        mapped = 1 - mapped
    expected = (1 - share) * cdf(numbers, points) + share * mapped
    return float(np.abs(counted - expected).max(initial=0.0))


def _snapped(lattice: Floats, values: Floats, part: float) -> Floats:
    """Return values moved to the training value they all but equal: rounding of undoing must not count."""
    place = np.clip(np.searchsorted(lattice, values), 1, max(1, len(lattice) - 1))
    right = np.minimum(place, len(lattice) - 1)
    near = np.where(
        np.abs(values - lattice[place - 1]) <= np.abs(values - lattice[right]), lattice[place - 1], lattice[right]
    )
    gap = float(np.median(np.diff(lattice))) if len(lattice) > 1 else 1.0
    return np.asarray(np.where(np.abs(values - near) <= part * gap, near, values))


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
