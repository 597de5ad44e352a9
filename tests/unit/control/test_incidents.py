"""Control's side of incidents: the line to the monitor over a real socket, the routes, and what a rollout may ask."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tallystick.auth import Principal
from tallystick.control import incidents as module
from tallystick.control.api import create_app
from tallystick.control.api_rules import principal_by_token
from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.incidents import Monitor, get_incident, list_incidents
from tallystick.control.incidents_api import incident_routes
from tallystick.control.link_server import GatewayLinks
from tallystick.control.memory_store import MemoryStore
from tallystick.control.own_replays import parity_of
from tallystick.control.service import Service, build_service
from tallystick.errors import InternalError, InvalidParameter, NotFound, TallystickError, TemporarilyUnavailable
from tallystick.protocol.message import MessageReader, render_message
from tallystick.protocol.monitoring import (
    AskProfile,
    AskReplay,
    Diagnose,
    Diagnosed,
    EndpointParity,
    EntityParity,
    IncidentState,
    IncidentSummary,
    Replayed,
    Replaying,
    ToMonitor,
    Watching,
    Window,
)

ENDPOINT_PATH = "/api/2.0/serving-endpoints/{name}"
DIAGNOSE_PATH, INCIDENTS_PATH = f"{ENDPOINT_PATH}/parity/diagnose", f"{ENDPOINT_PATH}/parity/incidents"
PROFILE_PATH = f"{ENDPOINT_PATH}/parity/profile"
PAGE = (Path(__file__).parents[3] / "docs" / "control-api.md").read_text()
INCIDENT = IncidentSummary(
    7, "m", IncidentState.OPEN, "cause_found", "preprocessing", "unit", ("temp",), {}, "proof", 0.3, 200, "", ""
)
WATCHING = Watching(41, {"churn": EndpointParity("i", {"m": EntityParity(rows=9), "n": EntityParity()}, (INCIDENT,))})


class Peer:
    """The monitor at the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._messages: MessageReader[Diagnose | Replayed] = MessageReader(ToMonitor)

    def say(self, message: Any) -> None:
        self.writer.write(render_message(message))

    async def hears(self) -> Any:
        while True:
            async with asyncio.timeout(5):
                data = await self._reader.read(1 << 16)
            assert data, "the line was closed"
            if found := self._messages.feed(data):
                return found[0]


async def until(check: Any) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0)


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[GatewayLinks]:
    made = GatewayLinks(tmp_path, 1, lambda: None)
    server = await made.listen(tmp_path / "link.sock")
    yield made
    server.close()


@pytest.fixture
async def peer(links: GatewayLinks, tmp_path: Path) -> AsyncIterator[Peer]:
    made = Peer(*await asyncio.open_unix_connection(tmp_path / "link.sock"))
    made.say(WATCHING)
    await until(lambda: links.monitor.is_connected)
    yield made
    made.writer.close()


# -- the line --------------------------------------------------------------------------------------------------


async def test_the_monitor_is_no_gateway_and_what_it_found_can_be_asked_for_at_once(
    links: GatewayLinks, peer: Peer
) -> None:
    assert not links.is_applied
    assert links.monitor.open_for("churn") == (INCIDENT,)
    assert links.monitor.open_for("churn", "m") == (INCIDENT,)
    assert links.monitor.open_for("churn", "n") == links.monitor.open_for("other") == ()
    assert links.monitor.standing() == {"is_connected": True, "open_incidents": 1}
    live = links.monitor.live("churn")
    assert live["monitor"] == "connected"
    assert live["served_entities"]["m"]["open_incidents"] == [7]
    assert live["served_entities"]["n"]["open_incidents"] == []


async def test_what_a_rollout_holds_on_stays_while_the_monitor_is_away(links: GatewayLinks, peer: Peer) -> None:
    peer.writer.close()
    await until(lambda: not links.monitor.is_connected)
    assert links.monitor.open_for("churn", "m") == (INCIDENT,)
    assert links.monitor.live("churn")["monitor"] == "away"


async def test_diagnoses_are_told_apart_and_problems_are_passed_on(links: GatewayLinks, peer: Peer) -> None:
    asking = asyncio.create_task(links.monitor.diagnose("churn", "m", 60.0, rows=True))
    asked = await peer.hears()
    assert asked == Diagnose(1, "churn", "m", 60.0, False, True)
    peer.say(Diagnosed(99, b"{}"))
    peer.say(Diagnosed(1, b'{"verdicts": []}'))
    assert await asking == {"verdicts": []}
    asking = asyncio.create_task(links.monitor.diagnose("churn"))
    peer.say(
        Diagnosed((await peer.hears()).number, problem="there is no reference", error_code="INVALID_PARAMETER_VALUE")
    )
    with pytest.raises(InvalidParameter, match="there is no reference"):
        await asking
    with pytest.raises(TemporarilyUnavailable, match=r"within 0\.01 s; ask again later, or for less with --since \("):
        await links.monitor.diagnose("churn", timeout_s=0.01)


async def test_profiles_are_asked_for_in_the_same_way_and_what_is_not_there_is_not_found(
    links: GatewayLinks, peer: Peer
) -> None:
    asking = asyncio.create_task(
        links.monitor.profile("churn", "m", window=Window.HOUR, ago=2, segment="client=ios/4.2")
    )
    asked = await peer.hears()
    assert asked == AskProfile(1, "churn", "m", Window.HOUR, 2, "client=ios/4.2", "")
    peer.say(Diagnosed(1, b'{"profiles": []}'))
    assert await asking == {"profiles": []}
    asking = asyncio.create_task(links.monitor.profile("churn", column="tmp"))
    number = (await peer.hears()).number
    peer.say(Diagnosed(number, problem="no column 'tmp'", error_code="RESOURCE_DOES_NOT_EXIST"))
    with pytest.raises(NotFound, match="tmp"):
        await asking
    with pytest.raises(TemporarilyUnavailable, match=r"The profile did not end within 0\.01 s; ask again later\."):
        await links.monitor.profile("churn", timeout_s=0.01)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INTERNAL_ERROR", InternalError),
        ("A_CODE_OF_LATER", InternalError),
        ("TEMPORARILY_UNAVAILABLE", TemporarilyUnavailable),
        ("INVALID_PARAMETER_VALUE", InvalidParameter),
        ("RESOURCE_DOES_NOT_EXIST", NotFound),
    ],
)
async def test_the_monitors_problem_is_told_with_its_code(
    links: GatewayLinks, peer: Peer, code: str, kind: type[TallystickError]
) -> None:
    asking = asyncio.create_task(links.monitor.profile("churn"))
    peer.say(Diagnosed((await peer.hears()).number, problem="it went wrong", error_code=code))
    with pytest.raises(TallystickError, match="it went wrong") as caught:
        await asking
    assert type(caught.value) is kind


async def test_a_diagnosis_ends_with_its_monitor_and_has_a_deadline(links: GatewayLinks, peer: Peer) -> None:
    with pytest.raises(TemporarilyUnavailable, match=r"0\.01 s"):
        await links.monitor.diagnose("churn", timeout_s=0.01)
    asking = asyncio.create_task(links.monitor.diagnose("churn"))
    await peer.hears()
    peer.writer.close()
    with pytest.raises(TemporarilyUnavailable, match="ended meanwhile"):
        await asking
    with pytest.raises(TemporarilyUnavailable, match="--no-monitor"):
        await links.monitor.diagnose("churn")


async def test_diagnoses_that_wait_are_bounded(
    links: GatewayLinks, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_PENDING", 1)
    asking = asyncio.create_task(links.monitor.diagnose("churn"))
    asked = await peer.hears()
    with pytest.raises(TemporarilyUnavailable, match="too many questions"):
        await links.monitor.profile("churn")
    peer.say(Diagnosed(asked.number, b"{}"))
    assert await asking == {}


async def test_replays_are_done_for_the_monitor_and_failures_are_told(links: GatewayLinks, peer: Peer) -> None:
    peer.say(AskReplay(1, Replaying.CHECK, "churn", "m"))
    assert "does not replay" in (await peer.hears()).problem

    async def replay(asked: AskReplay) -> bytes:
        if asked.served_entity == "gone":
            raise NotFound("no such served entity")
        return asked.body + b"!"

    links.monitor.replay = replay
    peer.say(AskReplay(2, Replaying.PREDICT, "churn", "m", b"rows"))
    assert await peer.hears() == Replayed(2, b"rows!")
    peer.say(AskReplay(3, Replaying.CHECK, "churn", "gone"))
    assert await peer.hears() == Replayed(3, problem="no such served entity")


# -- files and routes ------------------------------------------------------------------------------------------


def keep(data_dir: Path, endpoint_id: str, number: int, **fields: Any) -> None:
    folder = data_dir / "parity" / endpoint_id / "incidents"
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"id": number, "endpoint": "churn", "served_entity": "m", "state": "open", "rows": [{"sent": {"a": 1}}]}
    verdict = {
        "status": "cause_found",
        "kind": "unit",
        "features": ["temp"],
        "evidence": [],
        "first_seen": "2026-01-31 14:02:11Z",
    }
    (folder / f"{number}.json").write_text(json.dumps(whole | {"verdict": verdict} | fields))


def test_incidents_are_listed_in_short_the_newest_first_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        keep(tmp_path, "i", number)
    (tmp_path / "parity" / "i" / "incidents" / "11.json").write_text("damaged")
    found = list_incidents(tmp_path, "i")
    assert [each["id"] for each in found] == [10, 2, 1]
    assert (found[0]["kind"], "evidence" in found[0], found[0]["rows"]) == ("unit", False, None)
    assert found[0]["first_seen"] == "2026-01-31 14:02:11Z"
    assert list_incidents(tmp_path, "nothing") == []


@pytest.mark.parametrize("number", ["3", "../1", "x", "", "1/../1", "٣"])
def test_what_is_no_incident_is_not_found(tmp_path: Path, number: str) -> None:
    keep(tmp_path, "i", 1)
    with pytest.raises(NotFound, match="; it has 1\\."):
        get_incident(tmp_path, "i", number)
    with pytest.raises(NotFound, match="; it has none\\."):
        get_incident(tmp_path, "nothing", number)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    given = (f"{number:032x}" for number in range(1000))
    return build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )


ADMIN = Principal("root", is_admin=True)


@pytest.fixture
async def client(service: Service, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async def status() -> dict[str, Any]:
        return {}

    class Logs:
        async def build_log(self, entity_id: str) -> str:
            return entity_id

        server_log = build_log

    class Answers(Monitor):
        async def diagnose(self, endpoint: str, *args: Any, **asked: Any) -> dict[str, Any]:
            return {"verdicts": [], "asked": {"endpoint": endpoint} | asked}

        async def profile(self, endpoint: str, *args: Any, **asked: Any) -> dict[str, Any]:
            return {"profiles": [], "asked": {"endpoint": endpoint} | asked}

    keeper = Gatekeeper(None, None, is_reachable=lambda *_: True, on_change=lambda: None)  # type: ignore[arg-type]
    known = dataclasses.replace(service, parity=parity_of(keeper, service, Answers(), tmp_path))
    app = create_app(known, Logs(), principal_by_token(service), status)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as made:
        yield made


def bearer(service: Service, name: str, *, is_admin: bool = False) -> dict[str, str]:
    made = service.token_service.create(ADMIN, {"principal": name, "is_admin": is_admin})
    return {"authorization": f"Bearer {made['token_value']}"}


async def test_viewers_see_incidents_and_managers_diagnose(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    endpoint = service.create_endpoint(ADMIN, {"name": "churn"})
    keep(tmp_path, endpoint.id, 1)
    service.update_permissions(
        ADMIN, endpoint.id, {"access_control_list": [{"user_name": "ann", "permission_level": "CAN_VIEW"}]}
    )
    ann, bob = bearer(service, "ann"), bearer(service, "bob")
    root = bearer(service, "root", is_admin=True)
    incidents, diagnose = INCIDENTS_PATH.format(name="churn"), DIAGNOSE_PATH.format(name="churn")
    assert (await client.get(incidents, headers=ann)).json()["incidents"][0]["id"] == 1
    assert (await client.get(f"{incidents}/1", headers=ann)).json()["rows"] == [{"sent": {"a": 1}}]
    assert (await client.get(f"{incidents}/2", headers=ann)).status_code == 404
    assert (await client.get(incidents, headers=bob)).status_code == 404
    assert (await client.post(diagnose, headers=ann)).status_code == 403
    answer = await client.post(diagnose, headers=root, json={"since_s": 60, "rows": True, "served_entity": "m"})
    assert answer.json()["asked"] == {
        "endpoint": "churn", "served_entity": "m", "since_s": 60.0, "rows": True, "html": False, "key": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [{"since_s": 0}, {"since_s": "soon"}, {"rows": "many"}, {"served_entity": 3}, {"key": 3}, []]
)
async def test_what_cannot_be_asked_is_refused(service: Service, client: httpx.AsyncClient, body: Any) -> None:
    service.create_endpoint(ADMIN, {"name": "churn"})
    root = bearer(service, "root", is_admin=True)
    answer = await client.post(DIAGNOSE_PATH.format(name="churn"), headers=root, content=msgspec.json.encode(body))
    assert answer.status_code == 400


async def test_viewers_see_profiles_of_what_they_ask_for(service: Service, client: httpx.AsyncClient) -> None:
    endpoint = service.create_endpoint(ADMIN, {"name": "churn"})
    service.update_permissions(
        ADMIN, endpoint.id, {"access_control_list": [{"user_name": "ann", "permission_level": "CAN_VIEW"}]}
    )
    ann, bob = bearer(service, "ann"), bearer(service, "bob")
    path = PROFILE_PATH.format(name="churn")
    found = await client.get(path, headers=ann)
    nothing = {"served_entity": "", "window": "day", "ago": 0, "segment": "", "column": ""}
    assert found.json()["asked"] == {"endpoint": "churn"} | nothing
    asked = {"window": "hour", "segment": "usage_context.team=a=b", "column": "temp", "served_entity": "m", "ago": "3"}
    found = await client.get(path, params=asked, headers=ann)
    assert found.json()["asked"] == {"endpoint": "churn"} | asked | {"ago": 3}
    assert (await client.get(path, headers=bob)).status_code == 404
    assert (await client.get(path)).status_code == 401


async def test_every_problem_of_a_profile_that_is_asked_for_is_told(
    service: Service, client: httpx.AsyncClient
) -> None:
    service.create_endpoint(ADMIN, {"name": "churn"})
    root = bearer(service, "root", is_admin=True)
    wrong = {"window": "week", "segment": "ios", "ago": "30"}
    answer = await client.get(PROFILE_PATH.format(name="churn"), params=wrong, headers=root)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    for part in ("window: expected one of hour, day", "segment: expected COLUMN=VALUE", "from 0 to 29"):
        assert part in answer.json()["message"]


@pytest.mark.parametrize("path", [operation.path for operation in incident_routes(ENDPOINT_PATH)])
def test_the_page_on_the_control_api_has_the_routes(path: str) -> None:
    assert path.removeprefix("/api/2.0/serving-endpoints/{name}") in PAGE
