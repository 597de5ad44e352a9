"""A part of the population is no fault: a season, a place, an hour of the day or one category of training's own rows."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def utc(local: pd.Series, zone: str) -> pd.Series:
    read = local.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return read.dt.tz_convert("UTC").dt.tz_localize(None)


def local_times(count: int, rng: np.random.Generator) -> pd.Series:
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, count), unit="D")
    return pd.Series(days + pd.to_timedelta(np.clip(rng.normal(13, 4.5, count), 0, 23.9), unit="h")).dt.floor("min")


def rides(count: int, seed: int) -> pd.DataFrame:
    """A year of UTC times beside local hours where summer has another time than winter."""
    rng = np.random.default_rng(seed)
    local = local_times(count, rng)
    frame = pd.DataFrame(
        {
            "hour": local.dt.hour,
            "at": utc(local, "America/New_York"),
            "length": rng.normal(size=count) + local.dt.hour / 5,
            "warmth": 10 - 8 * np.cos(2 * np.pi * (local.dt.day_of_year - 20) / 365) + rng.normal(0, 3, count),
        }
    )
    return frame.dropna().reset_index(drop=True)


def sales(count: int, seed: int) -> pd.DataFrame:
    """Shops of two zones, with UTC times beside local ones."""
    rng = np.random.default_rng(seed)
    local, is_west = local_times(count, rng), rng.random(count) < 0.4
    return pd.DataFrame(
        {
            "at": utc(local, "Etc/GMT+5").where(~is_west, utc(local, "Etc/GMT+8")),
            "shop": np.where(is_west, rng.choice(["w1", "w2"], count), rng.choice(["e1", "e2", "e3"], count)),
            "local": local.dt.hour + local.dt.minute / 60,
            "total": np.round(rng.gamma(3, 8, count) + local.dt.hour, 2),
        }
    )


@pytest.fixture(scope="module")
def year() -> Reference:
    return Reference.from_frame(rides(6000, 0))


@pytest.fixture(scope="module")
def shops() -> Reference:
    return Reference.from_frame(sales(6000, 0))


@pytest.mark.parametrize("months", [(1,), (2,), (12,), (7,), (11, 12, 1, 2)])
def test_a_season_with_one_of_two_offsets_has_no_other_zone(year, months):
    rows = rides(8000, 1)
    part = rows[rows["at"].dt.month.isin(months)].head(1000)
    assert diagnose(year, part).status not in CLAIMS


@pytest.mark.parametrize("part", [("w1", "w2"), ("w1",), ("e1",)])
def test_shops_of_one_zone_have_no_other_zone(shops, part):
    rows = sales(6000, 1)
    assert diagnose(shops, rows[rows["shop"].isin(part)].head(800)).status not in CLAIMS


@pytest.mark.parametrize(("hours", "share"), [(1, 1.0), (-5, 1.0), (5, 0.3)])
def test_a_zone_is_named_where_training_has_two_offsets(year, shops, hours, share):
    for reference, rows in ((year, rides(500, 2)), (shops, sales(500, 2))):
        some = np.random.default_rng(3).random(len(rows)) < share
        sent = rows.assign(at=rows["at"].where(~some, rows["at"] + pd.Timedelta(hours=hours)))
        verdict = diagnose(reference, sent)
        assert (verdict.kind, verdict.features, verdict.transformation["hours"]) == ("time_zone", ("at",), hours)


def test_a_zone_is_named_in_a_season_with_one_of_two_offsets(year):
    rows = rides(6000, 4)
    part = rows[rows["at"].dt.month == 1].head(400)
    verdict = diagnose(year, part.assign(at=part["at"] + pd.Timedelta(hours=5)))
    assert (verdict.kind, verdict.features) == ("time_zone", ("at",))
    assert verdict.transformation["hours"] in (5, 6)


def stops(count: int, seed: int) -> pd.DataFrame:
    """Local days in UTC, by the hour: midnight is a popular time of the evening. Jobs by night are all at midnight."""
    rng = np.random.default_rng(seed)
    local, is_job = local_times(count, rng), rng.random(count) < 0.06
    at = (local + pd.Timedelta(hours=4)).dt.floor("h")
    return pd.DataFrame(
        {
            "at": at.where(~is_job, at.dt.floor("D")),
            "what": np.where(is_job, "job", rng.choice(["in", "out"], count)),
            "local": local.dt.hour * 60 + local.dt.minute,
            "load": np.round(rng.gamma(3, 8, count) + local.dt.hour, 2),
        }
    )


@pytest.fixture(scope="module")
def stopped() -> Reference:
    return Reference.from_frame(stops(6000, 0))


@pytest.mark.parametrize("part", ["hours < 4", "hours > 21 or hours < 3", "what == 'job' or hours == 12"])
@pytest.mark.parametrize("count", [150, 600])
def test_a_part_of_the_day_with_a_popular_midnight_is_not_rounded(stopped, part, count):
    rows = stops(12000, 1)
    sent = rows.loc[rows.assign(hours=rows["at"].dt.hour).query(part).index].head(count).reset_index(drop=True)
    assert (sent["at"].dt.hour == 0).mean() > 2 * (rows["at"].dt.hour == 0).mean()
    assert diagnose(stopped, sent).status not in CLAIMS


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_dates_for_times_are_named_where_midnight_is_popular(stopped, share):
    sent = stops(250, 2)
    some = np.random.default_rng(3).random(len(sent)) < share
    verdict = diagnose(stopped, sent.assign(at=sent["at"].where(~some, sent["at"].dt.floor("D"))))
    assert (verdict.kind, verdict.features, verdict.transformation["unit"]) == ("rounded", ("at",), "day")


def test_dates_for_times_are_named_in_a_part_of_the_day(stopped):
    rows = stops(2000, 2)
    sent = rows[rows["at"].dt.hour.isin((21, 22, 23, 1, 2))].head(250)
    verdict = diagnose(stopped, sent.assign(at=sent["at"].dt.floor("D")))
    assert (verdict.kind, verdict.features, verdict.transformation["unit"]) == ("rounded", ("at",), "day")
