"""Makes, lists and revokes access tokens: admins for everybody, others for themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallystick.auth import Principal, StoredToken, new_token
from tallystick.control.fields import fields_of
from tallystick.control.store import ConfigStore
from tallystick.errors import NotFound, PermissionDenied

#: A hundred years; longer is "never", which is what no lifetime says.
_MAX_LIFETIME_S = 100 * 366 * 86_400
_NO_EXPIRY = -1


@dataclass(frozen=True, slots=True)
class TokenService:
    """The use cases of tokens. Shapes as databricks-sdk has them, plus `principal` and `is_admin`."""

    store: ConfigStore
    now_ms: Callable[[], int]
    on_change: Callable[[], None]

    def create(self, caller: Principal, body: object) -> dict[str, Any]:
        """Make a token; the answer is the only time that its text is told.

        Without `principal` it is the caller's own, and an admin's then is an admin's again. Raises
        PermissionDenied when somebody else than an admin asks for another principal or for admin rights.
        """
        fields = fields_of(body)
        name = fields.text("principal") or caller.name
        asked = fields.flag("is_admin")
        lifetime_s = fields.integer("lifetime_seconds", 1, _MAX_LIFETIME_S)
        comment = fields.text("comment")
        if len(name) > 256 or name != name.strip():
            fields.wrong("principal", "expected at most 256 characters without spaces around them")
        fields.refuse_if_wrong("The token")
        is_admin = (caller.is_admin and name == caller.name) if asked is None else asked
        if not caller.is_admin and (name != caller.name or is_admin):
            raise PermissionDenied("Only admins make tokens for other principals, or admin tokens.")
        lifetime_s = self._at_most_its_makers(caller, lifetime_s)
        text, token = new_token(name, is_admin=is_admin, now_ms=self.now_ms(), lifetime_s=lifetime_s, comment=comment)
        self.store.add_token(token)
        self.on_change()
        return {"token_value": text, "token_info": _info(token)}

    def _at_most_its_makers(self, caller: Principal, lifetime_s: int | None) -> int | None:
        """Return the lifetime, cut to what is left of the token that asks: it must not outlive itself by a copy."""
        own = self.store.tokens().get(caller.token_id)
        if own is None or own.expiry_time_ms is None:
            return lifetime_s
        left_s = max(1, (own.expiry_time_ms - self.now_ms()) // 1000)
        return left_s if lifetime_s is None else min(lifetime_s, left_s)

    def list(self, caller: Principal) -> dict[str, Any]:
        """Return the caller's tokens, an admin's answer holding everybody's."""
        mine = [token for token in self.store.tokens().values() if _may_touch(caller, token)]
        return {"token_infos": [_info(token) for token in sorted(mine, key=lambda token: token.creation_time_ms)]}

    def revoke(self, caller: Principal, body: object) -> None:
        """Revoke a token. Raises NotFound when there is none of this id, or it is not the caller's."""
        fields = fields_of(body)
        token_id = fields.required_text("token_id")
        fields.refuse_if_wrong("The request")
        token = self.store.tokens().get(token_id)
        if token is None or not _may_touch(caller, token) or not self.store.delete_token(token_id):
            raise NotFound(f"Token with id '{token_id[:64]}' does not exist.")
        self.on_change()


def _may_touch(caller: Principal, token: StoredToken) -> bool:
    return caller.is_admin or token.principal == caller.name


def _info(token: StoredToken) -> dict[str, Any]:
    return {
        "token_id": token.id,
        "comment": token.comment,
        "creation_time": token.creation_time_ms,
        "expiry_time": _NO_EXPIRY if token.expiry_time_ms is None else token.expiry_time_ms,
        "principal": token.principal,
        "is_admin": token.is_admin,
    }
