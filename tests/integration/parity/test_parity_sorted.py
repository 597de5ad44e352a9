"""Tables sorted by a column, levels by number, hours of a shop, dates as numbers, and words where nulls were."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

LANDS = ("Austria", "Brazil", "Chile", "Denmark", "Egypt", "France", "Ghana")
CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def places(count: int, seed: int) -> pd.DataFrame:
    """Places sorted by land, which says where they lie; when they were seen, while shops are open; and who told of it.

    A tenth of the ages is missing. Few places have a sponsor, and nearly each its own.
    """
    rng = np.random.default_rng(seed)
    land = np.sort(rng.integers(0, len(LANDS), count))
    hour = rng.integers(8, 21, count)
    day = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 365, count), unit="D")
    sponsor = np.where(rng.random(count) < 0.93, "none of them", [f"sponsor {k}" for k in rng.zipf(1.4, count) % 997])
    return pd.DataFrame(
        {
            "land": np.array(LANDS)[land],
            "north": np.round(12.0 * land - 30 + rng.normal(0, 3, count), 2),
            "east": np.round(-9.0 * land + 20 + rng.normal(0, 3, count), 2),
            "seenHour": hour,
            "busy": np.round(np.exp(1 + np.sin((hour - 8) / 13 * np.pi) + rng.normal(0, 0.2, count)), 3),
            "seen": day,
            "age": np.where(rng.random(count) < 0.1, np.nan, np.round(rng.gamma(3, 20, count))),
            "sponsor": sponsor,
        }
    )


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of one table: some train, others are live, all of them in its order."""
    return places(6000, 0)


@pytest.fixture(scope="module")
def known(rows) -> Reference:
    return Reference.from_frame(rows.iloc[::2])


@pytest.fixture(scope="module")
def sent(rows) -> pd.DataFrame:
    return rows.iloc[1::2].sample(200, random_state=1).sort_index().reset_index(drop=True)


def test_a_new_name_in_a_sorted_table_did_not_arrive(known, sent):
    """Each land is in one stretch of the rows. Where all the others are there as ever, no time has passed."""
    renamed = diagnose(known, sent.assign(land=sent.land.replace("France", "type-7")))
    assert (renamed.kind, renamed.features) == ("renamed_level", ("land",))
    some = np.random.default_rng(2).random(200) < 0.15
    new = diagnose(known, sent.assign(land=sent.land.mask(some, "kiosk")))
    assert (new.kind, new.transformation["levels"]) == ("new_level", ["kiosk"])


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_levels_by_number_are_known_by_the_alphabet(known, sent, share):
    """A level of each is as frequent as any other: only their order tells which is which."""
    codes = sent.land.map({land: str(code) for code, land in enumerate(LANDS)})
    some = np.random.default_rng(3).random(200) < share
    verdict = diagnose(known, sent.assign(land=sent.land.mask(some, codes)))
    assert (verdict.kind, verdict.features) == ("renamed_level", ("land",))
    assert verdict.transformation["map"] == {str(code): land for code, land in enumerate(LANDS)}


@pytest.mark.parametrize("hours", [3, 6, -7])
def test_hours_of_a_shop_are_hours(known, sent, hours):
    """It is open from 8 to 20: its name tells that they go round, and what is busy tells which they were."""
    verdict = diagnose(known, sent.assign(seenHour=(sent.seenHour + hours) % 24))
    assert (verdict.kind, verdict.features) == ("time_zone", ("seenHour",))
    assert verdict.transformation["hours"] == hours


def test_dates_as_numbers_in_some_rows_are_dates(known, sent):
    """A parser takes 20250307 for nanoseconds after 1970."""
    numbers = sent.seen.dt.strftime("%Y%m%d").astype(int)
    some = np.random.default_rng(4).random(200) < 0.3
    verdict = diagnose(known, sent.assign(seen=sent.seen.astype(object).mask(some, numbers.astype(object))))
    assert (verdict.kind, verdict.features) == ("epoch_unit", ("seen",))
    assert verdict.transformation["to"] == "yyyymmdd"
    assert verdict.share == pytest.approx(some.mean())


def test_a_word_where_numbers_were_missing_stands_for_that(known, sent):
    verdict = diagnose(known, sent.assign(age=sent.age.astype(object).where(sent.age.notna(), "ohne")))
    assert (verdict.kind, verdict.transformation["tokens"]) == ("null_token", ["ohne"])
    other = diagnose(known, sent.assign(age=sent.age.astype(object).where(sent.index % 4 > 0, "ohne")))
    assert (other.kind, other.features) == ("new_level", ("age",))


def test_those_with_rare_levels_only_have_more_that_nobody_saw(known, rows):
    live = rows.iloc[1::2]
    sponsored = live[live.sponsor != "none of them"].head(200).reset_index(drop=True)
    assert diagnose(known, sponsored).status not in CLAIMS


@pytest.mark.parametrize("seed", range(4))
def test_other_rows_of_a_sorted_table_are_sound(known, rows, seed):
    assert diagnose(known, rows.iloc[1::2].sample(200, random_state=10 + seed)).status is Status.CONSISTENT
