"""Live rows beside the source of their features: the lag is found to the data's resolution, and proven."""

import time

import msgspec
import numpy as np
import pandas as pd
import pytest
from history_rows import DAY, HOUR, START, history_of, served, source_of

from tallystick.errors import InvalidParameter
from tallystick.parity import History, Reference, Status, diagnose, examine
from tallystick.parity.history import align, key_texts, seconds_of
from tallystick.parity.lags import compared, lag_of, lags
from tallystick.parity.words import headline


@pytest.fixture(scope="module")
def source():
    return source_of()


@pytest.fixture(scope="module")
def reference(source):
    rows, whose, times = served(source, 3000, 1)
    return Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source))


# -- keys, times and the join ------------------------------------------------------------------------------


def test_keys_are_one_whether_they_came_as_numbers_or_text():
    assert key_texts([7, 8]).tolist() == key_texts(["7", "8"]).tolist() == key_texts(pd.Series([7.0, 8.0])).tolist()
    assert key_texts(pd.Series([7.0, None])).tolist() == ["7", None]
    assert key_texts(["007"]).tolist() == ["007"]
    two = key_texts(pd.DataFrame({"a": [1, 1, None], "b": ["x", None, "y"]}))
    assert two[0] is not None
    assert two[1] is None
    assert two[2] is None


def test_times_are_read_in_the_forms_that_tables_have():
    stamp = "2026-01-31T14:00:00Z"
    expected = pd.Timestamp(stamp).timestamp()
    whole = pd.Series(pd.to_datetime([stamp]))
    for form in ([stamp], whole, whole.dt.tz_localize(None), [expected], [expected * 1e3], pd.Series([stamp])):
        assert seconds_of(form).tolist() == [expected]


@pytest.mark.parametrize(
    ("keys", "at", "words"),
    [("who", "at", "no column 'who'"), (["customer", "shop"], "at", "'shop'"), ("customer", "when", "'when'")],
)
def test_a_history_says_which_column_it_lacks(source, keys, at, words):
    with pytest.raises(InvalidParameter, match=words):
        History(source, keys, at)


def test_the_value_as_of_a_time_is_that_of_an_as_of_join(source):
    rows, whose, times = served(source, 500, 3, {"balance": 5 * HOUR})
    aligned = align(history_of(source.sample(frac=1, random_state=0)), key_texts(whose), times)
    shuffled = source.sample(frac=1, random_state=0)
    column = compared(aligned, shuffled["balance"].to_numpy(), rows["balance"].to_numpy())
    assert column.at(5 * HOUR).tolist() == rows["balance"].tolist()
    assert column.matches(0.0).mean() < 0.5


def test_a_key_that_the_source_does_not_know_has_no_value(source):
    aligned = align(history_of(source), key_texts(["1000", "nobody", None]), np.array([START + DAY] * 3))
    assert aligned.known.tolist() == [True, False, False]
    assert (aligned.as_of(0.0) >= 0).tolist() == [True, False, False]


# -- the lag -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag_s", [1200.0, HOUR, 5 * HOUR, DAY, 3 * DAY, 7 * DAY, -HOUR, -DAY])
def test_any_lag_is_found_without_a_grid(source, lag_s):
    rows, whose, times = served(source, 1000, 3, {"balance": lag_s, "tier": lag_s})
    found = lags(history_of(source), {name: rows[name].to_numpy() for name in rows}, key_texts(whose), times)
    assert found["balance"].low_s < lag_s <= found["balance"].high_s
    assert found["balance"].share == 1.0
    assert found["balance"].high_s - found["balance"].low_s < 0.5 * HOUR
    assert (found["score"].lag_s, found["score"].is_told) == (0.0, False)
    if abs(lag_s) > 2 * HOUR:
        assert found["tier"].low_s < lag_s <= found["tier"].high_s


def test_values_that_the_source_never_had_say_nothing(source):
    rows, whose, times = served(source, 500, 3)
    values = {"balance": rows["balance"].to_numpy() * 100, "tier": np.full(500, "gone", dtype=object)}
    assert lags(history_of(source), values, key_texts(whose), times) == {"balance": None, "tier": None}


def test_values_of_other_keys_are_no_lag(source):
    """A shuffled flag is at some old time whatever it should be: other keys' values give the rate of that."""
    for seed in range(20):
        rows, whose, times = served(source, 300, 50 + seed)
        mixed = rows.sample(frac=1, random_state=seed)
        found = lags(history_of(source), {name: mixed[name].to_numpy() for name in mixed}, key_texts(whose), times)
        assert not any(lag is not None and lag.is_told for lag in found.values())


def test_a_flag_that_was_so_at_some_time_is_no_lag():
    """Of 20 fixed draws none: some lag explains eight in ten of thirty random flags, but no more than chance does."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"who": np.repeat(np.arange(30), 200), "at": START + np.tile(np.arange(200), 30) * HOUR})
        table["flag"] = rng.integers(0, 2, len(table)).astype(float)
        times = START + rng.uniform(100, 190, 60) * HOUR
        served_flags = {"flag": rng.integers(0, 2, 60).astype(float)}
        found = lags(History(table, "who", "at"), served_flags, key_texts(np.repeat(np.arange(30), 2)), times)
        assert found["flag"] is None or not found["flag"].is_told


def test_a_source_with_more_digits_is_compared_at_trainings(source):
    finer = source.assign(score=source.score + 0.04)
    rows, whose, times = served(source, 500, 3)
    aligned = align(history_of(finer), key_texts(whose), times)
    assert lag_of(compared(aligned, finer["score"].to_numpy(), rows["score"].to_numpy(), 1)).share == 1.0
    assert lag_of(compared(aligned, finer["score"].to_numpy(), rows["score"].to_numpy())) is None


def test_a_hundred_thousand_rows_of_history_are_compared_in_a_moment():
    rng = np.random.default_rng(0)
    size, columns = 100_000, [f"x{j}" for j in range(10)]
    table = pd.DataFrame(rng.normal(size=(size, 10)), columns=columns)
    table = table.assign(who=rng.integers(0, 800, size), at=START + np.sort(rng.uniform(0, 30 * DAY, size)))
    asked = pd.DataFrame({"at": START + np.sort(rng.uniform(10 * DAY, 30 * DAY, 2000)) - DAY})
    asked["who"] = rng.integers(0, 800, 2000)
    rows = pd.merge_asof(asked, table, on="at", by="who")[columns]
    begun = time.process_time()
    found = lags(
        History(table, "who", "at"),
        {name: rows[name].to_numpy() for name in columns},
        key_texts(asked["who"]),
        asked["at"].to_numpy() + DAY,
    )
    assert time.process_time() - begun < 1.5, "it takes 0.2 s; the rest is room for a busy machine"
    assert {lag.lag_s for lag in found.values()} == {DAY}


# -- verdicts ----------------------------------------------------------------------------------------------


def test_a_lag_behind_the_source_is_proven_and_undone(source, reference):
    rows, whose, times = served(source, 400, 7, {"balance": DAY})
    found = examine(reference, rows, keys=whose, timestamps=times, history=history_of(source))
    verdict = found.verdict
    assert (verdict.status, verdict.strength, verdict.kind) == (Status.CAUSE_FOUND, "proof", "stale")
    assert verdict.features == ("balance",)
    assert (verdict.transformation["lag_s"], verdict.transformation["training_lag_s"]) == (DAY, 0.0)
    assert verdict.stage == "feature lookup"
    assert verdict.share == 1.0
    due, _, _ = served(source, 400, 7)
    assert found.undone_frame["balance"].tolist() == due["balance"].tolist()
    assert "a time 1 day before the request" in headline(verdict)


def test_a_lag_in_a_part_of_the_rows_is_found_with_its_share_and_sender(source, reference):
    rows, whose, times = served(source, 600, 7, {"balance": DAY}, share=0.0)
    late, _, _ = served(source, 600, 7, {"balance": DAY})
    old = np.random.default_rng(1).random(600) < 0.3
    rows["balance"] = np.where(old, late["balance"], rows["balance"])
    client = pd.Series(np.where(old, "b/1", "a/1"), name="client")
    verdict = diagnose(reference, rows, segments=client, keys=whose, timestamps=times, history=history_of(source))
    assert (verdict.kind, verdict.transformation["lag_s"]) == ("stale", DAY)
    assert verdict.share == pytest.approx(old.mean(), abs=0.02)
    assert verdict.segment["value"] == "b/1"


def test_columns_that_lag_together_are_one_cause(source, reference):
    rows, whose, times = served(source, 400, 7, {"balance": DAY, "score": 7 * DAY})
    verdict = diagnose(reference, rows, keys=whose, timestamps=times, history=history_of(source))
    assert set(verdict.features) == {"balance", "score"}
    assert {name: each["lag_s"] for name, each in verdict.transformation["each"].items()} == {
        "balance": DAY,
        "score": 7 * DAY,
    }


def test_a_copy_that_was_never_made_again_is_told_by_its_time(source, reference):
    rows, whose, times = served(source, 500, 7)
    made = START + 20 * DAY
    copied, _, _ = served(source, 500, 7, {"balance": 0.0})
    held = align(history_of(source), key_texts(whose), np.full(500, made)).as_of(0.0)
    order = align(history_of(source), key_texts(whose), np.full(500, made)).order
    copied["balance"] = source["balance"].to_numpy()[order[held]]
    rows["balance"] = np.where(times > made, copied["balance"], rows["balance"])
    verdict = diagnose(reference, rows, keys=whose, timestamps=times, history=history_of(source))
    assert (verdict.kind, verdict.strength, verdict.features) == ("stale", "proof", ("balance",))
    low, high = (pd.Timestamp(edge).timestamp() for edge in verdict.transformation["between"])
    assert low <= made <= high + 1
    assert high - low < 2 * HOUR
    assert "whatever the time of the request" in headline(verdict)


@pytest.mark.parametrize("days", [(10, 36), (39.2, 39.9)])
def test_training_that_knew_the_future_is_to_blame(source, days):
    rows, whose, times = served(source, 3000, 1, {"balance": -DAY})
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source))
    assert "balance: equals the source's value 1 day AFTER the row's time in 100 % of rows" in reference.lint[0]
    live, customers, at = served(source, 400, 7, days=days)
    verdict = diagnose(reference, live, keys=customers, timestamps=at, history=history_of(source))
    assert (verdict.kind, verdict.strength, verdict.stage) == ("stale", "proof", "training data")
    assert verdict.transformation["training_lag_s"] == -DAY
    assert verdict.transformation["lag_s"] == 0.0
    assert verdict.fix.startswith("training is to blame")
    assert "1 day AFTER its rows' times" in headline(verdict)


def test_live_rows_that_lag_as_training_did_are_fair(source):
    rows, whose, times = served(source, 3000, 1, {"balance": DAY})
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source))
    assert reference.timing["balance"].lag.lag_s == DAY
    assert not reference.lint
    live, customers, at = served(source, 400, 7, {"balance": DAY})
    asked = {"keys": customers, "timestamps": at, "history": history_of(source)}
    assert diagnose(reference, live, **asked).status is Status.CONSISTENT
    fresh, _, _ = served(source, 400, 7)
    verdict = diagnose(reference, fresh, **asked)
    assert (verdict.kind, verdict.transformation["lag_s"]) == ("stale", 0.0)
    assert verdict.transformation["training_lag_s"] == DAY


def test_a_reference_without_times_takes_trainings_lag_for_none_and_says_so(source):
    rows, _, _ = served(source, 3000, 1)
    live, whose, times = served(source, 400, 7, {"balance": DAY})
    verdict = diagnose(Reference.from_frame(rows), live, keys=whose, timestamps=times, history=history_of(source))
    assert verdict.transformation["lag_s"] == DAY
    assert "training_lag_s" not in verdict.transformation
    assert any("not known, and taken as none" in piece.text for piece in verdict.evidence)


def test_a_column_that_training_never_had_from_the_source_is_not_judged_by_it(source):
    rows, whose, times = served(source, 3000, 1)
    history = history_of(source.assign(balance=source.balance * 7))
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history)
    assert reference.timing["balance"].lag is None
    live, customers, at = served(source, 400, 7)
    assert diagnose(reference, live, keys=customers, timestamps=at, history=history).status is Status.CONSISTENT


# -- what is said, kept and asked for ----------------------------------------------------------------------


def test_keys_are_neither_kept_nor_shown():
    source = source_of(3, customers=40)
    names = {number: f"person-{number}@example.org" for number in source.customer.unique()}
    source["customer"] = source.customer.map(names)
    rows, whose, times = served(source, 1500, 1)
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source))
    live, customers, at = served(source, 400, 7, {"balance": DAY})
    found = examine(
        reference, live.assign(customer=customers), keys="customer", timestamps=at, history=history_of(source)
    )
    assert found.verdict.kind == "stale"
    assert b"example.org" not in reference.to_bytes()
    assert b"example.org" not in found.verdict.to_json()
    assert "customer" not in found.sent_frame


def test_a_column_named_as_the_key_is_no_extra_column(source, reference):
    rows, whose, times = served(source, 400, 7)
    named = rows.assign(customer=whose)
    assert diagnose(reference, named).kind == "extra_column"
    assert diagnose(reference, named, keys="customer").status is Status.CONSISTENT
    assert diagnose(reference, named, keys=named["customer"], timestamps=times).status is Status.CONSISTENT
    assert diagnose(reference, named, keys=named[["customer"]]).status is Status.CONSISTENT


def test_what_does_not_go_together_is_refused(source, reference):
    rows, whose, times = served(source, 100, 7)
    history = history_of(source)
    for options, words in (
        ({"keys": whose[:5]}, "keys has 5 entries, expected 100"),
        ({"history": history}, "history needs keys and timestamps"),
        ({"keys": whose, "history": history}, "history needs keys and timestamps"),
        ({"keys": whose, "timestamps": times, "history": source}, "expected History"),
        ({"keys": "nobody"}, "no column 'nobody'"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            diagnose(reference, rows, **options)


def test_a_reference_with_timing_survives_storage_and_an_old_one_loads(reference, tmp_path):
    assert Reference.from_bytes(reference.to_bytes()).timing == reference.timing
    folder = msgspec.structs.replace(reference, timing={}).save(tmp_path)
    document = msgspec.msgpack.decode((folder / "reference.msgpack").read_bytes())
    del document["reference"]["timing"]
    (folder / "reference.msgpack").write_bytes(msgspec.msgpack.encode(document))
    assert Reference.load(folder).timing == {}


def test_privacy_none_keeps_no_timing(source):
    rows, whose, times = served(source, 500, 1)
    made = Reference.from_frame(rows, keys=whose, timestamps=times, privacy={"balance": "none"})
    assert set(made.timing) == {"visits", "score", "tier"}


def test_missing_values_are_told_by_cold_keys_or_by_a_lookup_that_fails(source, reference):
    rows, whose, times = served(source, 600, 7)
    some = np.random.default_rng(0).random(600) < 0.3
    rows["score"] = rows.score.mask(some)
    asked = {"timestamps": times, "history": history_of(source)}
    lost = diagnose(reference, rows, keys=whose, **asked)
    assert lost.kind == "nulls"
    assert any("for 100 % of these rows: the lookup lost it" in piece.text for piece in lost.evidence)
    cold = diagnose(reference, rows, keys=np.where(some, whose + 5000, whose), **asked)
    assert cold.kind == "nulls"
    assert any("cold keys" in piece.text for piece in cold.evidence)


def test_one_lag_of_all_columns_may_be_a_clock(source, reference):
    features = ("balance", "visits", "score", "tier")
    for late, is_clock in ((features, True), (features[:2], False)):
        rows, whose, times = served(source, 600, 7, dict.fromkeys(late, -2 * HOUR))
        verdict = diagnose(reference, rows, keys=whose, timestamps=times, history=history_of(source))
        assert verdict.kind == "stale"
        assert verdict.transformation.get("all_columns", False) is is_clock
        assert any("clocks or time zones" in line.text for line in verdict.evidence) is is_clock
        assert ("clocks" in verdict.fix) is is_clock
