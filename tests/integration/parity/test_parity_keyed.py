"""Keys and times without a source: a lag within key, and a value that stands still."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from history_rows import DAY, START, served, source_of

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.detect.keyed import detect_keyed
from tallystick.parity.detect.schema import read_live
from tallystick.parity.history import asked_of
from tallystick.parity.screen import screen
from tallystick.parity.timing import changes
from tallystick.parity.words import headline


@pytest.fixture(scope="module")
def source():
    return source_of()


@pytest.fixture(scope="module")
def reference(source):
    rows, whose, times = served(source, 3000, 1)
    return Reference.from_frame(rows, keys=whose, timestamps=times)


@pytest.mark.parametrize(("column", "lag_s"), [("balance", DAY), ("score", DAY), ("visits", 3 * DAY)])
def test_a_lag_is_told_by_later_rows_of_the_same_key(source, reference, column, lag_s):
    rows, whose, times = served(source, 2000, 7, {column: lag_s})
    verdict = diagnose(reference, rows, keys=whose, timestamps=times)
    assert (verdict.kind, verdict.features, verdict.status) == ("stale", (column,), Status.SUSPECTED)
    assert verdict.transformation == {"lag_s": lag_s, "within": "key"}


def test_a_lag_of_one_row_of_the_key_is_told_in_rows(source, reference):
    rows, whose, times = served(source, 2000, 7)
    rows["balance"] = rows.groupby(whose)["balance"].shift(1).fillna(rows["balance"])
    verdict = diagnose(reference, rows, keys=whose, timestamps=times)
    assert (verdict.kind, verdict.features) == ("stale", ("balance",))
    assert verdict.transformation["lag_rows"] == 1
    assert "its key's row before" in headline(verdict)


def test_a_value_that_stands_still_is_told_by_its_rate_of_change(source, reference):
    rows, whose, times = served(source, 1000, 7)
    rows["balance"] = rows.groupby(whose)["balance"].transform("first")
    verdict = diagnose(reference, rows, keys=whose, timestamps=times)
    assert (verdict.kind, verdict.features) == ("stale", ("balance",))
    assert verdict.transformation["change_rate"] == 0.0
    assert verdict.transformation["training_change_rate"] > 0.8
    assert "they stand still" in headline(verdict)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_broken_values_are_no_lag_though_any_other_of_their_key_fits_better(source, reference, share):
    rows, whose, times = served(source, 2000, 7)
    rng = np.random.default_rng(0)
    some = rng.random(2000) < share
    for broken in (rows.balance * 2, rng.permutation(rows.balance)):
        verdict = diagnose(
            reference, rows.assign(balance=rows.balance.mask(some, broken)), keys=whose, timestamps=times
        )
        assert "within" not in verdict.transformation
        assert "change_rate" not in verdict.transformation


def test_a_fault_that_has_ended_is_no_lag():
    """Later values of the key mend the rows, and go with their own rows as well."""
    lasting = source_of(2, slow=("balance", "visits", "score", "tier"))
    reference = Reference.from_frame(served(lasting, 2000, 1)[0])
    live, whose, times = served(lasting, 2000, 7)
    broken = np.random.default_rng(0).permutation(live.balance)
    live["balance"] = live.balance.mask(np.arange(2000) < 1000, broken)
    sent = replace(read_live(reference, live)[0], asked=asked_of(2000, whose, times))
    assert detect_keyed(sent, screen(sent)) == []


def test_customers_that_rest_in_every_column_are_not_called_stale(source, reference):
    rows, whose, times = served(source, 1000, 7)
    resting = rows.groupby(whose).transform("first")
    assert "change_rate" not in diagnose(reference, resting, keys=whose, timestamps=times).transformation


def test_changes_are_counted_within_key_and_by_distance():
    codes, times = np.array([0, 0, 0, 1, 1, -1]), START + np.array([0.0, 30.0, 7230.0, 10.0, 20.0, 25.0])
    pairs, changed, age = changes(np.array([1.0, 1.0, 2.0, 5.0, np.nan, 5.0]), codes, times)
    assert pairs.tolist() == [2, 0, 1, 0, 0]
    assert changed.tolist() == [1, 0, 1, 0, 0]
    assert age is None


def purchases(count: int, seed: int, days: tuple[float, float], world: int) -> tuple[pd.DataFrame, Any, Any]:
    """Rows of three customers whose balance wanders; one value stands in all rows between two purchases."""
    source, random = np.random.default_rng(world), np.random.default_rng(seed)
    whose, at = random.integers(0, 3, count), random.uniform(*days, count)
    balance, bought = np.zeros(count), np.zeros(count, dtype=int)
    for customer in range(3):
        steps = source.integers(60, 240)
        since = np.sort(source.random(steps)) * 120
        values = np.round(source.normal(1000, 300) + np.cumsum(source.normal(0, 30, steps)), 2)
        mine = whose == customer
        place = np.clip(np.searchsorted(since, at[mine], side="right") - 1, 0, steps - 1)
        balance[mine], bought[mine] = values[place], place % 30
    rows = {"balance": balance, "bought": bought, "amount": random.lognormal(3, 1, count).round(2)}
    return pd.DataFrame(rows), whose.astype(str), START + at * DAY


@pytest.mark.parametrize("world", range(8))
def test_rows_that_repeat_their_keys_are_another_population_and_no_fault(world):
    """None of eight fixed worlds; with each row taken as a witness of its own, two have a clip."""
    rows, whose, times = purchases(2000, 1, (30, 80), world)
    reference = Reference.from_frame(rows, keys=whose, timestamps=times)
    rows, whose, times = purchases(300, 2, (82, 110), world)
    verdict = diagnose(reference, rows, keys=whose, timestamps=times)
    assert verdict.status not in (Status.CAUSE_FOUND, Status.SUSPECTED)


def test_levels_exchanged_by_a_client_are_told_by_many_keys_and_not_by_four():
    random = np.random.default_rng(0)
    level = random.choice(["a", "b", "c"], 3000, p=[0.5, 0.3, 0.2])
    size = np.round(random.normal(0, 1, 3000) + 3 * (level == "a") - 3 * (level == "b"), 2)
    rows = pd.DataFrame(
        {"level": level, "size": size, "other": np.round(random.normal(0, 1, 3000) + (level == "c"), 2)}
    )
    reference, live = Reference.from_frame(rows[:2700]), rows[2700:].replace({"level": {"a": "b", "b": "c", "c": "a"}})
    times = START + np.arange(300.0)
    many = diagnose(reference, live, keys=np.arange(300).astype(str), timestamps=times)
    four = diagnose(reference, live, keys=(np.arange(300) % 4).astype(str), timestamps=times)
    assert (many.kind, many.features) == ("category_relabelled", ("level",))
    assert four.kind != "category_relabelled"
