"""Maps whose constants live rows suggest, and how likely values are once a map is undone.

Quantiles give a first guess; a few rounds of EM give each row its part in it (Dempster, Laird & Rubin 1977); steps of a
lattice survive an affine map, only stretched. False positives: any location-scale drift fits; see `numeric`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.density import fit_share, log_density, posterior
from tallystick.parity.detect.maps import NumberMap, affine, inverses_of, slopes_of
from tallystick.parity.detect.rounding import room_in, training_step
from tallystick.parity.distribution import quantiles_among, quantiles_of
from tallystick.parity.lint import is_standardized
from tallystick.parity.profile import ColumnProfile, NumberProfile
from tallystick.parity.yardsticks import CLAIM_NATS, far_nats, odd_rows

#: Nats that a map with fitted constants costs: there are many to choose from. Whole steps of a lattice are few.
FITTED_COST, FACTOR_COST, MOVED_COST = 20.0, 10.0, 6.0
REFITS = 4
#: Part of a value that a map with exact constants may leave it off a lattice: clients round what they convert.
RELATIVE = 0.02
#: Standard deviations that a far value lies off the mean, with room.
SCALER_ERROR = 4.0
#: Share from which a value of a lattice is common.
COMMON = 0.1
#: Spread of a line's values, as a part of its offset, below which it has none.
FLAT = 1e-6
#: Room for what dividing by n or by n - 1 makes, in such differences.
SCALER_ROOM = 1.2
#: Error of a slope of quantiles, times the root of the rows: two standard deviations, with room.
SLOPE_ERROR = 3.0
#: Different odd values that a line must meet, how near (in steps) and what part of the rows; the ranks, as a part of a
#: lattice, by which a guess may be off, and the steps that this is at least and at most; lines that are kept.
FEWEST_MET, MET, MOSTLY = 5, 1e-3, 0.95
REACH, REACH_BOUNDS, MOST_LINES = 0.15, (3, 12), 3
#: Rows, and part of those of training's rarest atom, that a repeated value needs, how many of both are paired, how far
#: off the guess (in logarithms, and in deviations) a line through them may be, and how many lines are tried.
FEWEST_REPEATS, ATOM_PART, MOST_HEAPS, NEAR_SLOPE, MOST_ATOM_LINES = 3, 0.1, 4, 0.5, 24
#: Steps of a lattice off its end that the farthest moved value may have come from.
FROM_END = (-3, -2, -1, 0, 1)
#: Part of the values that training could not give from which a column has moved as a whole.
HALF = 0.5
#: Ranks that lines are fitted to.
RANKS = np.linspace(0.05, 0.95, 37)


def fitted_maps(profile: ColumnProfile, values: Floats, scaled: bool, sent: float) -> list[NumberMap]:
    """Return the affine maps that quantiles suggest: of all rows, and of the rows that training could not give.

    `sent` is the step that values were rounded to.
    """
    numbers = profile.numbers
    assert numbers is not None
    known = np.sort(values[np.isfinite(values)])
    is_odd = odd_rows(profile, known)
    odd = known[is_odd]
    theirs, kind = quantiles_of(numbers, RANKS), "not_standardized" if scaled else "affine"
    maps: list[NumberMap] = []
    for part in (known, odd) if 15 <= len(odd) < 0.97 * len(known) else (known,):
        if len(part) < 15:
            continue
        ours = quantiles_among(part, RANKS)
        # The regression is of training on live (the inverse), as live quantiles are the noisy ones only by sampling.
        if np.ptp(theirs) == 0 or np.ptp(ours) == 0:
            continue
        factor, offset = _line(theirs, ours)
        if len(part) < len(known) and not numbers.is_lattice and factor > 0:
            factor, offset = _refitted(profile, known, factor, offset, sent)
        elif scaled and not numbers.is_lattice and factor > 0:
            # Long tails lead quantiles astray; weighed by how dense values are there, they tell better.
            maps.append(affine("not_standardized", *_refitted(profile, known, factor, offset, sent), 3.0))
        if not numbers.is_lattice and factor > 0 and not (abs(factor - 1) < 0.02 and abs(offset) < 0.02 * numbers.sd):
            maps.append(affine(kind, factor, offset, 3.0 if scaled else FITTED_COST))
        has_left = part is odd or float(is_odd.mean()) > HALF or far_nats(profile, part) > CLAIM_NATS
        maps += _spacing_map(numbers, part, sent, kind, has_left)
        maps += _lattice_maps(numbers, odd, kind, factor, offset)
        maps += _atom_maps(numbers, part, kind, factor, offset)
        if has_left and len(part) < len(known) and not scaled:
            maps += _moved_maps(numbers, part)
        middle, size = _median(part), numbers.median
        if size != 0 and middle / size > 0 and not scaled and not numbers.is_lattice:
            maps.append(affine("unit", float(middle / size), 0.0, FITTED_COST, name="unnamed"))
    return [each for each in maps if not _is_flat(numbers, each)]


def _is_flat(numbers: NumberProfile, each: NumberMap) -> bool:
    """Whether a line makes one value of all of training's, but for the errors of floats."""
    factor, offset = float(each.parameters["factor"]), abs(float(each.parameters.get("offset", 0.0)))
    return abs(factor) * (numbers.maximum - numbers.minimum) < FLAT * offset


def _median(ordered: Floats) -> float:
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _line(theirs: Floats, ours: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Return factor and offset of the line that fits best, NaN where floats have no room for it."""
    given = (theirs, ours, np.ones(len(theirs)) if weights is None else weights)
    if not all(np.isfinite(each).all() for each in given):
        return np.nan, np.nan
    # Of large numbers the squares have none; powers of two change no digit.
    scales = [float(np.ldexp(1.0, -int(np.frexp(np.abs(each).max())[1]))) for each in given]
    theirs, ours, sure = (each * scale for each, scale in zip(given, scales, strict=True))
    if not np.sum((theirs * sure) ** 2) > 0:
        return np.nan, np.nan
    # Least squares, each point as often as its weight's square.
    often = sure * sure / np.sum(sure * sure)
    middle, level = float(often @ theirs), float(often @ ours)
    away = theirs - middle
    slope = float(often @ (away * (ours - level)) / (often @ (away * away)))
    factor, offset = slope * scales[0] / scales[1], (level - slope * middle) / scales[1]
    return (factor, offset) if np.isfinite(factor) and np.isfinite(offset) else (np.nan, np.nan)


def _lattice_maps(numbers: NumberProfile, odd: Floats, kind: str, factor: float, offset: float) -> list[NumberMap]:
    """Return the affine maps, near a first guess, under which values that training could not give are its values.

    Two of them, far apart, are taken for each pair of training values that the guess may mean: the line through these
    meets the others exactly, or it is none.
    """
    if not numbers.is_lattice or factor <= 0:
        return []
    points, counts = np.unique(odd, return_counts=True)
    if len(points) < FEWEST_MET:
        return []
    lattice = numbers.lattice
    middles, step = (lattice[1:] + lattice[:-1]) / 2, float(np.min(np.diff(lattice)))
    ends = points[[len(points) // 8, len(points) - 1 - len(points) // 8]]
    reach = int(np.clip(np.ceil(REACH * len(lattice)), *REACH_BOUNDS))
    near = [int(place) + np.arange(-reach, reach + 1) for place in np.searchsorted(middles, (ends - offset) / factor)]
    low, high = (lattice[each[(each >= 0) & (each < len(lattice))]] for each in near)
    slopes = (
        (ends[1] - ends[0]) / np.where(high[None, :] > low[:, None], high[None, :] - low[:, None], np.nan)
    ).ravel()
    starts = ends[0] - slopes * np.repeat(low, len(high))
    known = np.isfinite(slopes)
    slopes, starts = slopes[known], starts[known]
    undone = (points[None, :] - starts[:, None]) / slopes[:, None]
    place = np.searchsorted(middles, undone)
    met = ((np.abs(undone - lattice[place]) <= MET * step) * counts).sum(axis=1) / counts.sum()
    best = np.flatnonzero(met >= max(MOSTLY, float(met.max(initial=0.0))))
    # Of lines that meet as many, the nearest to the guess; a lattice of even steps has some.
    best = best[np.argsort(np.abs(np.log(slopes[best] / factor)), kind="stable")][:MOST_LINES]
    cost = 3.0 if kind == "not_standardized" else FITTED_COST
    return [affine(kind, float(slopes[k]), float(starts[k]), cost) for k in best]


def _atom_maps(numbers: NumberProfile, values: Floats, kind: str, factor: float, offset: float) -> list[NumberMap]:
    """Return the affine maps that lead values which many training rows had to values that many live rows have.

    `values` are in order.

    A fitted line all but meets them, which is no meeting: such values are a large part of the distribution.
    """
    common, shares = _common(numbers, kind)
    if not len(common) or factor <= 0:
        return []
    points, counts = np.unique(values, return_counts=True)
    often = counts >= np.maximum(FEWEST_REPEATS, ATOM_PART * len(values) * shares.min())
    heaps = points[often][np.argsort(-counts[often], kind="stable")][:MOST_HEAPS]
    atoms = common[np.argsort(-shares, kind="stable")][:MOST_HEAPS]
    lines = [(factor, heap - factor * atoms[0]) for heap in heaps]
    away = quantiles_of(numbers, RANKS) - atoms[0]
    theirs = quantiles_among(values, RANKS)
    with np.errstate(all="ignore"):
        slopes = [float(np.nanmedian(np.where(away != 0, (theirs - heap) / away, np.nan))) for heap in heaps]
    lines += [(slope, heap - slope * atoms[0]) for slope, heap in zip(slopes, heaps, strict=True) if slope > 0]
    for low in range(len(atoms)):
        for high in range(len(atoms)):
            run = atoms[high] - atoms[low]
            rise = heaps[None, :] - heaps[:, None]
            lines += [
                (float(r / run), float(heaps[a] - r / run * atoms[low]))
                for a, row in enumerate(rise)
                for r in row
                if run > 0 and r > 0
            ]
    size = max(numbers.sd, 1e-12)
    fits = [
        (slope, start)
        for slope, start in dict.fromkeys(lines)
        if abs(np.log(slope / factor)) < NEAR_SLOPE
        and abs(start + slope * numbers.median - offset - factor * numbers.median) < NEAR_SLOPE * factor * size
        if abs(slope - 1) > 1e-9 or abs(start) > 1e-9 * size
    ]
    cost = 3.0 if kind == "not_standardized" else FITTED_COST
    return [affine(kind, slope, float(start), cost) for slope, start in fits[:MOST_ATOM_LINES]]


def _common(numbers: NumberProfile, kind: str) -> tuple[Floats, Floats]:
    """Return the values that many training rows had, and their shares; of a lattice where training was scaled.

    Raw values have long tails, by which quantiles lead astray; the zeros of both are the same rows.
    """
    if not numbers.is_lattice:
        return numbers.atoms, numbers.atom_shares
    all_shares = numbers.counts / numbers.counts.sum()
    often = (all_shares >= COMMON) & (kind == "not_standardized")
    return numbers.lattice[often], all_shares[often]


def _moved_maps(numbers: NumberProfile, odd: Floats) -> list[NumberMap]:
    """Return moves by whole steps of a lattice, of some rows of which those that left training's range are known.

    The farthest of them came from training's end, or near it.
    """
    if not numbers.is_lattice or len(numbers.lattice) < 2:
        return []
    step = float(np.min(np.diff(numbers.lattice)))
    ends = [float(odd.min()) - numbers.minimum, float(odd.max()) - numbers.maximum]
    from_end = [ends[0]] * (ends[0] < 0) + [ends[1]] * (ends[1] > 0)
    offsets = [end + step * k for end in from_end for k in FROM_END]
    return [affine("affine", 1.0, offset, MOVED_COST) for offset in offsets if abs(offset) > 0.5 * step]


def near_map(profile: ColumnProfile, best: NumberMap, gain: float, values: Floats, sent: float) -> NumberMap | None:
    """Return the fitted map that the best one leads to: one with a name may only lie near it."""
    numbers = profile.numbers
    factor, offset = float(best.parameters.get("factor", 0.0)), float(best.parameters.get("offset", 0.0))
    if numbers is None or numbers.is_lattice or gain < FITTED_COST or factor <= 0:
        return None
    factor, offset = _refitted(profile, values, factor, offset, sent)
    if is_standardized(profile):
        return affine("not_standardized", factor, offset, 3.0)
    return affine("affine", factor, offset, FITTED_COST)


def _refitted(profile: ColumnProfile, values: Floats, factor: float, offset: float, sent: float) -> tuple[float, float]:
    """Return an affine map fitted to the rows that it seems to have touched, not only to those that are odd.

    A few rounds of EM: the part of each row, then quantiles weighted by it.
    """
    numbers = profile.numbers
    assert numbers is not None
    theirs, values = quantiles_of(numbers, RANKS), np.sort(values)
    # Quantiles are as sure as values are dense there; in a long tail they tell little.
    sure = 1 / (np.gradient(theirs) + 0.02 * max(numbers.iqr, 1e-12))
    before = log_density(numbers, numbers.decimals, values)
    for _ in range(REFITS):
        line = [affine("affine", factor, offset, 0.0)]
        ratio = map_ratios(profile, undone_by(numbers, line, values, sent), before)[0]
        share, _ = fit_share(ratio[None, :], 15)
        weight = posterior(ratio, float(share[0]))
        if weight.sum() < 8:
            break
        ours = np.interp(RANKS, (np.cumsum(weight) - weight / 2) / weight.sum(), values)
        fitted = _line(theirs, ours, sure)
        if not fitted[0] > 0:
            break
        factor, offset = fitted
    return factor, offset


def _spacing_map(numbers: NumberProfile, values: Floats, sent: float, kind: str, has_left: bool) -> list[NumberMap]:
    """Return the affine map that the spacing of live values shows: steps of a lattice survive it, only stretched.

    `values` are in order.
    """
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
    low, high = quantiles_among(values, np.array([0.1, 0.9]))
    slope = float(high - low) / max(
        float(numbers.grid[int(0.9 * (len(numbers.grid) - 1))] - numbers.grid[int(0.1 * (len(numbers.grid) - 1))]),
        1e-12,
    )
    times = least / max(slope * step, 1e-12)
    # A gap of live's own last digit is there whatever led to it, unless it is training's step to the sampling error.
    if abs(least - sent) < 1e-6 * least and abs(times - 1) > SLOPE_ERROR / np.sqrt(len(values)):
        return []
    factor = least / (max(1.0, np.round(times)) * step)
    # All gaps are whole multiples of the step, or there is no lattice left.
    whole = gaps / (factor * step)
    if np.mean(np.abs(whole - np.round(whole)) < 0.02 * np.maximum(1, whole)) < 0.95:
        return []
    factor = float((points[-1] - points[0]) / np.round((points[-1] - points[0]) / (factor * step)) / step)
    guess = _median(values) - factor * numbers.median
    origin = numbers.minimum
    steps = np.round((points[0] - guess - factor * origin) / (factor * step)) + np.arange(-3, 4)
    offsets = points[0] - factor * (origin + steps * step)
    if abs(factor - 1) < 1e-6:
        # Moved by some steps to where training has values too: so may a population. Not moved at all: lost digits.
        moved = offsets[np.abs(offsets) > 1e-3 * step] if has_left else []
        return [affine(kind, factor, float(offset), MOVED_COST) for offset in moved]
    # Fine steps are many between here and the line through the origin, which is the first to be tried all the same.
    from_zero = points[0] / (factor * step) - origin / step
    if (
        kind == "affine"
        and abs(from_zero - np.round(from_zero)) < 1e-3
        and np.abs(offsets).min() > 1e-3 * factor * step
    ):
        offsets = np.append(offsets, 0.0)
    return [
        # A factor alone is the likelier of lines that only stand some steps apart.
        affine("unit", factor, 0.0, FACTOR_COST, name="unnamed")
        if abs(offset) < 1e-3 * factor * step and kind == "affine"
        else affine(kind, factor, float(offset), FITTED_COST)
        for offset in offsets
    ]


@dataclass(frozen=True)
class Undone:
    """Values with each of several maps undone, maps x values: exactly, on training's lattice or digits, how steeply."""

    exact: Floats
    settled: Floats
    slope: Floats


def undone_by(numbers: NumberProfile, maps: Sequence[NumberMap], values: Floats, sent: float) -> Undone:
    """Return values, rounded to `sent`, with each map undone.

    On training's lattice or resolution: estimated constants leave values a little off, and so does the rounding of what
    was converted.
    """
    exact, slope = inverses_of(maps, values), slopes_of(maps, values)
    return Undone(exact, _settled(numbers, maps, exact, room_in(slope, values, sent)), slope)


def map_ratios(profile: ColumnProfile, undone: Undone, before: Floats) -> Floats:
    """Return maps x rows: how much likelier values are as mapped ones than as they are, in nats.

    `before` is how likely they are as they are, as a logarithm.
    """
    numbers = profile.numbers
    assert numbers is not None
    after = log_density(numbers, numbers.decimals, undone.settled)
    if not numbers.is_lattice:
        with np.errstate(all="ignore"):
            slope = np.log(undone.slope)
        # The slope stretches densities inside training's range; beyond it there is none to stretch.
        inside = (undone.settled >= numbers.minimum) & (undone.settled <= numbers.maximum) & np.isfinite(slope)
        # A value that many rows share has a mass, which no map stretches: a zero is a zero in any unit.
        slope = np.where(_on_atom(numbers, undone.settled), 0.0, slope)
        after = after + np.where(inside, np.where(np.isfinite(slope), slope, 0.0), -5.0)
    return np.asarray(after - before[None, :])


def _on_atom(numbers: NumberProfile, values: Floats) -> Mask:
    """Return which values are one that training had in many rows."""
    found = np.zeros(values.shape, dtype=bool)
    for atom in numbers.atoms:
        found |= np.abs(values - atom) <= 1e-9 * max(numbers.sd, abs(float(atom)))
    return found


def inverse_of(each: NumberMap, values: Floats) -> Floats:
    """Return values with a map undone; NaN or infinite where no value led to them."""
    return np.asarray(inverses_of([each], values)[0])


def settled(numbers: NumberProfile, each: NumberMap, values: Floats, sent: float) -> Floats:
    """Return values with a map undone, on training's lattice or resolution; see `undone_by`."""
    return np.asarray(undone_by(numbers, [each], values, sent).settled[0])


def _settled(numbers: NumberProfile, maps: Sequence[NumberMap], exact: Floats, room: Floats) -> Floats:
    step = training_step(numbers)
    estimated = np.array([each.is_estimated for each in maps])[:, None]
    # A deviation counted with one row more or less moves the tails by about this much.
    counted = float(np.clip(SCALER_ERROR * numbers.sd / numbers.rows / step, 0.05, 0.5))
    part = np.where(estimated, counted, 0.05)
    # Counted over n rows or over n - 1, a deviation is off by a part of 1 / 2n, and what it scaled by as much.
    with np.errstate(all="ignore"):
        off = np.abs(exact - inverses_of(maps, np.zeros(1))) * (SCALER_ROOM / (2.0 * max(2, numbers.rows)))
    room = room + np.where(estimated & np.isfinite(off), np.minimum(off, 0.5 * step), 0.0)
    if numbers.is_lattice:
        return _snapped(numbers, exact, part, estimated, room)
    if numbers.decimals > 6:
        return exact
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.round(exact, numbers.decimals)
        if estimated.any() and np.any(room > step):
            # Of all that a rounded value may be, the one that many rows of training had.
            for atom in numbers.atoms:
                rounded = np.where(estimated & (np.abs(exact - atom) <= room), atom, rounded)
        near = np.abs(rounded - exact) <= part * step + room
    return np.asarray(np.where(near, rounded, exact))


def upper_end(numbers: NumberProfile, each: NumberMap, values: Floats, sent: float) -> Floats:
    """Return the largest training values, or the least for a falling map, that rounded values may stand for."""
    undone = undone_by(numbers, [each], values, sent)
    room = room_in(undone.slope[0], values, sent)
    end = undone.exact[0] + (-room if each.is_decreasing else room)
    return np.asarray(np.where(2 * room > training_step(numbers), end, undone.settled[0]))


def _snapped(numbers: NumberProfile, values: Floats, part: Floats, estimated: Mask, rounding: Floats) -> Floats:
    """Return values moved to the training value they all but equal: rounding of undoing must not count."""
    lattice, gap = numbers.lattice, numbers.gap
    place = np.minimum(np.maximum(np.searchsorted(lattice, values), 1), max(1, len(lattice) - 1))
    below, above = lattice[place - 1], lattice[np.minimum(place, len(lattice) - 1)]
    is_below = np.abs(values - below) <= np.abs(values - above)
    if estimated.any() and np.any(rounding > 0):
        # Of two that a rounded value may be, the one that training had more often.
        either = estimated & (np.maximum(np.abs(values - below), np.abs(values - above)) <= rounding)
        is_more = numbers.counts[place - 1] >= numbers.counts[np.minimum(place, len(lattice) - 1)]
        is_below = np.where(either, is_more, is_below)
    near = np.where(is_below, below, above)
    # All small values would become zero otherwise, which often is the most frequent one. Estimated constants set no
    # such limit: no zero would be one again.
    limited = np.minimum(part * gap, RELATIVE * np.abs(near) + 1e-9 * gap)
    room = np.where(estimated, part * gap, limited)
    return np.asarray(np.where(np.abs(values - near) <= room + rounding, near, values))
