"""Sketches of live values: what they tell, what they may not hold, and that they stay small and are kept."""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from monitor_rows import frame, reference
from profile_rows import NOON, live_rows, watched

from tallystick.monitor import keeping
from tallystick.monitor.counters import observe
from tallystick.monitor.counting import count
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.places import WatchedEndpoint, withheld_of
from tallystick.monitor.rings import DAY, HOUR, MINUTE, SEGMENT_SKETCHED, SKETCHED
from tallystick.monitor.routes import drop_old_sketches
from tallystick.monitor.sketches import (
    LEVELS_LG,
    MAX_CHARS,
    Batch,
    ColumnSketch,
    decimals_of,
    distinct_of,
    levels_of,
    merged,
    quantiles_of,
    values_of,
)
from tallystick.monitor.watch import Watch
from tallystick.parity import Reference
from tallystick.parity.profile import ColumnProfile

#: No size of a sketch depends on how many rows it is of.
MOST_BYTES = 2600 + 600 + 48 * (MAX_CHARS + 20) + 48


def sketched(trained: Reference, rows: pd.DataFrame, withheld: tuple[str, ...] = ()) -> dict[str, ColumnSketch | None]:
    batch = Batch(trained, observe(trained, rows), withheld)
    return dict(zip(trained.names, batch.sketched(np.ones(len(rows), dtype=bool)), strict=True))


def one(trained: Reference, rows: pd.DataFrame, name: str) -> tuple[ColumnProfile, ColumnSketch]:
    found = sketched(trained, rows)[name]
    assert found is not None
    return trained.column(name), found


# -- what they tell --------------------------------------------------------------------------------------------


def test_few_values_are_told_as_they_are() -> None:
    rows = frame(40).assign(temp=np.arange(40) / 4)
    profile, sketch = one(reference(), rows, "temp")
    assert quantiles_of(profile, sketch, (0.0, 0.5, 1.0)) == [0.0, 5.0, 9.75]
    assert (values_of(sketch), distinct_of(sketch)) == (40, 40)
    # A quarter each of whole numbers and halves; the others have two decimals.
    assert decimals_of(sketch)[:3].tolist() == [10, 10, 20]


def test_what_is_no_finite_number_is_left_out_and_what_is_huge_stays() -> None:
    rows = frame(4).assign(temp=[np.nan, np.inf, 1e300, -5.0])
    profile, sketch = one(reference(), rows, "temp")
    assert values_of(sketch) == 2
    low, high = quantiles_of(profile, sketch, (0.0, 1.0))
    assert (low, high > 1e38) == (-5.0, True)
    assert sketched(reference(), rows.assign(temp=np.nan))["temp"] is None


def test_dates_written_as_numbers_keep_their_last_digit() -> None:
    days = np.array([20240101 + 100 * (number % 12) + number % 28 for number in range(400)])
    trained = Reference.from_frame(pd.DataFrame({"day": days}))
    profile, sketch = one(trained, pd.DataFrame({"day": [20261127] * 3}), "day")
    assert quantiles_of(profile, sketch, (0.5,)) == [20261127.0]


def test_times_are_told_to_within_a_minute_years_after_training() -> None:
    then = pd.Series(pd.date_range("2021-01-01", periods=400, freq="7h"))
    trained = Reference.from_frame(pd.DataFrame({"at": then}))
    now = pd.Timestamp("2026-11-26 08:15:20")
    profile, sketch = one(trained, pd.DataFrame({"at": pd.Series([now] * 5)}), "at")
    (found,) = quantiles_of(profile, sketch, (0.5,))
    assert abs(found - now.timestamp()) < 60
    assert not decimals_of(sketch).any()


def test_levels_that_training_did_not_have_are_named_with_their_rows() -> None:
    rows = frame(60).assign(kind=["hot"] * 12 + ["warm"] * 47 + ["humid"])
    _, sketch = one(reference(), rows, "kind")
    assert levels_of(sketch) == [("hot", 12), ("humid", 1)]
    assert distinct_of(sketch) == 3


# -- size ------------------------------------------------------------------------------------------------------


def test_a_sketch_stays_small_whatever_comes() -> None:
    trained = reference()
    random = np.random.default_rng(1)
    found: tuple[ColumnSketch | None, ...] = (None,) * len(trained.columns)
    for turn in range(30):
        rows = frame(500, turn).assign(
            temp=random.normal(size=500), kind=[f"{turn}-{n}" + "x" * 300 for n in range(500)]
        )
        found = merged(found, tuple(sketched(trained, rows).values()))
    sizes = [each.size_bytes for each in found if each is not None]
    assert len(sizes) == 4
    assert max(sizes) < MOST_BYTES
    assert len(levels_of(found[3] or ColumnSketch())) < 2**LEVELS_LG


def test_a_level_that_cannot_be_written_is_kept_as_one_that_can() -> None:
    rows = frame(2).assign(kind=pd.Series(["\ud800", "x" * 500], dtype=object))
    _, sketch = one(reference(), rows, "kind")
    assert [name for name, _ in levels_of(sketch)] == ["?", "x" * (MAX_CHARS - 1) + "…"]


def test_minutes_have_counts_only_and_segments_have_sketches_by_day() -> None:
    trained = reference()
    watch = EntityWatch("d", trained)
    for day in range(20):
        at = NOON + timedelta(days=day)
        count(watch, trained, live_rows(frame(60), ["a/1.0"] * 30 + ["b/1.0"] * 30, at), at)
    kept = {width: len(ring.sketches) for width, ring in watch.rings.by_width.items()}
    assert kept == {MINUTE: 0, HOUR: 1, DAY: SKETCHED[DAY]}
    assert len(watch.rings.by_width[DAY].windows) == 20
    for rings in watch.segments.values():
        assert {width: len(ring.sketches) for width, ring in rings.by_width.items()} == {HOUR: 0, **SEGMENT_SKETCHED}


def test_a_days_sketch_has_the_rows_of_all_its_hours_and_a_segments_its_own() -> None:
    trained = reference()
    rows = frame(200)
    watch = watched(trained, live_rows(rows, ["ios/4.2" if n % 4 == 0 else "web/1.0" for n in range(200)]))
    more = frame(100, 5)
    count(watch, trained, live_rows(more, at=NOON - timedelta(hours=3)), NOON)
    day = watch.rings.by_width[DAY].sketches[int(NOON.timestamp()) // DAY][0]
    hours = [each[0] for each in watch.rings.by_width[HOUR].sketches.values()]
    ios = watch.segments["client", "ios/4.2"].by_width[DAY].sketches[int(NOON.timestamp()) // DAY][0]
    assert day is not None
    assert ios is not None
    assert (values_of(day), [values_of(each) for each in hours if each], values_of(ios)) == (300, [200, 100], 50)
    assert (distinct_of(day) > 100, distinct_of(ios)) == (True, 0)
    # Who sends all rows has what all rows have, but no count of distinct values.
    ann = watch.segments["requester", "ann"].by_width[DAY].sketches[int(NOON.timestamp()) // DAY][0]
    assert ann is not None
    assert (values_of(ann), distinct_of(ann), ann.decimals) == (300, 0, day.decimals)
    both = quantiles_of(trained.columns[0], day, (0.0, 1.0))
    assert both == [min(rows["temp"].min(), more["temp"].min()), max(rows["temp"].max(), more["temp"].max())]
    assert quantiles_of(trained.columns[0], ios, (0.0, 1.0)) == [rows["temp"][::4].min(), rows["temp"][::4].max()]


# -- privacy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["hashed", "bucketed", "none"])
def test_a_column_that_the_reference_keeps_to_itself_has_no_sketch(option: str) -> None:
    trained = Reference.from_frame(frame(600), privacy={"temp": option, "kind": option})
    found = sketched(trained, frame(50))
    assert [name for name, each in found.items() if each is None] == ["temp", "kind"]


def test_neither_have_free_text_hidden_levels_and_what_is_off_the_records() -> None:
    rows = frame(600).assign(note=[f"note {number} of somebody" for number in range(600)])
    assert sketched(Reference.from_frame(rows), rows)["note"] is None
    rare = frame(600)
    rare.loc[:2, "kind"] = "rare"
    assert sketched(Reference.from_frame(rare, k_anonymity=5), rare)["kind"] is None
    found = sketched(reference(), frame(50), ("wind", "kind"))
    assert [name for name, each in found.items() if each is None] == ["wind", "kind"]


def test_a_file_has_no_level_of_fewer_rows_than_the_reference_wants(tmp_path: Path) -> None:
    trained = Reference.from_frame(frame(600), k_anonymity=5)
    rows = frame(60).assign(kind=["of-one-person"] * 4 + ["of-five-people"] * 5 + ["warm"] * 51)
    watch = watched(trained, live_rows(rows))
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watch)})
    written = (tmp_path / keeping.SKETCHES_FILE).read_bytes()
    assert b"of-one-person" not in written
    assert b"of-five-people" in written
    # Nor a hash, which a guess could be held against.
    (day,) = keeping.load_sketches(tmp_path)["e"].rings[DAY].values()
    assert [each is not None and bool(each.distinct) for each in day] == [True, True, True, False]
    keeping.save(tmp_path, keeping.Kept("t", 3, {"e": keeping.to_kept(watch)}))
    assert b"of-five-people" not in (tmp_path / keeping.FILE).read_bytes()


def test_values_of_what_becomes_a_key_or_goes_off_the_records_are_forgotten_also_on_disk(tmp_path: Path) -> None:
    trained = reference()
    secret = live_rows(frame(60).assign(kind="secret-of-a-person"))
    place = WatchedEndpoint("i", "churn", str(tmp_path / "none"), (), tmp_path)
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watched(trained, secret))})
    before = (tmp_path / keeping.SKETCHES_FILE).read_bytes()
    Watch(place).keep_to(place, NOON)
    assert (tmp_path / keeping.SKETCHES_FILE).read_bytes() == before
    for changes in ({"key": "kind"}, {"hidden": frozenset({"kind"})}):
        keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watched(trained, secret))})
        changed = dataclasses.replace(place, **changes)
        assert withheld_of(changed) == {"kind"}
        watch = Watch(changed)
        watch.entities["loaded"] = watched(trained, secret)
        watch.keep_to(changed, NOON)
        assert b"secret" not in (tmp_path / keeping.SKETCHES_FILE).read_bytes()
        kept = keeping.load_sketches(tmp_path)
        assert set(kept) == {"e", "loaded"}
        for each in kept.values():
            (sketches,) = each.rings[DAY].values()
            assert [sketch is None for sketch in sketches] == [False, False, False, True]


def test_values_past_the_endpoints_retention_are_forgotten_also_on_disk(tmp_path: Path) -> None:
    trained = reference()
    watch = watched(trained, live_rows(frame(60)))
    for days in (1, 2, 5):
        at = NOON - timedelta(days=days)
        count(watch, trained, live_rows(frame(20), at=at), NOON)
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watch)})
    place = WatchedEndpoint("i", "churn", str(tmp_path / "none"), (), tmp_path, retention_days=1)
    made = Watch(place)
    made.entities["loaded"] = watch
    made.keep_to(place, NOON)
    kept = keeping.load_sketches(tmp_path)
    today = int(NOON.timestamp()) // DAY
    assert [sorted(each.rings[DAY]) for each in kept.values()] == [[today - 1, today]] * 2
    assert len(watch.rings.by_width[DAY].windows) == 4
    made.keep_to(place, NOON + timedelta(days=1))
    assert sorted(watch.rings.by_width[DAY].sketches) == [today]


@pytest.mark.parametrize(
    ("retention_days", "age_days", "is_there"),
    [(0, 14, True), (0, 15, False), (900, 15, False), (2, 2, True), (2, 3, False)],
)
def test_sketches_that_nobody_opens_are_deleted_when_their_newest_rows_are_too_old(
    tmp_path: Path, retention_days: int, age_days: int, is_there: bool
) -> None:
    path = tmp_path / keeping.SKETCHES_FILE
    path.write_bytes(b"sketches")
    written = NOON - timedelta(days=age_days)
    os.utime(path, (written.timestamp(),) * 2)
    place = WatchedEndpoint("i", "churn", "", (), tmp_path, retention_days=retention_days)
    drop_old_sketches({"churn": place, "new": dataclasses.replace(place, folder=tmp_path / "new")}, NOON.timestamp())
    assert path.exists() is is_there


# -- over a restart --------------------------------------------------------------------------------------------


def test_sketches_come_back_after_a_restart_with_their_segments(tmp_path: Path) -> None:
    trained = reference()
    watch = watched(trained, live_rows(frame(80), ["a/1.0"] * 40 + ["b/1.0"] * 40))
    keeping.save(tmp_path, keeping.Kept("t", 3, {"e": keeping.to_kept(watch)}))
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watch)})
    again = EntityWatch("d", trained)
    keeping.restore(again, trained, keeping.load(tmp_path).entities["e"])
    kept = keeping.load_sketches(tmp_path)["e"]
    keeping.restore_sketches(again, kept)
    for rings, others in (
        (watch.rings, again.rings),
        *zip(watch.segments.values(), again.segments.values(), strict=True),
    ):
        for width in (HOUR, DAY):
            if width in others.by_width:
                assert rings.by_width[width].sketches == others.by_width[width].sketches
    other = EntityWatch("another model", trained)
    keeping.restore_sketches(other, kept)
    assert not other.rings.by_width[DAY].sketches


def test_without_the_file_or_with_one_that_the_disk_changed_counts_stay_and_sketches_begin_anew(tmp_path: Path) -> None:
    trained = reference()
    watch = watched(trained, live_rows(frame(80)))
    keeping.save(tmp_path, keeping.Kept("t", 3, {"e": keeping.to_kept(watch)}))
    assert keeping.load_sketches(tmp_path) == {}
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watch)})
    written = bytearray((tmp_path / keeping.SKETCHES_FILE).read_bytes())
    written[len(written) // 2] ^= 1
    (tmp_path / keeping.SKETCHES_FILE).write_bytes(bytes(written))
    assert keeping.load_sketches(tmp_path) == {}
    assert keeping.load(tmp_path).entities["e"].rows == 80
