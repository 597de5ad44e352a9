"""How much of two texts is the same, for many pairs at once: the ratio that `difflib.SequenceMatcher` gives, exactly.

Source: Ratcliff & Metzener, "Pattern matching: the gestalt approach" (1988), as in `difflib`: the longest block that
both have, of equal ones that which starts first; then the same on its left and on its right.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.profile import Ints

#: From this length on `difflib` leaves out letters that are frequent in the second text.
LONG = 200
#: Pairs of texts for each pair of letters from which one pass over all pairs takes less than `difflib` for each.
PAIRS_A_LETTER = 0.5

_Letters = NDArray[np.uint16]


def letters_alike(texts: Sequence[str], others: Sequence[str]) -> Floats:
    """Return texts x others: `quick_ratio`, which counts letters in any order and is no less than the ratio."""
    if not texts or not others:
        return np.zeros((len(texts), len(others)))
    one, other = _letters(texts, others)
    size = int(max(one.max(initial=0), other.max(initial=0))) + 1
    counts = [_counted(each, size) for each in (one, other)]
    same = np.zeros((len(texts), len(others)))
    # The last two letters are what texts are filled up with.
    for letter in range(size - 2):
        same += np.minimum(counts[0][:, [letter]], counts[1][None, :, letter])
    return _ratio(same, _lengths(texts)[:, None], _lengths(others)[None, :])


def blocks_alike(texts: Sequence[str], others: Sequence[str], pairs: Mask) -> Floats:
    """Return texts x others: `ratio` of the chosen pairs, 0 of the others. O(pairs x longest text x longest other)."""
    found = np.zeros(pairs.shape)
    first, second = np.nonzero(pairs)
    if not len(first):
        return found
    lengths = _lengths(texts), _lengths(others)
    letters = int(lengths[0].max()) * int(lengths[1].max())
    if lengths[1].max() >= LONG or len(first) < PAIRS_A_LETTER * letters:
        for b in np.unique(second).tolist():
            matcher = SequenceMatcher(None, "", others[b])
            for a in first[second == b].tolist():
                matcher.set_seq1(texts[a])
                found[a, b] = matcher.ratio()
        return found
    one, other = _letters(texts, others)
    same = _same(one[first].T, other[second].T)
    found[first, second] = _ratio(same, lengths[0][first], lengths[1][second])
    return found


def _lengths(texts: Sequence[str]) -> Ints:
    return np.array([len(text) for text in texts], dtype=np.int64)


def _ratio(same: Floats, one: Ints, other: Ints) -> Floats:
    total = one + other
    return np.asarray(np.where(total > 0, 2.0 * same / np.maximum(total, 1), 1.0))


def _letters(texts: Sequence[str], others: Sequence[str]) -> tuple[_Letters, _Letters]:
    """Return texts x places and others x places as numbers of letters; each side is filled up with its own number."""
    sides = [
        (np.array(side, dtype=np.str_).view(np.uint32).reshape(len(side), -1), _lengths(side))
        for side in (texts, others)
    ]
    known = np.unique(np.concatenate([codes.ravel() for codes, _ in sides]))
    filled = []
    for own, (codes, lengths) in enumerate(sides):
        numbers = np.searchsorted(known, codes).astype(np.uint16)
        numbers[np.arange(codes.shape[1]) >= lengths[:, None]] = len(known) + own
        filled.append(numbers)
    return filled[0], filled[1]


def _counted(letters: _Letters, size: int) -> Ints:
    """Return texts x numbers of letters: how often each is there."""
    flat = letters + size * np.arange(len(letters))[:, None]
    return np.bincount(flat.ravel(), minlength=size * len(letters)).reshape(len(letters), size)


def _same(one: _Letters, other: _Letters) -> Floats:
    """Return how many letters the blocks of each pair have; both are places x pairs."""
    same = np.zeros(one.shape[1])
    pair = np.arange(one.shape[1])
    fill = max(int(one.max(initial=0)), int(other.max(initial=0)), 1)
    at, where = np.arange(len(one))[:, None], np.arange(len(other))[:, None]
    while len(pair):
        size, start, begin = _longest(one, other)
        kept = size > 0
        pair, one, other = pair[kept], one[:, kept], other[:, kept]
        size, start, begin = size[kept], start[kept], begin[kept]
        same += np.bincount(pair, size, len(same))
        parts = []
        for left in (True, False):
            # What lies on this side of the block; the rest is filled up.
            mine = (at < start) if left else (at >= start + size)
            theirs = (where < begin) if left else (where >= begin + size)
            a, b = np.where(mine, one, fill - 1), np.where(theirs, other, fill)
            rest = (a < fill - 1).any(axis=0) & (b < fill - 1).any(axis=0)
            parts.append((pair[rest], a[:, rest], b[:, rest]))
        pair = np.concatenate([part[0] for part in parts])
        one, other = (np.concatenate([part[k] for part in parts], axis=1) for k in (1, 2))
    return same


def _longest(one: _Letters, other: _Letters) -> tuple[Ints, Ints, Ints]:
    """Return, for each pair, the length of its longest block and where that starts in either text."""
    pairs = one.shape[1]
    best, end, stop = np.zeros(pairs, dtype=np.uint16), np.zeros(pairs, dtype=np.int64), np.zeros(pairs, dtype=np.int64)
    before = np.zeros((len(other) + 1, pairs), dtype=np.uint16)
    for i, letter in enumerate(one):
        run = np.zeros_like(before)
        np.add(before[:-1], 1, out=run[1:])
        run[1:] *= letter == other
        for j in range(1, len(run)):
            # The first of equal ones stays.
            is_longer = run[j] > best
            if is_longer.any():
                np.copyto(best, run[j], where=is_longer)
                np.copyto(end, i + 1, where=is_longer)
                np.copyto(stop, j, where=is_longer)
        before = run
    size = best.astype(np.int64)
    return size, end - size, stop - size
