"""Which served entity answers an invocation. Pure.

A route table is compiled once, when it arrives; an invocation costs one dictionary look-up and one bisection.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from tallystick.auth import Principal, level_of
from tallystick.entities import SLOTS, Level
from tallystick.errors import EndpointNotFound, InvalidState, PermissionDenied
from tallystick.protocol.routes import EndpointRoute, EndpointState, EntityRoute, RouteTable


@dataclass
class CompiledEndpoint:
    """An endpoint as the request path wants it."""

    route: EndpointRoute
    by_name: dict[str, EntityRoute]
    #: Served entities that only replays reach, by name: those of a config that is not routed yet.
    pending: dict[str, EntityRoute]
    #: Upper ends of the shares, in slots, of `drawn`.
    bounds: list[int]
    drawn: list[EntityRoute]
    #: Whether bodies of requests, and of answers, go into the journal at all.
    keeps: tuple[bool, bool] = (True, True)
    #: Numbers of journal contexts by served entity id, with the generation that they are good in.
    contexts: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Levels of principals that have called, by name and admin right; lives as long as the table.
    _levels: dict[tuple[str, bool], Level] = field(default_factory=dict)

    def level_of(self, principal: Principal) -> Level:
        """What `principal` may do here."""
        key = (principal.name, principal.is_admin)
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = level_of(principal, self.route.creator, self.route.grants)
        return level


@dataclass
class Routes:
    """A compiled route table. Swapped whole."""

    table: RouteTable
    endpoints: dict[str, CompiledEndpoint]

    @classmethod
    def compile(cls, table: RouteTable) -> Routes:
        """Prepare a table for look-ups. O(endpoints)."""
        return cls(table, {name: _compile(route) for name, route in table.endpoints.items()})

    def find_entities(self, endpoint_name: str, entity_name: str, principal: Principal) -> list[EntityRoute]:
        """Return the served entities of that name whose replicas `principal` may ask one by one: routed, then pending.

        Raises as `find`, and PermissionDenied to those who may not manage the endpoint.
        """
        endpoint = self.endpoints.get(endpoint_name)
        level = endpoint.level_of(principal) if endpoint is not None else Level.NONE
        if endpoint is None or level is Level.NONE:
            raise _no_endpoint(endpoint_name)
        if level < Level.CAN_MANAGE:
            raise PermissionDenied(
                f"Only those who may manage the endpoint '{endpoint_name}' may ask its replicas one by one, and "
                f"'{principal.name}' may not."
            )
        found = [known[entity_name] for known in (endpoint.by_name, endpoint.pending) if entity_name in known]
        return found or [pinned_entity(endpoint, entity_name)]

    def find(self, endpoint_name: str, principal: Principal) -> CompiledEndpoint:
        """Return an endpoint that `principal` may query and that takes invocations.

        Raises EndpointNotFound also for endpoints that the principal may not see, PermissionDenied, InvalidState.
        """
        endpoint = self.endpoints.get(endpoint_name)
        level = endpoint.level_of(principal) if endpoint is not None else Level.NONE
        if endpoint is None or level is Level.NONE:
            raise _no_endpoint(endpoint_name)
        if level < Level.CAN_QUERY:
            raise PermissionDenied(f"'{principal.name}' may view the endpoint '{endpoint_name}', but not query it.")
        if endpoint.route.state is EndpointState.STOPPED:
            raise InvalidState(f"The endpoint '{endpoint_name}' is stopped. 'tallystick endpoints start' starts it.")
        if endpoint.route.state is EndpointState.NOT_DEPLOYED or not endpoint.by_name:
            raise InvalidState(
                f"The endpoint '{endpoint_name}' has no config that serves yet. Its state and the reason are in "
                f"GET /api/2.0/serving-endpoints/{endpoint_name}."
            )
        return endpoint


def _compile(route: EndpointRoute) -> CompiledEndpoint:
    drawn = [entity for entity in route.entities if entity.share_slots > 0]
    bounds = list(accumulate(entity.share_slots for entity in drawn))
    # What is dropped is not written down first.
    keeps = ("request" not in route.capture.drop, "response" not in route.capture.drop)
    by_name, pending = ({entity.name: entity for entity in each} for each in (route.entities, route.pending))
    return CompiledEndpoint(route, by_name, pending, bounds, drawn, keeps)


def _no_endpoint(name: str) -> EndpointNotFound:
    return EndpointNotFound(
        f"The given endpoint does not exist: '{name[:100]}'. 'tallystick endpoints list' shows those that this token "
        "may see."
    )


def pick_entity(endpoint: CompiledEndpoint, draw: float) -> EntityRoute:
    """Return the served entity that answers one invocation.

    `draw` is uniform in [0, 1); each entity gets its share of it, to 0.01 %. Pure; O(log entities).
    """
    return endpoint.drawn[bisect_right(endpoint.bounds, int(draw * SLOTS))]


def pinned_entity(endpoint: CompiledEndpoint, served_entity_name: str) -> EntityRoute:
    """Return the served entity that a caller asked for by name, whatever its share. Raises EndpointNotFound."""
    entity = endpoint.by_name.get(served_entity_name)
    if entity is None:
        raise EndpointNotFound(
            f"The endpoint '{endpoint.route.name}' has no served entity '{served_entity_name[:100]}'. "
            f"It has: {', '.join(endpoint.by_name)}."
        )
    return entity
