"""Rows of one day, or of days after training, which are what an endpoint mostly sees: no fault of their times."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.verdict import Verdict

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def orders(count: int, seed: int, start: str = "2024-01-01", days: int = 180) -> pd.DataFrame:
    """Orders by the quarter of an hour, of which the cold knows the season."""
    rng = np.random.default_rng(seed)
    day = pd.Timestamp(start) + pd.to_timedelta(rng.integers(0, days, count), unit="D")
    quarter = np.clip(rng.normal(840, 240, count), 0, 1439) // 15 * 15
    return pd.DataFrame(
        {
            "placed": day + pd.to_timedelta(quarter, unit="m"),
            "chill": np.round(5 * np.cos(2 * np.pi * (day.day_of_year - 20) / 365) + rng.normal(0, 1.5, count), 1),
            "items": rng.poisson(3, count) + 1,
            "weight": np.round(rng.lognormal(1, 0.5, count), 2),
        }
    )


def dated(frame: pd.DataFrame, is_date: bool) -> pd.DataFrame:
    return frame.assign(placed=frame.placed.dt.normalize()) if is_date else frame


@pytest.fixture(scope="module", params=[False, True], ids=["times", "dates"])
def trained(request) -> tuple[bool, Reference]:
    return request.param, Reference.from_frame(dated(orders(6000, 0), request.param))


#: A day inside training, one after it whose date can be exchanged, and days in a row.
STREAMS = [("2024-03-09", 1), ("2024-10-06", 1), ("2024-10-02", 9), ("2024-02-03", 2)]


def told(trained: tuple[bool, Reference], live: pd.DataFrame, placed: pd.Series, with_requests: bool) -> Verdict:
    is_date, reference = trained
    requests = live.placed + pd.Timedelta(minutes=4) if with_requests else None
    return diagnose(reference, dated(live.assign(placed=placed), is_date), timestamps=requests)


@pytest.mark.parametrize("with_requests", [False, True])
@pytest.mark.parametrize(("start", "days"), STREAMS)
def test_rows_of_a_few_days_are_a_population(trained, start, days, with_requests):
    live = orders(400, 1, start, days)
    verdict = told(trained, live, live.placed, with_requests)
    assert verdict.status not in CLAIMS
    assert verdict.transformation.get("outside") == ("above" if start > "2024-07" else None)
    assert ("outside training's range" in str(verdict)) == (start > "2024-07")


@pytest.mark.parametrize("default", ["1970-01-01", "2199-12-31"])
@pytest.mark.parametrize(("start", "days"), STREAMS)
def test_a_default_among_rows_of_a_few_days_is_one(trained, start, days, default):
    live = orders(400, 2, start, days)
    filled = live.placed.where(np.arange(400) % 5 > 0, pd.Timestamp(default))
    verdict = told(trained, live, filled, False)
    assert (verdict.status in CLAIMS, verdict.kind, verdict.features) == (True, "default_fill", ("placed",))


def test_a_day_that_is_not_that_of_the_requests_is_a_constant(trained):
    live = orders(400, 3, "2024-08-05", 1)
    stuck = pd.Series(pd.Timestamp("2024-01-15"), index=live.index)
    assert told(trained, live, stuck, True).kind == "constant"


def test_a_day_whose_date_is_exchanged_is_told_by_its_requests(trained):
    live = orders(400, 4, "2024-03-09", 1)
    turned = live.placed.map(lambda t: t.replace(day=t.month, month=t.day))
    assert told(trained, live, turned, True).kind == "day_month_swapped"
    # Without them it is a day in September, and may be.
    assert told(trained, live, turned, False).status not in CLAIMS
