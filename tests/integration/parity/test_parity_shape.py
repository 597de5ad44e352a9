"""Fine numbers around zero, of which no value is impossible: their shape alone tells what was done."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose


def table(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    is_low = random.random(count) < 0.5
    return pd.DataFrame(
        {
            "wide": random.normal(7, 8, count),
            "two": np.where(is_low, random.normal(-3, 1, count), random.normal(4, 0.5, count)),
            "even": random.uniform(-50, 50, count),
            "tail": np.exp(random.normal(0, 1.5, count)),
            "power": random.pareto(1.2, count) + 1,
        }
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.from_frame(table(6000, 0))


@pytest.mark.parametrize(
    ("column", "change", "kind"),
    [
        ("wide", lambda x, mean, sd: (x - mean) / sd, "standardized"),
        ("two", lambda x, mean, sd: (x - mean) / sd, "standardized"),
        ("even", lambda x, _mean, _sd: (x + 50) / 100, "minmax_scaled"),
        ("wide", lambda x, _mean, _sd: x / 1000, "unit"),
    ],
)
def test_all_rows_of_training_s_shape_at_another_place_are_suspected(reference, column, change, kind):
    numbers = reference.column(column).numbers
    live = table(200, 1)
    verdict = diagnose(reference, live.assign(**{column: change(live[column], numbers.mean, numbers.sd)}))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.SUSPECTED, kind, (column,))


def test_a_narrow_part_of_the_population_is_no_fault(reference):
    """Parts of a power law are its like on another scale, and of an even column even."""
    rows = table(60_000, 2)
    for column in rows:
        for low, high in ((0.0, 0.02), (0.48, 0.5), (0.9, 1.0), (0.99, 1.0), (0.25, 0.5)):
            lower, upper = rows[column].quantile([low, high])
            part = rows[rows[column].between(lower, upper)].head(200).reset_index(drop=True)
            verdict = diagnose(reference, part)
            assert verdict.status not in (Status.CAUSE_FOUND, Status.SUSPECTED), (column, low, verdict.kind)
