import pytest
from route_tables import ADMIN, routes

from tallystick.auth import Principal
from tallystick.entities import SLOTS, Grant, Level
from tallystick.errors import EndpointNotFound, InvalidState, PermissionDenied
from tallystick.gateway.app import parse_invocation_path
from tallystick.gateway.routing import pinned_entity
from tallystick.protocol.routes import EndpointState


def test_an_entity_with_no_share_is_reached_by_its_name():
    endpoint = routes(SLOTS, 0).find("churn", ADMIN)
    assert pinned_entity(endpoint, "m-1").name == "m-1"
    with pytest.raises(EndpointNotFound, match="m-0, m-1"):
        pinned_entity(endpoint, "m-9")


def test_who_may_not_see_an_endpoint_is_told_that_there_is_none():
    table = routes(SLOTS)
    with pytest.raises(EndpointNotFound) as hidden:
        table.find("churn", Principal("eve"))
    with pytest.raises(EndpointNotFound) as absent:
        table.find("other", Principal("eve"))
    assert hidden.value.message.replace("churn", "other") == absent.value.message


def test_levels_decide_who_may_query():
    table = routes(
        SLOTS, grants=(Grant("user_name", "viewer", Level.CAN_VIEW), Grant("group_name", "users", Level.NONE))
    )
    table.find("churn", Principal("ann"))
    with pytest.raises(PermissionDenied):
        table.find("churn", Principal("viewer"))
    everyone = routes(SLOTS, grants=(Grant("group_name", "users", Level.CAN_QUERY),))
    everyone.find("churn", Principal("eve"))


@pytest.mark.parametrize("state", [EndpointState.STOPPED, EndpointState.NOT_DEPLOYED])
def test_an_endpoint_that_does_not_serve_says_why(state):
    with pytest.raises(InvalidState):
        routes(SLOTS, state=state).find("churn", ADMIN)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/serving-endpoints/a/invocations", ("a", None)),
        (b"/serving-endpoints/a/served-models/b/invocations", ("a", "b")),
        (b"/serving-endpoints/a%2Fb/invocations", ("a/b", None)),
        (b"/serving-endpoints//invocations", None),
        (b"/serving-endpoints/a/b/invocations", None),
        (b"/serving-endpoints/a/served-models//invocations", None),
        (b"/invocations", None),
        (b"/api/2.0/serving-endpoints", None),
    ],
)
def test_paths_of_invocations(path, target):
    assert parse_invocation_path(path) == target
