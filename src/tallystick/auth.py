"""Token -> Principal -> may it? Shared by gateway and control, so that both give one answer.

A token is ``tsk_<id>_<secret>``: 12 hex digits to look it up by, then 256 random bits. Only the SHA-256 of the
whole is stored; a random secret of that length needs no slow hash. Pure: the caller reads the clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tallystick.entities import Grant, Level
from tallystick.errors import Unauthenticated

#: Every principal with a valid token is a member.
EVERYONE = "users"
#: Members may do everything.
ADMINS = "admins"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    name: str
    is_admin: bool = False
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is kept of a token. The token itself is shown once, when it is made."""

    id: str
    sha256: str
    principal: str
    is_admin: bool
    creation_time_ms: int
    #: None: never.
    expiry_time_ms: int | None = None
    comment: str = ""


def new_token(
    principal: str, *, is_admin: bool, now_ms: int, lifetime_s: int | None = None, comment: str = ""
) -> tuple[str, StoredToken]:
    """Make a token; return its text, to be shown once, and what to store."""
    token_id = secrets.token_hex(6)
    text = f"tsk_{token_id}_{secrets.token_urlsafe(32)}"
    expiry_ms = None if lifetime_s is None else now_ms + lifetime_s * 1000
    return text, StoredToken(token_id, _digest(text), principal, is_admin, now_ms, expiry_ms, comment)


def token_from_header(authorization: str | None) -> str:
    """Return the token of an `Authorization` header: `Bearer <token>`, or Basic with user `token`.

    Raises Unauthenticated when there is none.
    """
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        if user == "token" and password:
            return password
    raise Unauthenticated(
        "No token. Send 'Authorization: Bearer <token>', or Basic with the user name 'token' and the token as "
        "password; 'tallystick token create' makes one."
    )


def authenticate(text: str, tokens: Mapping[str, StoredToken], now_ms: int) -> Principal:
    """Return whose token this is. Raises Unauthenticated; the text does not say which check failed, save expiry."""
    token_id = text[4:16]
    stored = tokens.get(token_id) if text.startswith("tsk_") and len(text) <= 128 else None
    # Compared also when the id is unknown, so that the time taken does not tell.
    expected = stored.sha256 if stored else "0" * 64
    is_same = hmac.compare_digest(_digest(text), expected)
    if stored is None or not is_same:
        raise Unauthenticated("The token is not known here: it was mistyped, revoked, or made for another server.")
    if stored.expiry_time_ms is not None and now_ms >= stored.expiry_time_ms:
        raise Unauthenticated("The token has expired. 'tallystick token create' makes a new one.")
    return Principal(stored.principal, stored.is_admin, stored.id)


def level_of(principal: Principal, creator: str, grants: Iterable[Grant]) -> Level:
    """Return what `principal` may do with an endpoint: the highest of its grants.

    Admins and the endpoint's creator hold CAN_MANAGE.
    """
    if principal.is_admin or principal.name == creator:
        return Level.CAN_MANAGE
    levels = (grant.level for grant in grants if _covers(grant, principal))
    return max(levels, default=Level.NONE)


def _covers(grant: Grant, principal: Principal) -> bool:
    if grant.kind == "group_name":
        return grant.name == EVERYONE
    return grant.name == principal.name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
