"""The page on the control API names what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallystick import errors
from tallystick.control.api_routes import operations
from tallystick.control.worker_options import PREFIX, READERS

PAGE = (Path(__file__).parents[3] / "docs" / "control-api.md").read_text()
# Of invocations and deployments, which have pages of their own.
ELSEWHERE = {"REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "INVALID_STATE"}


class Logs:
    async def build_log(self, _entity_id: str) -> str:
        return ""

    async def server_log(self, _entity_id: str) -> str:
        return ""


async def status() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("option", READERS)
def test_every_option_is_described(option: str) -> None:
    assert f"| `{PREFIX}{option.upper()}` |" in PAGE


@pytest.mark.parametrize("path", sorted({operation.path for operation in operations(Logs(), status)}))
def test_every_route_is_described(path: str) -> None:
    tail = path.replace("{served_model}", "{served model}")
    tail = tail.removeprefix("/api/2.0/serving-endpoints/{name}").removeprefix("/api/2.0/secrets").rstrip("/")
    tail = tail.removeprefix("/api/2.0/permissions/serving-endpoints/{id}").removeprefix("/api/2.0/token")
    # "pt" is among what answers 501.
    assert tail.endswith("/pt") or tail in PAGE


def test_every_error_code_is_described() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.error_code for kind in kinds if issubclass(kind, errors.TallystickError)} - ELSEWHERE
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
