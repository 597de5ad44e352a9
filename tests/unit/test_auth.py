import base64

import pytest

from tallystick.auth import Principal, authenticate, level_of, new_token, token_from_header
from tallystick.entities import Grant, Level
from tallystick.errors import Unauthenticated


def made(**kwargs):
    text, stored = new_token("ann", is_admin=False, now_ms=1000, **kwargs)
    return text, {stored.id: stored}


def test_a_token_names_its_principal_and_is_not_kept():
    text, tokens = made()
    assert authenticate(text, tokens, 2000).name == "ann"
    assert text not in repr(tokens)
    assert len(base64.urlsafe_b64decode(text.split("_", 2)[2] + "=")) == 32


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: t + "x", lambda t: "", lambda t: "tsk_"]
)
def test_any_other_text_is_refused(spoil):
    text, tokens = made()
    with pytest.raises(Unauthenticated):
        authenticate(spoil(text), tokens, 2000)


def test_a_token_expires_and_can_be_revoked():
    text, tokens = made(lifetime_s=10)
    authenticate(text, tokens, 10_999)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticate(text, tokens, 11_000)
    with pytest.raises(Unauthenticated):
        authenticate(text, {}, 2000)


def test_bearer_and_basic_with_the_user_token():
    assert token_from_header("Bearer abc") == "abc"
    assert token_from_header("bearer  abc ") == "abc"
    assert token_from_header("Basic " + base64.b64encode(b"token:a:b").decode()) == "a:b"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Digest x", "Basic !!", "Basic " + base64.b64encode(b"ann:x").decode()]
)
def test_a_header_without_a_token_is_told(header):
    with pytest.raises(Unauthenticated, match="No token"):
        token_from_header(header)


def test_nobody_has_a_level_by_default_and_the_highest_grant_counts():
    eve = Principal("eve")
    assert level_of(eve, "ann", ()) is Level.NONE
    grants = (Grant("group_name", "users", Level.CAN_VIEW), Grant("user_name", "eve", Level.CAN_QUERY))
    assert level_of(eve, "ann", grants) is Level.CAN_QUERY
    assert level_of(Principal("bob"), "ann", grants) is Level.CAN_VIEW
    assert level_of(Principal("ann"), "ann", ()) is Level.CAN_MANAGE
    assert level_of(Principal("root", is_admin=True), "ann", ()) is Level.CAN_MANAGE
    assert level_of(eve, "ann", (Grant("group_name", "admins", Level.CAN_MANAGE),)) is Level.NONE
