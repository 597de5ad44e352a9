"""Which client it is: with a fault in a few rows or a third, in single rows or only in many together; since when."""

import numpy as np
import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.parity import Status, diagnose, locate
from tallystick.parity.detect.schema import read_live
from tallystick.parity.inquire import begun, carried_on
from tallystick.parity.kinds import FAMILY_OF
from tallystick.parity.parts import screen_parts
from tallystick.parity.screen import screen, z_p
from tallystick.parity.words import title
from tallystick.parity.yardsticks import CLAIM_NATS


def _clients(count: int, share: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    broken = rng.random(count) < share
    client = np.where(broken, "ios/4.2", rng.choice(["web", "android/7", "batch"], count))
    return pd.DataFrame({"client": client, "region": rng.choice(["eu", "us"], count)})


TRAINED = rows_of(3000, 1).humidity
FAULTS = {
    "unit": lambda f: f.assign(fare=f.fare * 100),
    "nulls": lambda f: f.assign(temp=np.nan),
    "letter_case": lambda f: f.assign(season=f.season.str.upper()),
    "default_fill": lambda f: f.assign(fare=-999.0),
    "standardized": lambda f: f.assign(humidity=(f.humidity - TRAINED.mean()) / TRAINED.std()),
    "time_zone": lambda f: f.assign(hour=(f.hour + 5) % 24),
    "category_relabelled": lambda f: f.assign(
        season=f.season.map({"spring": "summer", "summer": "autumn", "autumn": "winter", "winter": "spring"})
    ),
}


def _sent(kind: str, count: int, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, who = rows_of(count, seed), _clients(count, share, seed)
    mine = (who.client == "ios/4.2").to_numpy()
    broken = FAULTS[kind](rows)
    return pd.concat([rows[~mine], broken[mine]]).sort_index(), who


@pytest.mark.parametrize("kind", FAULTS)
def test_a_third_of_the_traffic_is_traced_to_its_client(reference, kind):
    live, who = _sent(kind, 400, 0.3, 11)
    verdict = diagnose(reference, live, segments=who)
    assert verdict.kind == kind
    assert (verdict.segment["column"], verdict.segment["value"]) == ("client", "ios/4.2")
    assert verdict.segment["affected_inside"] > 3 * verdict.segment["affected_outside"]


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in ("time_zone", "category_relabelled")])
def test_a_twentieth_of_the_traffic_is_traced_to_its_client(reference, kind):
    live, who = _sent(kind, 800, 0.05, 12)
    verdict = diagnose(reference, live, segments=who)
    assert (verdict.kind, verdict.segment.get("value")) == (kind, "ios/4.2")


def test_what_no_single_row_shows_is_found_in_the_segment(reference):
    """Forty rows in eight hundred: over all rows nothing stands out."""
    live, who = _sent("category_relabelled", 1200, 0.08, 13)
    verdict = diagnose(reference, live, segments=who)
    assert (verdict.kind, verdict.segment.get("value")) == ("category_relabelled", "ios/4.2")


def test_two_faults_of_one_client_are_both_in_its_verdict(reference):
    rows, who = rows_of(400, 15), _clients(400, 0.3, 15)
    mine = (who.client == "ios/4.2").to_numpy()
    broken = FAULTS["letter_case"](FAULTS["unit"](rows))
    verdict = diagnose(reference, pd.concat([rows[~mine], broken[mine]]).sort_index(), segments=who)
    assert verdict.segment["value"] == "ios/4.2"
    (other,) = verdict.others
    assert {(verdict.kind, verdict.features), (other.kind, other.features)} == {
        ("unit", ("fare",)),
        ("letter_case", ("season",)),
    }
    assert (other.family, bool(other.fix)) == (FAMILY_OF[other.kind], True)
    assert title(verdict).endswith(f" Also {verdict.also[0]}.")
    assert f"Also      {verdict.also[0]}" in str(verdict)


@pytest.mark.parametrize(
    ("one", "other", "kind", "shares"),
    [
        (
            lambda f: f.assign(city=[f"evil {k % 7}" for k in range(len(f))]),
            lambda f: f.assign(fare=f.fare.astype(object).where(f.fare < 0, "twelve")),
            "new_level",
            (0.05, 0.1),
        ),
        (lambda f: f.assign(fare=f.fare * 100), lambda f: f.assign(temp=f.temp * 1000), "unit", (0.5, 0.5)),
        (lambda f: f.assign(fare=-999.0), lambda f: f.assign(temp=-999.0), "default_fill", (0.05, 0.05)),
    ],
)
def test_faults_of_one_kind_of_two_senders_are_told_apart(reference, one, other, kind, shares):
    rows = rows_of(600, 17)
    draw = np.random.default_rng(17).random(600)
    who = np.where(draw < shares[0], "one", np.where(draw < sum(shares), "other", "web"))
    live = pd.concat(
        [one(rows[who == "one"]), other(rows[who == "other"]), rows[who == "web"]],
    ).sort_index()

    verdict = diagnose(reference, live, segments=pd.DataFrame({"client": who}))

    assert (verdict.kind, len(verdict.features), verdict.others) == (kind, 1, ())
    assert verdict.segment["value"] in ("one", "other")
    assert verdict.segment["affected_inside"] > 0.9
    (elsewhere,) = (text for text in verdict.also if "in other rows" in text)
    assert verdict.features[0] not in elsewhere
    assert "each" not in verdict.transformation


def test_a_fault_in_chance_rows_of_two_columns_is_one_cause(reference):
    rows, rng = rows_of(600, 18), np.random.default_rng(18)
    live = rows.assign(temp=rows.temp.mask(rng.random(600) < 0.1), humidity=rows.humidity.mask(rng.random(600) < 0.1))

    verdict = diagnose(reference, live, segments=_clients(600, 0.3, 18))

    assert (verdict.kind, set(verdict.features), verdict.segment) == ("nulls", {"temp", "humidity"}, {})


def test_a_fault_of_another_client_is_none_of_the_first_ones(reference):
    rows, who = rows_of(600, 16), _clients(600, 0.4, 16)
    android = (who.client == "android/7").to_numpy()
    live, _ = _sent("unit", 600, 0.4, 16)
    live = pd.concat([live[~android], FAULTS["letter_case"](rows)[android]]).sort_index()
    verdict = diagnose(reference, live, segments=who)
    assert (verdict.segment["value"], verdict.others) in [("ios/4.2", ()), ("android/7", ())]
    assert "in other rows" in verdict.also[0]


def test_a_fault_of_everybody_is_blamed_on_nobody(reference):
    live, who = rows_of(400, 14), _clients(400, 0.3, 14)
    assert diagnose(reference, live.assign(fare=live.fare * 100), segments=who).segment == {}


def test_fair_rows_in_segments_are_consistent(reference):
    """Stated: of 10 samples in four clients and two regions none is claimed."""
    for seed in range(20, 30):
        verdict = diagnose(reference, rows_of(600, seed), segments=_clients(600, 0.3, seed))
        assert verdict.status not in (Status.CAUSE_FOUND, Status.SUSPECTED)


def test_a_release_is_dated(reference):
    live, stamps = rows_of(300, 15), pd.date_range("2026-03-01", periods=300, freq="min")
    after = np.arange(300) >= 200
    verdict = diagnose(reference, live.assign(fare=live.fare.where(~after, live.fare * 100)), timestamps=stamps)
    assert verdict.first_seen == str(stamps[200])
    assert any("in a step" in piece.text for piece in verdict.evidence)


def test_labels_and_predictions_are_those_of_the_blamed_clients_rows(reference):
    """The fault shows in the segment only, so that all else is judged in its rows as well."""
    live, who = _sent("category_relabelled", 1200, 0.08, 13)
    labels, answers = np.arange(len(live)) % 2.0, np.full(len(live), 0.5)
    verdict = diagnose(reference, live, segments=who, labels=labels, predictions=answers)
    assert (verdict.kind, verdict.segment.get("value")) == ("category_relabelled", "ios/4.2")


def test_a_fault_of_everybody_is_not_looked_for_in_each_segment(reference, monkeypatch):
    asked = []
    monkeypatch.setattr(locate, "begun", lambda *given: asked.append(1) or begun(*given))
    rows = rows_of(600, 3)
    moved = rows.assign(fare=(rows.fare - 3) * 1.7)
    verdict = diagnose(reference, moved, segments=_clients(600, 0.3, 4))
    assert (verdict.kind, verdict.segment) == ("affine", {})
    # Of all rows, and of no segment.
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["plain", *FAULTS])
def test_parts_that_are_screened_together_have_the_chances_that_each_has_alone(reference, kind):
    live, who = (rows_of(800, 15), _clients(800, 0.2, 15)) if kind == "plain" else _sent(kind, 800, 0.2, 15)
    sent = read_live(reference, live)[0]
    part, names = pd.factorize(who.client)
    together, is_odd = screen_parts(sent, np.asarray(part), len(names))
    for k in range(len(names)):
        looked_at = [each for each in screen(sent.taken(part == k)) if each.is_looked_at]
        alone = min((min(e.p, e.null_p, e.odd_p, z_p(e.coherence_z)) for e in looked_at), default=1.0)
        assert not looked_at or is_odd[min(looked_at, key=lambda each: each.p).column, k]
        assert abs(np.log10(max(together[k], 1e-9)) - np.log10(max(alone, 1e-9))) < 2


def test_a_segment_is_not_told_of_what_the_others_have_too(reference, monkeypatch):
    live, who = rows_of(600, 16), _clients(600, 0.3, 16)
    asked = []
    monkeypatch.setattr(locate, "begun", lambda *given: asked.append(given) or begun(*given))
    verdict = diagnose(reference, live.assign(hour=(live.hour + 5) % 24), segments=who)
    assert (verdict.kind, verdict.segment, len(asked)) == ("time_zone", {}, 1)


def test_inquiry_that_was_cut_short_is_carried_on_as_if_it_had_not_been(reference):
    rows = FAULTS["time_zone"](FAULTS["unit"](rows_of(400, 21)))
    first = begun(reference, rows)
    cut = carried_on(first, enough_nats=CLAIM_NATS)
    assert [each.kind for each in cut.findings] == ["unit"]
    whole, later = carried_on(first).told(), carried_on(cut).told()
    assert [each.kind for each in whole.findings] == ["unit", "time_zone"]
    assert [(each.kind, each.features, each.gain) for each in later.findings] == [
        (each.kind, each.features, each.gain) for each in whole.findings
    ]
    assert later.looks == whole.looks


def test_rows_of_a_segment_are_read_once_though_it_is_inquired_into_twice(reference, monkeypatch):
    read = []
    monkeypatch.setattr(locate, "begun", lambda *given: read.append(len(given[1])) or begun(*given))
    live, who = _sent("category_relabelled", 1200, 0.08, 13)
    verdict = diagnose(reference, live, segments=who)
    assert verdict.segment["value"] == "ios/4.2"
    assert read.count(int((who.client == "ios/4.2").sum())) == 1
