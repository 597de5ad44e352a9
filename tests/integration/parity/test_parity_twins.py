"""Columns of nearly one distribution that go together: what is told of two of them, and of a third."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, diagnose
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


def people(count: int, seed: int) -> pd.DataFrame:
    """An age, and two readings of which either could be the other's."""
    rng = np.random.default_rng(seed)
    columns = {"age": rng.normal(50, 12, count).round()}
    columns |= {name: np.exp(0.5 * rng.normal(0, 1, count)).round(2) for name in ("first", "second")}
    return pd.DataFrame({**columns, "visits": rng.poisson(3, count)})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_columns_are_exchanged_and_a_third_like_one_of_them_is_left_out(seed):
    sent, some = people(200, seed), np.random.default_rng(seed).random(200) < 0.3
    reference = Reference.from_frame(people(4500, 0))
    sent = sent.assign(age=sent["first"].where(some, sent.age), first=sent.age.where(some, sent["first"]))
    verdict = diagnose(reference, sent)
    assert (verdict.kind, verdict.features) == ("columns_swapped", ("age", "first"))


def test_three_columns_of_which_each_tells_are_still_shifted():
    sent, some = people(200, 1).assign(second=lambda rows: 1000 * rows.second), np.arange(200) % 3 == 0
    reference = Reference.from_frame(people(4500, 0).assign(second=lambda rows: 1000 * rows.second))
    names = ["age", "first", "second"]
    shifted = sent.assign(**{name: sent[names[k - 1]].where(some, sent[name]) for k, name in enumerate(names)})
    verdict = diagnose(reference, shifted)
    assert (verdict.kind, verdict.features) == ("column_shift", ("age", "first", "second"))


def test_a_column_may_be_called_self():
    sent = people(200, 1).assign(second=lambda rows: 1000 * rows.second)
    names = {"second": "self"}
    reference = Reference.from_frame(
        people(4500, 0).assign(second=lambda rows: 1000 * rows.second).rename(columns=names)
    )
    shifted = pd.DataFrame({"age": sent["second"], "first": sent.age, "self": sent["first"], "visits": sent.visits})
    assert diagnose(reference, shifted).kind == "column_shift"
