"""Counts of training over another window, drawn: how they are distributed, and which count of training each stands for.

Source: a count over a part of the window is the count thinned binomially (Raikov 1938); over a longer window, the rate
given the count is gamma where counts are negative binomial, and what is added is Poisson (Greenwood & Yule 1920).
What it leaves out: events that come in bunches, and hours that are unlike each other. Such windows fit worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.density import log_density
from tallystick.parity.distribution import cdf, quantiles_of
from tallystick.parity.profile import ColumnProfile, Ints, NumberProfile

#: Draws of training's counts that are counted over another window.
DRAWS = 4000
#: The same where many windows are only compared: every fourth of them.
TRIAL_STEP = 4
#: Bins that drawn counts are told apart in, where there are more values.
BINS = 40
#: Largest count that is drawn of: beyond, whole numbers of 64 bits end.
MOST_COUNTED = 1e15
#: Rows that a cell's share is drawn to training's by, so that no bin rules out a cell for want of draws.
PRIOR_ROWS = 4.0


@dataclass(frozen=True)
class Drawn:
    """Training's counts, ascending, and what was `drawn` for the same rows over `factor` times the window.

    `sent` are the drawn counts, ascending; `edges` part them into bins; `density` is the log probability of one count
    in each.
    """

    factor: float
    trained: Floats
    drawn: Floats
    sent: Floats
    edges: Floats
    density: Floats

    def places(self, values: Floats) -> Ints:
        """Return the bin of each count."""
        return np.asarray(np.searchsorted(self.edges, values, side="left"))

    def cells(self, profile: ColumnProfile, cells: Ints) -> Floats:
        """Return bins x cells: how training's cells are shared among the draws of each bin.

        `cells` are those of training's counts.
        """
        count, bins = profile.cell_count, self.places(self.drawn)
        kept = cells < count
        flat = np.bincount(bins[kept] * count + cells[kept], minlength=(len(self.edges) + 1) * count)
        shares = flat.reshape(len(self.edges) + 1, count) + PRIOR_ROWS * profile.cell_shares
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def undone(self, values: Floats) -> Floats:
        """Return, by rank among the draws, the training counts that counts stand for."""
        low = np.searchsorted(self.sent, values, side="left")
        high = np.searchsorted(self.sent, values, side="right")
        ranks = np.clip((low + high) // 2, 0, len(self.sent) - 1)
        return np.asarray(np.where(np.isfinite(values), self.trained[ranks], np.nan))

    def log_ratio(self, numbers: NumberProfile, values: Floats, usual: Floats | None = None) -> Floats:
        """Return how much likelier counts are over this window than over training's, in nats.

        `usual` is the log probability of each in training, which is the same for all windows where it is known.
        """
        usual = _usual(numbers, self.edges, values) if usual is None else usual
        return np.asarray(self.density[self.places(values)] - usual)


def counts_over(numbers: NumberProfile, factor: float, trained: Floats) -> tuple[Floats, Floats]:
    """Return `training_counts` over `factor` times the window: each one's, and in order."""
    drawn = longer(trained, factor, numbers) if factor > 1 else other_window(trained, factor)
    return drawn, np.sort(drawn)


def draw(numbers: NumberProfile, factor: float, live: Floats, trained: Floats, over: tuple[Floats, Floats]) -> Drawn:
    """Return training's counts over `factor` times the window; bins are such that live counts are told apart too.

    `trained` are `training_counts`, and `over` is `counts_over`, which are the same for any live counts.
    """
    drawn, sent = over
    edges = _edges(sent, np.sort(live))
    counted = np.diff(np.searchsorted(sent, edges, side="right"), prepend=0, append=len(sent))
    range_ = _range(numbers, np.concatenate((sent, live)))
    density = _densities(np.append(edges, np.inf), range_, counted / len(sent))
    return Drawn(factor, trained, drawn, sent, edges, density)


def _edges(sent: Floats, live: Floats) -> Floats:
    """Return the bounds of bins, given both in order: one for each count, or by rank where there are more than BINS."""
    points = np.unique(np.concatenate((_distinct(sent), _distinct(live))))
    if len(points) <= BINS:
        return points[:-1]
    # Live counts weigh as much as drawn ones.
    often = max(1, DRAWS // max(1, len(live)))
    upto = np.searchsorted(sent, points, side="right") + often * np.searchsorted(live, points, side="right")
    ranks = np.linspace(0, upto[-1] - 1, BINS + 1)[1:-1].astype(np.int64)
    return np.unique(points[np.searchsorted(upto, ranks, side="right")])


def _distinct(ordered: Floats) -> Floats:
    is_new = np.ones(len(ordered), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


def trial_ratios(numbers: NumberProfile, factors: Floats, live: Floats) -> Floats:
    """Return factors x counts: how much likelier live counts are over each window than over training's, in nats.

    A tenth of the work of drawing each window by itself: of fewer draws, all in the same bins.
    """
    trained = training_counts(numbers, TRIAL_STEP)
    is_longer, random = factors > 1, np.random.default_rng(0)
    sent = np.empty((len(factors), len(trained)))
    sent[~is_longer] = random.binomial(_whole(trained), factors[~is_longer, None])
    sent[is_longer] = trained + random.poisson(_more(_rates(random, trained, numbers), factors[is_longer, None]))
    edges = np.unique(np.concatenate((live - 1, live)))
    if len(edges) >= 2 * BINS:
        edges = np.unique(np.floor(np.quantile(live, np.linspace(0, 1, BINS + 1)[1:-1])))
    bins = len(edges) + 1
    places = np.searchsorted(edges, sent, side="left") + bins * np.arange(len(factors))[:, None]
    shares = np.bincount(places.ravel(), minlength=bins * len(factors)).reshape(-1, bins) / len(trained)
    range_ = _range(numbers, np.append(live, (sent.min(), sent.max())))
    density = _densities(np.append(edges, np.inf), range_, shares, len(trained))
    return density[:, np.searchsorted(edges, live, side="left")] - _usual(numbers, edges, live)


def _range(numbers: NumberProfile, values: Floats) -> tuple[float, float]:
    return min(numbers.minimum, float(values.min(initial=np.inf))), max(
        numbers.maximum, float(values.max(initial=-np.inf))
    )


def _usual(numbers: NumberProfile, edges: Floats, values: Floats) -> Floats:
    """Return the log probability of each count in training, in bins where training's single values are not kept."""
    if numbers.is_lattice:
        return log_density(numbers, None, values)
    density = _densities(np.append(edges, np.inf), _range(numbers, values), _shares(numbers, edges))
    return np.asarray(density[np.searchsorted(edges, values, side="left")])


def _shares(numbers: NumberProfile, edges: Floats) -> Floats:
    return np.diff(np.concatenate(([0.0], cdf(numbers, edges), [1.0])))


def _densities(ends: Floats, range_: tuple[float, float], shares: Floats, draws: int = DRAWS) -> Floats:
    """Return the log probability of one whole number in each bin, none below half a draw's; the last axis is bins."""
    low, high = range_
    ends = np.minimum(ends, high)
    widths = np.maximum(1.0, np.diff(np.concatenate(([low - 1.0], ends))))
    return np.asarray(np.log(np.maximum(shares, 0.5 / draws) / widths))


def training_counts(numbers: NumberProfile, step: int = 1) -> Floats:
    """Return DRAWS of training's counts, ascending, or one in `step` of them."""
    ranks = (np.arange(DRAWS)[step // 2 :: step] + 0.5) / DRAWS
    if numbers.is_lattice:
        total = np.cumsum(numbers.counts) / numbers.counts.sum()
        return np.asarray(numbers.lattice[np.minimum(np.searchsorted(total, ranks), len(numbers.lattice) - 1)])
    return np.round(quantiles_of(numbers, ranks))


def other_window(counts: Floats, factor: float) -> Floats:
    """Return counts over `factor` times the window; the draw is fixed."""
    random, whole = np.random.default_rng(0), _whole(np.nan_to_num(counts, nan=0.0))
    drawn = random.binomial(whole, factor) if factor < 1 else random.poisson(whole * factor)
    return np.where(np.isfinite(counts), drawn.astype(np.float64), np.nan)


def longer(counts: Floats, factor: float, numbers: NumberProfile) -> Floats:
    """Return counts over a window `factor` > 1 times as long, of which the given ones are a part; the draw is fixed."""
    random = np.random.default_rng(0)
    return np.asarray(counts + random.poisson(_more(_rates(random, counts, numbers), factor)))


def _whole(counts: Floats) -> Ints:
    return np.clip(np.round(counts), 0, MOST_COUNTED).astype(np.int64)


def _rates(random: np.random.Generator, counts: Floats, numbers: NumberProfile) -> Floats:
    """Return a rate for each of training's counts, drawn from those that it may have come of."""
    mean, variance = max(numbers.mean, 1e-9), numbers.sd**2
    shape = mean**2 / max(variance - mean, 1e-3 * mean)
    return np.asarray(random.gamma(np.clip(counts, 0, MOST_COUNTED) + shape, mean / (mean + shape)))


def _more(rates: Floats, factors: Floats | float) -> Floats:
    """Return what is expected in the part of the longer window that was not counted."""
    return np.clip(rates * (factors - 1), 0, MOST_COUNTED)
