"""Times: day and month, zones, units; by range, by the other columns, and by the time of the request."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose, examine

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def stays(count: int, seed: int) -> pd.DataFrame:
    """Bookings of two whole years: no date is out of range when day and month are exchanged; warmth knows the month."""
    rng = np.random.default_rng(seed)
    when = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 730 * 24, count), unit="h")
    warm = 12 - 10 * np.cos(2 * np.pi * (when.dayofyear - 20) / 365)
    return pd.DataFrame(
        {
            "booked": when,
            "warmth": np.round(warm + rng.normal(0, 2.5, count), 1),
            "heating": np.maximum(0, 20 - warm) * np.exp(rng.normal(0, 0.2, count)),
            "guests": rng.integers(1, 6, count),
        }
    )


@pytest.fixture(scope="module")
def bookings() -> Reference:
    return Reference.from_frame(stays(2500, 0))


def turned(times: pd.Series) -> pd.Series:
    return times.map(lambda t: t.replace(day=t.month, month=t.day) if t.day <= 12 else t)


def test_day_and_month_are_told_by_columns_that_know_the_month(bookings):
    for seed in (1, 2, 3):
        live = stays(200, seed)
        verdict = diagnose(bookings, live.assign(booked=turned(live.booked)))
        assert (verdict.kind, verdict.features) == ("day_month_swapped", ("booked",))
        assert diagnose(bookings, live).status not in CLAIMS


def test_another_season_is_not_another_order_of_day_and_month(bookings):
    rows = stays(2000, 4)
    for months in ((6, 7, 8), (1, 2), (11, 12)):
        part = rows[rows.booked.dt.month.isin(months)].head(200).reset_index(drop=True)
        assert diagnose(bookings, part).kind != "day_month_swapped"


def test_day_and_month_are_told_by_the_lag_to_the_request(bookings):
    """Nothing else is asked: warmth and heating are those of other days."""
    live = stays(120, 5)
    live[["warmth", "heating"]] = stays(120, 6)[["warmth", "heating"]]
    asked = live.booked + pd.to_timedelta(np.random.default_rng(0).integers(5, 500, 120), unit="m")
    verdict = diagnose(bookings, live.assign(booked=turned(live.booked)), timestamps=asked)
    assert (verdict.kind, verdict.status) == ("day_month_swapped", Status.CAUSE_FOUND)


def orders(count: int, seed: int) -> pd.DataFrame:
    """Orders of one year and amounts, which do not know the month."""
    rng = np.random.default_rng(seed)
    ordered = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 364 * 86400, count)), unit="s")
    return pd.DataFrame({"ordered": ordered, "amount": rng.lognormal(3, 0.5, count)})


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_day_and_month_of_some_rows_are_told_by_the_lag_to_the_request(share):
    live, some = orders(300, 1), np.random.default_rng(2).random(300) < share
    sent = live.assign(ordered=live.ordered.where(~some, turned(live.ordered)))
    verdict = diagnose(Reference.from_frame(orders(3000, 0)), sent, timestamps=live.ordered + pd.Timedelta("30s"))
    assert (verdict.status, verdict.kind) == (Status.CAUSE_FOUND, "day_month_swapped")
    assert verdict.share == pytest.approx(some.mean(), abs=0.1)


def test_some_dates_that_are_old_are_not_exchanged():
    """A third of the orders are from any day before, or a month old: few are near their requests when exchanged."""
    live, rng = orders(300, 3), np.random.default_rng(4)
    old = rng.random(300) < 0.3
    reference = Reference.from_frame(orders(3000, 0))
    for days in (rng.integers(20, 300, 300), np.full(300, 30)):
        sent = live.assign(ordered=live.ordered.where(~old, live.ordered - pd.to_timedelta(days, unit="D")))
        verdict = diagnose(reference, sent, timestamps=live.ordered + pd.Timedelta("30s"))
        assert verdict.kind != "day_month_swapped"


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_times_after_their_requests_are_in_another_zone(bookings, share):
    live = stays(120, 7)
    asked = live.booked + pd.to_timedelta(np.random.default_rng(0).integers(0, 5, 120), unit="m")
    some = np.random.default_rng(1).random(120) < share
    sent = live.booked.where(~some, live.booked + pd.Timedelta(hours=5))
    verdict = diagnose(bookings, live.assign(booked=sent), timestamps=asked)
    assert (verdict.kind, verdict.transformation["hours"]) == ("time_zone", 5)
    assert verdict.share == pytest.approx(some.mean(), abs=0.05)
    assert diagnose(bookings, live, timestamps=asked).status not in CLAIMS


ENCODINGS = ["datetime", "s", "ms", "us", "ns"]


def encoded(times: pd.Series, unit: str) -> pd.Series:
    nanos = times.astype("datetime64[ns]").astype("int64")
    return times if unit == "datetime" else nanos // {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]


@pytest.mark.parametrize("trained", ENCODINGS)
def test_every_unit_of_the_epoch_for_every_other(trained):
    frame, live = stays(400, 8), stays(40, 9)
    reference = Reference.from_frame(frame.assign(booked=encoded(frame.booked, trained)))
    for sent in ENCODINGS:
        verdict = diagnose(reference, live.assign(booked=encoded(live.booked, sent)))
        if trained == sent:
            assert verdict.status not in CLAIMS
        elif sent != "datetime":
            assert (verdict.kind, verdict.features, verdict.status) == ("epoch_unit", ("booked",), Status.CAUSE_FOUND)


def trades(count: int, seed: int, start: str = "1965-01-01") -> pd.DataFrame:
    """Days on which was traded: midnights, no Saturdays, no Sundays, and nothing else knows the date."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range(start, periods=5000)
    return pd.DataFrame(
        {
            "day": rng.choice(days, count),
            "price": np.round(rng.lognormal(3, 0.2, count), 2),
            "lots": rng.poisson(9, count),
        }
    )


@pytest.fixture(scope="module")
def market() -> Reference:
    return Reference.from_frame(trades(2000, 0))


@pytest.mark.parametrize(("hours", "share"), [(-6.0, 1.0), (9.0, 0.3), (5.5, 1.0)])
def test_midnight_of_another_zone_is_told_from_few_rows(market, hours, share):
    live = trades(60, 1)
    some = np.arange(60) < 60 * share
    verdict = diagnose(market, live.assign(day=live.day.where(~some, live.day + pd.Timedelta(hours=hours))))
    assert (verdict.kind, verdict.status, verdict.transformation["hours"]) == (
        "time_zone",
        Status.CAUSE_FOUND,
        hours,
    )


def test_day_and_month_are_told_by_days_of_the_week_that_training_never_had(market):
    live = trades(200, 2)
    assert diagnose(market, live.assign(day=turned(live.day))).kind == "day_month_swapped"
    sundays = trades(200, 3).assign(
        day=lambda rows: rows.day + pd.to_timedelta((6 - rows.day.dt.day_of_week), unit="D")
    )
    assert diagnose(market, sundays).kind != "day_month_swapped"


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_milliseconds_read_as_nanoseconds_are_told_though_training_had_1970(market, share):
    live = trades(100, 4)
    some = np.arange(100) < 100 * share
    small = pd.to_datetime(live.day.astype("datetime64[ns]").astype("int64") // 1_000_000)
    assert diagnose(market, live.assign(day=live.day.where(~some, small))).kind == "epoch_unit"
    assert diagnose(market, live).status not in CLAIMS


def test_a_time_that_stands_still_is_told_as_a_time():
    found = diagnose(
        Reference.from_frame(stays(2000, 1)), stays(200, 2).assign(booked=pd.Timestamp("2023-05-01 07:00"))
    )
    assert (found.kind, found.transformation["role"]) == ("constant", "time")
    assert "constant 2023-05-01T07:00:00Z" in str(found)


NOTATIONS = {
    "zone": "%Y-%m-%dT%H:%M:%SZ",
    "offset": "%Y-%m-%dT%H:%M:%S+00:00",
    "fraction": "%Y-%m-%dT%H:%M:%S.000Z",
    "day first": "%d.%m.%Y %H:%M",
    "month first": "%m/%d/%Y %H:%M",
    "compact": "%Y%m%dT%H%M%S",
}


@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=NOTATIONS)
def test_another_notation_of_the_same_times_is_no_fault(bookings, notation):
    live = stays(150, 11)
    verdict = diagnose(bookings, live.assign(booked=live.booked.dt.strftime(notation)))
    assert verdict.status is Status.CONSISTENT


def test_an_offset_is_converted_to_utc(bookings):
    live = stays(150, 12)
    written = (live.booked + pd.Timedelta(hours=2)).dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    assert diagnose(bookings, live.assign(booked=written)).status is Status.CONSISTENT


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_the_epoch_in_text_is_numbers_as_text(bookings, unit):
    live = stays(60, 13)
    verdict = diagnose(bookings, live.assign(booked=encoded(live.booked, unit).astype(str)))
    assert (verdict.kind, verdict.features, verdict.status) == ("numeric_as_text", ("booked",), Status.CAUSE_FOUND)


def test_text_that_is_no_time_is_unreadable_and_not_missing(bookings):
    live = stays(60, 14)
    verdict = diagnose(bookings, live.assign(booked=[f"week {day}" for day in live.booked.dt.isocalendar().week]))
    assert (verdict.kind, verdict.features) == ("unreadable", ("booked",))
    assert verdict.evidence[0].text.startswith("60 of 60 values of booked cannot be read as times, such as 'week")
    words = diagnose(
        bookings, live.assign(booked=live.booked.dt.strftime("%Y-%m-%d %H:%M:%S").where(live.index > 9, "NA"))
    )
    assert words.kind == "null_token"


@pytest.mark.parametrize("value", [np.inf, 10**400, 10**9000], ids=["inf", "large", "huge"])
def test_what_is_not_finite_is_unreadable_and_not_missing(bookings, value):
    live = stays(60, 15)
    guests = pd.Series([value, *live.guests[1:].tolist()], dtype=object)
    verdict = diagnose(bookings, live.assign(guests=guests))
    assert (verdict.kind, verdict.features, verdict.status) == ("unreadable", ("guests",), Status.CAUSE_FOUND)
    assert verdict.also == ()


@pytest.mark.parametrize("value", [b"\xff", Decimal("sNaN"), 1 + 2j])
def test_objects_that_are_no_values_of_a_column_are_told(bookings, value):
    live = stays(60, 16)
    for column in ("guests", "booked"):
        verdict = diagnose(bookings, live.assign(**{column: pd.Series([value] * 60, dtype=object)}))
        assert (verdict.features, verdict.status) == ((column,), Status.CAUSE_FOUND)


def test_numbers_that_write_dates_are_read_as_dates(bookings):
    live = stays(120, 17)
    days = (live.booked - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)
    for sent, form in ((days, "Excel days"), (live.booked.dt.strftime("%Y%m%d").astype(int), "yyyymmdd")):
        found = examine(bookings, live.assign(booked=sent))
        assert (found.verdict.kind, found.verdict.transformation["to"]) == ("epoch_unit", form)
        apart = found.undone_frame.booked - live.booked.loc[found.judged].reset_index(drop=True)
        assert apart.abs().max() < pd.Timedelta(days=1 if form == "yyyymmdd" else 1e-6)


@pytest.mark.parametrize("as_text", [False, True])
def test_the_open_end_of_calendars_is_a_default(bookings, as_text):
    live = stays(120, 18)
    ends = live.booked.astype("datetime64[s]").where(live.index > 40, pd.Timestamp("9999-12-31").as_unit("s"))
    verdict = diagnose(bookings, live.assign(booked=ends.astype(str) if as_text else ends))
    assert (verdict.kind, verdict.transformation["value"]) == ("default_fill", 253402214400.0)
    assert "41 of 120 values are 9999-12-31" in verdict.evidence[0].text


@pytest.mark.parametrize(("unit", "frequency"), [("day", "D"), ("hour", "h"), ("minute", "min")])
def test_a_time_of_day_that_was_cut_off_is_named_with_its_unit(unit, frequency):
    def rows(count: int, seed: int) -> pd.DataFrame:
        drawn = np.random.default_rng(seed)
        frame = stays(count, seed)
        return frame.assign(booked=frame.booked + pd.to_timedelta(drawn.integers(0, 3600, count), unit="s"))

    reference = Reference.from_frame(rows(1500, 0))
    for seed in (1, 2, 3):
        live = rows(150, seed)
        verdict = diagnose(reference, live.assign(booked=live.booked.dt.floor(frequency)))
        assert (verdict.kind, verdict.features, verdict.status) == ("rounded", ("booked",), Status.CAUSE_FOUND)
        assert verdict.transformation["unit"] == unit
        assert diagnose(reference, live).status not in CLAIMS
