"""Values set to a bound: what lay beyond it stands on it, and nothing else has moved.

Source: the likelihood of the counts on the bound, beyond and within it (multinomial), with the clipped share free. A
fill takes rows from beyond and from within alike; a truncated population has nothing on the bound in their place.
False positives: a population may hold more of one value of a lattice. It then holds more of its neighbours too, and its
rows look like rows of that value; both are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.finding import Finding
from tallystick.parity.distribution import as_round_as, cdf, cdf_below, number_shares, quantiles_of
from tallystick.parity.live import Live
from tallystick.parity.matched import FEW_ALIKE, matched
from tallystick.parity.profile import ColumnProfile, NumberProfile, cells_of
from tallystick.parity.readings import part_apart
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, ks_bound, own_part, upper_share

SHARES = np.linspace(0.005, 0.995, 199)
#: Share of training beyond a bound: less says nothing, and of more little is left to tell the bound from a default; of
#: all rows, from a constant.
LEAST_BEYOND, MOST_BEYOND, MOST_OF_ALL = 0.01, 0.6, 0.95
#: What a bound is compared with on the inner side, in its own shares, and the least share of that; and the lattice
#: points that a column must have for neighbours to mean anything.
NEIGHBOURS, LEAST_NEAR, LEAST_POINTS = 3.0, 0.1, 10
#: Nats that a clip must be better than a fill where the value is what defaults are made of, and where it is not: few
#: fill with a number that means nothing.
OVER_DEFAULT, OVER_NUMBER = 4.0, -3.0
#: Nats that a bound needs which is a value of training: groups of rows that share a value come and go together.
LATTICE_NATS = 1.5 * CLAIM_NATS
#: Values of one share of training or less are no part of it.
NO_ATOM = 0.002
#: Most that the other columns' word for or against counts.
HEARD_BOUND = 8.0


def detect_clip(live: Live, column: int, value: float, holds: Mask, is_default: bool) -> Finding | None:
    """Return a clip at `value` when what lay beyond it in training stands on it, wholly or for a share of rows."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    for side in ("upper", "lower"):
        beyond = known & ((values > value) if side == "upper" else (values < value))
        found = _judge(live, column, value, side, holds, beyond, is_default)
        if found is not None:
            return found
    return None


def _judge(
    live: Live, column: int, value: float, side: str, holds: Mask, beyond: Mask, is_default: bool
) -> Finding | None:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    rows, held, left = int(known.sum()), int(holds.sum()), int(beyond.sum())
    usual = _beyond_share(numbers, value, side)
    own = float(number_shares(profile, np.array([value]))[0])
    most = MOST_OF_ALL if not left else MOST_BEYOND
    if not LEAST_BEYOND < usual < most or (numbers.is_lattice and len(numbers.lattice) < LEAST_POINTS):
        return None
    # Rows on the bound and rows beyond it must together be what training had there.
    error = np.sqrt(usual * (1 - usual) / rows)
    share = float(np.clip((held - own * rows) / (usual * rows), 0.0, 1.0)) if left else 1.0
    if (
        left > (1 - share / 3) * usual * rows + error * rows
        or abs((held + left) / rows - usual - own) > 3.5 * error + 0.01
        or share < 0.1
    ):
        return None
    over_none, over_fill = _clip_nats(numbers, held, left, rows, usual, own)
    heard = float(np.clip(_heard(live, column, holds, value, side), -HEARD_BOUND, HEARD_BOUND))
    over_none -= float(np.log(min(len(np.unique(values[known])), 1 / max(own, 1 / numbers.rows))))
    if own > NO_ATOM:
        # One value of a lattice may have grown popular; its neighbours tell.
        over_none = min(over_none, _over_neighbours(numbers, values[known], value, side, held, own))
    once = min(_once(live, holds), part_apart(live, column, holds))
    over_none, heard = once * own_part(numbers, rows) * over_none, once * heard
    nats = over_none + heard
    if (
        nats < (LATTICE_NATS if own > NO_ATOM else CLAIM_NATS)
        or over_none < CLAIM_NATS / 2
        or heard < -CLAIM_NATS
        or _is_fill(over_fill, heard, is_default)
    ):
        return None
    if not _inner_fits(profile, values[known & ~holds & ~beyond], value, side):
        return None
    if own > NO_ATOM and _is_of_the_mix(live, column, value, held, rows):
        return None
    share = 1.0 if left == 0 or (share > 0.9 and left < 0.05 * usual * rows) else share
    evidence = (
        f"{held} of {rows} values stand on {value:g}, {left} beyond; in training {usual:.1%} lay beyond",
        "values on the inner side are as in training",
    )
    return Finding(
        "clipped",
        (profile.name,),
        {"bound": value, "side": side},
        share,
        nats,
        bool(own <= NO_ATOM and held >= 5 and nats > 15),
        evidence,
        holds,
        {},
        _clip_forward(profile.name, value, side),
        gain=nats + 4.0,
    )


def _is_of_the_mix(live: Live, column: int, value: float, held: int, rows: int) -> bool:
    """Whether live rows are a small part of training's, of which so many may stand on a value, too."""
    mix = matched(live, column)
    if mix is None or mix.size >= FEW_ALIKE * mix.golden.rows:
        return False
    own = mix.golden.numbers(column)
    usual, _ = mix.mean((own == value).astype(np.float64), np.isfinite(own))
    return binomial_nats(held, rows, min(0.97, upper_share(usual, mix.size))) < CLAIM_NATS


def _once(live: Live, holds: Mask) -> float:
    """Return the part of the rows on a bound that are each another key's: one key has its value in all of its rows."""
    keys = None if live.asked is None else live.asked.keys
    return 1.0 if keys is None else len(pd.unique(keys[holds])) / max(1, int(holds.sum()))


def _is_fill(over_fill: float, heard: float, is_default: bool) -> bool:
    """Whether the value is rather a default; rows of a default look like any rows, so also like those beyond."""
    if is_default:
        return over_fill + min(heard, 0.0) < OVER_DEFAULT
    return over_fill + heard < OVER_NUMBER


def _beyond_share(numbers: NumberProfile, value: float, side: str) -> float:
    if side == "upper":
        return 1 - float(cdf(numbers, np.array([value]))[0])
    return float(cdf_below(numbers, np.array([value]))[0])


def _clip_nats(
    numbers: NumberProfile, held: int, left: int, rows: int, usual: float, own: float
) -> tuple[float, float]:
    """Return how much better the counts on, beyond and within a bound fit a clip than nothing, and than a fill.

    Both have one free share: a clip moves rows from beyond only, a fill from beyond and within alike.
    """
    counts = np.array([held, left, rows - held - left], dtype=np.float64)
    # What training gave once may have been due twice.
    own = min(own + 1.0 / numbers.rows, 0.5)
    within = max(1 - usual - own, 1e-6)

    def fit(cells: list[Any]) -> float:
        table = np.log(np.maximum(np.stack(cells), 1e-9))
        return float((counts @ table).max())

    one = np.ones(len(SHARES))
    clip = fit([own + SHARES * usual, (1 - SHARES) * usual, within * one])
    fill = fit([SHARES + (1 - SHARES) * own, (1 - SHARES) * usual, (1 - SHARES) * within])
    none = fit([own * one, usual * one, within * one])
    return clip - none, clip - fill


def _over_neighbours(numbers: NumberProfile, values: Floats, value: float, side: str, held: int, own: float) -> float:
    """Return how much the bound grew against the lattice points next to it on the inner side, in nats."""
    # Enough of the inner side to compare with: thrice the bound's own share, and no less than a tenth.
    at = np.array([value])
    width = max(NEIGHBOURS * own, LEAST_NEAR)
    if side == "upper":
        edge = float(cdf_below(numbers, at)[0])
        low, high = float(quantiles_of(numbers, np.array([max(0.0, edge - width)]))[0]), value
        near = int(((values >= low) & (values < high)).sum())
        before = edge - float(cdf_below(numbers, np.array([low]))[0])
    else:
        edge = float(cdf(numbers, at)[0])
        low, high = value, float(quantiles_of(numbers, np.array([min(1.0, edge + width)]))[0])
        near = int(((values > low) & (values <= high)).sum())
        before = float(cdf(numbers, np.array([high]))[0]) - edge
    nats = binomial_nats(held, held + near, min(0.95, own / max(own + before, 1e-9)))
    # Where round numbers are more frequent than they were, each of them is.
    round_ones = (numbers.heaps >= low) & (numbers.heaps <= high) & (numbers.heaps != value)
    round_ones &= as_round_as(value, numbers.heaps)
    if value not in numbers.heaps or not round_ones.any():
        return nats
    near, before = int(np.isin(values, numbers.heaps[round_ones]).sum()), float(numbers.heap_shares[round_ones].sum())
    return min(nats, binomial_nats(held, held + near, min(0.95, own / (own + before))))


def _heard(live: Live, column: int, holds: Mask, value: float, side: str) -> float:
    """Return how much better the rows on a bound fit the cells beyond it than the bound's own, in nats."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    table = live.table(column)[holds]
    cell = int(live.cells(column)[holds][0])
    middle = quantiles_of(numbers, np.linspace(0.01, 0.99, 99))
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
    points, counts = np.unique(inner, return_counts=True)
    ranks = cdf(numbers, points)
    at = np.array([value])
    if side == "upper":
        scaled = ranks / max(1e-9, float(cdf_below(numbers, at)[0]))
    else:
        edge = float(cdf(numbers, at)[0])
        scaled = (ranks - edge) / max(1e-9, 1 - edge)
    steps = np.cumsum(counts) / len(inner)
    return bool(np.abs(scaled - steps).max() < 1.3 * ks_bound(numbers, len(inner)) + 1 / len(inner))


def _clip_forward(name: str, value: float, side: str) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given = np.asarray(columns[name], dtype=np.float64)
        return {name: np.minimum(given, value) if side == "upper" else np.maximum(given, value)}

    return put
