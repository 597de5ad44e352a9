"""What a config request may say, and that all that is wrong with it is told at once."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from typing import Any

import pytest

from tallystick.control.config_request import RequestedConfig, has_config, parse_config, parse_percentage, percentage
from tallystick.control.fields import Fields, as_integer, fields_of
from tallystick.control.model_sources import source_problem
from tallystick.control.worker_options import READERS, parse_options
from tallystick.entities import Batching, Enforcement, EnvironmentChoice, Route, WorkerOptions
from tallystick.errors import BadRequest, InvalidParameter, NotImplementedHere


def parse(**body: Any) -> RequestedConfig:
    fields = Fields(body)
    found = parse_config(fields)
    fields.refuse_if_wrong("The config")
    return found


def refusal(**body: Any) -> str:
    with pytest.raises(InvalidParameter) as raised:
        parse(**body)
    return raised.value.message


def churn(version: object = "1", **fields: Any) -> dict[str, Any]:
    return {"entity_name": "churn", "entity_version": version} | fields


def routes(**shares: object) -> dict[str, Any]:
    return {
        "routes": [
            {"served_entity_name": name.replace("_", "-"), "traffic_percentage": share}
            for name, share in shares.items()
        ]
    }


def test_one_entity_needs_nothing_else() -> None:
    found = parse(served_entities=[churn()])
    (entity,) = found.served_entities
    assert (entity.name, entity.workload_size, entity.min_concurrency, entity.max_concurrency) == (
        "churn-1",
        "Small",
        4,
        4,
    )
    assert (entity.workload_type, entity.scale_to_zero_enabled, entity.options) == ("CPU", False, WorkerOptions())
    assert found.routes == (Route("churn-1", 10_000),)


def test_what_is_to_be_fetched_anew_is_named() -> None:
    assert parse(served_entities=[churn()]).fetch_anew == frozenset()
    both = [churn(), churn("2", fetch_anew=True)]
    assert parse(served_entities=both, traffic_config=routes(churn_1=0, churn_2=100)).fetch_anew == {"churn-2"}
    assert "served_entities[0].fetch_anew: expected true or false" in refusal(served_entities=[churn(fetch_anew=3)])


def test_older_spelling_means_the_same() -> None:
    older = parse(
        served_models=[{"model_name": "churn", "model_version": "1", "scale_to_zero_enabled": False}],
        traffic_config={"routes": [{"served_model_name": "churn-1", "traffic_percentage": "100"}]},
    )
    assert older == parse(served_entities=[churn()])


def test_both_spellings_alike_are_one() -> None:
    model = {"model_name": "churn", "model_version": "1"}
    assert parse(served_entities=[churn()], served_models=[model]) == parse(served_entities=[churn()])
    other = {"model_name": "churn", "model_version": "2"}
    assert "differs from served_entities" in refusal(served_entities=[churn()], served_models=[other])


def test_numbers_come_as_strings_and_versions_as_numbers() -> None:
    found = parse(
        served_entities=[
            churn(1, min_provisioned_concurrency="4", max_provisioned_concurrency=8.0),
            churn("2", scale_to_zero_enabled="true"),
        ],
        traffic_config=routes(churn_1="90", churn_2=10),
    )
    first, second = found.served_entities
    assert (first.entity_version, first.min_concurrency, first.max_concurrency) == ("1", 4, 8)
    assert first.workload_size is None
    assert second.scale_to_zero_enabled
    assert second.min_concurrency == 0
    assert found.routes == (Route("churn-1", 9000), Route("churn-2", 1000))


def test_empty_traffic_config_is_not_given() -> None:
    """databricks-sdk makes `{}` of a split without routes."""
    assert parse(served_entities=[churn()], traffic_config={}) == parse(served_entities=[churn()])
    assert "no route for 'churn-1'" in refusal(served_entities=[churn()], traffic_config={"routes": []})


def test_null_is_not_given() -> None:
    entity = churn(
        name=None, workload_size=None, min_provisioned_concurrency=None, environment_vars=None, external_model=None
    )
    assert parse(served_entities=[entity], traffic_config=None) == parse(served_entities=[churn()])


def test_all_problems_are_told_at_once_with_their_paths() -> None:
    text = refusal(
        served_entities=[
            churn("one", workload_size="Tiny"),
            churn("2", workload_type="TPU", name="a b", environment_vars={"1X": "a", "TALLYSTICK_SPEED": "9"}),
        ],
        traffic_config={"routes": [{"served_entity_name": "nobody", "traffic_percentage": 1}]},
    )
    for part in (
        "served_entities[0].entity_name: entity_version: expected a version number",
        "served_entities[0].workload_size: expected one of Small, Medium, Large, got string 'Tiny'",
        "served_entities[1].workload_type: expected one of CPU,",
        "served_entities[1].name: 'a b' is not a name",
        "served_entities[1].environment_vars.1X: not a name",
        "served_entities[1].environment_vars.TALLYSTICK_SPEED: no such option; there are TALLYSTICK_ENFORCEMENT",
        "traffic_config.routes[0].served_entity_name: no served entity is named 'nobody'",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("shares", "slots"),
    [
        ({"churn_1": 100, "churn_2": 0}, [10_000, 0]),
        ({"churn_1": 33.33, "churn_2": 66.67}, [3333, 6667]),
        ({"churn_1": "0.01", "churn_2": "99.99"}, [1, 9999]),
    ],
)
def test_shares_are_exact(shares: dict[str, object], slots: list[int]) -> None:
    found = parse(served_entities=[churn(), churn("2")], traffic_config=routes(**shares))
    assert [route.share_slots for route in found.routes] == slots


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ({"churn_1": 50, "churn_2": 49}, "sums to 99; it has to be 100"),
        ({"churn_1": 100}, "no route for 'churn-2'"),
        ({"churn_1": 33.333, "churn_2": 66.667}, "at most 2 decimals, got number 33.333"),
        ({"churn_1": -1, "churn_2": 101}, "expected 0 to 100"),
        ({"churn_1": True, "churn_2": 99}, "got true"),
        ({"churn_1": None, "churn_2": 99}, "routes[0].traffic_percentage: is missing"),
        ({"churn_1": "NaN", "churn_2": "1e9999999"}, "expected 0 to 100"),
    ],
)
def test_wrong_shares_are_refused(shares: dict[str, object], problem: str) -> None:
    assert problem in refusal(served_entities=[churn(), churn("2")], traffic_config=routes(**shares))


def test_several_entities_need_a_split() -> None:
    assert "traffic_config: is missing" in refusal(served_entities=[churn(), churn("2")])


def test_two_routes_of_one_entity_are_refused() -> None:
    route = {"served_entity_name": "churn-1", "traffic_percentage": 50}
    text = refusal(served_entities=[churn()], traffic_config={"routes": [route, route]})
    assert "'churn-1' has 2 routes" in text


def test_names_are_unique_within_an_endpoint() -> None:
    text = refusal(served_entities=[churn(), churn()], traffic_config=routes(churn_1=100))
    assert "the name 'churn-1' is given 2 times" in text


def test_counts_are_limited() -> None:
    many = [churn(str(version)) for version in range(1, 17)]
    assert "has 16 entries; at most 15" in refusal(served_entities=many, traffic_config=routes(churn_1=100))
    variables = {f"V{number}": "x" for number in range(31)}
    assert "has 31 variables; at most 30" in refusal(served_entities=[churn(environment_vars=variables)])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"workload_size": "Small", "max_provisioned_concurrency": 4}, "not both"),
        ({"min_provisioned_concurrency": 8, "max_provisioned_concurrency": 4}, "8 is above"),
        ({"max_provisioned_concurrency": 0}, "expected an integer from 1 to 1024, got number 0"),
        ({"max_provisioned_concurrency": "4.5"}, "got string '4.5'"),
        ({"max_provisioned_concurrency": True}, "got true"),
        ({"scale_to_zero_enabled": 1}, "expected true or false, got number 1"),
        ({"environment_vars": [1]}, "expected an object, got a list"),
        ({"environment_vars": {"A": {}}}, "environment_vars.A: expected a string, got an object"),
        ({"environment_vars": {"A": "x\0"}}, "environment_vars.A: has control characters"),
        ({"environment_vars": {"A": "x{{secrets/s/k}}"}}, "a secret is the whole value"),
        ({"environment_vars": {"A": "{{secrets/s}}"}}, "a secret is the whole value"),
        ({"name": "-x"}, "is not a name"),
        ({"name": "x" * 64}, "is not a name"),
        ({"name": 7}, "expected a string, got number 7"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], problem: str) -> None:
    assert problem in refusal(served_entities=[churn(**fields)])


@pytest.mark.parametrize(
    "fields",
    [
        {"external_model": {"provider": "openai"}},
        {"foundation_model": {"name": "x"}},
        {"provisioned_model_units": 50},
        {"min_provisioned_throughput": 0, "max_provisioned_throughput": 970},
    ],
)
def test_other_kinds_of_entities_are_told_as_not_implemented(fields: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedHere):
        parse(served_entities=[churn(**fields)])


@pytest.mark.parametrize("body", [{}, {"served_entities": []}, {"served_entities": "churn"}, {"traffic_config": {}}])
def test_config_without_entities_is_refused(body: dict[str, Any]) -> None:
    assert "served_entities:" in refusal(**body)


def test_config_with_a_name_only_is_none() -> None:
    """databricks-sdk sends it for an endpoint that was given no config."""
    assert not has_config(Fields({"name": "e1"}))
    assert has_config(Fields({"served_models": [churn()]}))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("churn", "3"),
        ("main.default.churn", "12"),
        ("a model", "1"),
        ("models:/churn/3", None),
        ("models:/churn@champion", None),
        ("models:/m-1234abcd", None),
        ("runs:/0123abc/model", None),
        ("runs:/0123abc/some/model", None),
        ("/srv/models/churn", None),
        ("/srv/models/churn.py", None),
    ],
)
def test_allowed_sources(name: str, version: str | None) -> None:
    assert source_problem(name, version) is None


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("churn", "latest"),
        ("churn", "0"),
        ("models:/churn", None),
        ("models:/churn/3", "3"),
        ("models:/churn/../x", None),
        ("models:/../3", None),
        ("runs:/0123abc", None),
        ("runs:/0123abc/../../x", None),
        ("http://host/model", None),
        ("s3://bucket/model", None),
        ("file:///srv/model", None),
        ("dbfs:/model", None),
        ("mlflow-artifacts:/x", None),
        ("./model", None),
        ("..", "1"),
        ("a/b", "1"),
        ("a\nb", "1"),
        ("/srv/a\0b", None),
    ],
)
def test_refused_sources(name: str, version: str | None) -> None:
    assert source_problem(name, version) is not None


def test_options_travel_as_environment_variables() -> None:
    variables = {
        "TALLYSTICK_ENFORCEMENT": "strict",
        "TALLYSTICK_BATCHING": "OFF",
        "TALLYSTICK_MAX_BATCH_ROWS": "64",
        "TALLYSTICK_BATCH_WAIT_MS": "2.5",
        "TALLYSTICK_ENVIRONMENT": "own",
        "TALLYSTICK_REQUEST_TIMEOUT_S": "5",
        "TALLYSTICK_LOAD_TIMEOUT_S": " 60 ",
        "OTHER": "x",
    }
    (entity,) = parse(served_entities=[churn(environment_vars=variables)]).served_entities
    assert entity.environment_vars == variables
    assert entity.options == WorkerOptions(Enforcement.STRICT, Batching.OFF, 64, 2.5, EnvironmentChoice.OWN, 5.0, 60.0)


def test_every_option_can_be_set() -> None:
    assert set(READERS) == {field.name for field in dataclass_fields(WorkerOptions)}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("ENFORCEMENT", "lax", "one of flag, strict"),
        ("MAX_BATCH_ROWS", "0", "an integer from 1 to 1000000"),
        ("MAX_BATCH_ROWS", "1e3", "an integer"),
        ("BATCH_WAIT_MS", "nan", "a number from 0 to 1000"),
        ("REQUEST_TIMEOUT_S", "inf", "a number from 0.001 to 3600"),
        ("LOAD_TIMEOUT_S", "", "a number from 1 to 86400"),
    ],
)
def test_wrong_options_are_told_with_what_is_right(name: str, value: str, wanted: str) -> None:
    options, problems = parse_options({f"TALLYSTICK_{name}": value})
    assert options == WorkerOptions()
    assert len(problems) == 1
    assert problems[0].startswith(f"TALLYSTICK_{name}: expected {wanted}")


def test_misspelled_option_is_refused() -> None:
    assert "no such option" in parse_options({"TALLYSTICK_batching": "on"})[1][0]
    assert "no such option" in parse_options({"Tallystick_BATCHING": "on"})[1][0]


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_body_is_an_object(body: object) -> None:
    with pytest.raises(BadRequest):
        fields_of(body)


@pytest.mark.parametrize("value", [10**30, "9" * 5000, float("inf"), 1e300, "٣", "", [], {}])
def test_strange_integers_are_none_or_kept_exact(value: object) -> None:
    found = as_integer(value)
    assert found is None or found == value


def test_percentages_go_round() -> None:
    for slots in range(10_001):
        assert parse_percentage(percentage(slots)) == slots
