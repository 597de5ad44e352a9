"""More missing values than training had: a lookup that fails, or other people."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, diagnose
from tallystick.parity.kinds import Status

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)
#: Of three in ten rows the shop knows no income, and of eight in ten who rent no year that a house was built.
NO_INCOME, NO_YEAR = 0.3, 0.8


def people(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    home = random.choice(["owns", "rents"], rows, p=[0.7, 0.3])
    age = random.normal(45, 12, rows).round()
    income = (age * 800 + random.normal(0, 9000, rows)).round(-2)
    built = np.where(random.random(rows) < np.where(home == "rents", NO_YEAR, 0.02), np.nan, 1950 + age)
    visits = random.poisson(4, rows).astype(float)
    return pd.DataFrame(
        {
            "age": age,
            "income": np.where(random.random(rows) < NO_INCOME, np.nan, income),
            "home": home,
            "built": built,
            "visits": visits,
        }
    )


@pytest.fixture(scope="module")
def trained() -> Reference:
    return Reference.from_frame(people(4000, 0))


@pytest.mark.parametrize("seed", range(1, 4))
def test_missing_values_that_came_alone_are_a_lookup_that_fails(trained: Reference, seed: int) -> None:
    live = people(300, seed)
    live.loc[np.random.default_rng(seed).random(300) < 0.35, "income"] = np.nan
    found = diagnose(trained, live)
    assert (found.status, found.kind, found.features) == (Status.SUSPECTED, "nulls", ("income",))
    assert any("they came alone" in each.text for each in found.evidence)


def test_they_are_told_with_their_sender(trained: Reference) -> None:
    live = people(300, 4)
    ios = np.arange(300) % 3 == 0
    live.loc[ios & (np.random.default_rng(4).random(300) < 0.7), "income"] = np.nan
    found = diagnose(trained, live, segments=pd.DataFrame({"client": np.where(ios, "ios", "web")}))
    assert (found.kind, found.features, found.segment["value"]) == ("nulls", ("income",), "ios")


def test_senders_of_whom_one_has_always_had_more_are_not_blamed(trained: Reference) -> None:
    """As many of all rows as in training; there, too, they may all have come from one."""
    for seed in range(5, 10):
        live = people(600, seed)
        live["income"] = live["income"].fillna(40_000.0)
        ios = np.arange(600) % 3 == 0
        live.loc[ios & (np.random.default_rng(seed).random(600) < 3 * NO_INCOME), "income"] = np.nan
        live["income"] = live["income"].where(live["income"] != 40_000.0, people(600, seed + 100)["age"] * 800)
        found = diagnose(trained, live, segments=pd.DataFrame({"client": np.where(ios, "ios", "web")}))
        assert "nulls" not in (found.kind, *[each.kind for each in found.others])


@pytest.mark.parametrize("seed", range(10, 13))
def test_a_part_of_the_population_that_has_more_is_no_fault(trained: Reference, seed: int) -> None:
    live = people(2000, seed)
    renting = live[live["home"] == "rents"].head(200)
    found = diagnose(trained, pd.concat([renting, live[live["home"] == "owns"].head(100)], ignore_index=True))
    assert found.status not in CLAIMS


@pytest.mark.parametrize("seed", range(13, 16))
def test_a_part_that_training_does_not_tell_is_no_fault_where_it_differs_in_more(seed: int) -> None:
    """Who rents is not among the columns, and is younger."""
    pool = people(6000, seed)
    pool["age"] = pool["age"] - 10 * (pool["home"] == "rents")
    reference = Reference.from_frame(pool[:4000].drop(columns="home"))
    live = pool[4000:]
    renting = live[live["home"] == "rents"].head(250).drop(columns="home")
    assert diagnose(reference, renting).status not in CLAIMS


def test_a_column_that_lost_values_is_not_exchanged_with_one_that_never_had_any_missing() -> None:
    random = np.random.default_rng(20)
    start = random.integers(0, 12, 4000).astype(float)
    pool = pd.DataFrame(
        {
            "weight": (30 + 5 * start + random.normal(0, 4, 4000)).round(2),
            "feed": np.where(start == 0, np.nan, (4 + 18 * start + random.normal(0, 12, 4000)).round(2)),
            "week": start,
        }
    )
    reference = Reference.from_frame(pool[:3000])
    live = pool[3000:3300].reset_index(drop=True)
    live.loc[random.random(300) < 0.3, "feed"] = np.nan
    found = diagnose(reference, live)
    assert (found.kind, found.features) == ("nulls", ("feed",))


@pytest.mark.parametrize("whole", [True, False])
def test_rows_without_any_value_are_no_request_that_was_repeated(trained: Reference, whole: bool) -> None:
    live = people(300, 21).astype(object)
    empty = np.full(300, whole) | (np.arange(300) % 3 == 0)
    live.loc[empty] = None
    found = diagnose(trained, live, segments=pd.DataFrame({"client": np.where(empty, "nul", "web")}))
    assert (found.status, found.kind) == (Status.CAUSE_FOUND, "nulls")
    assert found.segment.get("value") == (None if whole else "nul")


def test_infinities_that_training_had_as_often_are_no_fault():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(0, 1, 2000), "ratio": rng.lognormal(0, 1, 2000)})
    frame.loc[rng.random(2000) < 0.05, "ratio"] = np.inf
    known = Reference.from_frame(frame[:1500])
    assert diagnose(known, frame[1500:]).status is Status.CONSISTENT
    broken = frame[1500:].assign(ratio=frame.ratio[1500:].mask(rng.random(500) < 0.5, np.inf))
    assert diagnose(known, broken).kind == "nulls"
