"""When a question about an environment is asked, what it is the same as, and what is told of it meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from questions import SERVING, TRAINED

from tallystick.monitor.ablation_records import (
    MOST_TRIES,
    Question,
    Record,
    Standing,
    begun,
    done,
    failed,
    question_of,
    standing_of,
    told,
)
from tallystick.parity.endpoint import Environment

START = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)


def asked(serving: dict[str, str] = SERVING, digest: str = "d" * 64, golden: str = "g") -> Question:
    found = question_of(digest, Path("/m"), golden, TRAINED, serving)
    assert found is not None
    return found


def standing(record: Record | None, after: timedelta = timedelta(), **changes: bool) -> Standing:
    given = {"is_on": True, "is_under_way": False} | changes
    return standing_of(asked(), record, START + after, **given)


def test_a_question_is_of_a_model_its_golden_rows_and_the_environment_that_serves_it():
    assert asked().key == asked().key
    others = [
        asked(digest="e" * 64),
        asked(golden="h"),
        asked(serving=SERVING | {"package:numpy": "2.2.0"}),
        asked(serving=SERVING | {"cpu": "another"}),
    ]
    assert len({asked().key, *(each.key for each in others)}) == 5


def test_threads_and_locale_do_not_make_another_question():
    assert asked(serving=SERVING | {"threads": "64", "locale": "C"}).key == asked().key


@pytest.mark.parametrize(("trained", "serving"), [({}, SERVING), (TRAINED, {}), (TRAINED, TRAINED | {"threads": "1"})])
def test_nothing_is_asked_where_nothing_is_known_or_nothing_differs_that_decides(trained, serving):
    assert question_of("d" * 64, Path("/m"), "g", trained, serving) is None


def test_each_question_is_asked_once():
    record = begun(asked(), None, START)
    assert standing(None) is Standing.DUE
    assert standing(record, is_under_way=True) is Standing.UNDER_WAY
    finished = done(record, Environment(guilty=("scales",)), START + timedelta(seconds=90), 3)
    assert (finished.seconds, finished.builds) == (90.0, 3)
    assert standing(finished, timedelta(days=400)) is Standing.DONE


def test_what_failed_is_asked_again_after_a_day():
    record = failed(begun(asked(), None, START), "no network", START)
    assert standing(record, timedelta(hours=23)) is Standing.FAILED
    assert standing(record, timedelta(hours=24)) is Standing.DUE
    assert begun(asked(), record, START + timedelta(hours=24)).tries == 1


def test_what_was_cut_off_is_asked_again_and_not_for_ever():
    record = None
    for number in range(MOST_TRIES):
        assert standing(record) is Standing.DUE
        record = begun(asked(), record, START)
        assert record.tries == number + 1
    assert standing(record) is Standing.FAILED
    assert "begun 3 times and never ended" in told(asked(), Standing.FAILED, record).reason


def test_a_server_that_does_not_ask_still_tells_what_is_known():
    assert standing(None, is_on=False) is Standing.OFF
    finished = done(begun(asked(), None, START), Environment(is_cleared=True, ruling="no."), START, 2)
    assert standing(finished, is_on=False) is Standing.DONE
    environment = told(asked(), Standing.DONE, finished).environment
    assert (environment.is_cleared, environment.ruling) == (True, "no.")
    assert [each.name for each in environment.relevant] == ["numpy", "scales"]


def test_a_processor_cannot_be_built_again():
    question = question_of("d" * 64, Path("/m"), "g", {"cpu": "one"}, {"cpu": "other"})
    assert question is not None
    assert standing_of(question, None, START, is_on=True, is_under_way=False) is Standing.NO_LEVER
    assert "cannot be built again here: cpu" in told(question, Standing.NO_LEVER, None).environment.ruling
