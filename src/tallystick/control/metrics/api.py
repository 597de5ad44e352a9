"""The routes of metrics: the whole server's, and one endpoint's under the names of the Databricks contract.

They stand beside the table of `api_routes`, as they answer with text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from tallystick.auth import Principal
from tallystick.control.api_rules import Rule, allow
from tallystick.control.metrics.text import CONTENT_TYPE
from tallystick.control.service import Service
from tallystick.entities import Endpoint

SERVER_PATH = "/metrics"
ENDPOINT_PATH = "/api/2.0/serving-endpoints/{name}/metrics"


class Source(Protocol):
    """Where the texts come from; `metrics.source` in a running server."""

    def scrape(self, endpoints: Sequence[Endpoint], *, sees_all: bool) -> Awaitable[bytes]:
        """Return the metrics of the server, and of the endpoints that the caller may view."""

    def export(self, endpoint: Endpoint) -> Awaitable[bytes]:
        """Return the metrics of one endpoint over the last minute."""


def add_metrics_routes(app: FastAPI, service: Service, source: Source) -> None:
    """Let the app answer scrapes."""

    @app.get(
        SERVER_PATH,
        summary="Metrics of the server, and of the endpoints that you may see",
        description=f"May be called by: {Rule.MEMBER}. Prometheus text, format 0.0.4.",
        response_model=None,
    )
    @allow(Rule.MEMBER)
    async def scrape(request: Request) -> Response:
        principal: Principal = request.state.principal
        endpoints = await run_in_threadpool(service.list_endpoints, principal)
        return _text(await source.scrape(endpoints, sees_all=principal.is_admin))

    @app.get(
        ENDPOINT_PATH,
        summary="Metrics of the endpoint over the last minute",
        description=f"May be called by: {Rule.VIEW}. Prometheus text, format 0.0.4.",
        response_model=None,
    )
    @allow(Rule.VIEW)
    async def export(request: Request) -> Response:
        principal: Principal = request.state.principal
        endpoint = await run_in_threadpool(service.get_endpoint, principal, request.path_params["name"])
        return _text(await source.export(endpoint))


def _text(content: bytes) -> Response:
    # Set whole: the framework would add a charset of its own behind one that is there.
    return Response(content, headers={"content-type": CONTENT_TYPE})
