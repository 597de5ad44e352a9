"""Values of other rows, and what a part of the rows looks like then: exchanged levels, moved partners, turned signs."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.stale import or_stale
from tallystick.parity.inquire import begun
from tallystick.parity.screen import screen


def orders(count: int, seed: int) -> pd.DataFrame:
    """Orders whose total follows from items and the dearest one, of two and of four levels that go with it."""
    rng = np.random.default_rng(seed)
    items = 1 + rng.poisson(1.2, count)
    dearest = rng.choice([9.5, 12.0, 12.5, 16.0, 16.5, 20.5, 20.75], count)
    total = np.round(dearest + (items - 1) * rng.uniform(0.6, 1.0, count) * dearest, 2)
    score = np.log(total) + rng.normal(0, 0.2, count)
    return pd.DataFrame(
        {
            "items": items,
            "dearest": dearest,
            "total": total,
            "slope": rng.normal(0, 2, count) + 3 * (score - 3.2),
            "size": np.where(score + rng.normal(0, 0.1, count) > 3.2, "large", "small"),
            "lane": np.array(["A", "B", "C", "D"])[np.digitize(score + rng.normal(0, 0.1, count), [2.8, 3.2, 3.6])],
        }
    )


@pytest.fixture(scope="module")
def known() -> Reference:
    return Reference.from_frame(orders(3000, 0))


@pytest.mark.parametrize(
    ("column", "seed"), [("dearest", 9), ("total", 1), ("slope", 2), ("slope", 9), ("size", 0), ("lane", 7)]
)
def test_values_of_other_rows_are_told_as_such(known, column, seed):
    """A part of the rows fits any exchange, and any partner moved by as much; two levels look half exchanged."""
    sent, other = orders(200, 30 + seed), np.random.default_rng(seed).permutation(200)
    verdict = diagnose(known, sent.assign(**{column: sent[column].to_numpy()[other]}))
    assert (verdict.kind, verdict.features) == ("stale", (column,))


@pytest.mark.parametrize("column", ["size", "lane"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_levels_exchanged_in_a_third_of_the_rows_are_no_values_of_other_rows(known, seed, column):
    """The other columns know which level each such row has."""
    sent, some = orders(200, 10 + seed), np.random.default_rng(seed).random(200) < 0.3
    levels = sorted(sent[column].unique())
    turned = sent[column].map(dict(zip(levels, [*levels[1:], levels[0]], strict=True)))
    verdict = diagnose(known, sent.assign(**{column: sent[column].where(~some, turned)}))
    assert (verdict.kind, verdict.features) == ("category_relabelled", (column,))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_sign_that_was_turned_is_no_value_of_another_row(known, share):
    sent, some = orders(200, 3), np.random.default_rng(3).random(200) < share
    verdict = diagnose(known, sent.assign(slope=sent.slope.where(~some, -sent.slope)))
    assert (verdict.kind, verdict.features) == ("sign_flip", ("slope",))


@pytest.mark.parametrize("column", ["size", "lane", "slope"])
def test_what_is_missing_is_no_value_of_another_row(known, column):
    sent, some = orders(200, 4), np.random.default_rng(4).random(200) < 0.4
    verdict = diagnose(known, sent.assign(**{column: sent[column].mask(some)}))
    assert (verdict.kind, verdict.features) == ("nulls", (column,))


@pytest.mark.parametrize(("kind", "is_kept"), [("columns_swapped", True), ("nulls", True), ("affine", False)])
def test_two_columns_and_nulls_outlast_a_stale_one(known, kind, is_kept):
    """An exchange is not asked of one column; what fits some rows of another one is, and is gone without the stale."""
    sent, other = orders(200, 5), np.random.default_rng(5).permutation(200)
    rows = begun(known, sent.assign(lane=sent.lane.to_numpy()[other])).rows
    found = Finding(kind, ("items", "lane"), {}, 0.3, 20.0, False, (), np.zeros(200, dtype=bool), {})
    told = or_stale(rows, screen(rows), [found], lambda live, column, role: [])
    assert [each.kind for each in told] == ([kind] if is_kept else ["stale"])


@pytest.mark.parametrize("seed", range(4))
def test_sound_orders_are_not_stale(known, seed):
    assert diagnose(known, orders(200, 20 + seed)).status is Status.CONSISTENT
