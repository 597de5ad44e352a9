"""How badly a column, as it was sent, fits each column of training: as a whole, and value by value.

What detectors of names and places ask: each column that was sent may be any of training's, so that what can be worked
out of it alone is worked out once.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Numbers, Role, Texts, read_numbers, read_texts
from tallystick.parity.density import log_density
from tallystick.parity.detect.times import read_live_times
from tallystick.parity.profile import ColumnProfile, Ints
from tallystick.parity.yardsticks import Sample, ks_bound, ks_of, odd_rows, sample_of

#: Misfit of what cannot be compared, of what privacy hides, and the part of a column that may be no numbers.
NEVER, HIDDEN, MOST_JUNK = 9.0, 0.5, 0.05
#: Levels of training whose counts are compared.
COMPARED_LEVELS = 50
#: Distinct values of a sample that are enough to see that it lies elsewhere.
FEW_POINTS = 32


class SentColumn:
    """A column as it was sent, read once for all the columns of training that it may be."""

    def __init__(self, series: pd.Series[Any]) -> None:
        self.series = series

    @cached_property
    def numbers(self) -> Numbers:
        """What it holds, read as numbers."""
        return read_numbers(self.series)

    @cached_property
    def is_empty(self) -> Mask:
        """Where it has no value."""
        return np.asarray(self.series.isna(), dtype=bool)

    @cached_property
    def texts(self) -> Texts:
        """What it holds, read as levels."""
        return read_texts(self.series)

    @cached_property
    def coded(self) -> tuple[Ints, list[str]]:
        """Its levels, each once, and which of them each row has; -1 where there is none."""
        codes, levels = pd.factorize(self.texts)
        return codes, levels.tolist()

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each level is there."""
        return Counter(text for text in self.texts if text is not None)

    @cached_property
    def distinct(self) -> tuple[Floats, Ints]:
        """Its numbers, each once, and where each row's stands among them; NaN is the last."""
        points, place = np.unique(self.numbers.values, return_inverse=True)
        return points, place

    @cached_property
    def sample(self) -> Sample:
        """Its numbers as a sample."""
        return sample_of(self.numbers.values)

    @cached_property
    def few(self) -> Sample:
        """Some of the points of the sample: no distance over them is larger than over all."""
        some = np.unique(np.linspace(0, len(self.sample.points) - 1, FEW_POINTS).round().astype(int))
        points, counts, upper, lower = (each[some] for each in self.sample[:-1])
        return Sample(points, counts, upper, lower, self.sample.rows)


def misfit(profile: ColumnProfile, sent: SentColumn) -> float:
    """Return the distance of a column to a profile in units of what a fair sample may have; below 1 it may be it."""
    if profile.privacy == "none":
        return HIDDEN
    if profile.numbers is None:
        return _misfit_of_levels(profile, sent)
    if profile.role is Role.TIME:
        values, _ = read_live_times(profile, sent.series)
        sample = sample_of(values)
    elif _is_junk(sent):
        return NEVER
    else:
        values, sample = sent.numbers.values, sent.sample
    if not sample.rows:
        return NEVER
    odd = odd_rows(profile, values)[np.isfinite(values)].mean()
    # Other rows than training's may be sent in the same release as the new name; off the lattice they are not.
    return float(ks_of(profile.numbers, sample) / (2 * ks_bound(profile.numbers, sample.rows)) + 2 * odd)


def is_elsewhere(profile: ColumnProfile, sent: SentColumn) -> bool:
    """Whether a few points show already that the misfit is 1 or more; without them it may still be."""
    if profile.numbers is None or profile.role is Role.TIME or profile.privacy == "none":
        return False
    if _is_junk(sent) or not sent.sample.rows:
        return True
    return ks_of(profile.numbers, sent.few) / (2 * ks_bound(profile.numbers, sent.sample.rows)) >= 1.0


def _is_junk(sent: SentColumn) -> bool:
    return bool(sent.numbers.junk.mean() > MOST_JUNK)


def _misfit_of_levels(profile: ColumnProfile, sent: SentColumn) -> float:
    levels = profile.levels
    assert levels is not None
    total = sum(sent.counts.values())
    if not total or profile.role is Role.TEXT:
        return NEVER
    unseen = sum(count for text, count in sent.counts.items() if text not in levels.places) / total
    counted = np.array([sent.counts[level] for level in levels.levels[:COMPARED_LEVELS]]) / total
    shares = levels.counts[:COMPARED_LEVELS] / max(1.0, float(levels.counts.sum()))
    moved = 0.5 * float(np.abs(counted - shares).sum())
    noise = 2.5 * np.sqrt(len(shares) / total) * 0.4 + 0.05
    return float(max(2 * max(0.0, unseen - levels.unseen_rate) + 0.5, moved / (2 * noise)))


def likelihood(profile: ColumnProfile, sent: SentColumn) -> Floats:
    """Return how likely each value of a column is by a profile, as a logarithm; what cannot be read is unlikely."""
    null = float(np.log((profile.null_share * profile.rows + 0.5) / (profile.rows + 1)))
    never = float(-np.log(10.0 * (profile.rows + 2)))
    if profile.privacy == "none":
        return np.zeros(len(sent.series))
    if profile.numbers is not None:
        if profile.role is Role.TIME:
            points, place = np.unique(read_live_times(profile, sent.series)[0], return_inverse=True)
        else:
            points, place = sent.distinct
        known = np.isfinite(points)
        told = log_density(profile.numbers, profile.numbers.decimals, np.where(known, points, profile.numbers.median))
        told = np.where(known, told, np.nan)[place]
        return np.asarray(np.where(np.isnan(told), np.where(sent.is_empty, null, never), told))
    assert profile.levels is not None
    total = float(profile.levels.counts.sum()) + 1.0
    shares, places = np.append(np.log((profile.levels.counts + 0.5) / total), (never, null)), profile.levels.places
    codes, levels = sent.coded
    # The last is for what is missing, which has the code -1.
    at = [*(places.get(text, len(shares) - 2) for text in levels), len(shares) - 1]
    return np.asarray(shares[np.array(at, dtype=np.int64)[codes]])
