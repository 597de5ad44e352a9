"""Tests that stay valid however often one looks: for screens that run every minute, not for one diagnosis.

A fixed-size p-value that is computed after each batch and acted on when it is small will be small some day. These are
not: with probability 1 - alpha the null is never rejected, at no look (Ville 1939).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

Floats = NDArray[np.float64]
Counts = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]


def rate_e_value(hits: int, rows: int, rate: float) -> float:
    """Return the e-value of "the rate of hits is at most `rate`" after `rows` rows of which `hits` hit.

    The mixture of likelihood ratios over rates uniform between `rate` and 1 (Robbins 1970); for any rate up to `rate`
    it is a supermartingale in rows, so one may stop and reject when it exceeds 1 / alpha. Counts that only grow, such
    as nulls, unseen levels or values off the lattice, are what it is for.

    >>> rate_e_value(6, 10, 0.001) > 1e6
    True
    """
    if not rows:
        return 1.0
    rate = float(np.clip(rate, 1e-12, 1 - 1e-12))
    tail = 1.0 - float(betainc(hits + 1, rows - hits + 1, rate))
    if tail <= 0.0:
        return 0.0
    log_mixture = float(betaln(hits + 1, rows - hits + 1)) + np.log(tail) - np.log1p(-rate)
    log_null = hits * np.log(rate) + (rows - hits) * np.log1p(-rate)
    return float(np.exp(min(700.0, log_mixture - log_null)))


def rate_log_e_values(hits: Counts, rows: Counts, rates: Floats) -> Floats:
    """Return the logarithm of `rate_e_value` of many counts at once; arrays of one shape, or that broadcast."""
    hits, rows = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    rates = np.clip(rates, 1e-12, 1 - 1e-12)
    with np.errstate(divide="ignore"):
        tail = np.log1p(-np.minimum(betainc(hits + 1, rows - hits + 1, rates), 1.0))
    mixture = betaln(hits + 1, rows - hits + 1) + tail - np.log1p(-rates)
    null = hits * np.log(rates) + (rows - hits) * np.log1p(-rates)
    return np.asarray(np.where(rows > 0, np.minimum(700.0, mixture - null), 0.0))


def distance_bound(rows: int, alpha: float = 0.01) -> float:
    """Return the distance of an empirical to the true distribution that is exceeded at no number of rows.

    Howard & Ramdas 2022, "Sequential estimation of quantiles", the uniform bound of an iterated logarithm with their
    constants: with probability 1 - alpha it holds for all `rows` at once. About twice the bound for one look.
    """
    rows = max(1, rows)
    return float(0.85 * np.sqrt((np.log(np.log(np.e * rows)) + 0.8 * np.log(1612 / alpha)) / rows))
