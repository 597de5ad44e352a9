"""From a config and a wish to the next config: shares stay exact, slips are told, nothing else changes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from cli_config import NEW, config, routes

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Model, find_entity, parse_model, parse_split, with_model


def model(text: str, version: str | None = None, here: tuple[str, ...] = ()) -> Model:
    return parse_model(text, version, is_model=lambda path: path in here, absolute=lambda path: f"/abs/{path}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models:/churn/3", Model("churn", "3")),
        ("churn/3", Model("churn", "3")),
        ("main.x.churn/3", Model("main.x.churn", "3")),
        ("models:/churn@champion", Model("models:/churn@champion")),
        ("churn@champion", Model("models:/churn@champion")),
        ("models:/m-1a2b", Model("models:/m-1a2b")),
        ("runs:/0a1b/model", Model("runs:/0a1b/model")),
        ("./model", Model("/abs/./model")),
        ("score.py", Model("/abs/score.py")),
        ("file:///m/model", Model("/abs//m/model")),
    ],
)
def test_a_model_is_taken_as_it_is_written(text: str, expected: Model) -> None:
    assert model(text) == expected


def test_a_model_folder_that_exists_comes_before_a_registry_name() -> None:
    assert model("churn/3", here=("churn/3",)) == Model("/abs/churn/3")


def test_version_goes_with_a_bare_name_only() -> None:
    assert model("churn", "3") == Model("churn", "3")
    assert model("churn/3", "3") == Model("churn", "3")
    with pytest.raises(BadUsage, match="--version says 4"):
        model("churn/3", "4")
    with pytest.raises(BadUsage, match="goes with the name"):
        model("runs:/a/b", "4")


def test_a_name_without_version_is_asked_for_one() -> None:
    with pytest.raises(BadUsage, match="Which version of 'churn'"):
        model("churn")


@pytest.mark.parametrize("uri", ["models:/churn", "models:/churn/"])
def test_a_uri_without_version_is_asked_for_one(uri: str) -> None:
    with pytest.raises(BadUsage, match=r"Which version of 'churn'\? Say models:/churn/1 or models:/churn@champion"):
        model(uri)


def test_the_first_model_gets_all_traffic() -> None:
    body = with_model({}, NEW)
    assert routes(body) == {"churn-4": 100}
    assert body["served_entities"] == [NEW]


def test_a_further_model_is_added_with_no_traffic_and_changes_nobody() -> None:
    body = with_model(config(churn_3=100), NEW)
    assert routes(body) == {"churn-3": 100, "churn-4": 0}
    # Only input goes back: no id, state or creator, and secrets as references.
    assert body["served_entities"][0] == {
        "name": "churn-3",
        "entity_name": "churn",
        "entity_version": "3",
        "environment_vars": {"A": "{{secrets/s/k}}"},
    }


def test_a_model_of_the_same_name_is_replaced_in_its_place_with_its_share() -> None:
    body = with_model(config(churn_3=90, churn_4=10), {**NEW, "workload_size": "Large"})
    assert routes(body) == {"churn-3": 90, "churn-4": 10}
    assert body["served_entities"][1]["workload_size"] == "Large"
    assert "environment_vars" not in body["served_entities"][1]


def test_a_share_for_the_new_one_leaves_the_proportions_of_the_others() -> None:
    body = with_model(config(churn_1=60, churn_3=40), NEW, share=Decimal(10))
    assert routes(body) == {"churn-1": 54, "churn-3": 36, "churn-4": 10}


def test_replace_drops_all_others() -> None:
    body = with_model(config(churn_1=60, churn_3=40), NEW, replace=True)
    assert routes(body) == {"churn-4": 100}


def test_a_share_is_refused_where_nobody_can_take_the_rest() -> None:
    with pytest.raises(BadUsage, match="alone"):
        with_model({}, NEW, share=Decimal(10))
    with pytest.raises(BadUsage, match="open who gets"):
        with_model(config(churn_3=0, churn_4=100), NEW, share=Decimal(10))


def test_auto_capture_is_kept() -> None:
    before = config(churn_3=100) | {"auto_capture_config": {"enabled": True}}
    assert with_model(before, NEW)["auto_capture_config"] == {"enabled": True}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["3=90", "4=10"], {"churn-3": 90, "churn-4": 10}),
        (["churn-3=90", "churn-4=10"], {"churn-3": 90, "churn-4": 10}),
        (["v3=90%", "4=10"], {"churn-3": 90, "churn-4": 10}),
        (["4=10"], {"churn-3": 90, "churn-4": 10}),
        (["4=100"], {"churn-3": 0, "churn-4": 100}),
        (["4=0.01"], {"churn-3": Decimal("99.99"), "churn-4": Decimal("0.01")}),
    ],
)
def test_a_split_is_read_as_it_is_meant(words: list[str], expected: dict[str, Decimal]) -> None:
    assert parse_split(words, config(churn_3=100, churn_4=0)) == expected


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["3=90", "4=20"], "add up to 110 %"),
        (["3=90", "4=9"], "Nobody gets the other 1 %"),
        (["3=90", "churn-3=10"], "given twice"),
        (["5=100"], "No served entity is called '5'. There are churn-3"),
        (["churn=100"], "may be churn-3 or churn-4"),
        (["3"], "not of the form"),
        (["=3"], "not of the form"),
        (["3=x", "4=1"], "not a percentage"),
        (["3=33.333", "4=66.667"], "at most 2 decimals"),
        (["3=-1", "4=101"], "not a percentage"),
        (["3=NaN"], "not a percentage"),
        (["3=1e999"], "not a percentage"),
    ],
)
def test_a_split_that_cannot_be_meant_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises(BadUsage, match=problem):
        parse_split(words, config(churn_3=100, churn_4=0))


def test_what_is_left_goes_to_nobody_when_two_may_be_meant() -> None:
    with pytest.raises(BadUsage, match="Nobody gets the other 90 %"):
        parse_split(["4=10"], config(churn_3=50, churn_4=0, churn_5=50))


def test_a_key_may_be_the_last_part_or_the_beginning_of_one_name() -> None:
    both = config(churn_3=50, risk_4=50)
    assert find_entity(both, "3") == "churn-3"
    assert find_entity(both, "ri") == "risk-4"
    named = {"served_entities": [{"name": "churn-champion"}, {"name": "churn-3", "entity_version": "3"}]}
    assert find_entity(named, "champion") == "churn-champion"


def test_shares_are_told_where_there_is_a_split_only() -> None:
    with pytest.raises(BadUsage, match=r"There are churn-3 \(90 %\), churn-4 \(10 %\)\."):
        find_entity(config(churn_3=90, churn_4=10), "9")
    with pytest.raises(BadUsage, match=r"There are churn-3\.$"):
        find_entity({"served_entities": [{"name": "churn-3"}]}, "9")


def test_the_same_version_of_two_models_needs_the_name() -> None:
    with pytest.raises(BadUsage, match="may be churn-3 or risk-3"):
        find_entity(config(churn_3=50, risk_3=50), "3")


def test_a_model_with_traffic_is_not_dropped() -> None:
    with pytest.raises(BadUsage, match="gets 10 %"):
        config_edit.without_model(config(churn_3=90, churn_4=10), "churn-4")
    assert routes(config_edit.without_model(config(churn_3=100, churn_4=0), "churn-4")) == {"churn-3": 100}
