"""Two columns that carry each other's values, wholly or in some rows; `shift` sees whole runs of columns.

Source: likelihood of each row's two values as sent and exchanged, and paired evidence of the other columns. False
positives: columns of the same distribution can be exchanged unseen; then only the other columns can tell, and without
them nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.own_values import is_spread
from tallystick.parity.distribution import cdf, quantiles_among
from tallystick.parity.joint import ROW_BOUND, Values
from tallystick.parity.live import Live
from tallystick.parity.profile import LEVEL_CELLS, ColumnProfile, Ints, NumberProfile, cells_of
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, ks_bound, odd_rate, odd_rows, trusted_nats

#: Quantiles that distances between columns are taken at.
SIGNATURE = np.linspace(0.02, 0.98, 33)
#: Pairs that are looked at closely, the most promising first: all of nine columns.
MOST_PAIRS = 36
#: Rows that an exchange must be in, and nats that the other columns say at most of both values of one row.
FEWEST_SWAPPED, MOST_HEARD = 3, 4 * ROW_BOUND
#: Chance of two training columns' distance above which they are distributed alike.
ALIKE_P = 0.01
#: Gain that an exchange needs whose values are all ones that training could give, beyond the logarithm of the number of
#: pairs: columns that nearly agree (grades of one player, shares of one whole) exchange well in any other population.
AGREED_NATS = 30.0


def detect_permutations(live: Live, flagged: list[int]) -> list[Finding]:
    """Return exchanges of two columns of which at least one is flagged."""
    if not flagged or live.rows < 8:
        return []
    found = [swapped(live, i, j) for i, j in _pairs(live, flagged)]
    return sorted((finding for finding in found if finding is not None), key=lambda finding: -finding.gain)


def _comparable(live: Live) -> list[int]:
    return [
        j for j, c in enumerate(live.reference.columns) if c.role in (Role.NUMBER, Role.LEVEL) and j not in live.absent
    ]


def _pairs(live: Live, flagged: list[int]) -> list[tuple[int, int]]:
    columns = _comparable(live)
    chosen = [
        (i, j)
        for i in columns
        for j in columns
        if i < j and (i in flagged or j in flagged) and live.reference.columns[i].role == live.reference.columns[j].role
    ]
    if len(chosen) <= MOST_PAIRS:
        return chosen
    both = [pair for pair in chosen if pair[0] in flagged and pair[1] in flagged]
    if len(both) <= MOST_PAIRS:
        return both
    costs = _distances(live, columns)
    place = {column: index for index, column in enumerate(columns)}
    cross = [costs[place[i], place[j]] + costs[place[j], place[i]] for i, j in both]
    return [both[k] for k in np.argsort(cross)[:MOST_PAIRS]]


def _distances(live: Live, columns: list[int]) -> Floats:
    """Return distance of each live column to each training column, 0 to 1."""
    table = np.ones((len(columns), len(columns)))
    own = live.reference.columns
    held = [a for a, i in enumerate(columns) if own[i].numbers is not None and live.known(i).any()]
    if held:
        quantiles = np.stack([live.once(columns[a], "quantiles", partial(_quantiles, live, columns[a])) for a in held])
        for b, j in enumerate(columns):
            theirs = own[j].numbers
            if theirs is not None:
                table[held, b] = _off(theirs, quantiles)
    for a, i in enumerate(columns):
        if own[i].numbers is None and live.known(i).any():
            for b, j in enumerate(columns):
                if own[j].levels is not None:
                    table[a, b] = live.once(i, f"levels apart from {j}", partial(_levels_apart, live, i, j))
    return table


def _levels_apart(live: Live, column: int, other: int) -> float:
    """Return the distance of a column's levels to those that another column had in training."""
    named, profile = live.counts(column), live.reference.columns[other]
    assert profile.levels is not None
    count, places = profile.cell_count, profile.levels.places
    cells = [min(places[name], LEVEL_CELLS) if name in places else count for name in named]
    counts = np.array(list(named.values()))
    seen = np.bincount(cells, counts, count + 1)[: count + 1] / counts.sum()
    return 0.5 * float(np.abs(seen - np.append(profile.cell_shares, 0.0)).sum())


def _quantiles(live: Live, column: int) -> Floats:
    return quantiles_among(np.sort(live.numbers(column)[live.known(column)]), SIGNATURE)


def _off(theirs: NumberProfile, quantiles: Floats) -> Floats:
    """Return the largest difference of ranks between training and each of the rows of quantiles."""
    upper = cdf(theirs, quantiles)
    lower = cdf(theirs, quantiles - 1e-6 * np.maximum(1.0, np.abs(quantiles)))
    gap = np.where(upper < SIGNATURE, SIGNATURE - upper, np.where(lower > SIGNATURE, lower - SIGNATURE, 0))
    return np.asarray(gap.max(axis=1))


def _ratio(live: Live, column: int, other: int) -> Floats:
    """Return log-likelihood of another column's values in a column against those it has, missing ones too."""
    profile = live.reference.columns[column]
    if profile.numbers is not None:
        after = live.once(other, f"density in {column}", partial(_density, live, other, column))
        before = live.once(column, f"density in {column}", partial(_density, live, column, column))
        return np.asarray(after - before)
    shares = np.append(np.log(profile.cell_shares + 0.5 / profile.rows), -np.log(10.0 * profile.rows))
    return np.asarray(shares[_cells_in(live, other, column)] - shares[live.cells(column)])


def _both_ratios(live: Live, i: int, j: int) -> Floats:
    """Return log-likelihood of both columns' values exchanged against as they are; 0 where they are distributed alike.

    What densities of two samples of one distribution differ by is how they were estimated.
    """
    if live.of_training(f"{i} is as {j}", lambda: _are_alike(live, i, j)):
        return np.zeros(live.rows)
    return _ratio(live, i, j) + _ratio(live, j, i)


def _are_alike(live: Live, i: int, j: int) -> bool:
    one, other = (live.reference.columns[column] for column in (i, j))
    if one.numbers is None or other.numbers is None or one.numbers.is_lattice or other.numbers.is_lattice:
        return False
    if one.null_share or other.null_share:
        return False
    quantiles = np.quantile(one.numbers.grid, SIGNATURE)
    return bool(_off(other.numbers, quantiles[None, :])[0] < ks_bound(other.numbers, one.numbers.rows, ALIKE_P))


def _density(live: Live, column: int, other: int) -> Floats:
    """Return how likely the values of a column are in another one, as a logarithm."""
    profile, values = live.reference.columns[other], live.numbers(column)
    assert profile.numbers is not None
    return _with_missing(profile, log_density(profile.numbers, profile.numbers.decimals, values), values)


def _with_missing(profile: ColumnProfile, density: Floats, values: Floats) -> Floats:
    """Return the log-likelihood of values of which some are missing: training's rate says what that is worth."""
    share = (profile.null_share * profile.rows + 0.5) / (profile.rows + 1)
    return np.asarray(np.where(np.isfinite(values), density + np.log1p(-share), np.log(share)))


def _cells_in(live: Live, column: int, other: int) -> Ints:
    """Return the cells that the values of a column have in another one."""
    profile = live.reference.columns[other]
    return live.once(column, f"cells in {other}", lambda: cells_of(profile, live.values[column]))


def swapped(live: Live, i: int, j: int) -> Finding | None:
    """Return the exchange of two columns, i before j; None where it explains nothing."""
    own = live.reference.columns
    alone = _both_ratios(live, i, j)
    if np.sum(alone > -MOST_HEARD) < FEWEST_SWAPPED:
        return None
    rows = np.arange(live.rows)
    sent, heard = _told_by_others(live, i, j)
    shares, gains = fit_share((alone + heard)[None, :])
    share, gain = float(shares[0]), float(gains[0]) - 2.0
    if gain < CLAIM_NATS:
        return None
    weight = posterior(alone + heard, share)
    z = mixture_z(posterior(alone, share), sent, sent + heard)
    whole = share > 0.9
    affected = rows >= 0 if whole else weight > 0.5
    if affected.sum() < FEWEST_SWAPPED:
        return None
    undo: dict[int, Values] = {
        i: np.where(affected, live.values[j], live.values[i]),
        j: np.where(affected, live.values[i], live.values[j]),
    }
    after = live.with_values(undo)
    odd = _odd_nats(live, i) + _odd_nats(live, j) - _odd_nats(after, i) - _odd_nats(after, j)
    nats = odd + trusted_nats(z, float(mixed(posterior(alone, share), heard).sum()) - 2.0)
    columns = len(_comparable(live))
    if odd < CLAIM_NATS and gain < AGREED_NATS + np.log(max(1, columns * (columns - 1) / 2)):
        return None
    if z < -2.0 or not (_varies(after, i, affected) and _varies(after, j, affected)):
        return None
    if nats < CLAIM_NATS or not (_fits(after, i) and _fits(after, j)):
        return None
    names = (own[i].name, own[j].name)
    evidence = (
        f"values of {names[0]} and {names[1]} exchanged back fit training better by {gain:.0f} nats",
        f"the other columns {'agree' if z > 0 else 'do not agree'} (z = {z:.1f})",
    )

    def put(given: Mapping[str, Any]) -> dict[str, Any]:
        return {names[0]: given[names[1]], names[1]: given[names[0]]}

    return Finding(
        "columns_swapped",
        names,
        {"columns": list(names)},
        1.0 if whole else share,
        nats,
        odd > 10 * CLAIM_NATS,
        evidence,
        np.asarray(affected),
        undo,
        put,
        gain=gain,
    )


def over_training(live: Live, control: Live, i: int, j: int, share: float) -> float:
    """Return by how many standard errors live rows tell an exchange in a share of them better than training's rows do.

    How two columns of much the same values go together is known only about, so that training's own rows look exchanged
    in a few places; what each row says of that is summed, and a thousand rows say much.
    """
    ours, theirs = (_row_gains(each, i, j, share) for each in (live, control))
    # Errors are those of rows without an exchange: a few that are exchanged are far off.
    spread = float(theirs.std() * np.sqrt(1 / max(1, len(ours)) + 1 / max(1, len(theirs))))
    return float(ours.mean() - theirs.mean()) / max(spread, 1e-12)


def _row_gains(live: Live, i: int, j: int, share: float) -> Floats:
    """Return how much likelier each row is when so large a share is exchanged."""
    ratio = _both_ratios(live, i, j) + _told_by_others(live, i, j)[1]
    return np.asarray(np.logaddexp(np.log1p(-share), np.log(share) + ratio))


def _told_by_others(live: Live, i: int, j: int) -> tuple[Floats, Floats]:
    """Return, per row, what the other columns say to both values as sent, and how much more to them exchanged."""
    rows = np.arange(live.rows)
    sent, heard = np.zeros(live.rows), np.zeros(live.rows)
    for column, other in ((i, j), (j, i)):
        table = live.table(column, frozenset({other}))
        sent += table[rows, live.cells(column)]
        heard += table[rows, _cells_in(live, other, column)] - table[rows, live.cells(column)]
    return sent, heard


def _varies(live: Live, column: int, rows: Mask) -> bool:
    """Whether the exchanged values vary as training's do: one default value fits many columns."""
    numbers = live.reference.columns[column].numbers
    return numbers is None or is_spread(numbers, live.numbers(column)[rows])


def _odd_nats(live: Live, column: int) -> float:
    profile = live.reference.columns[column]
    known = int(live.known(column).sum())
    if profile.numbers is not None:
        return binomial_nats(int(odd_rows(profile, live.numbers(column)).sum()), known, odd_rate(profile))
    assert profile.levels is not None
    unseen = int((live.cells(column)[live.known(column)] == profile.cell_count).sum())
    return binomial_nats(unseen, known, min(0.5, profile.levels.unseen_rate + 0.01))


def _fits(live: Live, column: int) -> bool:
    """Whether a column is within twice the noise of training once the swap is undone."""
    distance = _own(live, column)
    return bool(distance < 2.6 / np.sqrt(max(1, live.rows)) + 0.03)


def _own(live: Live, column: int) -> float:
    return float(_distances(live, [column])[0, 0])
