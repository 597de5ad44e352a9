"""Rows that a map touched, undone, beside those that it did not touch; and values no mix of training's rows can give."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity.detect.maps import affine
from tallystick.parity.detect.peers import NOBODY, Peers, peers_of
from tallystick.parity.profile import profile_column
from tallystick.parity.yardsticks import odd_rows

PROFILE = profile_column(pd.Series(np.random.default_rng(0).lognormal(3, 0.7, 3000)), "amount")


def compared(values: np.ndarray, touched: np.ndarray, factor: float = 1024.0) -> Peers:
    each, odd = affine("unit", factor, 0.0, 1.0), odd_rows(PROFILE, values)
    return peers_of(PROFILE, each, values, np.asarray(each.inverse(values)), touched, odd, 0.0)


def moved(mean: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(mean, 0.6, 200)


SOME = np.arange(200) % 10 < 3


def test_a_map_of_some_rows_of_another_mix_leads_back_to_it():
    assert compared(np.where(SOME, moved(3.6) * 1024, moved(3.6)), SOME).are_alike


@pytest.mark.parametrize("factor", [600.0, 2500.0])
def test_another_factor_does_not(factor):
    found = compared(np.where(SOME, moved(3.6) * 1024, moved(3.6)), SOME, factor)
    assert not found.are_alike
    assert found.misfit is not None
    assert found.misfit > 10


def test_rows_of_training_s_mix_are_left_to_training():
    found = compared(np.where(SOME, moved(3.0) * 1024, moved(3.0)), SOME)
    assert not found.are_alike
    assert found.misfit is None


def test_what_explains_a_part_of_a_tail_explains_nothing():
    values = np.where(SOME, moved(3.6) * 1024, moved(3.6))
    values[5::10] = 1e9
    assert compared(values, SOME) is NOBODY


def test_a_tail_beyond_training_is_not_undone():
    """A factor that leads the tail to the middle of the others is not far to seek."""
    high, tail = PROFILE.numbers.maximum, np.arange(200) % 10 < 1
    values = np.where(tail, high * (1 + np.random.default_rng(2).exponential(1.0, 200)), moved(3.3))
    for factor in np.geomspace(2.0, 20.0, 20):
        assert not compared(values, tail, factor).are_alike


def test_few_rows_are_compared_with_nobody():
    few = np.arange(200) < 9
    assert compared(np.where(few, moved(3.6) * 1024, moved(3.6)), few) is NOBODY


def test_a_lower_order_of_magnitude_is_none_of_training_s_and_zero_is_none():
    ratio = profile_column(pd.Series(np.random.default_rng(0).beta(2, 2, 3000) + 0.01), "ratio")
    low = ratio.numbers.minimum
    values = np.array([low / 1000, low / 2, 0.0, np.nan, -low, low])
    assert odd_rows(ratio, values).tolist() == [True, False, False, False, True, False]
