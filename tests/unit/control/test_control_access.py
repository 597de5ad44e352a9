"""Tokens and secrets: who may make, list and take them away, and what is never told."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tallystick.auth import Principal, authenticate
from tallystick.control.memory_store import MemoryStore
from tallystick.control.secret_box import KEY_FILE, SecretBox
from tallystick.control.secret_service import SecretService
from tallystick.control.token_service import TokenService
from tallystick.errors import (
    AlreadyExists,
    DeploymentFailed,
    InternalError,
    InvalidParameter,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)

ROOT = Principal("root", is_admin=True)
BOB = Principal("bob")
EVE = Principal("eve")
NOW_MS = 1_000_000


@pytest.fixture
def woken() -> list[int]:
    return []


@pytest.fixture
def tokens(woken: list[int]) -> TokenService:
    return TokenService(MemoryStore(), lambda: NOW_MS, lambda: woken.append(1))


@pytest.fixture
def secrets(tmp_path: Path) -> SecretService:
    return SecretService(MemoryStore(), SecretBox(tmp_path), lambda: NOW_MS)


def who(tokens: TokenService, text: str, now_ms: int = NOW_MS) -> Principal:
    return authenticate(text, tokens.store.tokens(), now_ms)


def test_token_is_told_once_and_opens_the_door(tokens: TokenService, woken: list[int]) -> None:
    made = tokens.create(ROOT, {"principal": "bob", "comment": "ci"})
    assert made["token_info"] == {
        "token_id": made["token_value"][4:16],
        "comment": "ci",
        "creation_time": NOW_MS,
        "expiry_time": -1,
        "principal": "bob",
        "is_admin": False,
    }
    assert (who(tokens, made["token_value"]).name, who(tokens, made["token_value"]).is_admin) == ("bob", False)
    assert made["token_value"] not in str(tokens.list(ROOT)) + str(tokens.store.tokens())
    assert woken


def test_own_token_has_the_callers_rights(tokens: TokenService) -> None:
    assert tokens.create(ROOT, {})["token_info"]["is_admin"]
    assert not tokens.create(ROOT, {"is_admin": False})["token_info"]["is_admin"]
    made = tokens.create(BOB, {})["token_info"]
    assert (made["principal"], made["is_admin"]) == ("bob", False)


@pytest.mark.parametrize("body", [{"principal": "eve"}, {"is_admin": True}, {"principal": "eve", "is_admin": True}])
def test_only_admins_make_tokens_for_others(tokens: TokenService, woken: list[int], body: dict[str, Any]) -> None:
    with pytest.raises(PermissionDenied):
        tokens.create(BOB, body)
    assert tokens.store.tokens() == {}
    assert not woken


def test_token_expires(tokens: TokenService) -> None:
    made = tokens.create(BOB, {"lifetime_seconds": "60"})
    assert made["token_info"]["expiry_time"] == NOW_MS + 60_000
    assert who(tokens, made["token_value"], NOW_MS + 59_999).name == "bob"
    with pytest.raises(Unauthenticated, match="expired"):
        who(tokens, made["token_value"], NOW_MS + 60_000)


@pytest.mark.parametrize(
    "body", [{"lifetime_seconds": 0}, {"lifetime_seconds": 10**12}, {"principal": " x"}, {"comment": 5}]
)
def test_wrong_token_requests_are_refused(tokens: TokenService, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        tokens.create(ROOT, body)
    assert tokens.store.tokens() == {}


def test_one_sees_and_revokes_ones_own_tokens(tokens: TokenService) -> None:
    mine, other = (tokens.create(one, {})["token_info"]["token_id"] for one in (BOB, EVE))
    assert [info["token_id"] for info in tokens.list(BOB)["token_infos"]] == [mine]
    assert {info["token_id"] for info in tokens.list(ROOT)["token_infos"]} == {mine, other}
    with pytest.raises(NotFound) as hidden:
        tokens.revoke(BOB, {"token_id": other})
    with pytest.raises(NotFound) as missing:
        tokens.revoke(BOB, {"token_id": "0" * 12})
    assert hidden.value.message.replace(other, "0" * 12) == missing.value.message
    tokens.revoke(BOB, {"token_id": mine})
    tokens.revoke(ROOT, {"token_id": other})
    assert tokens.store.tokens() == {}


def test_revoked_token_no_longer_opens_the_door(tokens: TokenService) -> None:
    made = tokens.create(BOB, {})
    tokens.revoke(BOB, {"token_id": made["token_info"]["token_id"]})
    with pytest.raises(Unauthenticated):
        who(tokens, made["token_value"])


def test_secret_goes_in_and_is_not_told_again(secrets: SecretService) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    secrets.put(ROOT, {"scope": "prod", "key": "a", "string_value": "sesame"})
    encoded = base64.b64encode("öffne".encode()).decode()
    secrets.put(ROOT, {"scope": "prod", "key": "b.c@d-1", "bytes_value": encoded})
    assert secrets.list(ROOT, "prod") == {
        "secrets": [
            {"key": "a", "last_updated_timestamp": NOW_MS},
            {"key": "b.c@d-1", "last_updated_timestamp": NOW_MS},
        ]
    }
    assert "sesame" not in str(secrets.store)
    variables = {"A": "{{secrets/prod/a}}", "B": " {{ secrets/prod/b.c@d-1 }} ", "C": "plain"}
    assert secrets.resolve(variables) == {"A": "sesame", "B": "öffne", "C": "plain"}


def test_secrets_are_for_admins(secrets: SecretService) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    attempts = [
        lambda: secrets.create_scope(BOB, {"scope": "x"}),
        lambda: secrets.list_scopes(BOB),
        lambda: secrets.delete_scope(BOB, {"scope": "prod"}),
        lambda: secrets.put(BOB, {"scope": "prod", "key": "k", "string_value": "v"}),
        lambda: secrets.list(BOB, "prod"),
        lambda: secrets.delete(BOB, {"scope": "prod", "key": "k"}),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionDenied):
            attempt()
    assert secrets.list_scopes(ROOT) == {"scopes": [{"name": "prod", "backend_type": "DATABRICKS"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "prod", "key": "k"},
        {"scope": "prod", "key": "k", "string_value": "v", "bytes_value": "dg=="},
        {"scope": "prod", "key": "k", "string_value": 5},
        {"scope": "prod", "key": "k", "bytes_value": "not base64!"},
        {"scope": "prod", "key": "a/b", "string_value": "v"},
        {"scope": "prod", "key": "", "string_value": "v"},
        {"scope": "prod", "key": "k", "string_value": "x" * (128 * 1024 + 1)},
    ],
)
def test_wrong_secrets_are_refused(secrets: SecretService, body: dict[str, Any]) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    with pytest.raises(InvalidParameter):
        secrets.put(ROOT, body)
    assert secrets.list(ROOT, "prod") == {"secrets": []}


def test_unknown_and_taken_scopes_are_told(secrets: SecretService) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    with pytest.raises(AlreadyExists):
        secrets.create_scope(ROOT, {"scope": "prod"})
    with pytest.raises(NotFound):
        secrets.put(ROOT, {"scope": "other", "key": "k", "string_value": "v"})
    with pytest.raises(NotFound):
        secrets.delete(ROOT, {"scope": "prod", "key": "k"})
    secrets.delete_scope(ROOT, {"scope": "prod"})
    with pytest.raises(NotFound):
        secrets.delete_scope(ROOT, {"scope": "prod"})


@pytest.mark.parametrize(("value", "part"), [(b"\xff", "not UTF-8"), (b"a\0b", "NUL byte")])
def test_secret_that_cannot_be_a_variable_fails_the_deployment(secrets: SecretService, value: bytes, part: str) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    secrets.put(ROOT, {"scope": "prod", "key": "k", "bytes_value": base64.b64encode(value).decode()})
    with pytest.raises(DeploymentFailed, match=part):
        secrets.resolve({"A": "{{secrets/prod/k}}"})


def test_lost_key_is_told_and_not_made_anew_for_reading(secrets: SecretService, tmp_path: Path) -> None:
    secrets.create_scope(ROOT, {"scope": "prod"})
    secrets.put(ROOT, {"scope": "prod", "key": "k", "string_value": "v"})
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(DeploymentFailed, match=r"key file .* is missing"):
        secrets.resolve({"A": "{{secrets/prod/k}}"})
    assert not (tmp_path / KEY_FILE).exists()
    secrets.put(ROOT, {"scope": "prod", "key": "other", "string_value": "v"})
    with pytest.raises(DeploymentFailed, match="sealed with another key"):
        secrets.resolve({"A": "{{secrets/prod/k}}"})


def test_key_is_closed_to_others_and_made_once(tmp_path: Path) -> None:
    box = SecretBox(tmp_path)
    assert not (tmp_path / KEY_FILE).exists()
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda number: SecretBox(tmp_path).seal(str(number).encode()), range(8)))
    assert [box.open(one) for one in sealed] == [str(number).encode() for number in range(8)]
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_changed_value_is_not_opened(tmp_path: Path) -> None:
    box = SecretBox(tmp_path)
    sealed = box.seal(b"sesame")
    with pytest.raises(InternalError):
        box.open(sealed[:-4] + "AAA=")
