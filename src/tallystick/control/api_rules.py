"""Who may call which route: declared at the route, enforced at one place, refused where nothing is declared."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar, assert_never

from fastapi import Request

from tallystick.auth import Principal, authenticate, token_from_header
from tallystick.control.service import Service
from tallystick.entities import Level
from tallystick.errors import PermissionDenied

_ATTRIBUTE = "tallystick_rule"
_Handler = TypeVar("_Handler", bound=Callable[..., Any])

#: Finds who sends a request, or raises Unauthenticated. Called in a thread; may block.
PrincipalOf = Callable[[Request], Principal]


class Rule(StrEnum):
    """Who may call a route. The levels are of the endpoint that the path names, by name or by id."""

    OPEN = "anybody, without a token"
    MEMBER = "every principal with a token"
    ADMIN = "admins"
    VIEW = "CAN_VIEW on the endpoint"
    QUERY = "CAN_QUERY on the endpoint"
    MANAGE = "CAN_MANAGE on the endpoint"
    VIEW_BY_ID = "CAN_VIEW on the endpoint of this id"
    MANAGE_BY_ID = "CAN_MANAGE on the endpoint of this id"


def allow(rule: Rule) -> Callable[[_Handler], _Handler]:
    """Declare who may call the route of a handler. Goes below the decorator that makes the route."""

    def declare(handler: _Handler) -> _Handler:
        setattr(handler, _ATTRIBUTE, rule)
        return handler

    return declare


def rule_of(handler: object) -> Rule | None:
    """Return the rule that was declared at a handler."""
    rule = getattr(handler, _ATTRIBUTE, None)
    return rule if isinstance(rule, Rule) else None


def enforcer(service: Service, principal_of: PrincipalOf) -> Callable[[Request], None]:
    """Return the dependency that every route gets; it leaves the caller in `request.state.principal`."""

    def enforce(request: Request) -> None:
        rule = rule_of(request.scope.get("endpoint"))
        if rule is Rule.OPEN:
            return
        principal = principal_of(request)
        request.state.principal = principal
        if rule is None:
            raise PermissionDenied("This route declares no rule of who may call it, so nobody may.")
        _require(service, principal, rule, request.path_params)

    return enforce


def principal_by_token(service: Service) -> PrincipalOf:
    """Return the usual way to find the caller: the token in the `Authorization` header."""

    def principal_of(request: Request) -> Principal:
        text = token_from_header(request.headers.get("authorization"))
        return authenticate(text, service.tokens(), service.now_ms())

    return principal_of


def _require(service: Service, principal: Principal, rule: Rule, path: dict[str, Any]) -> None:
    match rule:
        case Rule.OPEN | Rule.MEMBER:
            pass
        case Rule.ADMIN:
            if not principal.is_admin:
                raise PermissionDenied(f"Only admins may do this, and {principal.name}'s token is not an admin's.")
        case Rule.VIEW:
            service.get_endpoint(principal, path["name"], Level.CAN_VIEW)
        case Rule.QUERY:
            service.get_endpoint(principal, path["name"], Level.CAN_QUERY)
        case Rule.MANAGE:
            service.get_endpoint(principal, path["name"], Level.CAN_MANAGE)
        case Rule.VIEW_BY_ID:
            service.get_endpoint_by_id(principal, path["id"], Level.CAN_VIEW)
        case Rule.MANAGE_BY_ID:
            service.get_endpoint_by_id(principal, path["id"], Level.CAN_MANAGE)
        case _:
            assert_never(rule)
