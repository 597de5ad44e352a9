"""Which of training's columns a column may be: a few points first, and many maps at once, give what all give."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity.detect.fitting import undone_by
from tallystick.parity.detect.maps import affine, curve_maps, sign_maps, unit_maps
from tallystick.parity.detect.misfit import SentColumn, is_elsewhere, misfit
from tallystick.parity.profile import profile_column


def column(seed: int, centre: float = 0.0, rows: int = 300) -> pd.Series:
    return pd.Series(np.round(np.random.default_rng(seed).normal(centre, 1.0, rows), 2))


@pytest.mark.parametrize("centre", [0.0, 0.1, 0.2, 0.4, 1.0, 5.0])
def test_what_few_points_call_elsewhere_does_not_fit(centre):
    profile, sent = profile_column(column(0, rows=3000), "x"), SentColumn(column(1, centre))
    assert misfit(profile, sent) >= 1.0 or not is_elsewhere(profile, sent)


def test_few_points_are_enough_for_another_column():
    assert is_elsewhere(profile_column(column(0, rows=3000), "x"), SentColumn(column(1, 5.0)))


def test_levels_are_told_by_their_shares():
    levels = pd.Series(np.repeat(["a", "b", "c"], [600, 300, 100]))
    profile = profile_column(levels, "level")
    assert misfit(profile, SentColumn(levels.sample(200, random_state=1).reset_index(drop=True))) < 1.0
    assert misfit(profile, SentColumn(pd.Series(["c"] * 200))) > 1.0
    assert misfit(profile, SentColumn(pd.Series(["other"] * 200))) > 1.0


@pytest.mark.parametrize("values", [np.arange(40.0) % 13, np.round(np.geomspace(0.01, 500, 60), 2)])
def test_maps_are_undone_together_as_one_by_one(values):
    numbers = profile_column(pd.Series(np.tile(values, 30)), "x").numbers
    maps = [*unit_maps(), *curve_maps(numbers), *sign_maps(numbers), affine("not_standardized", 2.0, 3.0, 1.0)]
    together = undone_by(numbers, maps, values, 0.01)
    for k, each in enumerate(maps):
        alone = undone_by(numbers, [each], values, 0.01)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(together.exact[k], each.inverse(values))
        np.testing.assert_array_equal(together.settled[k], alone.settled[0])
