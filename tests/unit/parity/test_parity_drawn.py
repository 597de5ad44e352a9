"""Training's counts over another window, drawn."""

import numpy as np
import pytest

from tallystick.parity.detect.drawn import Drawn, counts_over, draw, longer, other_window, training_counts, trial_ratios
from tallystick.parity.profile import NumberProfile, profile_numbers


def counts(window: float, seed: int, rows: int = 4000) -> np.ndarray:
    """Counts of customers whose rates are gamma: negative binomial over any window."""
    random = np.random.default_rng(seed)
    return random.poisson(random.gamma(1.5, 2.0, rows) * window).astype(float)


def drawn_over(numbers: NumberProfile, factor: float, live: np.ndarray) -> Drawn:
    trained = training_counts(numbers)
    return draw(numbers, factor, live, trained, counts_over(numbers, factor, trained))


@pytest.mark.parametrize("factor", [1 / 7, 0.5, 2.0, 7.0])
def test_drawn_counts_are_distributed_as_those_of_the_window(factor):
    drawn, real = drawn_over(profile_numbers(counts(1, 0)), factor, counts(factor, 1)).sent, counts(factor, 2)
    assert drawn.mean() == pytest.approx(real.mean(), rel=0.1)
    assert np.mean(drawn == 0) == pytest.approx(np.mean(real == 0), abs=0.03)
    assert drawn.std() == pytest.approx(real.std(), rel=0.15)


@pytest.mark.parametrize("factor", [1 / 7, 7.0])
def test_counts_are_likelier_over_their_own_window(factor):
    numbers = profile_numbers(counts(1, 0))
    sent, usual = counts(factor, 3, 200), counts(1, 4, 200)
    drawn = drawn_over(numbers, factor, np.concatenate((sent, usual)))
    assert drawn.log_ratio(numbers, sent).sum() > 50
    assert drawn.log_ratio(numbers, usual).sum() < -50


def test_counts_stand_for_larger_ones_where_they_are_larger():
    numbers = profile_numbers(counts(1, 0))
    undone = drawn_over(numbers, 7.0, counts(7, 1)).undone(np.array([0.0, 5.0, 20.0, 80.0, np.nan]))
    assert np.all(np.diff(undone[:4]) >= 0)
    assert undone[:4].max() <= numbers.maximum
    assert np.isnan(undone[4])


def test_a_longer_window_contains_the_shorter_one():
    short = counts(1, 0)
    assert np.all(longer(short, 3.0, profile_numbers(short)) >= short)
    assert np.all(other_window(short, 0.5) <= short)


@pytest.mark.parametrize("factor", [1 / 24, 0.5, 3.0, 7.0])
def test_windows_that_are_only_compared_are_told_as_those_drawn_by_themselves(factor):
    numbers, live = profile_numbers(counts(1, 0)), np.sort(counts(factor, 3, 160))
    windows = [1 / 24, 1 / 7, 0.5, 2.0, 3.0, 7.0, 24.0]
    alone = [drawn_over(numbers, each, live).log_ratio(numbers, live).sum() for each in windows]
    together = trial_ratios(numbers, np.array(windows), live).sum(axis=1)
    assert windows[int(np.argmax(together))] == windows[int(np.argmax(alone))] == factor
    assert together.max() == pytest.approx(max(alone), rel=0.1)
