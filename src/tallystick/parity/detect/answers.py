"""What live scores are, beside what training's model would answer to the same rows: as ever, turned, moved, others.

Source: a likelihood for each explanation, of the same distances that left-out golden rows have (Student's t, whose tail
forgives a row or two). An explanation of fewer freedoms wins unless a richer one is much better. Each may be a little
off, since a surrogate is one: its errors move with another mix of rows. What golden rows themselves would say for an
explanation is taken off. False positives: a surrogate that does not hold where live rows are, against which richer
explanations than exchanged classes are believed only where inputs are as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.live import Live
from tallystick.parity.surrogate import Expected, expected_answers

#: Evidence that scores are not training's answers, in nats; what it takes where something else says so too; what a part
#: of the rows takes; and what a richer explanation has to be better by.
CLAIM, SECONDED, CLAIM_OF_PART, RICHER, RICHER_PART = 14.0, 8.0, 25.0, 8.0, 0.02
#: Degrees of freedom of the tail; a t of four has a mean distance of one scale.
TAIL = 4.0
#: How much wider or narrower distances may be than golden rows', by any explanation, and what others may be.
WIDTHS, OTHER_WIDTHS = (0.7, 1.0, 1.3), (0.7, 1.0, 1.3, 1.8, 2.5, 3.5, 5.0, 8.0, 14.0, 25.0, 50.0)
#: How far answers may be off as a whole, in usual distances, with what of the spread is left; and their slope.
LEAST_OFFSET, TILT, MOST_OFFSET, SLOPE = 0.15, 0.5, 0.5, 0.06
#: Shares of the rows that may be of the one replica that is wrong; constants of log-odds that are tried.
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
SHIFTS = tuple(np.round(np.concatenate([-np.linspace(0.3, 3.6, 34), np.linspace(0.3, 3.6, 34)]), 2))
LEAST_SHIFT = 0.15
#: More rows tell nothing new. Distinct answers below which they are labels, and rows that are too few to judge.
MOST_ROWS, FEWEST_DISTINCT, FEWEST_ROWS = 2000, 10, 30
FITS = 6
#: Which of several classes a column is shows in rough answers, and in how frequent a class is: the least chance, trees,
#: and the part of the spread that may be left.
ROUGH, ROUGH_TREES, ANY_LEFT = 1e-3, 40, 1.2


@dataclass(frozen=True)
class Explanation:
    """One way to see the scores: its kind (empty for as ever), nats beyond "as ever", parameters and rows."""

    kind: str
    nats: float
    share: float = 1.0
    shift: float = 0.0
    rows: Mask | None = None


def explain(live: Live, given: Floats, is_seconded: bool = False) -> Explanation | None:
    """Return the simplest explanation of probabilities; None where golden rows do not tell what to expect.

    Its kind is empty where scores are what training's model would give. `is_seconded`: something else says already
    that they are not.
    """
    known = live.reference.predictions
    if len(given) < FEWEST_ROWS or len(np.unique(known)) < FEWEST_DISTINCT or not _are_probabilities(known, given):
        return None
    least = _least(known)
    expected = expected_answers(live, _log_odds(known, least))
    return None if expected is None else _simplest(expected, _log_odds(given, least), is_seconded)


def likelihoods(live: Live, known: Floats, given: Floats) -> Floats | None:
    """Return how likely each column of probabilities is as that which golden rows have as `known`, in nats."""
    if len(given) < FEWEST_ROWS or len(np.unique(known)) < FEWEST_DISTINCT or not _are_probabilities(known, given):
        return None
    expected = expected_answers(live, _log_odds(np.clip(known, ROUGH, 1 - ROUGH), ROUGH), ROUGH_TREES, ANY_LEFT)
    if expected is None:
        return None
    offset = _offset(expected)
    columns = (_log_odds(np.clip(column, ROUGH, 1 - ROUGH), ROUGH) for column in given.T)
    return np.array([_Rows(expected.expected, one, expected.off, offset).fitted(one) for one in columns])


def _least(p: Floats) -> float:
    inner = np.minimum(p, 1 - p)
    return max(1e-9, float(inner[inner > 0].min(initial=1.0)) / 2)


def _are_probabilities(*answers: Floats) -> bool:
    return all(len(each) and np.isfinite(each).all() and each.min() >= 0 and each.max() <= 1 for each in answers)


def _log_odds(p: Floats, least: float) -> Floats:
    """Return log-odds; 0 and 1 (all trees agree) are as far from the others as they are from their nearest."""
    inner = np.clip(np.where(p <= 0, least, np.where(p >= 1, 1 - least, p)), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inner / (1 - inner)))


def _simplest(expected: Expected, given: Floats, is_seconded: bool) -> Explanation:
    picked = slice(max(0, len(given) - MOST_ROWS), None)
    rows = _Rows(expected.expected[picked], given[picked], expected.off[picked], _offset(expected))
    sound = rows.fitted(rows.given)
    best = Explanation("", 0.0)
    for each in _explanations(rows, expected):
        found = replace(each, nats=each.nats - sound)
        needed = CLAIM_OF_PART if each.share < 1 else SECONDED if is_seconded else CLAIM
        if found.nats > max(needed, best.nats + max(RICHER, RICHER_PART * found.nats) if best.kind else needed):
            best = found
    if best.share == 1 or not best.kind:
        return best
    return replace(best, rows=_answered_otherwise(best, expected, given))


def _answered_otherwise(found: Explanation, expected: Expected, given: Floats) -> Mask:
    """Return the rows that are more likely of the part than not."""
    turned = -given if found.kind == "class_order" else given - found.shift
    right = _each(given - expected.expected, expected.off) + np.log(1 - found.share)
    return np.asarray(_each(turned - expected.expected, expected.off) + np.log(found.share) > right)


def _explanations(rows: _Rows, expected: Expected) -> Iterator[Explanation]:
    """Yield what may be, the simplest first; nats are log-likelihoods."""
    yield Explanation("class_order", rows.fitted(-rows.given))
    nats, shift = rows.moved()
    if abs(shift) >= LEAST_SHIFT:
        yield Explanation("sampling_prior", nats, 1.0, shift)
    yield Explanation("prediction_differs", rows.other())
    golden = _Rows(expected.golden_expected, expected.golden_answers, expected.golden_off, 0.0)
    yield _part("class_order", rows, golden, np.array([0.0]))
    yield _part("sampling_prior", rows, golden, np.asarray(SHIFTS))


def _offset(expected: Expected) -> float:
    """Return how far off sound scores may be as a whole, in usual distances.

    Rows drawn by their odds to a power move what a surrogate leaves by the power times its variance.
    """
    return min(MOST_OFFSET, LEAST_OFFSET + TILT * expected.left)


@dataclass(frozen=True)
class _Rows:
    """Rows with what is expected of them and what was given; `off` is how far that usually is from it."""

    expected: Floats
    given: Floats
    off: Floats
    offset: float

    def fitted(self, given: Floats) -> float:
        """Return the log-likelihood of answers that are as expected, but for what a surrogate is off by."""
        _, slope = self._line(given)
        slope = float(np.clip(slope, 1 - SLOPE, 1 + SLOPE))
        middle = float(np.median(self.expected))
        rest = given - middle - slope * (self.expected - middle)
        offset = float(np.clip(np.median(rest / self.off), -self.offset, self.offset))
        return max(_nats(rest - offset * self.off, self.off * width) for width in WIDTHS)

    def moved(self) -> tuple[float, float]:
        """Return the log-likelihood of answers that are moved by one constant, and the constant."""
        shift = float(np.median(self.given - self.expected))
        return self.fitted(self.given - shift), shift

    def other(self) -> float:
        """Return the log-likelihood of answers that are a line of what is expected, about as wide as it takes."""
        start, slope = self._line(self.given)
        rest = self.given - start - max(slope, 0.0) * self.expected
        return max(_nats(rest, self.off * width) for width in OTHER_WIDTHS)

    def _line(self, given: Floats) -> tuple[float, float]:
        """Return start and slope of a line through the answers, by the likelihood's weights (IRLS)."""
        design = np.column_stack([np.ones(len(given)), self.expected])
        found, width = np.array([0.0, 1.0]), 1.0
        for _ in range(FITS):
            rest = (given - design @ found) / self.off
            width = max(1.0, float(np.median(np.abs(rest))))
            weight = 1 / self.off / np.sqrt(1 + (rest / width) ** 2 / TAIL)
            found = np.linalg.lstsq(design * weight[:, None], given * weight, rcond=None)[0]
        return float(found[0]), float(found[1])


def _part(kind: str, rows: _Rows, golden: _Rows, shifts: Floats) -> Explanation:
    """Return the share (and the constant) of the rows that another answer was given to, which tells most.

    What golden rows say for the same, who were all answered rightly, is no evidence.
    """
    gains = _mixture(kind, rows, shifts)
    known = _mixture(kind, golden, shifts) - _nats(golden.given - golden.expected, golden.off)
    gains = gains - np.maximum(known, 0.0) * len(rows.given) / max(1, len(golden.given))
    share, shift = np.unravel_index(int(gains.argmax()), gains.shape)
    return Explanation(kind, float(gains[share, shift]), SHARES[int(share)], float(shifts[int(shift)]))


def _mixture(kind: str, rows: _Rows, shifts: Floats) -> Floats:
    """Return shares x shifts: log-likelihoods of rows of which a part was answered otherwise."""
    right = _each(rows.given - rows.expected, rows.off)[:, None]
    turned = -rows.given[:, None] if kind == "class_order" else rows.given[:, None] - shifts
    wrong = _each(turned - rows.expected[:, None], rows.off[:, None])
    return np.array([np.logaddexp(right + np.log(1 - s), wrong + np.log(s)).sum(axis=0) for s in SHARES])


def _nats(rest: Floats, off: Floats) -> float:
    return float(_each(rest, off).sum())


def _each(rest: Floats, off: Floats) -> Floats:
    return np.asarray(-np.log(off) - (TAIL + 1) / 2 * np.log1p((rest / off) ** 2 / TAIL))
