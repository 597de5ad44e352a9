"""What looks like a secret is hidden, what explains an error stays, and no text takes long."""

import time

import pytest

from tallystick.protocol.scrub import HIDDEN, without_secrets


@pytest.mark.parametrize(
    "text", ["key tsk_0123456789ab_abcdef", "key dapi0123456789abcdef0123", "key hf_abcdefghijklmnopqrstuv"]
)
def test_tokens_that_say_whose_they_are_need_no_name(text):
    assert without_secrets(text) == f"key {HIDDEN}"


@pytest.mark.parametrize(
    "text",
    [
        "could not convert string to float: 'abc'",
        "column token_count: expected long, got string 'x' (row 3)",
        "max_tokens=5 is too few",
        "no model at models:/churn/3",
        "basic authentication failed",
        "input 'signature': expected double",
    ],
)
def test_what_explains_an_error_stays(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("piece", ["a", "a-", "token", "http://", "://", "token='", "password: ", "a://", "eyJ", "?"])
def test_no_text_takes_long(piece):
    text = (piece * 1200)[:1200]
    started = time.perf_counter()
    without_secrets(text)
    assert time.perf_counter() - started < 1
