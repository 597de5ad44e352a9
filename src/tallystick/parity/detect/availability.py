"""Values that are not there: nulls, defaults in their place, one value for all, values of other rows.

Source: excess of one value over training (binomial), with the rest of the column as it was. False positives: a popular
value may grow popular, and missing values may go with a part of the population. Then the rows that hold it look like
training rows that held it; filled rows look like any row. That *slice test* is asked before anything is claimed, except
for values that training never gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.absent import KNEW_LABEL
from tallystick.parity.detect.clip import detect_clip
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.levels import FILL_WORDS
from tallystick.parity.detect.missing import detect_missing
from tallystick.parity.detect.slices import filled, rest_is_as_trained, slice_nats
from tallystick.parity.detect.streamed import is_of_its_day, is_one_of_later_days, is_what_comes_next
from tallystick.parity.distribution import as_round_as, number_shares, ranks_of, usual_share
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.readings import part_apart
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, far_rate, far_rows, odd_rate, odd_rows

#: Rows in excess that make a fill worth naming.
LEAST_EXCESS_ROWS = 4
#: Rows on a value that make it worth asking whether it is a bound.
LEAST_ON_BOUND = 4
CANDIDATES = 5
#: Nats that a value is worth which people write for "unknown", and each further row with one and the same value that
#: training could not give: odd values of a population differ from each other.
SENTINEL_NATS, SAME_NATS = 4.0, 1.0
#: Odd values beside those of a fill, as a part of them, up to which the rest of a column is what training could give.
FEW_ODD = 0.2
#: Steps beyond training's whole numbers within which a population may have gone on.
NEXT_STEPS = 2.0
#: Values that training had more often than others which tell whether one of them grew or all.
FEWEST_HEAPS = 5
#: Values of a column of which no part of a population has one alone, and the share of rows that one seldom has.
MANY_VALUES, SELDOM = 50, 0.2
#: Values that defaults are usually made of: zero, a sentinel, mean, median, mode.
USUAL_DEFAULTS = 5
SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 1e9, -1e9)


def detect_availability(live: Live, column: int) -> list[Finding]:
    """Return nulls, fills, constants and bounds of one column."""
    found = [detect_missing(live, column)]
    if live.reference.columns[column].role is not Role.TEXT:
        found.append(_one_value(live, column))
    return [finding for finding in found if finding is not None]


def _one_value(live: Live, column: int) -> Finding | None:
    """Judge the value that grew most: a fill, a constant, or the bound of a clip."""
    picked = _not_of_its_day(live, column)
    profile = live.reference.columns[column]
    if picked is None or _is_rounded_away(profile, picked[0]):
        return None
    value, holds, expected = picked
    known = live.known(column)
    count, rows = int(holds.sum()), int(known.sum())
    apart = part_apart(live, column, holds)
    gain = _spike_nats(live, column, picked) * apart
    excess = float(np.clip((count / rows - expected) / max(1 - expected, 1e-9), 0.0, 1.0))
    name, is_default = _recognised(profile, value)
    if profile.numbers is not None and LEAST_ON_BOUND <= count != rows:
        clipped = detect_clip(live, column, float(value), holds, is_default)
        if clipped is not None:
            return clipped
    if gain < CLAIM_NATS or count - expected * rows < LEAST_EXCESS_ROWS or _is_next(profile, value, is_default):
        return None
    never = _is_new(profile, value, expected)
    is_far = profile.numbers is not None and _is_far(profile, value)
    if never and profile.numbers is not None and not is_far:
        # Inside the range and of training's resolution, it may just not have come up yet: unless it floods.
        never = gain > 15.0
    cell = int(live.cells(column)[holds][0])
    sliced = 0.0 if never else slice_nats(live, column, holds, cell, min(1.0, excess * rows / count))
    if sliced > -2.0:
        sliced = sliced * apart + _alone_nats(live, column, gain, expected, count == rows)
    if not never and sliced < CLAIM_NATS / 2:
        return None
    if profile.numbers is None and never and not is_default:
        return None
    if count < rows and not _rest_is_right(live, column, holds, never, is_far):
        return None
    kind = "default_fill" if count < rows or is_default else "constant"
    nats = gain / 2 if never else max(sliced, CLAIM_NATS)
    evidence = [f"{count} of {rows} values are {_shown(profile, value)}{name}; in training {expected:.1%}"]
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
        filled(profile, value, 1.0 if count == rows else excess),
        gain=gain,
    )


def _not_of_its_day(live: Live, column: int) -> tuple[Any, Mask, float] | None:
    """Return the value that grew most; of times, of those that rows of one day do not share anyhow."""
    picked = _grown_most(live, column)
    of_days: list[Any] = []
    while picked is not None and _is_of_days(live, column, *picked[:2]):
        of_days.append(picked[0])
        picked = _grown_value(live, column, of_days) if len(of_days) < CANDIDATES else None
    return picked


def _is_of_days(live: Live, column: int, value: Any, holds: Mask) -> bool:
    return is_of_its_day(live, column, value, holds) or is_one_of_later_days(live, column, value, holds)


def _alone_nats(live: Live, column: int, gain: float, expected: float, is_all: bool) -> float:
    """Return what it says that one value grew alone, or that all rows have it.

    A mix of the population changes neighbouring numbers alike; one number alone it seldom does, and of hundreds it has
    never one alone. Nor has it one outcome before that is known.
    """
    profile = live.reference.columns[column]
    distinct = profile.numbers.distinct if profile.numbers is not None else 0
    nats = min(6.0, gain / 8) if distinct > 10 else 0.0
    if is_all and distinct > MANY_VALUES and expected < SELDOM:
        nats += min(CLAIM_NATS, gain / 4)
    if is_all and live.reference.label_strength.get(profile.name, 0.0) > KNEW_LABEL:
        nats += CLAIM_NATS
    return nats


def _shown(profile: ColumnProfile, value: Any) -> str:
    """Return the value as people write it: times are kept as seconds."""
    if profile.role is not Role.TIME:
        return str(value)
    return str(np.datetime64(round(float(value)), "s")).replace("T00:00:00", "")


def spike_p(live: Live, column: int) -> float:
    """Return the chance that any value is as much more frequent than in training as the one that grew most."""
    picked = _grown_most(live, column)
    if picked is None:
        return 1.0
    return float(min(1.0, np.exp(-_spike_nats(live, column, picked))))


def _spike_nats(live: Live, column: int, picked: tuple[Any, Mask, float]) -> float:
    """Return how much the value grew, in nats, less what the best of as many values as there are grows by chance."""
    value, holds, expected = picked
    known = live.known(column)
    profile = live.reference.columns[column]
    count, rows = int(holds.sum()), int(known.sum())
    _, is_default = _recognised(profile, value)
    if profile.numbers is not None and _is_far(profile, value):
        same = SENTINEL_NATS * (value in SENTINELS) + SAME_NATS * (count - 1) if count > 1 else 0.0
        return binomial_nats(count, rows, far_rate(profile)) + same
    tries = len(live.sample(column).points) if profile.numbers is not None else len(live.counts(column))
    tries = min(tries, USUAL_DEFAULTS) if is_default else tries
    rate = _repeat_rate(profile, expected)
    if rate is not None:
        return binomial_nats(count, rows, rate) - float(np.log(min(tries, 1 / rate)))
    grown = _growth(profile, count, rows, expected)
    if profile.numbers is not None:
        grown = min(grown, _among_heaps(live, column, float(value), count, expected))
    return grown - float(np.log(tries))


def _among_heaps(live: Live, column: int, value: float, count: int, expected: float) -> float:
    """Return how much a round number grew among those that training had more often; infinite for any other value.

    Where all of them are more frequent than they were, people round more, and that says nothing of one.
    """
    numbers = live.reference.columns[column].numbers
    assert numbers is not None
    alike = as_round_as(value, numbers.heaps)
    if alike.sum() < FEWEST_HEAPS or value not in numbers.heaps:
        return float(np.inf)
    sample = live.sample(column)
    there = int(sample.counts[np.isin(sample.points, numbers.heaps[alike])].sum())
    return binomial_nats(count, there, min(0.95, expected / float(numbers.heap_shares[alike].sum())))


def _is_next(profile: ColumnProfile, value: Any, is_default: bool) -> bool:
    """Whether a value goes on where training's whole numbers end, as the next month does, or the next year."""
    numbers = profile.numbers
    if numbers is None or is_default or not numbers.is_lattice or numbers.decimals > 0 or len(numbers.lattice) < 2:
        return False
    if float(value) % 1:
        return False
    step = float(np.min(np.diff(numbers.lattice)))
    beyond = max(numbers.minimum - float(value), float(value) - numbers.maximum)
    return 0 < beyond <= NEXT_STEPS * step


def _is_rounded_away(profile: ColumnProfile, value: Any) -> bool:
    """Whether a value may have been frequent in training, and the reference keeps rounded ones only."""
    if profile.numbers is None or profile.privacy == "raw":
        return False
    return not _is_far(profile, float(profile.numbers.seen(np.array([float(value)]))[0]))


def _is_far(profile: ColumnProfile, value: Any) -> bool:
    return bool(far_rows(profile, np.array([float(value)]))[0])


def _repeat_rate(profile: ColumnProfile, expected: float) -> float | None:
    """Return the share that one value of a continuous column may have; None for others.

    Where nearly each training value came once there is no atom to speak of, so one more value than were seen has the
    share of one that came once more.
    """
    numbers = profile.numbers
    if (
        numbers is None
        or numbers.is_lattice
        or numbers.distinct < 0.5 * numbers.rows
        or expected > usual_share(numbers)
    ):
        return None
    return (numbers.rows / numbers.distinct + 1) / numbers.rows


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


def _grown_most(live: Live, column: int) -> tuple[Any, Mask, float] | None:
    """Return the value whose share grew most against training, its rows, and its share in training."""
    return live.once(column, "grown", lambda: _grown_value(live, column))


def _grown_value(live: Live, column: int, but: Sequence[Any] = ()) -> tuple[Any, Mask, float] | None:
    """Return the value (`but` some) whose share grew most against training, its rows, and its share in training."""
    profile = live.reference.columns[column]
    known = live.known(column)
    if known.sum() < 5:
        return None
    if profile.numbers is None:
        named = live.counts(column)
        values, counts = np.array(list(named), dtype=object), np.array(list(named.values()))
        expected = level_shares(profile, named)
    else:
        values, counts = live.sample(column)[:2]
        if but:
            left = ~np.isin(values, but)
            if not left.any():
                return None
            values, counts = values[left], counts[left]
        expected = number_shares(profile, values)
    # Only values that came at least twice, the most frequent and the most overdue, are worth weighing.
    ahead = np.argsort(expected * known.sum() - counts)[:CANDIDATES]
    grown = [_growth(profile, int(counts[k]), int(known.sum()), float(expected[k])) for k in ahead]
    best = int(ahead[int(np.argmax(grown))])
    value = float(values[best]) if profile.numbers is not None else str(values[best])
    holds = live.values[column] == values[best]
    return value, np.asarray(holds, dtype=bool) & known, float(expected[best])


def level_shares(profile: ColumnProfile, names: Iterable[str]) -> Floats:
    """Return the shares of levels in training, with half a row for one that it did not have."""
    assert profile.levels is not None
    counts, places = profile.levels.counts, profile.levels.places
    total = float(counts.sum()) + 1.0
    held = np.append((counts + 0.5) / total, max(0.5 / total, 0.002))
    return np.asarray(held[[places.get(name, len(counts)) for name in names]])


def _is_new(profile: ColumnProfile, value: Any, expected: float) -> bool:
    """Whether training gave the value so rarely that no part of the population can consist of it."""
    if profile.numbers is None:
        assert profile.levels is not None
        return str(value) not in profile.levels.places
    numbers = profile.numbers
    if numbers.is_lattice:
        return not bool(np.isclose(numbers.lattice, float(value), rtol=1e-9, atol=0).any())
    if bool(odd_rows(profile, np.array([float(value)]))[0]):
        return True
    # Where training rarely repeats itself, a repeated value is news; where it does, some part may repeat one more.
    return numbers.distinct > 0.5 * numbers.rows and expected <= usual_share(numbers)


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
    if number in SENTINELS and not numbers.minimum <= number <= numbers.maximum:
        return " (a sentinel)", True
    if abs(number - numbers.mean) <= 1e-3 * max(numbers.sd, 1e-12):
        return " (training's mean)", True
    upto, below = ranks_of(numbers, np.array([number]))
    step = 1 / len(numbers.grid)
    if below[0] <= 0.5 + step and upto[0] >= 0.5 - step:
        return " (training's median)", True
    if len(numbers.lattice) and number == float(numbers.lattice[int(np.argmax(numbers.counts))]):
        return " (training's most frequent)", False
    return "", False


def _rest_is_right(live: Live, column: int, holds: Mask, never: bool, is_far: bool) -> bool:
    """Whether the rest of a column is training's beside a value that would be filled in.

    One that training never had is no fill among others that it never had: the whole column went there.
    """
    if never and live.reference.columns[column].numbers is not None and not _rest_is_usual(live, column, holds):
        return False
    return is_far or rest_is_as_trained(live, column, holds)


def _rest_is_usual(live: Live, column: int, holds: Mask) -> bool:
    """Whether the other values are ones that training could give, whatever their mix: a far one is put among them."""
    values, profile = live.numbers(column), live.reference.columns[column]
    rest = np.isfinite(values) & ~holds
    odd = int((odd_rows(profile, values) & rest & ~is_what_comes_next(profile, values)).sum())
    return bool(odd <= FEW_ODD * holds.sum() + 2 * odd_rate(profile) * rest.sum())
