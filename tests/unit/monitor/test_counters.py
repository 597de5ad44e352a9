"""Live profiles: what is counted, and that it adds up however it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from monitor_rows import frame, reference, same

from tallystick.monitor.counters import Counters, Violation, observe, tally
from tallystick.monitor.rings import DAY, HOUR, LENGTHS, MINUTE, Rings
from tallystick.parity import Reference


@pytest.fixture(scope="module")
def trained() -> Reference:
    return reference()


def test_every_value_falls_in_one_cell(trained: Reference) -> None:
    counters = tally(observe(trained, frame(300, seed=1)))
    assert counters.rows == 300
    assert (counters.cells.sum(axis=1) == 300).all()


def test_violations_of_the_contract_are_counted_from_the_first_row(trained: Reference) -> None:
    rows = pd.DataFrame(
        {
            "temp": [2000.0, None, "NA", "12,5", 20.0],
            "wind": [1.0] * 5,
            "kind": ["warm", "WARM", None, "n/a", "ice"],
        }
    )
    contract = tally(observe(trained, rows)).contract
    found = {
        (name, kind.name): int(contract[j, kind])
        for j, name in enumerate(trained.names)
        for kind in Violation
        if contract[j, kind]
    }
    assert found == {
        ("temp", "OUT_OF_RANGE"): 1,
        ("temp", "NULL"): 1,
        ("temp", "NULL_TOKEN"): 1,
        ("temp", "TYPE"): 1,
        ("hum", "MISSING"): 5,
        ("kind", "UNSEEN"): 1,
        ("kind", "NULL"): 1,
        ("kind", "NULL_TOKEN"): 1,
    }


def test_truth_values_that_the_signature_made_doubles_are_training_s() -> None:
    """Those with nulls are: MLflow's boolean reads a null as False. The model, and the table, then have 1.0 and 0.0."""
    asked = pd.Series([True, False, None] * 50, dtype="boolean")
    trained = Reference.from_frame(pd.DataFrame({"asked": asked, "size": np.arange(150.0)}))
    sent = tally(observe(trained, pd.DataFrame({"asked": asked.astype(object), "size": np.arange(150.0)})))
    decoded = pd.DataFrame({"asked": asked.astype("Float64").astype(float), "size": np.arange(150.0)})
    assert same(tally(observe(trained, decoded)), sent)
    assert sent.contract[:, Violation.UNSEEN].sum() == 0
    others = tally(observe(trained, decoded.assign(asked=[2.0] + [0.0] * 149)))
    assert others.contract[0, Violation.UNSEEN] == 1


def test_bets_on_fit_lose_on_rows_like_training_and_win_when_columns_do_not_agree(trained: Reference) -> None:
    rows = frame(400, seed=5)
    fair = tally(observe(trained, rows)).fit
    assert fair.max() < 3
    mixed = rows.assign(hum=rows["hum"].sample(frac=1, random_state=1).to_numpy())
    assert tally(observe(trained, mixed)).fit[list(trained.names).index("hum")].max() > 20


def test_what_privacy_keeps_to_itself_is_no_violation() -> None:
    hidden = Reference.from_frame(frame(1000), privacy={"kind": "hashed", "temp": "none"})
    contract = tally(observe(hidden, pd.DataFrame({"kind": ["x"], "temp": [1e9]}))).contract
    assert contract[list(hidden.names).index("kind"), Violation.UNSEEN] == 0
    assert contract[list(hidden.names).index("temp"), Violation.OUT_OF_RANGE] == 0


def one(number: int) -> Counters:
    return Counters(number, np.full((1, 2), number, np.int64), np.zeros((1, 7), np.int64), np.zeros((1, 3)))


def test_rings_are_bounded_however_long_it_goes_on() -> None:
    rings = Rings.empty()
    for minute in range(0, 60 * 24 * 40, 7):
        rings.add(minute * MINUTE, one(1))
    assert {width: len(ring.windows) for width, ring in rings.by_width.items()} == {MINUTE: 9, HOUR: 48, DAY: 30}
    assert all(len(ring.windows) <= LENGTHS[width] for width, ring in rings.by_width.items())
    day = rings.by_width[DAY]
    assert day.at(39 * DAY) is not None
    assert day.at(3 * DAY) is None


def test_late_rows_count_where_their_window_is_still_kept() -> None:
    rings = Rings.empty()
    rings.add(10 * HOUR, one(1))
    rings.add(7 * HOUR, one(5))
    assert rings.by_width[MINUTE].at(7 * HOUR) is None
    assert rings.by_width[HOUR].at(7 * HOUR).rows == 5  # type: ignore[union-attr]


def test_profiles_hold_no_values_of_rows(trained: Reference, tmp_path: Path) -> None:
    from tallystick.monitor import keeping
    from tallystick.monitor.entity_watch import EntityWatch

    watch = EntityWatch("d", trained)
    rows = frame(50).assign(kind="secret-of-a-person")
    watch.rings.add(0, tally(observe(trained, rows)))
    keeping.save(tmp_path, keeping.Kept("t", 3, {"e": keeping.to_kept(watch)}))
    assert b"secret" not in (tmp_path / keeping.FILE).read_bytes()
    kept = keeping.load(tmp_path)
    again = EntityWatch("d", trained)
    keeping.restore(again, trained, kept.entities["e"])
    assert same(again.rings.by_width[DAY].at(0), watch.rings.by_width[DAY].at(0))  # type: ignore[arg-type]
    other = EntityWatch("another model", trained)
    keeping.restore(other, trained, kept.entities["e"])
    assert other.rings.by_width[DAY].at(0) is None
    (tmp_path / keeping.FILE).write_bytes(b"damaged")
    assert keeping.load(tmp_path) == keeping.Kept()


def test_counts_of_years_do_not_overflow() -> None:
    total = tally(observe(reference(), frame(3)))
    for _ in range(32):
        total = total + total
    assert total.rows == 3 * 2**32
    assert total.cells.sum(axis=1).tolist() == [total.rows] * len(reference().columns)
