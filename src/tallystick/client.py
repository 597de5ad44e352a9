"""A small client of the server, for the command line and the MLflow plugin. It blocks.

It speaks the Databricks serving API plus what databricks-sdk has no words for (stop, start, tokens for others,
status). What the server refuses is raised as the error of `errors.py` that it stands for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode

import httpx

from tallystick.connection import Connection, Json, WaitTimedOut
from tallystick.errors import AlreadyExists, DeploymentFailed, NotFound

#: Longer than the server's own limit of an invocation, so that its answer tells which limit was met.
_QUERY_TIMEOUT_S = 130.0
#: Longer than the server's own limit of a diagnosis.
_DIAGNOSE_TIMEOUT_S = 58.0
#: The first looks are close together: a change of weights alone takes well under a second.
_POLLS_S = (0.05, 0.1, 0.1, 0.2, 0.2)
_POLL_S = 0.5
_ENDPOINTS = "/api/2.0/serving-endpoints"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an invocation."""

    body: bytes
    content_type: str
    served_by: str
    request_id: str
    #: Values that were changed to fit the signature: column -> kind -> how many.
    coercions: dict[str, dict[str, int]]
    #: Names that the request had and the model was not given.
    ignored: tuple[str, ...]
    duration_ms: float


class Client(Connection):
    """What a server can be asked. Close it, or use it in a `with` statement."""

    # Endpoints

    def list_endpoints(self) -> list[Json]:
        """Return a summary of each endpoint that the token may see."""
        return list(self.call("GET", _ENDPOINTS).get("endpoints", []))

    def get_endpoint(self, name: str) -> Json:
        """Return an endpoint whole. Raises NotFound."""
        return self.call("GET", _path(name))

    def find_endpoint(self, name: str) -> Json | None:
        """Return an endpoint whole, or None."""
        try:
            return self.get_endpoint(name)
        except NotFound:
            return None

    def create_endpoint(self, body: Json) -> Json:
        """Create an endpoint; it begins to deploy."""
        return self.call("POST", _ENDPOINTS, body)

    def update_config(self, name: str, config: Json) -> Json:
        """Replace an endpoint's whole config; it begins to deploy."""
        return self.call("PUT", _path(name) + "/config", config)

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint. Raises NotFound."""
        self.call("DELETE", _path(name))

    def stop_endpoint(self, name: str) -> Json:
        """Stop an endpoint; its config is kept."""
        return self.call("POST", _path(name) + "/config:stop")

    def start_endpoint(self, name: str) -> Json:
        """Start a stopped endpoint; it deploys again."""
        return self.call("POST", _path(name) + "/config:start")

    def build_logs(self, name: str, entity: str) -> str:
        """Return how a served entity was brought up."""
        return str(self.call("GET", f"{_path(name)}/served-models/{quote(entity, safe='')}/build-logs")["logs"])

    def logs(self, name: str, entity: str) -> str:
        """Return what the workers of a served entity printed last."""
        return str(self.call("GET", f"{_path(name)}/served-models/{quote(entity, safe='')}/logs")["logs"])

    def wait(
        self,
        name: str,
        version: int,
        *,
        timeout_s: float,
        on_look: Callable[[Json], None] = lambda _endpoint: None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Json:
        """Return the endpoint once config `version` serves.

        Raises DeploymentFailed with each served entity's reason, and WaitTimedOut.
        """
        deadline, polls = now() + timeout_s, iter(_POLLS_S)
        while True:
            endpoint = self.get_endpoint(name)
            on_look(endpoint)
            if endpoint.get("config", {}).get("config_version", 0) >= version:
                return endpoint
            if endpoint["state"]["config_update"] in ("UPDATE_FAILED", "UPDATE_CANCELED"):
                raise DeploymentFailed(failure_of(endpoint))
            if now() >= deadline:
                raise WaitTimedOut(
                    f"Config version {version} of '{name}' is not up after {timeout_s:g} s. The server goes on with "
                    f"it: 'tallystick endpoints get {name}' shows how it stands."
                )
            sleep(next(polls, _POLL_S))

    # Parity

    def parity(self, name: str) -> Json:
        """Return an endpoint's settings of parity, how each replica came out, and how live requests stand."""
        return self.call("GET", _path(name) + "/parity")

    def set_parity(self, name: str, settings: Json) -> Json:
        """Replace an endpoint's settings of parity; what holds now is returned."""
        return self.call("PUT", _path(name) + "/parity", settings)

    def parity_check(self, name: str, entity: str | None = None) -> Json:
        """Have golden rows replayed on each replica that serves; return the reports."""
        body = {} if entity is None else {"served_entity": entity}
        return self.call("POST", _path(name) + "/parity/check", body)

    # Inference tables and feedback

    def inference_table(self, name: str) -> Json:
        """Return what is recorded of an endpoint's invocations, where, and how far the recorder is."""
        return self.call("GET", _path(name) + "/inference-table")

    def put_inference_table(self, name: str, settings: Json) -> Json:
        """Replace an endpoint's own settings of its inference table; what holds now is returned."""
        return self.call("PUT", _path(name) + "/inference-table", settings)

    def flush_inference_table(self, name: str) -> str:
        """Have what was recorded written to the table. Returns why that failed, or ''."""
        return str(self.call("POST", _path(name) + "/inference-table/flush").get("problem", ""))

    def send_feedback(self, name: str, lines: Sequence[Json]) -> int:
        """Send labels, outcomes or other values for invocations; all are stored, or none. Returns how many values."""
        return int(self.call("POST", _path(name) + "/feedback", {"feedback": list(lines)})["accepted"])

    # Parity with training

    def diagnose(
        self,
        name: str,
        *,
        served_entity: str = "",
        since_s: float | None = None,
        rows: bool = False,
        html: bool = False,
        key: str = "",
    ) -> list[Json]:
        """Return why the rows that an endpoint got differ from training: a verdict for each served entity."""
        body: Json = {"served_entity": served_entity, "rows": rows, "html": html}
        if since_s is not None:
            body["since_s"] = max(1, round(since_s))
        if key:
            body["key"] = key
        return list(self.call("POST", _path(name) + "/parity/diagnose", body, _DIAGNOSE_TIMEOUT_S)["verdicts"])

    def parity_profile(
        self,
        name: str,
        *,
        served_entity: str = "",
        window: str = "day",
        ago: int = 0,
        segment: str = "",
        column: str = "",
    ) -> list[Json]:
        """Return what live rows look like beside training, for each served entity.

        `window` is `hour` or `day`, in UTC: the current one, or that `ago` before it. `segment` is `COLUMN=VALUE`, such
        as `client=ios/4.2`. Raises NotFound for a segment or column that is not there.
        """
        asked = {"served_entity": served_entity, "window": window, "ago": ago, "segment": segment, "column": column}
        path = f"{_path(name)}/parity/profile?{urlencode(asked)}"
        return list(self.call("GET", path, timeout_s=_DIAGNOSE_TIMEOUT_S)["profiles"])

    def list_incidents(self, name: str) -> list[Json]:
        """Return the incidents of an endpoint in short, the newest first."""
        return list(self.call("GET", _path(name) + "/parity/incidents")["incidents"])

    def get_incident(self, name: str, number: int) -> Json:
        """Return an incident with its verdict and example rows. Raises NotFound."""
        return self.call("GET", f"{_path(name)}/parity/incidents/{number}")

    # Invocations

    def query(
        self, name: str, body: bytes, *, content_type: str = "application/json", entity: str | None = None
    ) -> Answer:
        """Invoke an endpoint, or one of its served entities past the traffic split."""
        started = time.monotonic()
        response = self.send("POST", _invocations(name, entity), body, content_type, _QUERY_TIMEOUT_S)
        duration_ms = (time.monotonic() - started) * 1000
        return Answer(
            body=response.content,
            content_type=response.headers.get("content-type", ""),
            served_by=response.headers.get("served-model-name", ""),
            request_id=response.headers.get("x-request-id", ""),
            coercions=parse_coercions(response.headers.get("x-tallystick-coercions", "")),
            ignored=tuple(
                unquote(part) for part in response.headers.get("x-tallystick-ignored", "").split(",") if part
            ),
            duration_ms=duration_ms,
        )

    def query_stream(self, name: str, body: bytes, *, entity: str | None = None) -> Iterator[str]:
        """Yield the events of a streamed answer as text, each as it comes; one event when nothing is streamed."""
        request = self.request("POST", _invocations(name, entity), body, "application/json", _QUERY_TIMEOUT_S)
        response = self.exchange(request, stream=True)
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                yield response.read().decode()
                return
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data != "[DONE]":
                    yield data
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        finally:
            response.close()

    # Access

    def grant(self, name: str, principal: str, level: str) -> None:
        """Give a principal a level on an endpoint."""
        line = {"user_name": principal, "permission_level": level}
        path = f"/api/2.0/permissions/serving-endpoints/{_segment(name)}"
        self.call("PATCH", path, {"access_control_list": [line]})

    def create_token(self, principal: str, *, is_admin: bool, lifetime_s: int | None, comment: str = "") -> Json:
        """Make a token for a principal; the answer's `token_value` is told only here."""
        body: Json = {"principal": principal, "is_admin": is_admin, "comment": comment}
        if lifetime_s is not None:
            body["lifetime_seconds"] = lifetime_s
        return self.call("POST", "/api/2.0/token/create", body)

    def list_tokens(self) -> list[Json]:
        """Return what is known of the tokens that the caller may see."""
        return list(self.call("GET", "/api/2.0/token/list").get("token_infos", []))

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token. Raises NotFound."""
        self.call("POST", "/api/2.0/token/delete", {"token_id": token_id})

    def put_secret(self, scope: str, key: str, value: str) -> None:
        """Keep a secret; its scope is made when it is missing."""
        with contextlib.suppress(AlreadyExists):
            self.call("POST", "/api/2.0/secrets/scopes/create", {"scope": scope})
        self.call("POST", "/api/2.0/secrets/put", {"scope": scope, "key": key, "string_value": value})

    def list_scopes(self) -> list[str]:
        """Return the names of the secret scopes."""
        return [scope["name"] for scope in self.call("GET", "/api/2.0/secrets/scopes/list").get("scopes", [])]

    def list_secrets(self, scope: str) -> list[Json]:
        """Return the keys of a scope."""
        return list(self.call("GET", f"/api/2.0/secrets/list?scope={quote(scope, safe='')}").get("secrets", []))

    def delete_secret(self, scope: str, key: str) -> None:
        """Forget a secret. Raises NotFound."""
        self.call("POST", "/api/2.0/secrets/delete", {"scope": scope, "key": key})

    def delete_scope(self, scope: str) -> None:
        """Forget a scope and its secrets. Raises NotFound."""
        self.call("POST", "/api/2.0/secrets/scopes/delete", {"scope": scope})

    def status(self) -> Json:
        """Return how the server and its workers stand. Admins only."""
        return self.call("GET", "/api/2.0/tallystick/status")


def version_of(endpoint: Json) -> int:
    """Return the config version that an answer to a change began to roll out."""
    config = endpoint.get("pending_config") or endpoint.get("config") or {}
    return int(config.get("config_version", 0))


def failure_of(endpoint: Json) -> str:
    """Return why an endpoint's latest config did not come up, served entity by served entity."""
    failed = failed_entities(endpoint)
    if not failed:
        return f"The latest config of '{endpoint['name']}' did not come up."
    return "\n".join(f"{entity['name']}: {entity['state'].get('deployment_state_message', '')}" for entity in failed)


def failed_entities(endpoint: Json) -> list[Json]:
    """Return the served entities of the latest config that failed; those that were given up for them last."""
    entities = (endpoint.get("pending_config") or {}).get("served_entities", [])
    by_state = {
        state: [entity for entity in entities if entity.get("state", {}).get("deployment") == state]
        for state in ("DEPLOYMENT_FAILED", "DEPLOYMENT_ABORTED")
    }
    return by_state["DEPLOYMENT_FAILED"] or by_state["DEPLOYMENT_ABORTED"]


def _path(name: str) -> str:
    return f"{_ENDPOINTS}/{_segment(name)}"


def _segment(name: str) -> str:
    """Return an endpoint's name as a part of a path. Raises NotFound for what would be another path."""
    if name in ("", ".", "..") or "/" in name:
        raise NotFound(f"Endpoint with name '{name}' does not exist: names are of letters, digits, '-' and '_'.")
    return quote(name, safe="")


def _invocations(name: str, entity: str | None) -> str:
    middle = "" if entity is None else f"/served-models/{quote(entity, safe='')}"
    return f"/serving-endpoints/{_segment(name)}{middle}/invocations"


def parse_coercions(header: str) -> dict[str, dict[str, int]]:
    """Return what the header `x-tallystick-coercions` says; what was cut off is left out.

    >>> parse_coercions("age;fraction_dropped=2, gr%C3%B6%C3%9Fe;number_from_text=1, ...")
    {'age': {'fraction_dropped': 2}, 'größe': {'number_from_text': 1}}
    """
    found: dict[str, dict[str, int]] = {}
    for part in header.split(", "):
        column, *kinds = part.split(";")
        counts = {kind: int(count) for kind, _, count in (each.partition("=") for each in kinds) if count.isdigit()}
        if counts:
            found[unquote(column)] = counts
    return found
