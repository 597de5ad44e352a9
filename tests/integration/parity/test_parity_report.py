"""The HTML report: nothing in it is markup that came from data, it asks for nothing outside, and it keeps secrets."""

from __future__ import annotations

import functools
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser

import msgspec
import numpy as np
import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.gate.report import Difference, GateReport, Outcome, Rung, RungReport
from tallystick.parity import Reference, Status, Verdict, diagnose, examine, render_html
from tallystick.parity.hiding import HIDDEN, without_hidden
from tallystick.parity.kinds import Family
from tallystick.parity.scales import scale_for
from tallystick.parity.verdict import Evidence, OtherCause

NASTY = '<script>alert("1")</script>'
FAULTS = {
    "unit": lambda live: live.assign(fare=live.fare * 100),
    "renamed_level": lambda live: live.assign(season=live.season.replace({"autumn": "fall"})),
    "letter_case": lambda live: live.assign(season=live.season.str.upper()),
    "time_zone": lambda live: live.assign(hour=(live.hour + 5) % 24),
    "columns_swapped": lambda live: live.assign(temp=live.humidity, humidity=live.temp),
    "default_fill": lambda live: live.assign(distance=live.distance.where(np.arange(len(live)) % 3 > 0, -999.0)),
    "nulls": lambda live: live.assign(temp=live.temp.where(np.arange(len(live)) % 3 > 0)),
    "decimal_comma": lambda live: live.assign(fare=live.fare.map(lambda value: f"{value:.2f}".replace(".", ","))),
    "missing_column": lambda live: live.drop(columns="temp"),
    "renamed_column": lambda live: live.rename(columns={"temp": "Temp_C"}),
    "boolean_as_text": lambda live: live.assign(member=live.member.map({True: "yes", False: "no"})),
}


def chance(frame: pd.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp(-(0.3 * (frame["fare"].astype(float) - 9) + 0.1 * (frame["temp"].astype(float) - 14))))


@pytest.fixture(scope="module")
def modelled() -> Reference:
    return Reference.from_frame(rows_of(2000, 3), model=chance)


class Page(HTMLParser):
    """What a browser would meet: elements, attributes that name addresses, and text outside the style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [
            str(value) for name, value in attrs if name in ("src", "href", "action", "data", "xlink:href")
        ]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def report(reference: Reference, live: pd.DataFrame, **options: object) -> str:
    found = examine(reference, live)
    return render_html(found.verdict, reference, found.sent_frame, found.undone_frame, **options)


@pytest.fixture(scope="module")
def page_of(modelled: Reference) -> Callable[[str], str]:
    """Pages by kind of fault, each drawn once."""
    return functools.cache(lambda kind: report(modelled, FAULTS[kind](rows_of(200, 2)), title="churn"))


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_is_drawn(kind, page_of):
    page = page_of(kind)
    assert f"{kind}" in Page(page).text
    body = re.search(r"<main>.*</main>", page, re.DOTALL)
    assert body is not None
    charts = list(ElementTree.fromstring(body[0].replace("<br>", "")).iter("svg"))
    # Pictures have a name for those who do not see them.
    assert charts
    assert all(chart.get("aria-label") and chart[0].tag == "title" for chart in charts)
    assert "nan" not in page.replace("unknown", "").split("<pre>")[0]


@pytest.mark.parametrize("kind", ["unit", "columns_swapped", "renamed_level"])
def test_affected_columns_are_drawn_as_sent_and_as_undone(kind, page_of):
    text = Page(page_of(kind)).text
    assert "as sent" in text
    assert "after undoing" in text


def test_what_cannot_be_undone_is_not_drawn_as_undone(page_of):
    text = Page(page_of("default_fill")).text
    assert "after undoing" not in text.split("Affected columns")[1].split("{")[0]
    assert "it is not undone" in text


def test_affected_rows_are_drawn_by_themselves(modelled, live):
    some = np.arange(200) % 4 == 0
    text = Page(report(modelled, live.assign(fare=live.fare.where(~some, live.fare * 100)))).text
    assert "50 affected rows" in text


def test_names_and_values_are_never_markup():
    frame = rows_of(2000, 1).rename(columns={"season": NASTY, "fare": '"><img src=x onerror=alert(1)>'})
    live = rows_of(200, 2).set_axis(frame.columns, axis=1)
    live[NASTY] = live[NASTY].replace({"autumn": "</title><script>x</script>"})
    reference = Reference.from_frame(frame)
    broken = live.assign(**{frame.columns[5]: live[frame.columns[5]] * 100})
    for rows in (live, broken):
        page = Page(report(reference, rows, title=NASTY, rows=[rows.iloc[0].to_dict()]))
        assert "script" not in page.elements
        assert "img" not in page.elements
        assert page.handlers == []
        assert NASTY in page.text


def test_text_that_utf8_or_html_cannot_hold_is_replaced(modelled):
    verdict = Verdict(status=Status.CANNOT_TELL, fix="a\x00b\ud800c", rows=1)
    page = render_html(verdict, modelled)
    page.encode("utf-8")
    assert "a\ufffdb\ufffdc" in page


def test_nothing_outside_the_page_is_asked_for(page_of):
    page = page_of("unit")
    assert Page(page).addresses == []
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<iframe", page.replace("<!doctype html>", ""))
    assert "default-src 'none'" in html.unescape(page)


def test_a_page_of_fifty_columns_can_be_mailed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.lognormal(size=(200, 45)), columns=[f"measurement_number_{k}" for k in range(45)])
    for k in range(5):
        frame[f"kind_{k}"] = rng.choice([f"level {n}" for n in range(40)], 200)
    live = frame.head(100)
    names = tuple(frame.columns[:10])
    broken = live.assign(**{name: live[name] * 1000 for name in names})
    verdict = Verdict(
        status=Status.CAUSE_FOUND, kind="unit", features=names, transformation={"factor": 1000.0}, rows=100
    )
    page = render_html(verdict, Reference.from_frame(frame), broken, live)
    assert page.count("<svg") == 50
    assert len(page.encode()) < 300_000


def test_values_of_columns_that_are_not_raw_do_not_appear():
    frame = rows_of(2000, 1).assign(city=lambda rows: rows.city.replace({"Köln": "Geheimstadt"}))
    live = rows_of(200, 2).assign(
        city=lambda rows: rows.city.replace({"Köln": "Geheimstadt", "New York": "Verborgenheim"})
    )
    live = live.assign(fare=live.fare.where(np.arange(200) % 3 > 0, 98765.25), distance=live.distance * 1000)
    privacy = {"city": "hashed", "fare": "bucketed", "distance": "none", "temp": "bucketed"}
    reference = Reference.from_frame(frame, privacy=privacy)
    page = report(reference, live, rows=[live.iloc[0].to_dict()])
    secrets = ["Geheimstadt", "Verborgenheim", "New York", "São Paulo", "98765"]
    secrets += [f"{value:.2f}" for value in live.fare.iloc[:20]] + [f"{value:.4g}" for value in live.distance.iloc[:5]]
    assert [secret for secret in secrets if secret in page] == []
    assert HIDDEN in page


def test_hidden_numbers_are_drawn_as_ranges_only(live):
    names = ["distance", "fare"]
    reference = Reference.from_frame(rows_of(2000, 1)[names], privacy="bucketed")
    broken = live[names].assign(fare=live.fare * 100)
    page = report(reference, broken)
    assert "above training" in page
    # Neither quantiles nor bins over values, in the large figure and in the small ones.
    assert "quantiles of training" not in page
    assert 'class="step' not in page


@pytest.mark.parametrize("status", [Status.CAUSE_FOUND, Status.SUSPECTED])
def test_texts_that_quote_hidden_values_are_redacted_on_the_page(status, live):
    reference = Reference.from_frame(rows_of(2000, 1), privacy={"season": "hashed"})
    texts = ("12 of 200 values are unknown to training: 'Geheimzeit' for 'autumn'", "the word Geheimzeit, 5 times")
    evidence = tuple(Evidence(k + 1, text) for k, text in enumerate(texts))
    named = {"kind": "renamed_level", "transformation": {"map": {"Geheimzeit": "autumn"}}, "rows": 200}
    verdict = Verdict(status=status, features=("season",), evidence=evidence, **named)
    assert "Geheimzeit" not in render_html(verdict, reference, live, live)
    assert "Geheimzeit" in render_html(verdict, Reference.from_frame(rows_of(500, 1)))


def test_rare_levels_are_counted_together():
    frame = rows_of(2000, 1)
    frame.loc[:2, "city"] = ["Einzelhausen", "Zweitort", "Drittdorf"]
    reference = Reference.from_frame(frame, k_anonymity=5)
    live = rows_of(200, 2).assign(city=lambda rows: rows.city.where(np.arange(200) > 30, "Einzelhausen"))
    verdict = Verdict(status=Status.POPULATION_CHANGED, kind="covariate_shift", features=("city",), rows=200)
    page = render_html(verdict, reference, live)
    levels = reference.column("city").levels
    assert levels is not None
    assert len(levels.hidden) == 3
    assert [name for name in ("Einzelhausen", *levels.hidden) if name in page] == []
    assert "rare levels" in page


def test_a_verdict_on_raw_columns_is_told_whole(modelled, live):
    verdict = diagnose(modelled, FAULTS["renamed_level"](live))
    assert without_hidden(verdict, modelled) is verdict


def test_hidden_values_leave_parameters_and_evidence(live):
    reference = Reference.from_frame(rows_of(2000, 1), privacy={"season": "hashed", "fare": "bucketed"})
    broken = live.assign(season=live.season.replace({"autumn": "Geheimzeit"}))
    verdict = diagnose(reference, broken)
    assert "Geheimzeit" not in str(verdict)
    assert "Geheimzeit" not in verdict.to_json().decode()
    text = msgspec.structs.replace(verdict, features=("fare",), transformation={"value": 37.5, "factor": 2.0})
    said = without_hidden(text, reference)
    assert said.transformation == {"factor": 2.0}


def test_hidden_values_of_another_cause_are_not_told_either(live):
    reference = Reference.from_frame(rows_of(2000, 1), privacy={"season": "hashed"})
    verdict = msgspec.structs.replace(
        diagnose(reference, FAULTS["unit"](live)),
        kind="unit",
        features=("fare",),
        transformation={"factor": 100.0},
        also=("renamed_level 'Geheimzeit' for 'autumn' · column season", "more digits"),
        others=(
            OtherCause(
                family=Family.SCHEMA,
                kind="renamed_level",
                features=("season",),
                transformation={"map": {"Geheimzeit": "autumn"}},
            ),
        ),
    )
    said = without_hidden(verdict, reference)
    assert "Geheimzeit" not in said.to_json().decode()
    assert said.also == ("renamed_level · column season", "more digits")


def test_example_rows_and_golden_rows_are_shown_when_given(modelled, live):
    failed = RungReport(
        Rung.STEPS, Outcome.FAILED, "differs", Difference(step="prep/scale", column="temp", expected="1.5", got="150")
    )
    good = GateReport(Outcome.PASSED, digest="a" * 64, rows=512, rungs=(RungReport(Rung.STEPS, Outcome.PASSED),))
    bad = GateReport(Outcome.FAILED, digest="b" * 64, rows=512, rungs=(failed,))
    broken = FAULTS["unit"](live)
    text = Page(report(modelled, broken, replays={"r1": good, "r2": bad}, rows=[broken.iloc[0].to_dict()])).text
    assert "prep/scale, column temp : expected 1.5, got 150".replace(" :", ":") in text
    assert str(broken.fare.iloc[0]) in text
    assert "Example rows" not in Page(report(modelled, broken)).text


def test_scores_may_be_given(modelled, live):
    answered = 1 - chance(live)
    verdict = diagnose(modelled, live, predictions=answered)
    assert "predictions of the model" not in Page(render_html(verdict, modelled, live)).text
    assert "as sent" in Page(render_html(verdict, modelled, live, scores=(answered, chance(live)))).text


@pytest.mark.parametrize("rows", [0, 1, 12])
def test_few_rows_make_a_page(rows, modelled, live):
    assert "CANNOT TELL" in report(modelled, live.head(rows))


def test_without_rows_the_page_has_no_charts(modelled, live):
    page = render_html(diagnose(modelled, live), modelled)
    assert "<svg" not in page
    assert "CONSISTENT" in page


def test_an_examination_is_a_diagnosis_with_its_rows(reference, live):
    some = np.arange(200) % 4 == 0
    found = examine(reference, live.assign(fare=live.fare.where(~some, live.fare * 100)))
    assert found.verdict.kind == diagnose(reference, live.assign(fare=live.fare.where(~some, live.fare * 100))).kind
    assert np.allclose(found.undone_frame.fare, live.fare)
    assert list(found.undone_frame) == list(reference.names)
    assert np.array_equal(found.affected, np.flatnonzero(some))
    assert np.allclose(found.sent_frame.fare[some], 100 * live.fare[some])


@pytest.mark.parametrize(
    ("usual", "others", "name"),
    [
        ([1, 2], [1, 3], "linear"),
        ([1, 2], [100, 200], "logarithmic"),
        ([-1, 2], [100, 200], "by decades"),
        ([5], [], "linear"),
    ],
)
def test_axes_fit_what_they_show(usual, others, name):
    usual, others = np.array(usual, dtype=float), np.array(others, dtype=float)
    scale = scale_for(usual, others)
    places = scale.to_place(np.concatenate((usual, others)))
    assert scale.name == name
    assert ((places >= 0) & (places <= 1)).all()
    assert scale.ticks
