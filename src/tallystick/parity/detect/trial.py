"""All maps of a column of numbers, tried on some of its rows: which are worth a look at all rows.

What training's constants give is worked out once an inquiry, what a column's own values say once as long as they stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.density import fit_share, log_density
from tallystick.parity.detect.fitting import fitted_maps, map_ratios, undone_by
from tallystick.parity.detect.maps import (
    NumberMap,
    curve_maps,
    inverses_of,
    scalers,
    scaling_maps,
    sign_maps,
    temperature_maps,
    unit_maps,
)
from tallystick.parity.detect.rounding import live_step
from tallystick.parity.lint import is_standardized
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints, NumberProfile, cells_of
from tallystick.parity.yardsticks import on_lattice

#: Rows that all maps are tried on; the best are fitted on all rows.
TRIAL_ROWS = 160
TRIED_FULLY = 7
TRIED_OF_A_KIND = 3
#: Difference of constants, times the rows they were counted on, up to which a line is a scaler's.
COUNTED_APART = 2.0
#: The same of a scaler by quantiles, as a part.
QUANTILES_APART = 0.01
#: Distance, in training's deviations, below which two undoings are the same.
NEARLY_SAME = 0.05


@dataclass(frozen=True)
class Trial:
    """What a column's own values say of each map on some of the rows: maps x rows of ratios and of training's cells."""

    maps: list[NumberMap]
    rows: Ints
    ratio: Floats
    cells: Ints
    is_collapsing: Mask


def on_trial(live: Live, column: int) -> Trial:
    """Return all maps of a column, tried on some of its rows."""
    return tried_on(live, column, maps_for(live, column), trial_rows(live, column))


def trial_rows(live: Live, column: int) -> Ints:
    """Return the rows that maps are tried on: evenly spread over the values."""
    known, values = live.known(column), live.numbers(column)
    # By value, so that the order of rows says nothing.
    return np.flatnonzero(known)[np.argsort(values[known], kind="stable")][:: max(1, int(known.sum()) // TRIAL_ROWS)]


def tried_on(live: Live, column: int, maps: list[NumberMap], rows: Ints) -> Trial:
    """Return maps, tried on these rows."""
    profile, values = live.reference.columns[column], live.numbers(column)
    numbers = profile.numbers
    assert numbers is not None
    # Each value once: counts and codes repeat a few.
    points, place = np.unique(values[rows], return_inverse=True)
    undone = undone_by(numbers, maps, points, sent_step(live, column))
    cells = cells_of(profile, undone.exact.ravel()).reshape(undone.exact.shape)
    ratio = map_ratios(profile, undone, log_density(numbers, numbers.decimals, points))
    return Trial(maps, rows, ratio[:, place], cells[:, place], _collapsing(numbers, undone.settled, ratio > 0))


def gains_of(live: Live, column: int, tried: Trial) -> Floats:
    """Return how much better each map tells some of the rows than none does, for all rows, less its cost."""
    table, here = live.table(column)[tried.rows], live.cells(column)[tried.rows]
    rows = np.arange(len(tried.rows))
    # The others' verdict on each row, so that a map with an unchanged distribution (a sign) can be seen.
    _, gain = fit_share(tried.ratio + (table[rows, tried.cells] - table[rows, here]), 15)
    gain[tried.is_collapsing] = -np.inf
    count = int(live.known(column).sum())
    return np.asarray(gain * (count / len(rows)) - np.array([each.cost for each in tried.maps]))


def _collapsing(numbers: NumberProfile, undone: Floats, told: Mask) -> Mask:
    """Return the maps under whose inverse distinct values become one: with enough of that, anything fits.

    `undone` are maps x distinct values, `told` those that a map tells better than none does: sound ones beside them may
    become anything.
    """
    inside = told & (undone >= numbers.minimum) & (undone <= numbers.maximum)
    if numbers.is_lattice:
        inside &= on_lattice(numbers, undone)
        # Differences that a lattice does not tell are none.
        undone = np.searchsorted((numbers.lattice[1:] + numbers.lattice[:-1]) / 2, undone).astype(np.float64)
    ordered = np.sort(np.where(inside, undone, np.inf), axis=1)
    is_new = np.isfinite(ordered)
    is_new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return np.asarray(is_new.sum(axis=1) < 0.6 * inside.sum(axis=1))


def best_of(maps: list[NumberMap], gain: Floats) -> list[int]:
    """Return the maps worth a full look: the best, of each kind a few."""
    picked: list[int] = []
    for k in np.argsort(-gain):
        if gain[k] > 2.0 and sum(maps[j].kind == maps[k].kind for j in picked) < TRIED_OF_A_KIND:
            picked.append(int(k))
    return picked[:TRIED_FULLY]


def sent_step(live: Live, column: int) -> float:
    """Return the step that a column's values were rounded to; see `live_step`."""
    return live.once(column, "step", lambda: live_step(live.reference.columns[column], live.numbers(column)))


def maps_for(live: Live, column: int) -> list[NumberMap]:
    """Return the maps that a column may have gone through: known ones, and those that its values suggest."""
    return live.once(column, "maps to try", lambda: _maps_for(live, column))


def _maps_for(live: Live, column: int) -> list[NumberMap]:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    constant, counted = live.of_training(f"maps of {column}", lambda: constant_maps(live, column))
    fitted = fitted_maps(profile, live.numbers(column), is_standardized(profile), sent_step(live, column))
    return [*constant, *_moving(numbers, _as_counted(fitted, counted, numbers.rows))]


def constant_maps(live: Live, column: int) -> tuple[list[NumberMap], list[NumberMap]]:
    """Return the maps whose constants training alone tells, and of these the scalings."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    others = live.of_training("scalers", lambda: scalers(live.reference))
    counted = scaling_maps(live.reference, profile.name, numbers, is_standardized(profile), others)
    maps = [*unit_maps(), *temperature_maps(), *curve_maps(numbers), *sign_maps(numbers), *counted]
    return _moving(numbers, maps), counted


def _moving(numbers: NumberProfile, maps: list[NumberMap]) -> list[NumberMap]:
    return [each for each, is_nothing in zip(maps, _are_nothing(numbers, maps), strict=True) if not is_nothing]


def _are_nothing(numbers: NumberProfile, maps: list[NumberMap]) -> Mask:
    """Return which maps leave values where they are, nearly: proportions are scaled to their range already."""
    moved = np.abs(inverses_of(maps, numbers.grid) - numbers.grid)
    with np.errstate(invalid="ignore"):
        return np.asarray(moved.mean(axis=1) < NEARLY_SAME * numbers.sd)


def _as_counted(lines: list[NumberMap], counted: list[NumberMap], rows: int) -> list[NumberMap]:
    """Return fitted lines, by the name of the scaler whose constants one has but for what is counted, by n or n - 1."""
    constants = np.array([(each.parameters["factor"], each.parameters["offset"]) for each in counted]).reshape(-1, 2)
    # Quantiles are interpolated in many ways.
    room = np.array([QUANTILES_APART if "iqr" in each.parameters else COUNTED_APART / rows for each in counted])
    found: list[NumberMap] = []
    nearest: dict[int, tuple[float, NumberMap]] = {}
    for line in lines:
        is_free = line.kind == "affine" or line.parameters.get("name") == "unnamed"
        if is_free and counted:
            factor, offset = line.parameters["factor"], line.parameters.get("offset", 0.0)
            apart = np.abs(offset - constants[:, 1]) / max(1.0, abs(offset))
            off = np.maximum(np.abs(factor / constants[:, 0] - 1), apart)
            k = int(np.argmin(off / room))
            if off[k] < room[k]:
                same = counted[k]
                line = replace(line, kind=same.kind, parameters=same.parameters, cost=same.cost)
                # Of several lines that are one scaler's the nearest will do.
                if k not in nearest or off[k] < nearest[k][0]:
                    nearest[k] = off[k], line
                continue
        found.append(line)
    return [*found, *(line for _, line in nearest.values())]
