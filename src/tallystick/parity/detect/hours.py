"""Hours of another zone, by what the other columns of a row know of the time of day.

Source: the likelihood of each row's other columns given each of 24 hours, over a mixture of shifted rows and rows as
they were. False positives: a part of the population may have another relation of its own, as rows of winter have where
a year of UTC stands beside local hours. What training rows that are like the live ones show as well is no shift.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.density import fit_share, mixed, mixture_z, posterior
from tallystick.parity.detect.finding import Finding
from tallystick.parity.live import Live
from tallystick.parity.matched import Matched, matched_in_time, over_mix
from tallystick.parity.profile import Ints, NumberProfile, cells_of
from tallystick.parity.yardsticks import CLAIM_NATS, trusted_nats

#: Gives values that were `shift` steps less.
Undo = Callable[[Floats, int], Floats]

#: Words in the name of a column of hours, and how many different ones it has at least.
HOUR_WORDS, FEWEST_HOURS = frozenset({"hour", "hours", "hr", "hrs", "hh", "stunde", "heure", "hora"}), 8
#: Standard errors from which training rows that are like live ones have a shift of their own.
USUAL_Z = 3.0
#: Gain of a mixture with shifted rows, and its z, from which it is one.
LEAST_GAIN, LEAST_Z = 8.0, 2.0


def detect_cycle(live: Live, column: int) -> list[Finding]:
    """Return the shift of a column that counts the hours of a day from 0 to 23."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    if numbers is None or not numbers.is_lattice or numbers.decimals != 0:
        return []
    if numbers.minimum < 0 or numbers.maximum > 23 or not _are_hours(profile.name, numbers):
        return []
    hours = live.numbers(column)
    if np.nanmean((hours < 0) | (hours > 23)) > 0.05:
        return []
    found = shift_finding(live, column, 24, lambda values, shift: np.mod(values - shift, 24.0))
    return [] if found is None else [found]


def _are_hours(name: str, numbers: NumberProfile) -> bool:
    """Whether whole numbers up to 23 are hours: nearly all are there, or some and they are named so, as of a shop."""
    if numbers.maximum == 23 and len(numbers.lattice) >= 18:
        return True
    words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return len(numbers.lattice) >= FEWEST_HOURS and not HOUR_WORDS.isdisjoint(words)


@dataclass(frozen=True)
class _Shift:
    """The best of all shifts: how many steps beyond the usual, of which share, and what speaks for it.

    `apart` is what the other columns say of each row for the mixture, `known` which rows have a value.
    """

    steps: int
    share: float
    gain: float
    z: float
    apart: Floats
    both: Floats
    known: Mask
    impossible: int


def shift_finding(live: Live, column: int, period: int, undo: Undo) -> Finding | None:
    """Return the shift, of all rows or of a share, that values and other columns agree on."""
    found, usual, nats = _best(live, column, period, undo, 0), 0, 0.0
    if _nats(found, period) < CLAIM_NATS:
        return None
    mix = matched_in_time(live, column)
    if mix is not None:
        usual = _usual(mix, column, period, undo)
        if usual:
            found = _best(live, column, period, undo, usual)
    nats = _nats(found, period, np.inf if mix is None else _over(mix, column, undo, found, usual))
    if nats < CLAIM_NATS:
        return None
    whole = found.share > 0.85
    affected = found.known if whole else found.known & (posterior(found.both, found.share) > 0.5)
    hours = found.steps if found.steps <= period // 2 else found.steps - period
    evidence = (f"the other columns agree with undoing {hours:+d} h (z = {found.z:.1f}, best of {period - 1} shifts)",)
    values = live.numbers(column)
    return Finding(
        "time_zone",
        (live.reference.names[column],),
        {"hours": hours},
        1.0 if whole else found.share,
        nats,
        False,
        evidence,
        affected,
        {column: np.where(affected, undo(values, found.steps), values)},
        gain=found.gain,
    )


def _best(live: Live, column: int, period: int, undo: Undo, usual: int) -> _Shift:
    """Return the best shift beyond the `usual` one, which rows like these had in training, too."""
    known = live.known(column)
    tried = [_told(live, column, undo, usual, shift) for shift in range(1, period)]
    both = np.stack([marginal + heard for marginal, heard, _ in tried])
    parts, gains = fit_share(both[:, known])
    best = int(np.argmax(gains))
    marginal, heard, before = tried[best]
    weight = posterior(marginal, float(parts[best]))
    z = mixture_z(weight[known], before[known], (heard + before)[known])
    shares, cells = _log_shares(live, column), live.cells(column)
    impossible = int((known & (shares[cells] < np.log(1.5 / live.reference.columns[column].rows))).sum())
    apart = mixed(weight, heard)[known]
    return _Shift(best + 1, float(parts[best]), float(gains[best]), z, apart, both[best], known, impossible)


def _told(live: Live, column: int, undo: Undo, usual: int, shift: int) -> tuple[Floats, Floats, Floats]:
    """Return what counts and other columns say of each row for a shift, and how well they fit it as sent, in nats."""
    table, rows, shares = live.table(column), np.arange(live.rows), _log_shares(live, column)
    sent = live.cells(column)
    there, here = _cells(live, column, undo, usual + shift), _cells(live, column, undo, usual)
    back = _cells(live, column, undo, shift)
    return shares[back] - shares[sent], table[rows, there] - table[rows, here], table[rows, here]


def _cells(live: Live, column: int, undo: Undo, shift: int) -> Ints:
    def undone() -> Ints:
        return cells_of(live.reference.columns[column], undo(live.numbers(column), shift))

    return live.once(column, f"cells {shift} before", undone) if shift else live.cells(column)


def _log_shares(live: Live, column: int) -> Floats:
    profile = live.reference.columns[column]
    return np.append(np.log(profile.cell_shares + 0.5 / profile.rows), -12.0)


def _nats(found: _Shift, period: int, most: float = np.inf) -> float:
    """Return what speaks for a shift, where the other columns may say `most`; 0 where it is none."""
    if found.z < LEAST_Z or found.gain < LEAST_GAIN:
        return 0.0
    # 23 shifts were tried: the best of as many normal deviates is about 2 by chance.
    said = trusted_nats(max(found.z - 1.0, 0.0), float(found.apart.sum()) - np.log(period))
    return min(said, most) + 2.0 * found.impossible


def _usual(mix: Matched, column: int, period: int, undo: Undo) -> int:
    """Return the shift by which training rows that are like the live ones agree best with their other columns."""
    best, least = 0, USUAL_Z
    for shift in range(1, period):
        _, heard, _ = _told(mix.golden, column, undo, 0, shift)
        mean, error = mix.mean(heard, mix.golden.known(column))
        if mean > least * error:
            best, least = shift, mean / max(error, 1e-9)
    return best


def _over(mix: Matched, column: int, undo: Undo, found: _Shift, usual: int) -> float:
    """Return what the other columns say for a shift beyond what they say of training rows that are like these."""
    marginal, heard, _ = _told(mix.golden, column, undo, usual, found.steps)
    said = mixed(posterior(marginal, found.share), heard)
    return over_mix(mix, mix.golden.known(column), said, found.apart)
