"""Weights that make training rows like live ones."""

import numpy as np
import pytest

from tallystick.parity.matched import FEWEST, _towards


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
