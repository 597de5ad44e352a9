"""Which level a new name stands for, by what vanished, by what the other columns say, and by how it is spelled.

Source: Poisson counts of "this level was renamed" against "rows got a new level", and the assignment of names to levels
that tells most (Kuhn 1955).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from tallystick.parity.columns import Floats
from tallystick.parity.detect.levels import MOST_UNSEEN_ROWS, is_fill_word
from tallystick.parity.detect.naming import by_code, by_name, by_number
from tallystick.parity.live import Live
from tallystick.parity.profile import LEVEL_CELLS, Ints
from tallystick.parity.similar import blocks_alike, letters_alike

#: Times training's own rate of unseen levels (Good 1953) that another part of the population may have.
UNSEEN_TIMES = 2.0
#: Nats for a rename rather than a new level, before any evidence: few rows alone cannot tell them apart.
RENAME_PRIOR = -2.0
#: The same where one level alone is unseen and counts are weighed exactly, and by how much the best reading must be
#: better than the next; rows that training's shares count for there, so that another mix may differ from them.
ONE_RENAME_PRIOR, CLEAR_NATS, MIX_ROWS = -0.5, 1.0, 300.0
#: Levels, the most frequent first, that a new name may stand for; what the others say for one at most; and nats of a
#: name for a level that training hardly had.
MOST_MEANT, MOST_HEARD, IMPOSSIBLE = 200, 30.0, -50.0
#: Part of the letters that two names share in order from which that speaks for a new name, and nats of all of them.
UNLIKE, ALIKE_NATS = 0.4, 4.0


def renames(live: Live, column: int, unseen: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, str]:
    """Return unseen level -> known level that it stands for."""
    profile = live.reference.columns[column]
    assert profile.levels is not None
    levels, total = profile.levels.levels, sum(counts.values())
    shares = profile.levels.counts / max(1.0, float(profile.levels.counts.sum()))
    # Words for "unknown" are defaults, unless nothing else explains what vanished; that is left to the reader.
    fresh = [text for text, _ in Counter(unseen).most_common(60) if not is_fill_word(text)]
    told_by_name = by_name(unseen, levels) or by_code(unseen, levels, np.asarray(shares))
    if told_by_name:
        return told_by_name
    lost = sum(unseen.values()) / total
    is_meant = (total * shares >= 1) & (np.arange(len(levels)) < MOST_MEANT)
    heard = np.where(is_meant, _heard(live, column, fresh, len(levels)), 0.0)
    gain = np.where(is_meant, _counted(unseen, fresh, counts, levels, shares) + heard, IMPOSSIBLE)
    names = [text.lower() for text in fresh], [level.lower() for level in levels[:MOST_MEANT]]
    gain[:, : len(names[1])] += _spelled_alike(*names, gain[:, : len(names[1])])
    if len(fresh) == len(unseen) == 1 and len(levels) > 1 and float(np.ptp(np.sort(gain[0])[-2:])) < CLEAR_NATS:
        # Which level it stands for is a guess.
        return {}
    # A level need not stand for another.
    picked_new, picked_old = linear_sum_assignment(-np.maximum(gain, 0.0))
    renamed = {fresh[a]: levels[b] for a, b in zip(picked_new, picked_old, strict=True) if gain[a, b] > 0}
    usual = UNSEEN_TIMES * profile.levels.unseen_rate * total
    if sum(unseen[text] for text in renamed) >= MOST_UNSEEN_ROWS * (sum(unseen.values()) - usual):
        return renamed
    # A name among other new ones is as new as they are, whatever its count.
    return by_number({text: unseen[text] for text in fresh}, levels, shares, lost, heard)


def _counted(
    unseen: Mapping[str, int], fresh: list[str], counts: Mapping[str, int], levels: Sequence[str], shares: Floats
) -> Floats:
    """Return new names x levels: how much better counts fit another name for a level than a new level, in nats."""
    total = sum(counts.values())
    here = np.array([counts.get(level, 0) for level in levels])
    sent = np.array([unseen[text] for text in fresh], dtype=np.int64)[:, None]
    if len(unseen) == len(fresh) == 1:
        told = [_rename_nats(int(n), unseen[fresh[0]], total, float(p)) for n, p in zip(here, shares, strict=True)]
        return np.asarray(np.array([told]) - np.log(len(levels)) + ONE_RENAME_PRIOR)
    lost = sum(unseen.values()) / total
    # Renamed: level and newcomer together are what training had. New: every level lost the same share.
    rename = poisson_nats(here + sent, total * shares)
    new = poisson_nats(here, total * shares * (1 - lost)) + uncounted(sent)
    # A rename leaves the other levels as they were; where they went too, rows got something new.
    rename += poisson_nats((1 - lost) * total - here, np.maximum(total * (1 - shares) - (lost * total - sent), 0.0))
    return np.asarray(rename - new + RENAME_PRIOR)


def _heard(live: Live, column: int, fresh: Sequence[str], levels: int) -> Floats:
    """Return new names x levels: what the other columns say for each name to stand for each level, in nats."""
    found = np.zeros((len(fresh), levels))
    cells = min(LEVEL_CELLS, levels)
    table, texts = live.table(column).T[:cells], live.texts(column)
    codes, distinct = pd.factorize(texts)
    order, starts = np.argsort(codes, kind="stable"), np.searchsorted(np.sort(codes), np.arange(len(distinct) + 1))
    place = {text: code for code, text in enumerate(distinct)}
    for a, text in enumerate(fresh):
        code = place[text]
        rows = order[starts[code] : starts[code + 1]]
        found[a, :cells] = np.minimum(table[:, rows].sum(axis=1), MOST_HEARD)
    return found


def _spelled_alike(fresh: Sequence[str], levels: Sequence[str], gain: Floats) -> Floats:
    """Return new names x levels: the nats that it is worth that a name is spelled much as a level is."""
    if not fresh or not levels:
        return np.zeros(gain.shape)
    # Letters in any order are quickly counted, and no fewer than those in the same order.
    at_most = letters_alike(fresh, levels)
    # Which blocks are the same takes longest to compare: that is done where it may matter. Of one name it always does,
    # as the best reading must be clearly better than the next; of several, no gain is as good as a negative one.
    may_gain = gain > IMPOSSIBLE if len(fresh) == 1 else gain + ALIKE_NATS * (at_most - UNLIKE) > 0
    ratio = blocks_alike(fresh, levels, (at_most > UNLIKE) & may_gain)
    return np.asarray(ALIKE_NATS * np.maximum(0.0, ratio - UNLIKE))


def _rename_nats(here: int, sent: int, total: int, share: float) -> float:
    """Return the log Bayes factor of "some rows of one level were renamed" against "rows of any level became new".

    Both give the share of such rows a flat prior; other mixes of the population are Dirichlet about training's shares.
    With n rows of the level left, u renamed, N in all and a of MIX_ROWS prior rows in the level: C(N, u) / C(n + u, u)
    times the chance that u of N draws are the level's, (a + n)_u / (MIX_ROWS + N - u)_u, times (N + 1) / (n + u + 1).
    """
    prior = MIX_ROWS * share
    chosen = gammaln(total + 1) - gammaln(total - sent + 1) - gammaln(here + sent + 1) + gammaln(here + 1)
    drawn = gammaln(prior + here + sent) - gammaln(prior + here)
    drawn -= gammaln(MIX_ROWS + total) - gammaln(MIX_ROWS + total - sent)
    return float(chosen + drawn + np.log((total + 1) / (here + sent + 1)))


def poisson_nats(count: Floats | Ints | float, mean: Floats | float) -> Floats:
    """Return the Poisson log-likelihood relative to its largest, with room for re-weighting by a tenth."""
    spread = mean + 0.01 * mean * mean
    return np.asarray(-((count - mean) ** 2) / (2 * np.maximum(spread, 0.5)))


def uncounted(count: Floats | Ints | int) -> Floats:
    """A new level may have any count: the price of that freedom."""
    return np.asarray(-0.5 * np.log(1 + count))
