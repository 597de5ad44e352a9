"""How likely a value is under training's distribution, alone or in a mixture with a mapped copy of it."""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.joint import paired_z
from tallystick.parity.profile import NumberProfile

#: Standard errors by which undoing may seem worse than knowing nothing: both are estimates, and the share is small.
OVER_NOTHING = 2.0
#: Bounds of one row's log-likelihood ratio, for the sake of floating point.
RATIO_BOUND = 40.0


def log_density(numbers: NumberProfile, decimals: int | None, values: Floats) -> Floats:
    """Return log density (log probability for a lattice) of values of any shape under training.

    Beyond training's range it falls with distance. With `decimals`, values of finer resolution than training's lose
    four nats: such a value is rare even where its neighbours are not.
    """
    width = max(numbers.maximum - numbers.minimum, 1e-12)
    floor = -np.log(10.0 * (numbers.rows + 2))
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.maximum(np.maximum(numbers.minimum - values, values - numbers.maximum), 0.0) / width
        far = floor - np.log1p(np.minimum(beyond, 1e6))
        if numbers.is_lattice:
            last = max(1, len(numbers.lattice) - 1)
            place = np.minimum(np.maximum(np.searchsorted(numbers.lattice, values), 1), last)
            right = np.minimum(place, len(numbers.lattice) - 1)
            left = place - 1
            near = np.where(
                np.abs(values - numbers.lattice[left]) <= np.abs(values - numbers.lattice[right]), left, right
            )
            hit = np.abs(values - numbers.lattice[near]) <= 1e-6 * numbers.gap
            result = np.where(hit, numbers.log_shares[near], far)
        else:
            result = _continuous(numbers, values, far - np.log(width), beyond)
            if decimals is not None and decimals <= 6:
                scaled = values * 10.0**decimals
                result = result - 4.0 * (
                    np.abs(scaled - np.round(scaled)) > 1e-6 * np.maximum(1.0, np.abs(scaled) * 1e-3)
                )
    return np.asarray(np.where(np.isfinite(values), result, floor - 20.0))


def _continuous(numbers: NumberProfile, values: Floats, far: Floats, beyond: Floats) -> Floats:
    edges, heights = numbers.bins
    place = np.minimum(np.maximum(np.searchsorted(edges, values, side="right") - 1, 0), len(heights) - 1)
    result = np.where(beyond > 0, far, heights[place])
    # An atom is a narrow bin: its mass over a thousandth of the quartile distance.
    for value, share in zip(numbers.atoms, numbers.atom_shares, strict=True):
        spike = np.log(share / (1e-3 * max(numbers.iqr, 1e-12)))
        result = np.where(np.abs(values - value) <= 1e-9 * max(1.0, abs(value)), np.maximum(result, spike), result)
    return np.asarray(result)


def fit_share(ratio: Floats, rounds: int = 40) -> tuple[Floats, Floats]:
    """Return, per candidate, the share p and the gain Σ log(1 - p + p e^ratio) of its mixture, by EM.

    `ratio` is candidates x rows of log-likelihood ratios (Dempster, Laird & Rubin 1977, mixing proportion only).
    """
    bounded = np.exp(np.minimum(np.maximum(ratio, -RATIO_BOUND), RATIO_BOUND))
    if len(bounded) == 1:
        only = _fit_one(bounded[0], rounds)
        return np.array([only]), np.log(1 - only + only * bounded).sum(axis=1)
    share, count = np.full((len(ratio), 1), 0.5), max(1, ratio.shape[1])
    # Written into place, and without the calls that NumPy makes for a mean or a clip: this is the innermost loop of a
    # diagnosis.
    part = np.empty_like(bounded)
    for _ in range(rounds):
        np.multiply(bounded, share, out=part)
        np.add(part, 1 - share, out=part)
        np.divide(bounded, part, out=part)
        step = np.add.reduce(part, axis=1, keepdims=True) * (share / count)
        step = np.minimum(np.maximum(step, 1e-4), 1 - 1e-6)
        is_settled = bool((np.abs(step - share) < 1e-4).all())
        share = step
        if is_settled:
            break
    gain = np.log(1 - share + share * bounded).sum(axis=1)
    return share[:, 0], gain


def _fit_one(bounded: Floats, rounds: int) -> float:
    """Return the share of one candidate: the same steps, without arrays of one number."""
    share, count, part = 0.5, max(1, len(bounded)), np.empty_like(bounded)
    for _ in range(rounds):
        np.multiply(bounded, share, out=part)
        np.add(part, 1 - share, out=part)
        np.divide(bounded, part, out=part)
        step = float(np.add.reduce(part)) * (share / count)
        step = min(max(step, 1e-4), 1 - 1e-6)
        is_settled, share = abs(step - share) < 1e-4, step
        if is_settled:
            break
    return share


def posterior(ratio: Floats, share: float | Floats) -> Floats:
    """Return the probability that each row is of the mapped part."""
    bounded = np.exp(np.minimum(np.maximum(ratio, -RATIO_BOUND), RATIO_BOUND))
    return np.asarray(share * bounded / (1 - share + share * bounded))


def mixed(weight: Floats, heard: Floats) -> Floats:
    """Return, per row, how much better the other columns fit "changed with probability `weight`" than "as sent".

    log(1 - w + w e^h): the likelihood ratio of a mixture. Where nothing was changed its mean is below 0, however small
    the share is (Jensen: e^h has mean 1), so that the mean over rows can be tested against 0. The mean of w h cannot:
    the rows that were not changed outvote the others.
    """
    part = np.minimum(np.maximum(weight, 0.0), 1.0 - 1e-9)
    return np.asarray(np.log1p(part * np.expm1(np.minimum(np.maximum(heard, -RATIO_BOUND), RATIO_BOUND))))


def mixture_z(weight: Floats, here: Floats, there: Floats) -> float:
    """Return z of "the other columns fit the rows as undone, with these weights, better than as sent".

    `here` and `there` are the others' log-likelihoods of the sent and of the undone value, relative to knowing
    nothing. Values of other rows fit so badly that anything is better: undoing must also beat knowing nothing.
    """
    gain = mixed(weight, there - here)
    nothing = mixed(weight, -here)
    return min(paired_z(gain), paired_z(gain - nothing) + OVER_NOTHING)
