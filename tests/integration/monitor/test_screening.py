"""The screen: how often it is wrong over a day of looks, and how soon it is right."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest
from monitor_rows import frame, reference

from tallystick.monitor.counters import nothing, observe, tally
from tallystick.monitor.rings import HOUR, MINUTE, SEGMENT_LENGTHS, Rings
from tallystick.monitor.screening import REFUSED, REFUSED_RATE, WHOLE, Flag, e_bh, screen
from tallystick.parity import Reference
from tallystick.parity.anytime import rate_e_value, rate_log_e_values

NOON = 20_000 * 86_400 + 12 * HOUR
IOS = ("client", "ios/4.2")


@pytest.fixture(scope="module")
def trained() -> Reference:
    return reference()


class Day:
    """Rows that come by the minute, screened after each."""

    def __init__(self, trained: Reference, start: int = NOON) -> None:
        self.trained, self.now = trained, start
        self.scopes = {WHOLE: Rings.empty(), IOS: Rings.empty(SEGMENT_LENGTHS)}

    def minute(self, rows: pd.DataFrame, ios: np.ndarray | None = None) -> frozenset[Flag]:
        observed = observe(self.trained, rows)
        self.scopes[WHOLE].add(self.now, tally(observed))
        if ios is not None:
            self.scopes[IOS].add(self.now, tally(observed, ios))
        found = screen(self.trained, self.scopes, self.now)
        self.now += MINUTE
        return found

    def requests(self, answered: int, refused: int) -> frozenset[Flag]:
        """Requests of a client; others have as many, which are answered."""
        for scope, more in ((WHOLE, answered + refused), (IOS, 0)):
            counted = nothing(self.trained, refused)
            counted = msgspec.structs.replace(counted, requests=answered + refused + more)
            self.scopes[scope].add(self.now, counted)
        return screen(self.trained, self.scopes, self.now)


def test_a_client_whose_requests_are_all_refused_is_flagged_after_a_handful(trained: Reference) -> None:
    day = Day(trained)
    flagged = [day.requests(0, 1) for _ in range(6)]
    assert flagged[1] == frozenset()
    assert Flag(REFUSED, *IOS) in flagged[-1]


def test_refusals_now_and_then_are_flagged_on_no_day_however_often_it_looks(trained: Reference) -> None:
    """At the rate itself ALPHA allows one day in a hundred; with these seeds it is none in twenty, at 60 looks each."""
    for seed in range(20):
        day, random = Day(trained), np.random.default_rng(seed)
        for _ in range(60):
            refused = int(random.binomial(10, REFUSED_RATE))
            assert day.requests(10 - refused, refused) == frozenset()


def test_the_logarithms_are_those_of_the_e_values() -> None:
    hits, rates = np.array([0, 3, 50]), np.array([0.1, 0.001, 0.5])
    logs = rate_log_e_values(hits, np.array(100), rates)
    for hit, rate, log in zip(hits, rates, logs, strict=True):
        assert np.exp(log) == pytest.approx(rate_e_value(int(hit), 100, float(rate)), rel=1e-6)


def test_rows_like_training_are_flagged_on_no_day_however_often_it_looks(trained: Reference) -> None:
    """ALPHA allows one day in a hundred; with these seeds it is none in twelve, at 20 looks each."""
    flagged = []
    for seed in range(12):
        day = Day(trained)
        pool = frame(1000, seed=1000 + seed)
        for minute in range(20):
            rows = pool.iloc[50 * minute : 50 * minute + 50]
            flagged += day.minute(rows, np.arange(50) % 3 == 0)
    assert flagged == []


def broken(rows: pd.DataFrame, fault: str) -> pd.DataFrame:
    match fault:
        case "unit":
            return rows.assign(temp=rows["temp"] * 100)
        case "new level":
            return rows.assign(kind="hot")
        case "nulls":
            return rows.assign(wind=np.nan)
        case "missing":
            return rows.drop(columns="hum")
        case "other rows":
            return rows.assign(hum=np.roll(rows["hum"].to_numpy(), 7))
        case _:
            return rows.assign(temp=rows["temp"] + 4)


@pytest.mark.parametrize(
    ("fault", "column", "most"),
    [
        ("unit", "temp", 20),
        ("new level", "kind", 20),
        ("nulls", "wind", 20),
        ("missing", "hum", 20),
        ("other rows", "hum", 200),
        ("shifted", "temp", 200),
    ],
)
def test_a_fault_is_flagged_within_so_many_rows(trained: Reference, fault: str, column: str, most: int) -> None:
    day = Day(trained)
    pool = broken(frame(most, seed=7), fault)
    seen = 0
    for start in range(0, most, 10):
        seen = start + 10
        if Flag(column) in day.minute(pool.iloc[start : start + 10]):
            break
    else:
        pytest.fail(f"not within {seen} rows")


def test_a_fault_of_one_client_is_flagged_for_that_client(trained: Reference) -> None:
    day = Day(trained)
    rows = frame(200, seed=9)
    ios = np.arange(200) % 20 == 0
    rows.loc[ios, "temp"] *= 100
    assert Flag("temp", *IOS) in day.minute(rows, ios)


def test_a_fault_after_a_long_quiet_time_is_flagged_as_soon_since_windows_begin_anew(trained: Reference) -> None:
    day = Day(trained)
    assert day.minute(frame(5000, seed=11)) == frozenset()
    day.now += HOUR
    assert Flag("temp") in day.minute(broken(frame(20, seed=12), "unit"))


def test_columns_are_judged_together() -> None:
    strong, weak = Flag("a"), Flag("b")
    assert e_bh([(10.0, strong), (0.0, weak)], 0.01) == {strong}
    # With one of two rejected the other needs half as much.
    assert e_bh([(10.0, strong), (4.7, weak)], 0.01) == {strong, weak}
    assert e_bh([(4.7, weak), (0.0, strong)], 0.01) == set()


def test_the_last_rows_of_an_hour_are_screened_in_the_next_one_and_then_no_longer(trained: Reference) -> None:
    day = Day(trained, start=NOON + HOUR - MINUTE)
    assert day.minute(frame(2000, seed=21)) == frozenset()
    # They come late, when the hour that they are of is over.
    late = frame(400, seed=22)
    day.scopes[WHOLE].by_width[HOUR].add(NOON, tally(observe(trained, late.assign(temp=late["temp"] * 100))))
    assert Flag("temp") in day.minute(frame(50, seed=23))
    assert day.minute(frame(50, seed=24)) | day.minute(frame(50, seed=25)) >= {Flag("temp")}
    assert day.minute(frame(50, seed=26)) == frozenset()
