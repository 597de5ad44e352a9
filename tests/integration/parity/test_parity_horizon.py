"""Counts of events over another window than training's, counted again from the events."""

import numpy as np
import pandas as pd
import pytest
from history_rows import DAY, HOUR, START

from tallystick.parity import History, Reference, Status, diagnose
from tallystick.parity.words import headline

CUSTOMERS = 80
CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def events_of(seed: int = 0, days: int = 60, busier: float = 1.0) -> pd.DataFrame:
    """Purchases: some customers buy twice a day, some once a fortnight; the last third of the time is busier."""
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(-1, 0.8, CUSTOMERS))
    found = []
    for customer, rate in enumerate(rates):
        times = np.sort(rng.uniform(0, days, rng.poisson(rate * days)))
        more = np.sort(rng.uniform(2 / 3 * days, days, rng.poisson((busier - 1) * rate * days / 3)))
        found += [(f"c{customer}", START + at * DAY) for at in np.sort(np.concatenate([times, more]))]
    return pd.DataFrame(found, columns=["customer", "at"])


def counted(events, count, seed, window_s, days=(20, 58), *, own=False):
    """Rows, customers and times; `purchases` over a window, and columns that go with a customer's rate."""
    rng = np.random.default_rng(seed)
    if own:
        # Each row is a purchase, which its count does not have in it.
        inside = events["at"].between(START + days[0] * DAY, START + days[1] * DAY)
        chosen = events[inside].sample(count, random_state=seed)
        whose, times = chosen["customer"].to_numpy(), chosen["at"].to_numpy()
    else:
        whose = rng.choice([f"c{n}" for n in range(CUSTOMERS)], count)
        times = START + rng.uniform(days[0] * DAY, days[1] * DAY, count)
    by = {customer: part.to_numpy() for customer, part in events.groupby("customer")["at"]}
    side = "left" if own else "right"
    numbers, total = [], []
    for customer, at in zip(whose, times, strict=True):
        own_events = by.get(customer, np.zeros(0))
        numbers.append(np.searchsorted(own_events, at, side) - np.searchsorted(own_events, at - window_s, "right"))
        total.append(len(own_events))
    spend = np.round(np.array(total) * np.exp(rng.normal(2, 0.3, count)), 2)
    return pd.DataFrame({"purchases": numbers, "spend": spend, "noise": rng.normal(size=count)}), whose, times


@pytest.fixture(scope="module")
def events():
    return events_of()


@pytest.fixture(scope="module")
def reference(events):
    rows, whose, times = counted(events, 2000, 1, 7 * DAY)
    return Reference.from_frame(rows, keys=whose, timestamps=times, history=History(events, "customer", "at"))


def test_trainings_window_is_found_from_events(reference):
    window = reference.timing["purchases"].window
    assert (window.window_s, window.share, window.is_before) == (7 * DAY, 1.0, False)
    assert window.high_s - window.low_s < HOUR
    assert reference.timing["noise"].window is None
    assert Reference.from_bytes(reference.to_bytes()).timing == reference.timing


@pytest.mark.parametrize("window_s", [DAY, 3 * DAY, 14 * DAY, 5.5 * DAY])
def test_another_window_is_proven_with_its_length(events, reference, window_s):
    rows, whose, times = counted(events, 400, 7, window_s)
    history = History(events, "customer", "at")
    verdict = diagnose(reference, rows, keys=whose, timestamps=times, history=history)
    assert (verdict.kind, verdict.strength, verdict.features) == ("window_changed", "proof", ("purchases",))
    low, high = verdict.transformation["interval"]
    assert low <= window_s <= high
    assert verdict.transformation["training_window_s"] == 7 * DAY
    assert "for 7 days" in headline(verdict)


def test_counts_of_busier_customers_that_are_right_are_no_fault(reference):
    busier = events_of(busier=3.0)
    for seed in range(5):
        rows, whose, times = counted(busier, 400, seed, 7 * DAY, days=(50, 58))
        history = History(busier, "customer", "at")
        assert diagnose(reference, rows, keys=whose, timestamps=times, history=history).status not in CLAIMS


def test_fair_counts_are_never_claimed(events, reference):
    """None of 20 fixed draws: the false-alarm rate is below 14 % at 95 % confidence."""
    for seed in range(20):
        rows, whose, times = counted(events, 300, 500 + seed, 7 * DAY)
        history = History(events, "customer", "at")
        assert diagnose(reference, rows, keys=whose, timestamps=times, history=history).status is Status.CONSISTENT


def test_rows_that_are_events_themselves_do_not_count_themselves(events):
    history = History(events, "customer", "at")
    rows, whose, times = counted(events, 1000, 1, 7 * DAY, own=True)
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history)
    window = reference.timing["purchases"].window
    assert (window.window_s, window.is_before) == (7 * DAY, True)
    live, customers, at = counted(events, 300, 7, DAY, own=True)
    verdict = diagnose(reference, live, keys=customers, timestamps=at, history=history)
    assert (verdict.kind, verdict.transformation["window_s"]) == ("window_changed", DAY)
