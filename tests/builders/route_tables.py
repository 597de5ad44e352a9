"""Route tables of one endpoint, compiled."""

from tallystick.auth import Principal
from tallystick.gateway.routing import Routes
from tallystick.protocol.routes import EndpointRoute, EndpointState, EntityRoute, RouteTable

ADMIN = Principal("admin", is_admin=True)


def route(name, share):
    return EntityRoute(f"id-{name}", name, "m", "1", share, (), 4, 4, 60.0)


def routes(*shares, state=EndpointState.SERVING, grants=(), creator="ann"):
    entities = tuple(route(f"m-{n}", share) for n, share in enumerate(shares))
    endpoint = EndpointRoute("id", "churn", creator, state, 1, entities, grants)
    return Routes.compile(RouteTable(1, {"churn": endpoint}))
