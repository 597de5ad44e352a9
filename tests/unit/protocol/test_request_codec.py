"""The body's form: what is no request is refused with a text that says what and where."""

import json

import pytest

from tallystick.errors import BadRequest
from tallystick.protocol.codec import MAX_DEPTH, check_depth, parse_content_type, parse_request


def test_only_the_input_is_needed() -> None:
    request = parse_request(b'{"inputs": [1]}')
    assert (request.key, request.value, request.params, request.stream, request.notes) == (
        "inputs",
        [1],
        None,
        False,
        (),
    )


def test_all_keys_beside_the_input() -> None:
    body = {
        "inputs": [1],
        "params": {"k": 1},
        "client_request_id": "r",
        "usage_context": {"team": "a"},
        "stream": True,
        "databricks_options": {"return_trace": True},
        "modle": 1,
    }
    request = parse_request(json.dumps(body).encode())
    assert request.params == {"k": 1}
    assert request.client_request_id == "r"
    assert request.usage_context == {"team": "a"}
    assert request.stream
    assert request.notes == ("ignored keys: 'modle'",)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"null", "got null"),
        (b"[1]", "got a list"),
        (b"{}", "no keys"),
        (b'{"data": [1]}', "it has 'data'"),
        (b'{"inputs": 1, "instances": 1}', "instances and inputs"),
        (b'{"inputs": [NaN]}', "send null for a missing value"),
        (b'{"inputs": [-Infinity]}', "send null for a missing value"),
        (b'{"inputs": [1e999]}', "out of range"),
        (b'{"inputs": [' + b"1" * 5000 + b"]}", "out of range"),
        (b'\xef\xbb\xbf{"inputs": [1]}', "byte order mark"),
        ('{"inputs": [1]}'.encode("utf-16"), "byte order mark"),
        (b'{"inputs": ["\xff"]}', "UTF-8"),
        (b'{"inputs": ["\\ud800"]}', "surrogate"),
        (b'{"inputs": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": 1, "stream": "yes"}', "stream must be true or false"),
        (b'{"inputs": 1, "client_request_id": 5}', "client_request_id must be text"),
        (b'{"inputs": 1, "usage_context": {"a": 5}}', "usage_context"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(body)
    assert says in caught.value.message
    assert len(caught.value.message) < 600


def test_whole_numbers_keep_their_digits() -> None:
    assert parse_request(b'{"inputs": [%d]}' % 2**64).value == [2**64]


@pytest.mark.parametrize(
    "text", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_content_types_that_are_taken(text: str) -> None:
    assert parse_content_type(text) == "application/json"


@pytest.mark.parametrize("text", ["", "text/plain", "application/json; charset=latin-1", "application/json; q=1"])
def test_content_types_that_are_not(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_content_type(text)
    assert caught.value.status == 415


def test_depth_is_bounded() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    check_depth(value, "inputs")
    with pytest.raises(BadRequest):
        check_depth({"a": [value]}, "inputs")
