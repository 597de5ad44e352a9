"""Rows that come after training's in time: what runs on, comes and goes is no fault, and faults are still named."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)
ROWS, TRAINED = 6000, 4000


def visits(seed: int) -> pd.DataFrame:
    """Visits to shops of which two of twelve close in each of twenty months, by a counter and with a season."""
    rng = np.random.default_rng(seed)
    age = np.arange(ROWS) / ROWS * 20
    shop = [f"shop {2 * int(month) + pick}" for month, pick in zip(age, rng.integers(0, 12, ROWS), strict=True)]
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.floor(age * 30), unit="D"),
            "number": np.arange(ROWS) + 5000,
            "shop": shop,
            "paid": rng.choice(["card", "cash", "voucher"], ROWS, p=[0.6, 0.3, 0.1]),
            "warmth": np.round(10 + 9 * np.sin(age / 12 * 2 * np.pi) + rng.normal(0, 2, ROWS), 1),
            "spent": np.round(rng.lognormal(3, 0.6, ROWS), 2),
        }
    )


@pytest.fixture(scope="module", params=[0, 1])
def told(request) -> tuple[Reference, pd.DataFrame]:
    frame = visits(request.param)
    return Reference.from_frame(frame.iloc[:TRAINED]), frame.iloc[TRAINED:]


@pytest.mark.parametrize("rows", [200, 600])
def test_what_comes_next_is_no_fault(told, rows):
    reference, later = told
    assert diagnose(reference, later.head(rows)).status not in CLAIMS
    assert diagnose(reference, later.sample(rows, random_state=0)).status not in CLAIMS


@pytest.mark.parametrize(
    ("column", "broken", "kind"),
    [
        ("spent", lambda spent: spent * 1000, "unit"),
        ("paid", lambda paid: paid.replace("cash", "coins"), "renamed_level"),
        ("warmth", lambda warmth: warmth.where(np.arange(len(warmth)) % 4 > 0), "nulls"),
        ("day", lambda day: day.where(np.arange(len(day)) % 10 > 0, pd.Timestamp("1970-01-01")), "default_fill"),
    ],
)
def test_a_fault_in_later_rows_is_named(told, column, broken, kind):
    reference, later = told
    live = later.head(300).reset_index(drop=True)
    verdict = diagnose(reference, live.assign(**{column: broken(live[column])}))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, kind, (column,))


def test_a_new_name_among_rows_of_training_s_own_time_is_told():
    frame = visits(3)
    inside = np.random.default_rng(0).random(ROWS) < 0.8
    live = frame[~inside].sample(400, random_state=0)
    often = live["shop"].value_counts().index[0]
    verdict = diagnose(Reference.from_frame(frame[inside]), live.assign(shop=live["shop"].replace(often, "Zebra & Co")))
    assert verdict.status is Status.CAUSE_FOUND
    assert verdict.features == ("shop",)


def test_the_course_is_kept_with_the_reference(told):
    reference, _ = told
    assert Reference.from_bytes(reference.to_bytes()).course == reference.course
    assert reference.course["number"].trend > 0.99


def test_busy_days_after_training_are_no_default():
    rng = np.random.default_rng(0)
    days = [
        pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(low, high, n), unit="D")
        for low, high, n in ((0, 240, 5000), (240, 360, 200))
    ]
    frames = [pd.DataFrame({"day": each, "paid": rng.lognormal(3, 0.5, len(each)).round(2)}) for each in days]
    reference, live = Reference.from_frame(frames[0]), frames[1]
    for seed in range(6):
        moved = live.assign(day=np.random.default_rng(seed).choice(live["day"], 200))
        assert diagnose(reference, moved).status not in CLAIMS
    filled = live.assign(day=live["day"].where(np.arange(200) % 5 > 0, pd.Timestamp("2025-11-11")))
    assert diagnose(reference, filled).kind == "default_fill"
