"""Weights that make training rows like live ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from tallystick.parity.matched import FEWEST, Matched, _towards, over_mix


def test_weighed_rows_have_the_target_means():
    rows = np.random.default_rng(0).normal(size=(512, 4))
    weights = _towards(rows, np.array([0.6, 0.0, 0.0, -0.3]), np.arange(4))
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ rows == pytest.approx([0.6, 0.0, 0.0, -0.3], abs=0.12)


def test_enough_rows_are_left_however_far_off_the_target_is():
    rows = np.random.default_rng(0).normal(size=(512, 6))
    weights = _towards(rows, np.full(6, 1.4), np.arange(6))
    assert 1 / np.sum(weights**2) >= FEWEST
    assert (weights @ rows).max() > 1.0


def test_rows_that_are_alike_already_keep_their_weights():
    rows = np.random.default_rng(0).normal(size=(200, 3))
    assert _towards(rows, rows.mean(axis=0), np.arange(3)) == pytest.approx(1 / 200)


def test_weights_that_are_given_are_moved_and_zeros_stay():
    rows = np.random.default_rng(0).normal(size=(400, 2))
    first = np.where(np.arange(400) < 200, 1 / 200, 0.0)
    weights = _towards(rows, np.array([0.5, 0.0]), np.arange(2), first)
    assert not weights[200:].any()
    assert weights @ rows == pytest.approx([0.5, 0.0], abs=0.12)


def weighed(weights: np.ndarray) -> Matched:
    return Matched(SimpleNamespace(rows=len(weights)), weights)


def test_what_golden_rows_say_as_well_is_taken_off():
    rng = np.random.default_rng(1)
    mix, rows = weighed(np.full(400, 1 / 400)), np.ones(400, dtype=bool)
    apart = rng.normal(1.0, 1.0, 400)
    assert over_mix(mix, rows, rng.normal(1.0, 1.0, 400), apart) < 6
    assert over_mix(mix, rows, rng.normal(-1.0, 1.0, 400), apart) > 100


def test_a_sum_is_not_trusted_over_few_golden_rows():
    """Ten rows of a thousand that say much: z is 2 to 3, the sum more."""
    apart = np.where(np.arange(1000) < 10, 8.0, -0.02)
    even, few = np.full(400, 1 / 400), np.where(np.arange(400) < 40, 1 / 40, 0.0)
    rows, usual = np.ones(400, dtype=bool), np.random.default_rng(0).normal(-0.02, 0.01, 400)
    assert over_mix(weighed(few), rows, usual, apart) < 6 < over_mix(weighed(even), rows, usual, apart)
