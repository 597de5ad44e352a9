"""Live numbers of finer resolution than training's: training's table was rounded, live values are not.

Digits that training never had are, for most detectors, values that training could not give. Where rounding to
training's digits leaves a column as it was, that is all there is to it: the digits are noted, and what is compared is
rounded. A map between training and live (another unit, a scaler) makes new digits too, but not the old distribution.
"""

from __future__ import annotations

import msgspec
import numpy as np

from tallystick.parity.columns import Floats, Role
from tallystick.parity.live import Live
from tallystick.parity.profile import MOST_DECIMALS, ColumnProfile, has_decimals
from tallystick.parity.yardsticks import CLAIM_NATS, impossible_nats, ks_bound, ks_distance

#: Share of values with more digits from which a column is of finer resolution; a fill touches fewer, or one value.
_MOST = 0.5
_FEWEST_ROWS, _FEWEST_VALUES = 20, 10
#: Digits beyond this are no resolution, but how doubles are written.
_MOST_DECIMALS = 6
#: Whole numbers with fewer values are counts: a fraction of a count is news.
_FEWEST_WHOLE = 30
#: Distance to training, beyond what a fair sample has, up to which a rounded column is training's.
_NEAR = 0.1
#: Columns that are plainly finer from which the source is taken to round nothing.
_SEVERAL = 3


def coarsened(live: Live) -> tuple[Live, tuple[str, ...]]:
    """Return the rows with finer columns rounded to training's digits, and the names of these columns."""
    finer = {}
    for j, profile in enumerate(live.reference.columns):
        if profile.role is Role.NUMBER and profile.numbers is not None and j not in live.absent:
            rounded = _rounded(profile, live.numbers(j))
            if rounded is not None:
                finer[j] = rounded
    plain = {j: rounded for j, rounded in finer.items() if _is_as_trained(live.reference.columns[j], rounded)}
    # A source that rounds nothing: digits say nothing of any column then, whatever else is the matter with it.
    chosen = finer if len(plain) >= _SEVERAL and len(plain) > len(finer) / 2 else plain
    if not chosen:
        return live, ()
    columns = tuple(_without_digits(p) if j in chosen else p for j, p in enumerate(live.reference.columns))
    reference = msgspec.structs.replace(live.reference, columns=columns)
    return live.read_by(reference, chosen), tuple(reference.names[j] for j in chosen)


def _without_digits(profile: ColumnProfile) -> ColumnProfile:
    """Return the profile with nothing said of digits: what undoing a fault makes of live ones is no evidence either."""
    assert profile.numbers is not None
    none = np.zeros(0)
    numbers = msgspec.structs.replace(profile.numbers, lattice=none, counts=none, decimals=MOST_DECIMALS)
    return msgspec.structs.replace(profile, numbers=numbers)


def _rounded(profile: ColumnProfile, values: Floats) -> Floats | None:
    """Return the column at training's resolution; None where its digits are those of training, or have a name."""
    numbers = profile.numbers
    assert numbers is not None
    known = np.isfinite(values)
    is_count = numbers.decimals <= 0 and numbers.distinct < _FEWEST_WHOLE
    if numbers.decimals > _MOST_DECIMALS or is_count or known.sum() < _FEWEST_ROWS:
        return None
    finer = known & ~has_decimals(np.where(known, values, 0.0), numbers.decimals)
    if finer.sum() < _MOST * known.sum() or len(np.unique(values[finer])) < _FEWEST_VALUES:
        return None
    with np.errstate(over="ignore"):
        if np.mean(values[finer].astype(np.float32) == values[finer]) > _MOST:
            return None  # 32-bit floats, which have a name
    rounded = np.round(values, numbers.decimals)
    # What rounding makes one value of lies below training's resolution: another unit, and not only more digits.
    return rounded if len(np.unique(rounded[known])) >= _FEWEST_VALUES else None


def _is_as_trained(profile: ColumnProfile, rounded: Floats) -> bool:
    numbers = profile.numbers
    assert numbers is not None
    if impossible_nats(profile, rounded) >= CLAIM_NATS:
        return False
    return ks_distance(numbers, rounded) <= _NEAR + ks_bound(numbers, int(np.isfinite(rounded).sum()))
