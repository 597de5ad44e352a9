"""Keeps secrets, and puts them in the place of `{{secrets/scope/key}}` when a worker is started.

Values go in and are never told again. Admins only: there are no access lists of scopes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.auth import Principal
from tallystick.control.config_request import SECRET_REFERENCE
from tallystick.control.fields import Fields, fields_of
from tallystick.control.secret_box import SecretBox
from tallystick.control.store import ConfigStore
from tallystick.errors import DeploymentFailed, InternalError, NotFound, PermissionDenied

#: Databricks' limit.
MAX_SECRET_BYTES = 128 * 1024

_NAME = re.compile(r"[\w.@-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SecretService:
    """The use cases of secrets, shaped as `w.secrets` of databricks-sdk has them."""

    store: ConfigStore
    box: SecretBox
    now_ms: Callable[[], int]

    def create_scope(self, caller: Principal, body: object) -> None:
        """Make a scope. Raises AlreadyExists."""
        _require_admin(caller)
        fields = fields_of(body)
        scope = _name(fields, "scope")
        fields.refuse_if_wrong("The scope")
        self.store.add_scope(scope)

    def list_scopes(self, caller: Principal) -> dict[str, Any]:
        """Return the scopes."""
        _require_admin(caller)
        return {"scopes": [{"name": scope, "backend_type": "DATABRICKS"} for scope in self.store.scopes()]}

    def delete_scope(self, caller: Principal, body: object) -> None:
        """Forget a scope with all its secrets."""
        _require_admin(caller)
        fields = fields_of(body)
        scope = _name(fields, "scope")
        fields.refuse_if_wrong("The request")
        if not self.store.delete_scope(scope):
            raise NotFound(f"Secret scope '{scope}' does not exist.")

    def put(self, caller: Principal, body: object) -> None:
        """Keep a value, over an earlier one. Workers that run keep the one they were started with."""
        _require_admin(caller)
        fields = fields_of(body)
        scope, key = _name(fields, "scope"), _name(fields, "key")
        value = _value(fields)
        fields.refuse_if_wrong("The secret")
        self.store.put_secret(scope, key, self.box.seal(value), self.now_ms())

    def list(self, caller: Principal, scope: str) -> dict[str, Any]:
        """Return the keys of a scope."""
        _require_admin(caller)
        infos = self.store.secret_infos(scope)
        return {"secrets": [{"key": info.key, "last_updated_timestamp": info.last_updated_ms} for info in infos]}

    def delete(self, caller: Principal, body: object) -> None:
        """Forget a secret."""
        _require_admin(caller)
        fields = fields_of(body)
        scope, key = _name(fields, "scope"), _name(fields, "key")
        fields.refuse_if_wrong("The request")
        if not self.store.delete_secret(scope, key):
            raise NotFound(f"Secret '{key}' in scope '{scope}' does not exist.")

    def resolve(self, environment_vars: Mapping[str, str]) -> dict[str, str]:
        """Return the variables with secrets in the place of references. Raises DeploymentFailed that names one."""
        return {name: self._resolved(name, value) for name, value in environment_vars.items()}

    def _resolved(self, name: str, value: str) -> str:
        reference = SECRET_REFERENCE.fullmatch(value.strip())
        if reference is None:
            return value
        scope, key = reference.groups()
        shown = f"The secret '{key}' in scope '{scope}', which environment variable {name} refers to,"
        sealed = self.store.secret(scope, key)
        if sealed is None:
            raise DeploymentFailed(f"{shown} does not exist. Put it (secrets/put), then update the config again.")
        try:
            text = self.box.open(sealed).decode()
        except InternalError as error:
            raise DeploymentFailed(f"{shown} cannot be read. {error.message}") from error
        except UnicodeDecodeError as error:
            raise DeploymentFailed(f"{shown} is not UTF-8 text, which a variable has to be.") from error
        if "\0" in text:
            raise DeploymentFailed(f"{shown} has a NUL byte in it, which a variable cannot hold.")
        return text


def references(values: Iterable[str]) -> set[tuple[str, str]]:
    """Return the (scope, key) of each secret that environment variables refer to."""
    return {
        (found.group(1), found.group(2))
        for value in values
        if (found := SECRET_REFERENCE.fullmatch(value.strip())) is not None
    }


def _require_admin(caller: Principal) -> None:
    if not caller.is_admin:
        raise PermissionDenied("Only admins may see and change secrets.")


def _name(fields: Fields, key: str) -> str:
    name = fields.required_text(key)
    if name and not _NAME.fullmatch(name):
        fields.wrong(key, "expected 1 to 128 letters, digits, '-', '_', '.' and '@'")
    return name


def _value(fields: Fields) -> bytes:
    given = [key for key in ("string_value", "bytes_value") if fields.has(key)]
    raw = fields.values[given[0]] if len(given) == 1 else None
    if not isinstance(raw, str):
        fields.wrong("string_value", "give one of string_value and bytes_value (base64), as a string")
        return b""
    value = raw.encode()
    if given == ["bytes_value"]:
        try:
            value = base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError):
            fields.wrong("bytes_value", "is not base64")
    if len(value) > MAX_SECRET_BYTES:
        fields.wrong(given[0], f"is larger than {MAX_SECRET_BYTES} bytes")
    return value
