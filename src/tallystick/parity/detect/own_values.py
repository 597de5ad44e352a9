"""What values say of a map by themselves: their digits, training's few values, and how they repeat.

False positives: a value that people write in place of another fits nearly any map, and so do rounded values where a map
may round; constants that were fitted lead back to training's values because they were chosen to.
"""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.availability import SENTINELS
from tallystick.parity.detect.fitting import inverse_of, settled
from tallystick.parity.detect.maps import NumberMap
from tallystick.parity.detect.rounding import hit_nats, room_of
from tallystick.parity.detect.trial import sent_step
from tallystick.parity.live import Live
from tallystick.parity.profile import NumberProfile, has_decimals
from tallystick.parity.yardsticks import on_lattice

#: Nats of an odd value that a map leads back to exactly; of digits up to so many.
EXACT_NATS, EXACT_DIGITS = 2.0, 6
#: Nats that it is worth that no value was rounded, and the part of the values that show it.
UNROUNDED_NATS, MOSTLY = 8.0, 0.95
#: The same of odd values, of which some are beyond training's tails.
MOSTLY_BACK = 0.9
#: Different values of a fine column that a map has to have made, and decimals of a default that people write.
FEWEST_VALUES, WRITTEN = 3, 2
#: Part of the rows, of the values, and of training's, from which it is most of them.
HALF = 0.5


def may_be_default(numbers: NumberProfile, each: NumberMap, values: Floats, odd: Mask) -> bool:
    """Whether the values that a map is to have made may be a default, however coarsely it may have been rounded.

    Of a lattice most of whose values are one, nearly any map leads there: a value that people write is a default then,
    and one that they write for "unknown" also where the constants have a name. Of two codes a map may have moved one.
    """
    if not numbers.is_lattice:
        return len(np.unique(values)) < FEWEST_VALUES
    if len(numbers.lattice) < FEWEST_VALUES or not odd.any() or odd.mean() < HALF:
        return False
    made, is_one = np.unique(values[odd]), numbers.counts.max() > HALF * numbers.counts.sum()
    is_written = has_decimals(made, WRITTEN) if is_chosen(each) else np.isin(made, SENTINELS)
    return bool(len(made) == 1 and is_one and is_written.all())


def exactly_back(numbers: NumberProfile, each: NumberMap, odd: Floats, sent: float) -> float:
    """Return what it says that a map leads odd values back to training's values or digits, to rounding.

    Constants that were counted on other rows, and wrong ones, hit them by chance only. Where they do all but exactly
    nothing was rounded, and that is the simpler story.
    """
    if is_chosen(each):
        return 0.0
    undone = inverse_of(each, odd)
    exact = np.isfinite(undone) & is_training_s(numbers, undone)
    if not len(odd) or (not numbers.is_lattice and numbers.decimals > EXACT_DIGITS):
        return 0.0
    simpler = UNROUNDED_NATS if sent > 0 and exact.mean() > MOSTLY else 0.0
    near = is_training_s(numbers, settled(numbers, each, odd, sent))
    # Some lie within the rounding of any map: all must.
    back = exact if each.is_estimated or near.mean() < MOSTLY else near
    return simpler + float(hit_nats(numbers, room_of(each, odd, sent), EXACT_NATS)[back].sum())


def needs_rounding(numbers: NumberProfile, each: NumberMap, values: Floats, sent: float) -> bool:
    """Whether a map leads to training's values only by the rounding that is left to it."""
    if not sent or (not numbers.is_lattice and numbers.decimals > EXACT_DIGITS):
        return False
    return bool(is_training_s(numbers, settled(numbers, each, values, 0.0)).mean() < MOSTLY)


def step_for(live: Live, column: int, each: NumberMap) -> float:
    """Return the step that values were rounded to, 0 when a map leads some of the odd ones elsewhere all the same."""
    profile, values = live.reference.columns[column], live.numbers(column)
    numbers = profile.numbers
    assert numbers is not None
    # Fitted constants have freedom enough.
    sent = 0.0 if is_chosen(each) else sent_step(live, column)
    odd = values[live.odd(column)]
    back = is_training_s(numbers, settled(numbers, each, odd, sent)) if sent and len(odd) else np.zeros(1)
    return sent if back.mean() > MOSTLY_BACK else 0.0


def is_training_s(numbers: NumberProfile, undone: Floats) -> Mask:
    """Return which values are of training's lattice, or have its digits."""
    with np.errstate(invalid="ignore"):
        return np.asarray(
            on_lattice(numbers, undone) if numbers.is_lattice else has_decimals(undone, numbers.decimals), dtype=bool
        )


def is_chosen(each: NumberMap) -> bool:
    """Whether constants were chosen so that values lead back."""
    return each.kind in ("affine", "not_standardized") or each.parameters.get("name") == "unnamed"


def is_free(each: NumberMap) -> bool:
    """Whether constants are any that fit: rounded rows of another part of the population fit some."""
    return each.kind == "affine" or each.parameters.get("name") == "unnamed"


def is_spread(numbers: NumberProfile, undone: Floats, repeated: float = 0.0) -> bool:
    """Whether undone values vary as training's do: one value repeated is a default, whatever map it may fit."""
    known = undone[np.isfinite(undone)]
    if len(known) < 2:
        return False
    _, counts = np.unique(np.round(known, 9), return_counts=True)
    top = float(
        (numbers.counts.max() / numbers.counts.sum()) if numbers.is_lattice else max(numbers.atom_shares, default=0.0)
    )
    top = max(top, repeated)
    usual = top * len(known)
    return bool(counts.max() <= usual + 3 * np.sqrt(usual * (1 - top)) + max(2.0, 0.1 * len(known)))
