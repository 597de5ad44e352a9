"""Words: each kind has a sentence, with and without its parameters, and the terminal's text keeps to its width."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tallystick.parity import words
from tallystick.parity.kinds import FAMILY_OF, Family, Status
from tallystick.parity.verdict import Evidence, Verdict, json_schema, render
from tallystick.parity.words import WORDS, headline, name_of, phrase

SCHEMA = Path(__file__).parents[3] / "docs" / "verdict.schema.json"
SEGMENT = {
    "column": "client",
    "value": "ios/4.2",
    "share_of_rows": 0.31,
    "affected_inside": 1.0,
    "affected_outside": 0.0,
}
#: As the detectors give them.
PARAMETERS = {
    "renamed_level": {"map": {"fall": "autumn"}},
    "category_relabelled": {"map": {"a": "b", "b": "a"}},
    "new_level": {"levels": ["monsoon", "haze"]},
    "null_token": {"tokens": ["NA"]},
    "epoch_unit": {"from": "epoch_s", "to": "epoch ms"},
    "standardized": {"mean": 3.0, "sd": 2.0},
    "wrong_scaler": {"column": "age", "factor": 0.5, "offset": 1.0},
    "unit": {"factor": 0.01, "name": "10^-2"},
    "affine": {"factor": 2.0, "offset": -3.0},
    "clipped": {"bound": 5.5, "side": "upper"},
    "default_fill": {"value": -999.0},
    "stale": {"lag_rows": 1},
    "column_shift": {"offset": -1, "holds": {"a": "b"}},
    "time_zone": {"hours": -5},
    "rounded": {"decimals": 1},
    "sampling_prior": {"rate": 0.1, "log_odds": -2.3},
    "environment_differs": {"packages": ["package:scikit-learn"], "training": {}, "serving": {}},
    "wrong_version": {"replicas": {"r2": {"wanted": "a", "served": "b"}}, "of": 3},
    "subpopulation": {"column": "season", "value": "summer"},
}


def of(kind: str, **fields: object) -> Verdict:
    given = {"status": Status.SUSPECTED, "family": FAMILY_OF[kind], "features": ("temp",), "share": 1.0, "rows": 200}
    return msgspec.convert({"kind": kind, **given, **fields}, Verdict)


def test_columns_that_read_as_something_else_are_quoted():
    columns = ("-", "wind, gusts", "hum", "won't", "5")
    swapped = of("columns_swapped", features=columns)
    told = "'-', 'wind, gusts', hum, \"won't\" and '5'"
    assert headline(swapped) == f"All 200 rows carry {told} in each other's place."
    assert name_of(swapped).endswith(f"columns {told}")
    assert phrase(of("wrong_scaler", transformation={"column": "pay ($)"})) == (
        "temp scaled with the constants of 'pay ($)'"
    )
    assert phrase(of("renamed_column", transformation={"to": "."})) == "temp under the name '.'"
    assert phrase(of("new_level", transformation={"levels": ["a b", "-"]})) == (
        "levels of temp that training never had ('a b' and '-')"
    )


def test_every_kind_has_words_and_no_word_is_of_another():
    assert set(WORDS) == set(FAMILY_OF)


@pytest.mark.parametrize("kind", FAMILY_OF)
@pytest.mark.parametrize("transformation", [{}, None], ids=["bare", "with parameters"])
def test_every_kind_is_one_sentence(kind, transformation):
    given = PARAMETERS.get(kind, {"factor": 2.0, "offset": 1.0, "hours": 3, "offset_h": 1})
    needed = {
        "unit": {"factor": 2.0},
        "affine": {"factor": 2.0},
        "time_zone": {"hours": 1},
        "column_shift": {"offset": 1},
    }
    said = headline(of(kind, transformation=given if transformation is None else needed.get(kind, {})))
    assert said[0].isupper() or said[0].isdigit()
    assert said.endswith(".")
    assert not set(said) & set("{}[]|")
    assert "  " not in said
    assert "None" not in said


@pytest.mark.parametrize(
    ("kind", "transformation", "said"),
    [
        ("unit", {"factor": 0.01}, "temp 100 times as small as in training"),
        ("unit", {"factor": 2.54, "name": "cm in an inch"}, "temp 2.54 times as large as in training (cm in an inch)"),
        (
            "unit",
            {"factor": 100.0, "interval": (99.7, 100.3)},
            "temp 100 times as large as in training (99.7\N{EN DASH}100.3)",
        ),
        ("renamed_level", {"map": {"fall": "autumn"}}, "'fall' for 'autumn' in temp"),
        ("category_relabelled", {"map": {"a": "b"}}, "levels of temp exchanged among themselves ('b' for 'a')"),
        ("null_token", {"map": {"NA": ""}}, "words in temp for what is missing ('NA')"),
        ("rounded", {"decimals": -1}, "temp rounded to multiples of 10"),
        ("stale", {"lag_rows": 1}, "values of temp that belong to the row before"),
        ("clipped", {"bound": 5.5, "side": "upper"}, "temp cut off above 5.5"),
        ("step_differs", {"step": "prep/scale"}, "other values than training's after prep/scale in temp"),
    ],
)
def test_parameters_are_told_as_people_say_them(kind, transformation, said):
    assert phrase(of(kind, transformation=transformation)) == said


def test_the_sentence_says_who_since_when_and_which_part():
    whole = of("unit", transformation={"factor": 100.0}, segment=SEGMENT, first_seen="14:02:11")
    assert (
        headline(whole)
        == "Since 14:02:11 client ios/4.2 (31 % of requests) sends temp 100 times as large as in training."
    )
    older = of("unit", transformation={"factor": 100.0}, segment=SEGMENT, first_seen="14:02:11", is_older=True)
    assert headline(older).startswith("Since 14:02:11 or before, client ios/4.2 (31 % of requests) sends temp")
    part = of("unit", transformation={"factor": 100.0}, segment={**SEGMENT, "affected_inside": 0.6})
    assert headline(part).endswith("as in training, seen in 60 % of its rows.")
    assert headline(of("sign_flip", share=0.3)) == "30 % of 200 rows carry temp with the opposite sign."
    assert headline(of("class_order", features=())) == "All predictions are the probability of another class."


def test_columns_share_a_phrase_unless_their_parameters_matter():
    each = {"temp": {"mean": 1.0, "sd": 2.0}, "fare": {"mean": 9.0, "sd": 3.0}}
    scaled = of("standardized", features=("temp", "fare"), transformation={**each["temp"], "each": each})
    assert phrase(scaled) == "temp and fare already standardised, where training had raw values"
    each = {"temp": {"factor": 10.0}, "fare": {"factor": 100.0}}
    units = of("unit", features=("temp", "fare"), transformation={"factor": 10.0, "each": each})
    assert phrase(units).startswith("temp 10 times as large as in training, fare 100 times")
    assert name_of(units) == "preprocessing · unit · columns temp and fare"


@pytest.mark.parametrize("status", Status)
def test_every_status_is_said_without_a_kind(status):
    few, some = (
        Verdict(status=status, rows=rows, features=features) for rows, features in ((1, ()), (200, ("a", "b")))
    )
    assert headline(few).endswith(".")
    assert "retrain" not in f"{headline(few)}{headline(some)}".lower()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_text_keeps_to_its_width(width):
    evidence = tuple(
        Evidence(k, "the other columns agree with undoing it, as they did in training " * (k % 3 + 1))
        for k in range(1, 12)
    )
    texts = ("the endpoint (512/512 golden rows are equal)", "names and order of columns", "drift")
    verdict = of(
        "unit", transformation={"factor": 100.0}, segment=SEGMENT, evidence=evidence, ruled_out=texts, fix="x " * 70
    )
    text = render(verdict, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f"{k} the other" in text for k in range(1, 12))


def test_short_evidence_shares_a_line_and_is_never_cut():
    evidence = (Evidence(1, "golden rows: 512/512 equal"), Evidence(2, "live rows: equal"), Evidence(3, "KS 0.98"))
    lines = render(of("sign_flip", evidence=evidence)).splitlines()
    assert lines[2] == "Evidence  1 golden rows: 512/512 equal   2 live rows: equal"
    assert lines[3] == "          3 KS 0.98"


def test_text_of_columns_cannot_break_lines():
    text = render(of("sign_flip", features=("a\nFix       none",)))
    assert [line for line in text.splitlines() if line.startswith("Fix")] == []


def test_the_published_schema_is_the_verdicts():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json.loads(json.dumps(json_schema()))


def test_every_field_has_a_description():
    definitions = json_schema()["$defs"]
    fields = [(name, field) for name in ("Verdict", "Evidence") for field in definitions[name]["properties"].items()]
    assert [f"{name}.{field}" for name, (field, schema) in fields if not schema.get("description")] == []
    assert set(definitions["Family"]["enum"]) == {str(family) for family in Family}


def test_every_field_and_question_is_in_the_docs():
    page = (SCHEMA.parent / "reading-a-verdict.md").read_text(encoding="utf-8")
    definitions = json_schema()["$defs"]
    described = definitions["Evidence"]["properties"]["question"]["description"]
    questions = described.split(": ")[1].split(";")[0].replace(" or ", ", ").split(", ")
    assert [name for name in (*definitions["Verdict"]["properties"], *questions) if f"`{name}`" not in page] == []


def test_text_in_a_column_of_numbers_is_not_told_as_a_new_level():
    text = {"levels": ["abc"], "role": "number"}
    assert headline(of("new_level", transformation=text)) == (
        "All 200 rows carry text such as 'abc' in temp, where training had numbers."
    )
    both = text | {"each": {"temp": text, "kind": {"levels": ["haze"]}}}
    assert phrase(of("new_level", features=("temp", "kind"), transformation=both)) == (
        "text such as 'abc' in temp, where training had numbers, levels of kind that training never had ('haze')"
    )
    two = text | {"each": {"temp": text, "hum": text | {"levels": ["x"]}}}
    assert phrase(of("new_level", features=("temp", "hum"), transformation=two)) == (
        "text in temp and hum, where training had numbers"
    )


def test_times_are_told_as_times_and_not_as_seconds():
    said = {
        "constant": {"value": -4.8522e9, "role": "time"},
        "clipped": {"bound": 1.75072e9, "side": "upper", "role": "time"},
        "subpopulation": {"column": "admitted", "from": 1.7e9, "to": 1.75072e9, "role": "time"},
    }
    told = " ".join(headline(of(kind, transformation=each)) for kind, each in said.items())
    assert "temp: 1816-03-29T06:40:00Z" in told
    assert "cut off above 2025-06-23T23:06:40Z" in told
    assert "admitted from 2023-11-14T22:13:20Z to 2025-06-23T23:06:40Z" in told
    assert "e+09" not in told


def test_a_level_or_a_client_that_a_terminal_would_obey_is_told_escaped():
    evil = "\x1b[2Jowned\u202e\x85\u2029\x9b"
    verdict = of(
        "new_level",
        features=(evil,),
        transformation={"levels": [evil]},
        segment=SEGMENT | {"value": evil},
        evidence=(Evidence(1, evil),),
        also=(evil,),
        first_seen=evil,
    )

    told = [render(verdict), headline(verdict), name_of(verdict), phrase(verdict), words.title(verdict)]

    assert all(r"\x1b[2Jowned\u202e" in text for text in told)
    assert not set(evil) & set("".join(told).replace("\n", "")) - set("[2Jowned")


@pytest.mark.parametrize(
    ("is_older", "start"),
    [(False, "From 14:02:11 to 14:02:40, client"), (True, "From 14:02:11 or before to 14:02:40,")],
)
def test_what_is_over_is_told_with_both_its_ends(is_older: bool, start: str):
    known = {"first_seen": "14:02:11", "last_seen": "14:02:40", "is_older": is_older}
    said = headline(of("unit", transformation={"factor": 100.0}, segment=SEGMENT, **known))
    assert said.startswith(start)
