"""What would settle a suspicion: something concrete for every kind, and no more than is open."""

import pytest

from tallystick.parity.advice import _QUESTIONS, fix_for, settle
from tallystick.parity.kinds import FAMILY_OF, Family


@pytest.mark.parametrize("kind", sorted(FAMILY_OF))
def test_every_kind_has_something_that_would_settle_it(kind):
    asked = settle(kind, has_model=True, rows=10_000, enough=100)
    assert asked
    assert all(len(each) > 10 and len(each) < 130 and not each.endswith(".") for each in asked)
    assert len(set(asked)) == len(asked)


def test_no_question_is_for_a_kind_that_there_is_not():
    assert set(_QUESTIONS) == set(FAMILY_OF)


@pytest.mark.parametrize("kind", sorted(kind for kind, family in FAMILY_OF.items() if family is not Family.POPULATION))
def test_every_fault_has_a_fix(kind):
    assert fix_for(kind)


def test_rows_and_a_model_are_asked_for_before_anybody_is():
    few = settle("unit", has_model=False, rows=60, enough=100)
    assert [each.split(":")[0] for each in few[:2]] == ["more rows", "the model"]
    assert few[2:] == settle("unit", has_model=True, rows=1000, enough=100)


def test_what_was_asked_already_is_not_asked_for_again():
    whole = settle("class_order", True, 1000, 100)
    left = settle("class_order", True, 1000, 100, is_replayed=True)
    assert set(whole) - set(left) == {"golden rows replayed on each replica"}
    assert settle("class_order", True, 1000, 100, is_replayed=True, has_labels=True) == whole


def test_what_only_the_endpoint_knows_is_asked_of_it():
    assert settle("wrong_version", has_model=False, rows=5, enough=100) == ("digests of what the replicas serve",)
    (asked,) = settle("environment_differs", has_model=False, rows=5, enough=100)
    assert "one package at a time" in asked
