"""What live rows look like beside training, as REST gives it: what is told, what is not, and what is marked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from monitor_rows import frame, reference
from profile_rows import NOON, live_rows, watched

from tallystick.errors import InvalidParameter, NotFound
from tallystick.monitor import keeping
from tallystick.monitor.counting import count
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.profiles import FEWEST_VALUES, profile_of
from tallystick.parity import Reference
from tallystick.protocol.monitoring import AskProfile, Window

PLACE = WatchedEndpoint("i", "churn", "", (), Path("/nowhere"))


def told(watch: EntityWatch, place: WatchedEndpoint = PLACE, at: Any = NOON, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = profile_of(place, "m", watch, AskProfile(1, "churn", **asked), int(at.timestamp()))
    return found


def columns(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in found["columns"]}


def two_clients() -> EntityWatch:
    rows = frame(300, 1)
    ios = np.arange(300) % 3 == 0
    rows.loc[ios, "temp"] = (rows["temp"][ios] * 100).round()
    rows.loc[np.arange(300) % 30 == 1, "kind"] = "hot"
    rows.loc[np.arange(300) % 10 == 2, "wind"] = np.nan
    return watched(reference(), live_rows(rows, ["ios/4.2.17" if each else "web/1.0" for each in ios]))


def test_a_client_that_sends_another_unit_is_seen_beside_training_and_the_others_are_not_marked() -> None:
    found = told(two_clients(), segment="client=ios/4.2")
    assert (found["rows"], found["start"], found["end"]) == (100, "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z")
    temp = columns(found)["temp"]
    assert temp["live"]["quantiles"]["p50"] == pytest.approx(100 * temp["training"]["quantiles"]["p50"], rel=0.1)
    assert (temp["is_far"], temp["violations"]["out_of_range"]) == (True, 100)
    assert temp["moved_share"] > 0.95
    assert (temp["live"]["decimals"], temp["training"]["decimals"], temp["live"]["whole_share"]) == (0, 1, 1.0)
    # Nulls are new to `wind`. What hangs together with `temp` hangs together no longer, but `hum` is as it was.
    assert [name for name, column in columns(found).items() if column["is_far"]] == ["temp", "wind"]
    web = told(two_clients(), segment="client=web/1.0")
    assert not columns(web)["temp"]["is_far"]


def test_all_rows_have_levels_nulls_distinct_values_and_who_sends_them() -> None:
    found = told(two_clients())
    kind, wind, temp = (columns(found)[name] for name in ("kind", "wind", "temp"))
    live = {each["level"]: each["live"] for each in kind["levels"]}
    trained = {each["level"]: each["training"] for each in kind["levels"]}
    assert set(live) == {"warm", "cold", "ice"}
    assert sum(live.values()) == pytest.approx(290 / 300, abs=1e-5)
    assert sum(trained.values()) == pytest.approx(1.0, abs=1e-5)
    assert kind["new_levels"] == [{"level": "hot", "rows": 10, "live": 0.033333}]
    assert (kind["live"]["distinct"], kind["training"]["distinct"], kind["violations"]) == (4, 3, {"unseen": 10})
    assert (wind["live"]["null_share"], wind["training"]["null_share"]) == (0.1, 0.0)
    assert temp["live"]["distinct"] == pytest.approx(200, rel=0.3)
    assert [each["segment"] for each in found["segments"]] == ["requester=ann", "client=web/1.0", "client=ios/4.2"]


def test_shares_of_levels_are_of_rows_with_a_value_as_those_of_training_are() -> None:
    rows = frame(4000, 7)
    trained = Reference.from_frame(rows.assign(kind=rows.kind.where(np.arange(4000) % 2 == 0, None)))
    found = told(watched(trained, live_rows(rows.assign(kind=rows.kind.where(np.arange(4000) % 2 == 0, None)))))
    levels = columns(found)["kind"]["levels"]
    assert sum(each["live"] for each in levels) == pytest.approx(1)
    assert all(each["live"] == pytest.approx(each["training"]) for each in levels)


def test_a_number_that_is_filled_in_is_a_spike_and_so_is_one_that_training_had_seldom() -> None:
    random = np.random.default_rng(3)

    def rows(count: int, zeros: float, filled: float) -> pd.DataFrame:
        paid = np.where(random.random(count) < zeros, 0.0, random.gamma(2, 30, count))
        paid[: int(filled * count)] = -999
        return pd.DataFrame({"paid": paid, "month": random.integers(1, 13, count)})

    trained = Reference.from_frame(rows(2000, 0.1, 0))
    (paid, month) = told(watched(trained, live_rows(rows(300, 0.6, 0.1))))["columns"]
    assert [each["value"] for each in paid["spikes"]] == [0.0, -999.0]
    assert paid["spikes"][0]["live"] == pytest.approx(0.54, abs=0.08)
    assert paid["spikes"][0]["training"] == pytest.approx(0.1, abs=0.03)
    assert (paid["spikes"][1]["rows"], paid["spikes"][1]["live"]) == (30, 0.1)
    assert paid["spikes"][1]["training"] < 0.01
    assert month["spikes"] == []
    fair = told(watched(trained, live_rows(rows(300, 0.1, 0))))["columns"]
    assert [column["spikes"] for column in fair] == [[], []]


def test_of_rows_like_training_no_column_is_marked() -> None:
    """Each of these has at most one chance in a hundred."""
    for seed in range(5):
        found = told(watched(reference(), live_rows(frame(400, seed))))
        assert not any(column["is_far"] or column.get("spikes") for column in found["columns"])
        for column in found["columns"][:3]:
            live, trained = column["live"]["quantiles"], column["training"]["quantiles"]
            spread = trained["p95"] - trained["p5"]
            assert all(abs(live[rank] - trained[rank]) < 0.25 * spread for rank in ("p5", "p25", "p50", "p75", "p95"))


def test_an_hour_has_its_own_rows_and_the_one_before_too() -> None:
    watch = watched(reference(), live_rows(frame(50)))
    count(watch, reference(), live_rows(frame(20, 2), at=NOON - timedelta(hours=1)), NOON)
    assert (told(watch)["rows"], told(watch, window=Window.HOUR)["rows"]) == (70, 50)
    before = told(watch, window=Window.HOUR, ago=1)
    assert (before["rows"], before["is_current"], before["start"]) == (20, False, "2026-11-26T11:00:00Z")
    assert before["columns"][0]["live"]["quantiles"]["p50"] is not None
    later = told(watch, at=NOON + timedelta(days=2))
    assert later["notes"] == [
        "no rows were counted in this day; the newest are of the day from 2026-11-26T00:00:00Z (ago=2)"
    ]
    assert later["columns"][0]["live"]["null_share"] is None


def test_of_a_window_that_a_sender_has_no_longer_it_is_not_said_that_nothing_came() -> None:
    watch = two_clients()
    for hours in (1, 2, 3):
        at = NOON + timedelta(hours=hours)
        count(watch, reference(), live_rows(frame(20, hours), ["ios/4.2"] * 20, at), at)
    later = NOON + timedelta(hours=3)
    for ago, note in (
        (1, "segments have quantiles by day only; of this hour there are counts"),
        (2, "of one sender 2 hours are kept, and this hour is older; "
            "the newest are of the hour from 2026-11-26T15:00:00Z (ago=0)"),
    ):  # fmt: skip
        found = told(watch, at=later, window=Window.HOUR, segment="client=ios/4.2", ago=ago)
        assert found["notes"] == [note]
    assert told(watch, at=later, window=Window.HOUR, ago=2)["rows"] == 20
    tomorrow = told(watch, at=NOON + timedelta(days=1), segment="client=ios/4.2")
    assert tomorrow["notes"][0].startswith("no rows were counted in this day; the newest are of")


def test_what_is_not_there_is_said_with_what_is() -> None:
    watch = two_clients()
    with pytest.raises(NotFound, match=r"client=nokia.*client=ios/4.2, client=web/1.0, requester=ann"):
        told(watch, segment="client=nokia")
    with pytest.raises(NotFound, match=r"no column 'tmp'; it had temp, hum, wind, kind"):
        told(watch, column="tmp")
    with pytest.raises(InvalidParameter, match="COLUMN=VALUE"):
        told(watch, segment="ios")
    assert [column["name"] for column in told(watch, column="hum")["columns"]] == ["hum"]
    off = told(watch, WatchedEndpoint("i", "churn", "", (), Path("/nowhere"), is_watched=False))
    assert off["notes"] == ["watching is off for this endpoint: what comes now is not counted"]
    hour = told(watch, window=Window.HOUR, segment="client=ios/4.2")
    assert hour["notes"] == ["segments have quantiles by day only; of this hour there are counts"]
    assert (hour["rows"], columns(hour)["temp"]["is_far"]) == (100, True)
    assert columns(hour)["temp"]["live"]["quantiles"]["p50"] is None


def test_one_column_alone_has_where_its_rows_lie() -> None:
    (temp,) = told(two_clients(), segment="client=ios/4.2", column="temp")["columns"]
    *inside, beyond = temp["cells"]
    assert (len(inside), beyond) == (14, {"elsewhere": True, "live": 1.0, "training": 0.0})
    assert (inside[0]["from"], inside[0]["to"], inside[1]["from"]) == (None, inside[1]["from"], inside[0]["to"])
    assert sum(cell["training"] for cell in inside) == pytest.approx(1, abs=1e-4)
    (web,) = told(two_clients(), segment="client=web/1.0", column="temp")["columns"]
    assert sum(cell["live"] for cell in web["cells"]) == pytest.approx(1, abs=1e-4)
    (kind,) = told(two_clients(), column="kind")["columns"]
    assert kind["cells"] == []
    assert "cells" not in columns(told(two_clients()))["temp"]


# -- privacy ---------------------------------------------------------------------------------------------------


def test_of_a_few_rows_no_values_are_told() -> None:
    found = told(watched(reference(), live_rows(frame(FEWEST_VALUES - 1))))
    assert found["notes"] == ["of fewer than 10 values no quantiles are told"]
    live = found["columns"][0]["live"]
    assert (live["minimum"], set(live["quantiles"].values())) == (None, {None})
    found = told(watched(reference(), live_rows(frame(FEWEST_VALUES))))
    assert found["columns"][0]["live"]["minimum"] is not None


def test_with_a_floor_no_value_or_level_is_told_that_fewer_rows_have() -> None:
    trained = Reference.from_frame(frame(600), k_anonymity=5)
    rows = frame(100).assign(kind=["seldom"] * 4 + ["often"] * 5 + ["warm"] * 89 + ["ice"] * 2)
    found = columns(told(watched(trained, live_rows(rows))))
    live = found["temp"]["live"]
    assert (live["minimum"], live["maximum"], live["quantiles"]["p1"], live["quantiles"]["p99"]) == (None,) * 4
    assert live["quantiles"]["p5"] is not None
    assert [each["level"] for each in found["kind"]["new_levels"]] == ["often"]
    assert {each["level"]: each["live"] for each in found["kind"]["levels"]} == {"warm": 0.89, "cold": 0.0, "ice": None}


def test_a_reference_that_does_not_say_its_floor_has_one_of_ten(tmp_path: Path) -> None:
    Reference.from_frame(frame(600)).save(tmp_path)
    assert Reference.load(tmp_path).k_anonymity == 1
    file = tmp_path / "reference.msgpack"
    stored = msgspec.msgpack.decode(file.read_bytes())
    del stored["reference"]["k_anonymity"]
    file.write_bytes(msgspec.msgpack.encode(stored))
    watch = watched(Reference.load(tmp_path), live_rows(frame(100).assign(kind=["seldom"] * 9 + ["often"] * 91)))
    found = columns(told(watch))
    assert found["temp"]["live"]["minimum"] is None
    assert [each["level"] for each in found["kind"]["new_levels"]] == ["often"]
    keeping.save_sketches(tmp_path, {"e": keeping.to_kept_sketches(watch)})
    assert b"seldom" not in (tmp_path / keeping.SKETCHES_FILE).read_bytes()


@pytest.mark.parametrize("option", ["hashed", "bucketed", "none"])
def test_columns_that_the_reference_keeps_to_itself_have_counts_only(option: str) -> None:
    trained = Reference.from_frame(frame(600), privacy={"temp": option, "kind": option})
    rows = frame(60).assign(kind="secret-of-a-person", temp=123.456)
    found = told(watched(trained, live_rows(rows)))
    assert "secret" not in str(found)
    assert "123.4" not in str(found)
    for name in ("temp", "kind"):
        column = columns(found)[name]
        assert column["withheld"] == "the reference does not keep values of this column"
        assert set(column["live"]) == set(column["training"]) == {"rows", "null_share"}
        assert told(watched(trained, live_rows(rows)), column=name)["columns"][0]["cells"] == []


def test_neither_free_text_nor_what_is_off_the_records_has_values() -> None:
    rows = frame(600).assign(note=[f"note {number} of somebody" for number in range(600)])
    watch = watched(Reference.from_frame(rows), live_rows(rows))
    place = WatchedEndpoint("i", "churn", "", (), Path("/nowhere"), hidden=frozenset({"wind"}), key="kind")
    found = told(watch, place)
    assert "somebody" not in str(found)
    assert columns(found)["note"]["withheld"] == "values of free text are not kept"
    for name in ("wind", "kind"):
        assert set(columns(found)[name]) == {"name", "role", "withheld"}


def test_times_are_told_as_times() -> None:
    then = pd.Series(pd.date_range("2025-01-01", periods=400, freq="7h"))
    trained = Reference.from_frame(pd.DataFrame({"at": then}))
    rows = pd.DataFrame({"at": pd.Series([pd.Timestamp("2026-11-26 08:15")] * 20)})
    (column,) = told(watched(trained, live_rows(rows)))["columns"]
    assert column["live"]["quantiles"]["p50"] == "2026-11-26T08:15:00Z"
    assert column["training"]["minimum"] == "2025-01-01T00:00:00Z"
    assert "decimals" not in column["live"]
    (column,) = told(watched(trained, live_rows(rows)), column="at")["columns"]
    assert [(cell["hour"], cell["live"]) for cell in column["cells"][:-1] if cell["live"]] == [(8, 1.0)]
