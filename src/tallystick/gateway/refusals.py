"""What is refused before there is a request that the application could answer, and how that is told."""

from __future__ import annotations

import http

import msgspec


class Refusal(Exception):
    """A request is refused while it is being received."""

    def __init__(self, status: int, message: str, error_code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.status, self.error_code = status, error_code


def render_refusal(status: int, error_code: str, message: str, request_id: str) -> bytes:
    """Return an answer in Databricks' shape, after which the connection is closed."""
    body = msgspec.json.encode({"error_code": error_code, "message": message})
    again = "retry-after: 1\r\n" if status in (429, 503) else ""
    return (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n{again}connection: close\r\n\r\n"
    ).encode() + body
