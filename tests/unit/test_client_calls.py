"""What the client makes of answers, refusals and broken lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tallystick import errors
from tallystick.client import Client, failed_entities, version_of
from tallystick.connection import ApiError, WaitTimedOut
from tallystick.discovery import Server, ServerUnreachable
from tallystick.errors import DeploymentFailed, TallystickError

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> Client:
    return Client(Server("http://127.0.0.1:8080", "tsk_t"), transport=httpx.MockTransport(handler))


def answering(*answers: httpx.Response) -> tuple[Client, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    left = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return next(left)

    return client(handle), seen


def endpoint(version: int, update: str, active: int = 0, **entity: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"name": "churn", "state": {"ready": "READY", "config_update": update}}
    if active:
        body["config"] = {"config_version": active}
    if active != version:
        body["pending_config"] = {"config_version": version, "served_entities": [entity] if entity else []}
    return body


@pytest.mark.parametrize(
    "kind",
    [
        errors.BadRequest,
        errors.InvalidParameter,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.EndpointNotFound,
        errors.AlreadyExists,
        errors.Conflict,
        errors.TooManyRequests,
        errors.InternalError,
        errors.NotImplementedHere,
        errors.TemporarilyUnavailable,
        errors.DeadlineExceeded,
    ],
)
def test_a_refusal_is_raised_as_what_it_is(kind: type[TallystickError]) -> None:
    refusing, _ = answering(httpx.Response(kind.status, json=kind("no").to_body(), headers={"x-request-id": "r1"}))
    with pytest.raises(kind, match="no") as caught:
        refusing.get_endpoint("churn")
    assert type(caught.value) is kind
    assert getattr(caught.value, "__notes__", []) == (["request id r1"] if kind.status >= 500 else [])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json=[1]),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(302, headers={"location": "/login"}),
    ],
)
def test_an_answer_that_is_not_ours_is_told_as_such(answer: httpx.Response) -> None:
    strange, _ = answering(answer)
    with pytest.raises(ApiError, match="not Tallystick's"):
        strange.list_endpoints()


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (httpx.ConnectError("refused"), ServerUnreachable, "tallystick serve"),
        (httpx.ConnectTimeout("slow"), ServerUnreachable, "No server answers"),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), ServerUnreachable, "SSL_CERT_FILE"),
        (httpx.ReadTimeout("slow"), WaitTimedOut, "in time"),
        (httpx.RemoteProtocolError("cut"), ServerUnreachable, "broke: cut"),
    ],
)
def test_a_broken_line_is_told_in_words(error: Exception, kind: type[Exception], text: str) -> None:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(kind, match=text):
        client(handle).list_endpoints()


def test_names_cannot_leave_their_place_in_a_path() -> None:
    calling, seen = answering(httpx.Response(200, json={}), httpx.Response(200, json={}))
    calling.get_endpoint("a..b?c")
    calling.query("a b", b"{}", entity="x/y")
    assert seen[0].url.raw_path == b"/api/2.0/serving-endpoints/a..b%3Fc"
    assert seen[1].url.raw_path == b"/serving-endpoints/a%20b/served-models/x%2Fy/invocations"
    assert seen[0].headers["authorization"] == "Bearer tsk_t"


@pytest.mark.parametrize("name", ["", ".", "..", "models:/churn/1", "a/../b"])
def test_what_would_be_another_path_is_no_endpoint_s_name(name: str) -> None:
    calling, seen = answering()
    for call in (calling.get_endpoint, calling.parity, lambda name: calling.query(name, b"{}")):
        with pytest.raises(errors.NotFound, match="does not exist: names are of letters, digits, '-' and '_'"):
            call(name)
    assert seen == []


def test_an_answer_tells_who_gave_it_and_what_was_changed() -> None:
    asking, seen = answering(
        httpx.Response(
            200,
            content=b'{"predictions": [1]}',
            headers={
                "served-model-name": "churn-4",
                "x-request-id": "r1",
                "x-tallystick-coercions": "age;fraction_dropped=2, gr%C3%B6%C3%9Fe;overflow=1;truthy=3, ...",
                "x-tallystick-ignored": "a%2Cb,c",
            },
        )
    )
    answer = asking.query("churn", b"body", content_type="text/csv")
    assert (answer.body, answer.served_by, answer.request_id) == (b'{"predictions": [1]}', "churn-4", "r1")
    assert answer.coercions == {"age": {"fraction_dropped": 2}, "größe": {"overflow": 1, "truthy": 3}}
    assert answer.ignored == ("a,b", "c")
    assert (seen[0].content, seen[0].headers["content-type"]) == (b"body", "text/csv")


def test_a_stream_is_given_event_by_event() -> None:
    body = b'data: {"a": 1}\n\ndata: {"a": 2}\n\ndata: [DONE]\n\n'
    streaming, _ = answering(httpx.Response(200, content=body, headers={"content-type": "text/event-stream"}))
    assert list(streaming.query_stream("churn", b"{}")) == ['{"a": 1}', '{"a": 2}']


def test_a_missing_endpoint_is_none_and_other_refusals_are_not() -> None:
    asking, _ = answering(
        httpx.Response(404, json=errors.NotFound("no").to_body()),
        httpx.Response(401, json=errors.Unauthenticated("no").to_body()),
    )
    assert asking.find_endpoint("churn") is None
    with pytest.raises(errors.Unauthenticated):
        asking.find_endpoint("churn")


def test_a_scope_that_is_there_already_does_not_keep_a_secret_out() -> None:
    putting, seen = answering(
        httpx.Response(409, json=errors.AlreadyExists("there").to_body()), httpx.Response(200, json={})
    )
    putting.put_secret("prod", "db", "x")
    assert seen[1].content == b'{"scope": "prod", "key": "db", "string_value": "x"}'


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s


def waited(*looks: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
    left = iter(looks)
    clock = Clock()
    waiting = client(lambda _request: httpx.Response(200, json=next(left, looks[-1])))
    return waiting.wait("churn", 2, timeout_s=timeout_s, now=clock, sleep=clock.sleep)


def test_waiting_ends_when_the_version_serves() -> None:
    done = endpoint(2, "NOT_UPDATING", active=2)
    assert waited(endpoint(2, "IN_PROGRESS", active=1), endpoint(2, "IN_PROGRESS", active=1), done) == done


def test_waiting_ends_when_a_later_version_serves() -> None:
    assert waited(endpoint(3, "NOT_UPDATING", active=3))["config"]["config_version"] == 3


def test_a_deployment_that_fails_is_raised_with_its_reason() -> None:
    entity = {"name": "churn-4", "state": {"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": "no file"}}
    failed = endpoint(2, "UPDATE_FAILED", active=1, **entity)
    with pytest.raises(DeploymentFailed, match="churn-4: no file"):
        waited(endpoint(2, "IN_PROGRESS", active=1), failed)
    assert [each["name"] for each in failed_entities(failed)] == ["churn-4"]


def test_waiting_has_an_end() -> None:
    with pytest.raises(WaitTimedOut, match="not up after 5 s"):
        waited(endpoint(2, "IN_PROGRESS", active=1), timeout_s=5)


def test_the_version_of_a_change_is_the_one_that_is_rolled_out() -> None:
    assert version_of(endpoint(2, "IN_PROGRESS", active=1)) == 2
    assert version_of(endpoint(2, "NOT_UPDATING", active=2)) == 2
    assert version_of({"name": "churn"}) == 0
