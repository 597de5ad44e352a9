"""Columns of nearly one distribution that go together: what is told of two of them, and of a third."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference
from tallystick.parity.detect.permutation import over_training
from tallystick.parity.inquire import OVER_TRAINING_Z, begun


def chains(count: int, seed: int) -> pd.DataFrame:
    """Two light chains of one blood sample, and an age."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.5, count)
    one, other = (np.exp(level + rng.normal(0, 0.12, count) + shift).round(2) for shift in (0.1, 0.0))
    return pd.DataFrame({"one": one, "other": other, "age": rng.integers(20, 90, count)})


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_an_exchange_of_twins_is_measured_against_what_training_shows_of_it(share):
    live = chains(1000, 1)
    some = np.random.default_rng(2).random(1000) < share
    sent = live.assign(one=live.other.where(some, live.one), other=live.one.where(some, live.other))
    rows = begun(Reference.from_frame(chains(5000, 0)), sent).sent
    control = rows.golden()
    assert control is not None
    assert (over_training(rows, control, 0, 1, 0.3) >= OVER_TRAINING_Z) == (share > 0)
