"""Whole lists of levels under other names: which new name stands for which level, told by the names or by their number.

Source: names that have one text around each level (`"M"`, `sex_M`) or that begin one another (M for Male) are no
chance; where as many names arrive as levels are due, the Bayes factor of training's shares, in the best order, against
any shares. False positives: a population that gained levels; of those few are so named, and their counts have no reason
to be training's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from tallystick.parity.columns import Floats

#: Part of the rows with unseen levels that names must explain, and the fewest names that are no coincidence.
MOST_ROWS, FEWEST_NAMES = 0.9, 2
#: Nats of as many new names as levels were due: for three and more of them, and for none of the old ones left.
SAME_NUMBER_NATS, NONE_LEFT_NATS = 2.0, 3.0
#: Nats that the Bayes factor needs, the most that other columns may add, and rows that a level needs to be due.
NEEDED_NATS, MOST_HEARD_NATS, DUE = 2.0, 30.0, 2.0
#: Codes, as many as there are levels at least, that are no coincidence; nats of the order of the alphabet.
FEWEST_CODES, ALPHABET_NATS = 3, 3.0
#: Names that are compared with each other.
MOST_NAMES = 60


def by_name(unseen: Mapping[str, int], levels: Sequence[str]) -> dict[str, str]:
    """Return new name -> level where the names themselves tell; empty where they do not.

    >>> by_name({"sex_M": 5, "sex_F": 4}, ["F", "M"])
    {'sex_M': 'M', 'sex_F': 'F'}
    >>> by_name({"m": 5, "f": 4}, ["Female", "Male"])
    {'m': 'Male', 'f': 'Female'}
    """
    fresh = [name for name, _ in Counter(unseen).most_common(MOST_NAMES)]
    total = sum(unseen.values())
    for told in (_around(fresh, levels), _begun(fresh, levels)):
        if len(told) >= FEWEST_NAMES and sum(unseen[name] for name in told) >= MOST_ROWS * total:
            return told
    return {}


def _around(fresh: Sequence[str], levels: Sequence[str]) -> dict[str, str]:
    """Return names that are a level with the same text before and after it."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in fresh:
        for level in levels[:MOST_NAMES]:
            before, middle, after = name.partition(level)
            if middle:
                found.setdefault((before, after), {})[name] = level
    return max(found.values(), key=len, default={})


def _begun(fresh: Sequence[str], levels: Sequence[str]) -> dict[str, str]:
    """Return names that begin one level each, or that one level each begins."""
    told: dict[str, str] = {}
    for name in fresh:
        bare = name.casefold()
        fits = [level for level in levels if level and _begins(bare, level.casefold())]
        if not bare or len(fits) != 1:
            return {}
        told[name] = fits[0]
    return told if len(set(told.values())) == len(told) else {}


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def by_code(unseen: Mapping[str, int], levels: Sequence[str], shares: Floats) -> dict[str, str]:
    """Return code -> level where all new names are whole numbers from 0 or 1, as many as levels at most.

    Encoders number levels in the order of the alphabet, or of their counts; where both would do, counts decide. None
    where levels are numbers themselves.

    >>> by_code({"1": 30, "0": 60, "2": 9}, ["bus", "tram", "foot"], np.array([0.6, 0.1, 0.3]))
    {'1': 'foot', '0': 'bus', '2': 'tram'}
    """
    is_code = all(name.isdecimal() and name.isascii() and str(int(name)) == name for name in unseen)
    if not is_code or len(unseen) < min(FEWEST_CODES, len(levels)) or any(level.isdecimal() for level in levels):
        return {}
    codes, counts = [int(name) for name in unseen], np.array(list(unseen.values()), dtype=np.float64)
    logs = np.log(shares + 1e-6)
    best: tuple[float, list[int]] | None = None
    for order, worth in ((np.argsort(np.array(levels)), ALPHABET_NATS), (np.argsort(-shares, kind="stable"), 0.0)):
        for first in (0, 1):
            if min(codes) < first or max(codes) - first >= len(levels):
                continue
            places = [int(order[code - first]) for code in codes]
            fit = float(counts @ logs[places]) + worth
            if best is None or fit > best[0]:
                best = fit, places
    return {} if best is None else {name: levels[place] for name, place in zip(unseen, best[1], strict=True)}


def by_number(
    unseen: Mapping[str, int], levels: Sequence[str], shares: Floats, lost: float, heard: Floats
) -> dict[str, str]:
    """Return new name -> level where as many names arrive as levels are due, with counts as training's shares make.

    `lost` is the part of all rows that have a new name; `heard` is new names x levels, what the other columns say in
    nats for each pair, with names in the order of `unseen`.
    """
    counts = np.array(list(unseen.values()), dtype=np.float64)
    total = float(counts.sum())
    due = np.flatnonzero(shares * total >= DUE)
    size = len(counts)
    if not FEWEST_NAMES <= size <= MOST_NAMES or size != len(due):
        return {}
    meant = shares[due] / shares[due].sum()
    fit = counts[:, None] * np.log(meant)[None, :] + np.clip(heard[:, due], -MOST_HEARD_NATS, MOST_HEARD_NATS)
    names, places = linear_sum_assignment(-fit)
    renamed = float(gammaln(total + 1) - gammaln(counts + 1).sum() + fit[names, places].sum())
    # Any shares at all: a flat Dirichlet over as many levels; the order was picked.
    free = float(gammaln(size) + gammaln(total + 1) - gammaln(total + size))
    told = renamed - free - float(gammaln(size + 1))
    told += SAME_NUMBER_NATS * (size > FEWEST_NAMES) + NONE_LEFT_NATS * (lost > MOST_ROWS)
    if told < NEEDED_NATS:
        return {}
    fresh = list(unseen)
    return {fresh[a]: levels[due[b]] for a, b in zip(names.tolist(), places.tolist(), strict=True)}
