"""The verdict: proof by replay and intervention, segments, onset, honesty about what cannot be told, and its form."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.errors import InvalidParameter
from tallystick.monitor.ledger import with_ledger
from tallystick.parity import Family, Reference, Status, Verdict, diagnose
from tallystick.parity.conclude import Context, conclude
from tallystick.parity.detect.finding import Finding
from tallystick.parity.inquire import inquire
from tallystick.parity.kinds import FAMILY_OF, meaning
from tallystick.parity.verdict import json_schema


def chance(frame: pd.DataFrame) -> np.ndarray:
    """A model: the chance of a complaint grows with fare and heat."""
    return 1 / (1 + np.exp(-(0.3 * (frame["fare"].astype(float) - 9) + 0.1 * (frame["temp"].astype(float) - 14))))


@pytest.fixture(scope="module")
def modelled() -> Reference:
    frame = rows_of(2000, 3)
    label = (np.random.default_rng(0).random(2000) < chance(frame)).astype(int)
    return Reference.from_frame(frame, model=chance, y=label)


def test_a_suspicion_becomes_proof_when_undoing_it_restores_predictions(modelled, live):
    broken = live.assign(temp=live.temp * -1)
    verdict = diagnose(modelled, broken)
    assert (verdict.kind, verdict.status, verdict.strength) == ("sign_flip", Status.CAUSE_FOUND, "proof")
    assert any("undone on live rows" in piece.text for piece in verdict.evidence)


def in_summer(frame: pd.DataFrame) -> np.ndarray:
    """A model of a level, to which a level in capitals is none that it knows."""
    return np.where(frame["season"].astype(object) == "summer", 0.9, np.where(frame["season"] == "winter", 0.1, 0.5))


def test_what_was_answered_to_levels_in_another_spelling_is_not_called_fair(live):
    # As an endpoint is diagnosed: by its replicas, without the model at hand.
    reference = msgspec.structs.replace(Reference.from_frame(rows_of(2000, 3), model=in_summer), model=None)
    broken = live.assign(season=live.season.str.upper())
    verdict = diagnose(reference, broken, predictions=in_summer(broken), rescore=in_summer)
    assert verdict.kind == "letter_case"
    texts = [piece.text for piece in verdict.evidence]
    assert any(each.startswith("live predictions' distance to training 0.28, with it undone") for each in texts), texts
    assert not any("hardly odd" in each for each in texts)
    # Where the model takes them as they are it is so.
    fair = diagnose(reference, broken, predictions=in_summer(live), rescore=in_summer)
    assert any("predictions are hardly odd yet" in piece.text for piece in fair.evidence)


def test_answers_to_rows_that_are_read_otherwise_than_they_were_sent_accuse_no_endpoint(live):
    reference = Reference.from_frame(rows_of(2000, 3), model=in_summer)
    broken = live.assign(season=live.season.str.upper())
    assert diagnose(reference, broken, predictions=in_summer(broken)).kind == "letter_case"
    half = np.arange(len(live)) % 2 == 0
    some = live.assign(season=live.season.where(half, broken.season))
    verdict = diagnose(reference, some, predictions=in_summer(some))
    assert (verdict.kind, verdict.share) == ("letter_case", pytest.approx(0.5))
    assert any("scored again by the model: equal" in piece.text for piece in verdict.evidence)
    # The others do.
    assert diagnose(reference, some, predictions=1 - in_summer(some)).kind == "class_order"


def test_the_gap_is_explained_by_putting_the_fault_into_labelled_rows(modelled):
    live = rows_of(1500, 9)
    label = (np.random.default_rng(1).random(1500) < chance(live)).astype(int)
    some = np.arange(1500) % 3 == 0
    broken = live.assign(fare=live.fare.where(~some, live.fare * 100))
    verdict = diagnose(modelled, broken, labels=label, predictions=chance(broken))
    assert verdict.kind == "unit"
    assert verdict.explained == pytest.approx(1.0, abs=0.35)


def test_golden_rows_clear_the_endpoint_or_convict_it(modelled, live):
    cleared = diagnose(modelled, live, rescore=chance)
    assert cleared.status is Status.CONSISTENT
    assert any("golden rows" in line for line in cleared.ruled_out)
    turned = diagnose(modelled, live, rescore=lambda frame: 1 - chance(frame))
    assert (turned.kind, turned.status) == ("class_order", Status.CAUSE_FOUND)
    other = diagnose(modelled, live, rescore=lambda frame: chance(frame) ** 2)
    assert other.kind == "prediction_differs"


def test_predictions_off_by_a_sampling_rate(modelled, live):
    odds = chance(live) / (1 - chance(live)) * 0.1
    verdict = diagnose(modelled, live, predictions=odds / (1 + odds))
    assert verdict.kind == "sampling_prior"
    assert verdict.transformation["rate"] == pytest.approx(0.1, rel=0.02)


def test_the_client_that_sends_it_and_since_when(reference, live):
    client = pd.Series(np.where(np.arange(200) % 4 == 0, "ios 4.2", "web"), name="client")
    stamps = pd.date_range("2026-03-01", periods=200, freq="min")
    some = (client == "ios 4.2") & (np.arange(200) >= 100)
    broken = live.assign(fare=live.fare.where(~some, live.fare * 100))
    verdict = diagnose(reference, broken, segments=client, timestamps=stamps)
    assert verdict.segment["value"] == "ios 4.2"
    assert verdict.segment["affected_outside"] == 0.0
    assert abs(pd.Timestamp(verdict.first_seen) - stamps[100]) < pd.Timedelta("15min")
    assert any(each.text.endswith(" of rows with client = ios 4.2, 0 % of the others") for each in verdict.evidence)


def test_a_fault_of_one_segment_that_all_rows_hide(reference):
    live = rows_of(1000, 5)
    client = pd.Series(np.where(np.arange(1000) < 60, "ios 4.2", "web"), name="client")
    broken = live.assign(hour=live.hour.where(client == "web", (live.hour + 5) % 24), stamp=live.stamp)
    verdict = diagnose(reference, broken, segments=client)
    assert verdict.status in (Status.SUSPECTED, Status.CONSISTENT, Status.CANNOT_TELL)
    assert verdict.segment.get("value", "ios 4.2") == "ios 4.2"


def test_few_rows_are_not_judged_by_distribution(reference, live):
    verdict = diagnose(reference, live.head(10))
    assert verdict.status is Status.CANNOT_TELL
    assert "30 rows" in verdict.settle[0]


def test_a_lone_column_without_relation_to_others_cannot_be_told():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(2000, 4)), columns=list("abcd"))
    live = pd.DataFrame(rng.normal(size=(200, 4)), columns=list("abcd"))
    reference = Reference.from_frame(frame)
    assert diagnose(reference, live.assign(a=live.a * 0.6 + 0.5)).status is Status.CANNOT_TELL


def test_other_classes_are_a_label_shift(modelled, live):
    verdict = diagnose(modelled, live, labels=np.ones(200, dtype=int))
    assert (verdict.status, verdict.kind) == (Status.POPULATION_CHANGED, "label_shift")


def test_retraining_is_never_advised(modelled, reference, live):
    shifted = [live.assign(fare=live.fare * 100), live[live.temp > 12].reset_index(drop=True), live.head(5)]
    for rows in shifted:
        text = str(diagnose(reference, rows)).lower()
        assert "retrain" not in text


def test_lengths_that_do_not_fit_are_all_told(reference, live):
    with pytest.raises(InvalidParameter, match=r"labels has 3 entries.*segments has 1"):
        diagnose(reference, live, labels=[1, 2, 3], segments=["a"])
    with pytest.raises(InvalidParameter, match="DataFrame"):
        diagnose(reference, [1, 2])


def test_a_verdict_is_json_that_its_schema_names(reference, live):
    verdict = diagnose(reference, live.assign(fare=live.fare * 100))
    given = json.loads(verdict.to_json())
    known = json_schema()["$defs"]["Verdict"]["properties"]
    assert set(given) <= set(known)
    assert given["family"] == "preprocessing"
    assert given["transformation"]["factor"] == 100.0


def test_the_text_names_cause_evidence_and_fix(reference, live):
    text = str(diagnose(reference, live.assign(fare=live.fare * 100)))
    assert text.startswith("CAUSE FOUND (strong)   preprocessing · unit \N{MULTIPLICATION SIGN}100 · column fare")
    assert "Evidence  1 " in text
    assert "Fix       " in text


def test_every_kind_has_a_family_and_a_meaning():
    assert len(FAMILY_OF) == sum(1 for kind in FAMILY_OF if meaning(kind))
    assert set(FAMILY_OF.values()) == set(Family) - {Family.NONE}


def test_a_verdict_is_frozen(reference, live):
    verdict = diagnose(reference, live)
    assert isinstance(verdict, Verdict)
    with pytest.raises(AttributeError):
        verdict.kind = "unit"


def test_every_kind_is_in_the_docs():
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "parity-kinds.md").read_text()
    assert [kind for kind in FAMILY_OF if f"`{kind}`" not in page] == []


def test_only_replay_and_intervention_are_called_proof(training, live):
    """The same rows: without a model nobody has seen what the unit does to predictions."""

    def chance(frame):
        return 1 / (1 + np.exp(-0.3 * (frame["fare"].astype(float) - 9)))

    sent = live.assign(fare=live.fare * 100)
    assert diagnose(Reference.from_frame(training), sent).strength == "strong"
    assert diagnose(Reference.from_frame(training, model=chance), sent).strength == "proof"


def test_a_reference_of_few_rows_accuses_nobody(training, live):
    for rows in (1, 5, 20):
        small = Reference.from_frame(training.head(rows))
        verdict = diagnose(small, live)
        assert verdict.status is Status.CANNOT_TELL
        assert "50 rows or more" in verdict.settle[0]
        assert any("rows only" in limit for limit in verdict.degraded)
        assert diagnose(small, live.drop(columns="fare")).kind == "missing_column"


@pytest.mark.parametrize(
    ("kind", "features", "told"),
    [("nulls", ("fare", "temp"), [("nulls", ("temp",))]), ("columns_swapped", ("fare", "temp"), [])],
)
def test_another_cause_tells_nothing_of_the_columns_of_the_first(reference, live, kind, features, told):
    everything = np.ones(len(live), dtype=bool)
    first, other = (
        Finding(kind, features, {}, 1.0, 99.0, True, (), everything)
        for kind, features in (("unit", ("fare",)), (kind, features))
    )
    verdict = conclude(reference, replace(inquire(reference, live), findings=(first, other)), Context())
    assert [(each.kind, each.features) for each in verdict.others] == told


def test_what_the_ledger_tells_beside_a_cause_is_of_other_columns(reference, live):
    verdict = diagnose(reference, live.assign(fare=live.fare * 100))
    told = msgspec.structs.replace(verdict, kind="lossy_cast", features=("fare", "temp"), segment={})
    (other,) = with_ledger(verdict, told).others
    assert (verdict.features, other.kind, other.features) == (("fare",), "lossy_cast", ("temp",))
