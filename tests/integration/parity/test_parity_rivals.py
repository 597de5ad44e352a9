"""Side effects that once passed for the cause: zeros, digits, orders of counts, and columns that knew the outcome."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def flights(count: int, seed: int) -> pd.DataFrame:
    """Delays in whole minutes, a voucher that most do not have, carriers of which one is rare, and earlier trips."""
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 2500, count)
    paid = np.round(np.exp(rng.normal(4, 0.6, count)), 2)
    carrier = rng.choice(["UA", "DL", "B6", "AA", "US"], count, p=[0.3, 0.25, 0.2, 0.24, 0.01])
    return pd.DataFrame(
        {
            "delay": np.round(rng.gamma(0.6, 40, count)).astype(int) - 12,
            "paid": paid,
            "voucher": np.where(rng.random(count) < 0.2, np.round(0.1 * paid, 2), 0.0),
            "days": days,
            "trips": rng.poisson(days / 400),
            "carrier": carrier,
            "share": np.exp(rng.normal(1.6, 0.2, count)).astype(np.float32).astype(float),
        }
    )


@pytest.fixture(scope="module")
def air() -> Reference:
    return Reference.from_frame(flights(3000, 0))


@pytest.fixture(scope="module")
def sent() -> pd.DataFrame:
    return flights(200, 1)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_zeros_say_nothing_of_the_unit_of_the_others(air, sent, share):
    some = np.arange(200) % 10 < 10 * share
    verdict = diagnose(air, sent.assign(voucher=sent.voucher.where(~some, sent.voucher * 60)))
    assert (verdict.kind, verdict.features) == ("unit", ("voucher",))
    assert verdict.transformation["factor"] == pytest.approx(60.0)


def test_whole_minutes_that_all_moved_off_the_minute_are_no_default(air, sent):
    verdict = diagnose(air, sent.assign(delay=sent.delay + 190.885))
    assert verdict.kind == "affine"
    assert verdict.transformation["factor"] == pytest.approx(1.0)
    assert verdict.transformation["offset"] == pytest.approx(190.885, rel=0.02)


@pytest.mark.parametrize("factor", [1 / 4, 1 / 7])
def test_counts_of_a_shorter_window_are_not_codes_that_were_exchanged(air, sent, factor):
    fewer = np.random.default_rng(0).binomial(sent.trips, factor)
    assert diagnose(air, sent.assign(trips=fewer)).kind == "window_changed"


def test_codes_in_reverse_order_are_exchanged_and_no_window(air, sent):
    verdict = diagnose(air, sent.assign(trips=air.column("trips").numbers.maximum - sent.trips))
    assert verdict.kind != "window_changed"


def test_a_word_for_unknown_is_a_default_though_a_rare_level_is_new_beside_it(air, sent):
    some = np.arange(200) % 5 < 3
    carrier = sent.carrier.where(~some, "unknown").where(np.arange(200) != 4, "OO")
    verdict = diagnose(air, sent.assign(carrier=carrier))
    assert (verdict.kind, verdict.transformation["value"]) == ("default_fill", "unknown")


def test_digits_of_raw_values_are_no_cause_where_training_was_scaled(sent):
    trained = flights(3000, 0)
    scaled = trained.assign(share=(trained.share - trained.share.mean()) / trained.share.std(ddof=0))
    assert diagnose(Reference.from_frame(scaled), sent).kind not in ("float32", "rounded")


def test_a_column_that_knew_a_number_is_absent_and_one_that_helps_to_guess_it_is_not():
    trained, live = flights(3000, 0), flights(200, 1)
    target = trained.days + 3.0 * trained.trips
    trained = trained.assign(settled=np.round(target + np.random.default_rng(0).normal(0, 40, 3000), 1))
    reference = Reference.from_frame(trained, y=target + np.random.default_rng(1).normal(0, 900, 3000))
    assert reference.label_strength["settled"] < 0.97
    known = Reference.from_frame(trained, y=target)
    live = live.assign(settled=np.nan)
    assert diagnose(reference, live).kind == "nulls"
    assert diagnose(known, live).kind == "feature_absent"


def test_one_outcome_for_all_rows_is_a_column_that_is_not_known_yet():
    trained, live = flights(3000, 0), flights(200, 1)
    y = (trained.voucher > 0).astype(int)
    state = np.where(np.random.default_rng(0).random(3000) < 0.02, 1 - y, y)
    reference = Reference.from_frame(
        trained.drop(columns="voucher").assign(state=np.where(state == 1, "won", "open")), y=y
    )
    verdict = diagnose(reference, live.drop(columns="voucher").assign(state="open"))
    assert (verdict.kind, verdict.features) == ("feature_absent", ("state",))


def test_one_amount_for_all_of_one_sender_s_rows_is_a_default(air, sent):
    some = np.arange(200) % 3 == 0
    middle = int(air.column("delay").numbers.median)
    rows = sent.assign(delay=sent.delay.where(~some, middle))
    verdict = diagnose(air, rows, segments=np.where(some, "ios", "web"))
    assert verdict.status in CLAIMS
    assert (verdict.kind, verdict.features, verdict.segment["value"]) == ("default_fill", ("delay",), "ios")


def test_fair_rows_and_parts_of_the_population_are_not_claimed(air):
    """Stated: of 16 samples, half of them of one end of a column, none is claimed."""
    for seed in range(8):
        rows = flights(1500, 20 + seed)
        column = ("delay", "paid", "days", "trips")[seed % 4]
        for part in (rows.head(200), rows[rows[column] > rows[column].quantile(0.7)].head(200)):
            verdict = diagnose(air, part.reset_index(drop=True))
            assert verdict.status not in CLAIMS, (seed, column, verdict.kind, verdict.features)


@pytest.mark.parametrize(("first", "last"), [(1, 3), (1, 10), (2012, 2024)])
def test_the_next_months_and_years_are_a_population(first, last):
    def rows_of(count, seed, low, high):
        rng = np.random.default_rng(seed)
        return flights(count, seed).assign(period=rng.integers(low, high + 1, count))

    reference = Reference.from_frame(rows_of(3000, 0, first, last))
    for seed in range(3):
        for low in (last, last + 1):
            verdict = diagnose(reference, rows_of(200, 1 + seed, low, last + 1))
            assert verdict.status not in CLAIMS, (low, verdict.kind, verdict.features)


def test_dates_of_the_next_months_are_not_another_order_of_day_and_month():
    def rows_of(count, seed, first, days):
        at = pd.Timestamp(first) + pd.to_timedelta(np.random.default_rng(seed).integers(0, days, count), unit="D")
        return flights(count, seed).assign(at=at)

    reference = Reference.from_frame(rows_of(3000, 0, "2024-01-01", 300))
    for seed in range(3):
        later = diagnose(reference, rows_of(200, 1 + seed, "2024-11-01", 55))
        assert later.status not in CLAIMS, (later.kind, later.features)
    live = rows_of(200, 9, "2024-01-01", 300)
    turned = [each.replace(day=each.month, month=each.day) if each.day <= 12 else each for each in live["at"]]
    assert diagnose(reference, live.assign(at=turned)).kind == "day_month_swapped"


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_hundredfold_is_one_also_where_training_reaches_down_to_zero(share):
    """Undone, the sound rows become nearly one value; and a named factor that is nearly a hundred is the rarer story."""

    def table(rows: int, seed: int) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        level = random.normal(10, 3, rows)
        return pd.DataFrame({"level": level.round(2), "flow": (20 * level + random.normal(0, 10, rows)).round(1)})

    live = table(200, 1)
    broken = live.assign(level=np.where(np.arange(200) < share * 200, live.level * 100, live.level))
    verdict = diagnose(Reference.from_frame(table(4000, 0)), broken)
    assert (verdict.kind, verdict.transformation["factor"]) == ("unit", 100.0)


def complaints(count: int, seed: int) -> pd.DataFrame:
    """A count that is mostly zero, and a column that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    many = np.where(rng.random(count) < 0.9, 0, rng.geometric(0.2, count))
    return pd.DataFrame({"many": many, "other": rng.normal(0, 1, count)})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_default_among_mostly_zeros_is_no_scaled_zero(seed):
    sent, some = complaints(200, seed), np.random.default_rng(seed).random(200) < 0.3
    known = Reference.from_frame(complaints(4000, 0))
    verdict = diagnose(known, sent.assign(many=sent.many.mask(some, -1)))
    assert (verdict.status, verdict.kind) == (Status.CAUSE_FOUND, "default_fill")
    scaled = 2 * sent.many / complaints(4000, 0).many.max() - 1
    assert diagnose(known, sent.assign(many=scaled)).kind == "minmax_scaled"


def ratings(count: int, seed: int) -> pd.DataFrame:
    """A rating that four films in five do not have, of which most have the same one."""
    rng = np.random.default_rng(seed)
    rating = np.where(rng.random(count) < 0.2, rng.choice(["R", "PG", "U"], count, p=[0.7, 0.1, 0.2]), None)
    return pd.DataFrame({"rating": rating, "length": rng.normal(100, 20, count)})


def test_a_renamed_level_is_no_word_for_null_where_as_many_are_missing_as_before():
    known, sent = Reference.from_frame(ratings(5000, 0)), ratings(1000, 1)
    renamed = diagnose(known, sent.assign(rating=sent.rating.replace({"R": "Restricted"})))
    assert (renamed.kind, dict(renamed.transformation)) == ("renamed_level", {"map": {"Restricted": "R"}})
    assert diagnose(known, sent.assign(rating=sent.rating.fillna("Unrated"))).kind == "null_token"
