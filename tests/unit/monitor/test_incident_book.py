"""The state machine of incidents, line by line of its table, and their files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tallystick.monitor import incident_files, incidents
from tallystick.monitor.alike import incidents_of
from tallystick.monitor.incident_files import IncidentFiles
from tallystick.monitor.incidents import (
    CLEAN_S,
    SILENT_S,
    Book,
    Change,
    Diagnosis,
    Look,
    close_silent,
)
from tallystick.parity.kinds import Family, Status
from tallystick.parity.verdict import OtherCause, Verdict
from tallystick.protocol.monitoring import IncidentState

START = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)
IOS = {"column": "client", "value": "ios/4.2"}


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def found(
    kind: str = "unit",
    features: tuple[str, ...] = ("temp",),
    segment: dict[str, Any] = IOS,
    strength: str = "proof",
    entity: str = "e1",
    title_since: bool = False,
    **fields: Any,
) -> Diagnosis:
    status = Status.CAUSE_FOUND if strength == "proof" else Status.SUSPECTED
    verdict = Verdict(
        status=status, family=Family.PREPROCESSING, kind=kind, features=features, segment=segment, strength=strength,
        **({"share": 0.3, "rows": 200, "reproduce": "tallystick diagnose churn --rows"} | fields),
    )  # fmt: skip
    title = f"Since {verdict.first_seen} {kind}." if title_since else f"{kind}."
    text = f"text of {kind}\nReproduce {verdict.reproduce}"
    return Diagnosis(f"name of {entity}", entity, msgspec.to_builtins(verdict), text, title)


def clean(status: Status = Status.CONSISTENT, entity: str = "e1") -> Diagnosis:
    return Diagnosis(f"name of {entity}", entity, msgspec.to_builtins(Verdict(status=status, rows=200)), "")


def look(*diagnoses: Diagnosis, **fields: Any) -> Look:
    """One look: clean when nothing was claimed in it and there were enough rows, which are of all senders."""
    statuses = {each.verdict["status"] for each in diagnoses}
    given = {
        "is_clean": statuses <= {"consistent", "population_changed"},
        "senders": {("client", "ios/4.2"): 100, ("client", "web/1"): 100},
        "is_replayed": True,
    }
    return Look(diagnoses[0].served_entity_id, diagnoses, **(given | fields))


def note(book: Book, diagnosis: Diagnosis, now: datetime) -> tuple[Book, tuple[Change, ...]]:
    return incidents.note(book, look(diagnosis), now)


def test_two_causes_of_one_look_are_two_incidents_and_the_sender_s_is_its_own() -> None:
    senders, nobodys = found(), found(segment={}, features=("temp", "hum"))
    for first, second in ((senders, nobodys), (nobodys, senders)):
        book = Book("churn")
        for seconds in (0, 60):
            book, _ = incidents.note(book, look(first, second), after(seconds))
        assert [(each.id, each.seen) for each in book.open] == [(1, 2), (2, 2)]
        told = {each.id: each.verdict["segment"] for each in book.open}
        for diagnoses in ((first, second), (second, first)):
            numbers = [each.id for each in incidents_of(book, diagnoses)]
            assert [told[number] for number in numbers] == [each.verdict["segment"] for each in diagnoses]


def test_a_cause_of_nobody_beside_a_sender_s_opens_an_incident_of_its_own() -> None:
    book, _ = note(Book("churn"), found(), START)
    book, changes = incidents.note(book, look(found(segment={}), found()), after(60))
    assert [(each.id, each.seen, each.verdict["segment"]) for each in book.open] == [(1, 2, IOS), (2, 1, {})]
    assert [change.is_news for change in changes] == [True, False]


def test_what_is_no_claim_is_about_no_incident() -> None:
    book, _ = note(Book("churn"), found(), START)
    assert incidents_of(book, [clean(), found("log")]) == [None, None]


def test_an_incident_tells_no_other_cause_of_its_own_columns() -> None:
    other = OtherCause(
        family=Family.AVAILABILITY, kind="nulls", features=("hum",), transformation={}, share=0.2, fix=""
    )
    book, _ = note(Book("churn"), found(features=("temp", "hum")), START)
    book, _ = note(book, found(strength="strong", others=(other,)), after(60))
    (one,) = book.open
    assert (set(one.verdict["features"]), one.verdict["others"]) == ({"temp", "hum"}, [])


def test_a_look_that_did_not_compare_a_column_of_the_incident_says_nothing_of_it() -> None:
    book, _ = note(Book("churn"), found(), START)
    blind = look(clean(), withheld=frozenset({"temp"}))
    for seconds in (CLEAN_S, 2 * CLEAN_S):
        book, changes = incidents.note(book, blind, after(seconds))
        assert changes == ()
    (open_one,) = book.open
    assert open_one.clean_rows == 0
    _, (closed,) = incidents.note(book, look(clean(), withheld=frozenset({"hum"})), after(3 * CLEAN_S))
    assert closed.incident.state is IncidentState.CLOSED


def book_of(*steps: tuple[float, Diagnosis]) -> Book:
    book = Book("churn")
    for seconds, diagnosis in steps:
        book, _ = note(book, diagnosis, after(seconds))
    return book


@pytest.mark.parametrize(
    ("steps", "opened"),
    [
        ([found()], 1),
        ([found(strength="strong")], 1),
        ([found(strength="weak")], 0),
        ([found(strength="weak"), found(strength="weak")], 1),
        ([found(strength="weak"), clean(), found(strength="weak")], 0),
        ([found(strength="weak"), clean(Status.CANNOT_TELL), found(strength="weak")], 1),
        ([found(strength="weak"), found("stale", strength="weak")], 0),
        ([found(), found()], 1),
        ([found(), found(segment={})], 1),
        ([found(segment={}), found()], 1),
        ([found(features=("temp", "hum")), found(features=("temp",))], 1),
        ([found(), found(features=("hum",))], 2),
        ([found(), found("log")], 2),
        ([found(), found(segment={"column": "client", "value": "web/1"})], 2),
        ([found(), found(entity="e2")], 2),
        ([found("wrong_version", (), {}), found("wrong_version", (), {})], 1),
        ([clean(), clean(Status.POPULATION_CHANGED)], 0),
    ],
)
def test_one_incident_for_each_cause_and_place(steps: list[Diagnosis], opened: int) -> None:
    book = book_of(*((60.0 * number, step) for number, step in enumerate(steps)))
    assert len(book.open) == opened
    assert [each.id for each in book.open] == list(range(1, opened + 1))


@pytest.mark.parametrize(
    ("quiet_s", "diagnosis", "state"),
    [
        (CLEAN_S - 1, clean(), IncidentState.OPEN),
        (CLEAN_S, clean(), IncidentState.CLOSED),
        (CLEAN_S, clean(Status.POPULATION_CHANGED), IncidentState.CLOSED),
        (CLEAN_S, clean(Status.CANNOT_TELL), IncidentState.OPEN),
        (CLEAN_S, clean(entity="e2"), IncidentState.OPEN),
        (CLEAN_S, found(), IncidentState.OPEN),
    ],
)
def test_an_incident_closes_when_its_cause_stayed_away(
    quiet_s: float, diagnosis: Diagnosis, state: IncidentState
) -> None:
    book, changes = note(book_of((0, found())), diagnosis, after(quiet_s))
    is_open = bool(book.open)
    assert is_open == (state is IncidentState.OPEN)
    closed = [change.incident for change in changes if change.incident.state is IncidentState.CLOSED]
    assert len(closed) == (not is_open)
    if closed:
        assert (closed[0].closed_at, bool(closed[0].closed_because)) == ("2026-01-31T14:15:00Z", True)


def test_only_what_opens_or_closes_is_news() -> None:
    book, opened = note(Book("churn"), found(), START)
    book, updated = note(book, found(), after(60))
    book, closed = note(book, clean(), after(60 + CLEAN_S))
    assert [change.is_news for change in (*opened, *updated, *closed)] == [True, False, True]
    again, changes = note(book, found(), after(2000))
    assert [(each.id, each.state) for each in again.open] == [(2, IncidentState.OPEN)]
    assert changes[0].is_news


@pytest.mark.parametrize(("kind", "features"), [("environment_differs", ()), ("prediction_differs", ())])
def test_why_golden_rows_differ_is_news_of_the_same_incident_once_it_is_proven(kind: str, features: Any) -> None:
    supposed = found("environment_differs", (), {}, strength="strong", stage="endpoint")
    proven = found(kind, features, {}, stage="endpoint")
    book, _ = note(Book("churn"), supposed, START)
    book, (changed,) = note(book, proven, after(60))
    book, (again,) = note(book, proven, after(120))
    ((one,), news) = book.open, (changed.is_news, again.is_news)
    assert (one.id, one.verdict["kind"], one.verdict["strength"], news) == (1, kind, "proof", (True, False))


def test_a_step_that_clients_take_is_another_cause_than_golden_rows_that_differ() -> None:
    book = book_of((0, found("step_differs")), (60, found("prediction_differs", (), {}, stage="endpoint")))
    assert [each.verdict["kind"] for each in book.open] == ["step_differs", "prediction_differs"]


def test_an_incident_that_may_be_older_than_its_first_row_goes_on_saying_so() -> None:
    first = found(first_seen="2026-01-01 00:00:00Z", is_older=True)
    book, _ = note(book_of((0, first)), found(first_seen="2026-01-31 14:09:00Z", title_since=True), after(600))
    assert book.open[0].verdict["is_older"]
    assert book.open[0].title == "Since 2026-01-01 00:00:00Z or before unit."


def test_an_incident_was_last_seen_when_its_last_affected_row_came() -> None:
    def sent(at: float) -> Diagnosis:
        return replace(found(), last_at=after(at))

    book, _ = note(Book("churn"), sent(-40), after(0))
    assert (book.open[0].last_seen, book.open[0].updated_at) == ("2026-01-31T13:59:20Z", "2026-01-31T14:00:00Z")
    book, _ = note(book, sent(90), after(120))
    assert book.open[0].last_seen == "2026-01-31T14:01:30Z"
    book, _ = note(book, sent(-60), after(180))
    assert book.open[0].last_seen == "2026-01-31T14:01:30Z"
    book, _ = note(book, clean(), after(120 + CLEAN_S))
    assert book.open[0].last_seen == "2026-01-31T14:01:30Z"


def test_an_incident_is_seen_from_its_first_affected_row_to_its_last_one_and_opened_after_them() -> None:
    rows = replace(found(first_seen="2026-01-31 13:59:00Z", is_older=True), last_at=after(-5))
    book, _ = note(Book("churn"), rows, after(0))
    short = book.open[0].summary()
    assert (short.first_seen, short.is_older, short.last_seen) == ("2026-01-31 13:59:00Z", True, "2026-01-31T13:59:55Z")
    assert short.opened_at == "2026-01-31T14:00:00Z"


def test_what_no_single_rows_show_was_last_seen_when_it_was_found() -> None:
    assert book_of((0, found()), (300, found())).open[0].last_seen == "2026-01-31T14:05:00Z"


def test_an_incident_keeps_the_clearest_verdict_and_the_first_time() -> None:
    proof = found(first_seen="2026-01-31 13:59:00Z")
    book = book_of((0, proof), (300, found(strength="strong", share=0.2, first_seen="2026-01-31 14:04:00Z")))
    (each,) = book.open
    assert (each.verdict["strength"], each.verdict["share"], each.seen) == ("proof", 0.2, 2)
    assert (each.opened_at, each.updated_at) == ("2026-01-31T14:00:00Z", "2026-01-31T14:05:00Z")
    book, _ = note(book, found(first_seen="2026-01-31 14:09:00Z"), after(600))
    assert book.open[0].verdict["first_seen"] == "2026-01-31 13:59:00Z"
    assert book.open[0].verdict["reproduce"] == "tallystick diagnose churn --incident 1 --rows"
    assert book.open[0].text == "text of unit\nReproduce tallystick diagnose churn --incident 1 --rows"
    assert book.open[0].summary().title == "unit."
    assert book.open[0].rows_affected == 60 + 40 + 60


def test_incidents_of_what_is_gone_or_silent_are_closed() -> None:
    book = book_of((0, found()), (0, found(entity="e2")))
    same, changes = close_silent(book, ["e1", "e2"], after(SILENT_S - 1))
    assert (same, changes) == (book, ())
    left, changes = close_silent(book, ["e1"], after(60))
    assert ([each.served_entity_id for each in left.open], len(changes)) == (["e1"], 1)
    _, changes = close_silent(left, ["e1"], after(SILENT_S + 1))
    assert changes[0].incident.closed_because.startswith("for a day")


WEB = {"column": "client", "value": "web/1"}
REPLICA = {"column": "replica", "value": "1"}


@pytest.mark.parametrize(
    ("known", "seen", "closes"),
    [
        # Another sender's cause holds up nothing, when the rest is clean.
        (found(), look(found("log", ("hum",), WEB), is_clean=True), True),
        (found(), look(found("log", ("hum",), WEB), is_clean=False), False),
        # A sender that stays away, or hardly comes, was not mended.
        (found(), look(clean(), senders={}), False),
        (found(), look(clean(), senders={("client", "ios/4.2"): 29}), False),
        (found(), look(clean(), senders={("client", "ios/4.2"): 30}), True),
        (found(share=0.04), look(clean(), senders={("client", "ios/4.2"): 8}), True),
        (found(segment={}), look(clean(), senders={}), True),
        # What is wrong with a replica shows when it is asked, and in no row.
        (found("wrong_version", (), REPLICA, stage="routing"), look(clean(), is_replayed=False), False),
        (found("wrong_version", (), REPLICA, stage="routing"), look(clean(), senders={}), True),
        (found("step_differs", ("temp",), {}, stage="endpoint"), look(clean(), is_replayed=False), False),
        (found(), look(found()), False),
    ],
)
def test_only_a_look_that_could_have_found_a_cause_closes_its_incident(
    known: Diagnosis, seen: Look, closes: bool
) -> None:
    book, _ = incidents.note(book_of((0, known)), seen, after(CLEAN_S))
    assert (1 not in {each.id for each in book.open}) is closes


def test_rows_of_a_sender_that_comes_seldom_are_counted_from_look_to_look_until_it_is_found_again() -> None:
    few = look(clean(), senders={("client", "ios/4.2"): 12})
    again = (900, look(found()))
    _, told = states(
        (0, look(found())), *((300 * n, few) for n in (1, 2)), again, *((900 + 300 * n, few) for n in (1, 2, 3))
    )
    assert told[-1] == (1, "closed", True)
    assert [state for _, state, _ in told].count("closed") == 1
    book, _ = states(
        (0, look(found())), *((300 * n, few) for n in (1, 2)), again, *((900 + 500 * n, few) for n in (1, 2))
    )
    assert [each.clean_rows for each in book.open] == [24]


def test_weak_suspicions_of_two_senders_open_an_incident_each_when_they_are_there_again() -> None:
    twice = look(found(strength="weak"), found("log", ("hum",), WEB, strength="weak"))
    book, _ = incidents.note(Book("churn"), twice, START)
    assert book.open == ()
    book, _ = incidents.note(book, twice, after(300))
    assert [each.verdict["kind"] for each in book.open] == ["unit", "log"]


def test_causes_of_one_endpoint_are_bounded() -> None:
    book = book_of(*((number, found(features=(f"c{number}",))) for number in range(incidents.MAX_OPEN + 5)))
    assert len(book.open) == incidents.MAX_OPEN


def test_files_give_back_what_is_open_and_never_a_number_twice(tmp_path: Path) -> None:
    files = IncidentFiles(tmp_path / "incidents", "churn")
    assert files.load() == Book("churn")
    book, changes = note(Book("churn"), found(), START)
    files.save(changes)
    book, changes = note(book, found("log"), after(1))
    files.save(changes)
    assert [msgspec.json.encode(each) for each in files.load().open] == [msgspec.json.encode(e) for e in book.open]
    assert files.load().last_id == 2
    book, changes = note(book, clean(), after(CLEAN_S + 2))
    files.save(changes)
    assert files.load() == Book("churn", last_id=2, closed_at={"e1": after(CLEAN_S + 2)}) == book
    assert {path.name for path in (tmp_path / "incidents").iterdir()} == {"1.json", "2.json"}
    assert (tmp_path / "incidents" / "1.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "incidents" / "3.json").write_text("damaged")
    assert files.load().last_id == 3


def test_the_oldest_closed_ones_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_files, "MAX_KEPT", 3)
    monkeypatch.setattr(incident_files, "MAX_OPEN", 1)
    files = IncidentFiles(tmp_path, "churn")
    book = Book("churn")
    for number in range(8):
        book, opened = note(book, found(features=(f"c{number}",)), after(number * 2000))
        book, closed = note(book, clean(), after(number * 2000 + CLEAN_S))
        files.save((*opened, *closed))
    kept = sorted(int(path.stem) for path in tmp_path.glob("*.json"))
    assert kept[-1] == 8
    assert len(kept) <= 4
    assert files.load().last_id == 8


# -- several causes of one sender ------------------------------------------------------------------------------


def beside(kind: str, *features: str) -> OtherCause:
    return OtherCause(family=Family.PREPROCESSING, kind=kind, features=features)


def both() -> Diagnosis:
    return found(others=(beside("log", "hum"),))


def turned() -> Diagnosis:
    return found("log", ("hum",), others=(beside("unit", "temp"),), first_seen="2026-01-31 14:20:00Z")


def states(*steps: tuple[float, Look]) -> tuple[Book, list[tuple[int, str, bool]]]:
    book, told = Book("churn"), list[tuple[int, str, bool]]()
    for seconds, seen in steps:
        book, changes = incidents.note(book, seen, after(seconds))
        told += [(each.incident.id, each.incident.state.value, each.is_news) for each in changes]
    return book, told


def test_two_causes_of_one_sender_are_one_incident_whichever_is_the_first() -> None:
    book, told = states((0, look(both())), (300, look(turned())), (600, look(both())))
    assert told == [(1, "open", True), (1, "open", False), (1, "open", False)]
    (incident,) = book.open
    assert (incident.verdict["kind"], incident.updated_at) == ("unit", "2026-01-31T14:10:00Z")
    assert [(each["kind"], each["first_seen"]) for each in incident.verdict["others"]] == [
        ("log", "2026-01-31 14:00:00Z")
    ]


def test_a_cause_that_comes_beside_an_open_ones_is_news_once() -> None:
    _, told = states((0, look(found())), (300, look(both())), (600, look(both())))
    assert told == [(1, "open", True), (1, "open", True), (1, "open", False)]


def test_the_second_cause_becomes_an_incident_at_the_first_look_without_the_first_and_knows_since_when() -> None:
    second = found("log", ("hum",), strength="weak", first_seen="2026-01-31 14:20:00Z", title_since=True)
    book, told = states((0, look(both())), (1800, look(second, is_clean=True)))
    # The weak suspicion needs no second look: it was seen before, beside the other.
    assert told == [(1, "open", True), (2, "open", True), (1, "closed", True)]
    (incident,) = book.open
    assert incident.verdict["first_seen"] == "2026-01-31 14:00:00Z"
    assert incident.title == "Since 2026-01-31 14:00:00Z log."


def test_a_cause_that_was_told_beside_another_is_there_since_its_first_row_and_not_since_it_was_told() -> None:
    second = found("log", ("hum",), first_seen="2026-01-31 13:58:00Z", is_older=True, title_since=True)
    second = replace(second, title=second.title.replace("Z", "Z or before"), last_at=after(-10))
    book, _ = states((0, look(both())), (1800, look(second, is_clean=True)))
    (incident,) = book.open
    assert (incident.verdict["first_seen"], incident.verdict["is_older"]) == ("2026-01-31 13:58:00Z", True)
    assert incident.title == "Since 2026-01-31 13:58:00Z or before log."
    assert incident.verdict["first_seen"] < incident.last_seen.replace("T", " ")


def test_another_first_cause_keeps_a_known_one_open() -> None:
    book, told = states((0, look(found())), (CLEAN_S, look(turned(), is_clean=True)))
    assert {each.id for each in book.open} == {1, 2}
    assert told[1:] == [(2, "open", True), (1, "open", False)]


@pytest.mark.parametrize(("segment", "closes"), [(IOS, False), ({}, False), (WEB, True)])
def test_another_fault_in_the_same_column_says_nothing_of_the_first(segment: dict[str, Any], closes: bool) -> None:
    seen = look(found("clipped", ("temp",), segment), is_clean=True)
    book, _ = incidents.note(book_of((0, found())), seen, after(CLEAN_S))
    assert (1 not in {each.id for each in book.open}) is closes
