"""Any order of uses and outcomes leaves the endpoints as a few lines of bookkeeping say.

The model knows, for each endpoint, which config serves, which is pending and whether it is stopped; the service
has to agree after every step, and a refused step must change nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tallystick.auth import Principal
from tallystick.control.memory_store import MemoryStore
from tallystick.control.render import detailed
from tallystick.control.service import build_service
from tallystick.entities import ConfigUpdate, Deployment, Endpoint, EntityStatus, Level, Ready
from tallystick.errors import (
    AlreadyExists,
    Conflict,
    InvalidState,
    NotFound,
    PermissionDenied,
    TallystickError,
)

ROOT = Principal("root", is_admin=True)
BOB = Principal("bob")
NAMES = st.sampled_from(["a", "b"])
VERSIONS = st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True)
# Mostly one who may: refusals leave everything as it was, and long stories need steps that count.
CALLERS = st.sampled_from([ROOT, ROOT, ROOT, ROOT, ROOT, BOB])


@dataclass
class Expected:
    """What is known of one endpoint: lists are the model versions that a config serves."""

    last: int = 0
    active: tuple[int, list[int]] | None = None
    pending: tuple[int, list[int]] | None = None
    update: ConfigUpdate = ConfigUpdate.NOT_UPDATING
    is_stopped: bool = False
    bob: Level = Level.NONE
    #: Served entity id by model version, of the active config.
    ids: dict[int, str] = field(default_factory=dict)

    @property
    def is_updating(self) -> bool:
        return self.update is ConfigUpdate.IN_PROGRESS


def config_of(versions: list[int]) -> dict[str, Any]:
    entities = [{"entity_name": "m", "entity_version": str(version)} for version in versions]
    shares = [100 // len(versions)] * len(versions)
    routes = [
        {"served_entity_name": f"m-{version}", "traffic_percentage": share}
        for version, share in zip(versions, shares, strict=True)
    ]
    return {"served_entities": entities, "traffic_config": {"routes": routes}}


def ids_of(endpoint: Endpoint) -> dict[int, str]:
    served = endpoint.active.served_entities if endpoint.active else ()
    return {int(entity.entity_version or 0): entity.id for entity in served}


class ControlMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        numbers = iter(range(10**6))
        self.expected: dict[str, Expected] = {}
        self.woken = 0
        self.service = build_service(
            MemoryStore(),
            Path(tempfile.gettempdir()),
            now_ms=lambda: 0,
            new_id=lambda: f"{next(numbers):032x}",
            on_change=self.wake,
        )

    def wake(self) -> None:
        self.woken += 1

    def attempt(self, act: Any, error: type[TallystickError] | None) -> Any:
        """Do it; when it is to be refused, check that it is, for that reason, and without a trace."""
        before, woken = self.service.endpoints(), self.woken
        found, raised = None, None
        try:
            found = act()
        except TallystickError as refused:
            raised = refused
        assert (raised and type(raised)) is error, f"{raised!r} instead of {error}"
        if raised is not None:
            assert (self.service.endpoints(), self.woken) == (before, woken)
        return found

    def refusal(self, caller: Principal, name: str) -> type[TallystickError] | None:
        known = self.expected.get(name)
        if known is None or (caller is BOB and known.bob is Level.NONE):
            return NotFound
        return PermissionDenied if caller is BOB and known.bob is not Level.CAN_MANAGE else None

    @rule(caller=CALLERS, name=NAMES, versions=VERSIONS | st.none())
    def create(self, caller: Principal, name: str, versions: list[int] | None) -> None:
        body = {"name": name} | ({"config": config_of(versions)} if versions else {})
        error = PermissionDenied if caller is BOB else AlreadyExists if name in self.expected else None
        if self.attempt(lambda: self.service.create_endpoint(caller, body), error):
            self.expected[name] = Expected()
            if versions:
                self.begin(self.expected[name], versions)

    @rule(caller=CALLERS, name=NAMES, versions=VERSIONS)
    def update(self, caller: Principal, name: str, versions: list[int]) -> None:
        known = self.expected.get(name, Expected())
        error = self.refusal(caller, name)
        if error is None and known.is_updating:
            error = Conflict
        elif error is None and known.is_stopped:
            error = InvalidState
        if self.attempt(lambda: self.service.update_config(caller, name, config_of(versions)), error):
            self.begin(known, versions)

    @rule(caller=CALLERS, name=NAMES)
    def stop(self, caller: Principal, name: str) -> None:
        known = self.expected.get(name, Expected())
        error = self.refusal(caller, name)
        if error is None and not known.is_stopped:
            error = Conflict if known.is_updating else InvalidState if known.active is None else None
        if self.attempt(lambda: self.service.stop(caller, name), error):
            known.is_stopped, known.update = True, ConfigUpdate.NOT_UPDATING

    @rule(caller=CALLERS, name=NAMES)
    def start(self, caller: Principal, name: str) -> None:
        known = self.expected.get(name, Expected())
        if self.attempt(lambda: self.service.start(caller, name), self.refusal(caller, name)) and known.is_stopped:
            assert known.active is not None
            known.is_stopped = False
            self.begin(known, known.active[1])

    @rule(caller=CALLERS, name=NAMES, is_meant=st.sampled_from([False, False, False, True]))
    def delete(self, caller: Principal, name: str, is_meant: bool) -> None:
        if not is_meant:
            return
        error = self.refusal(caller, name)
        self.attempt(lambda: self.service.delete_endpoint(caller, name), error)
        if error is None:
            del self.expected[name]

    @rule(caller=CALLERS, name=NAMES, level=st.sampled_from(Level), replace=st.booleans())
    def grant(self, caller: Principal, name: str, level: Level, replace: bool) -> None:
        lines = [{"user_name": "bob", "permission_level": level.name}] if level else []
        act = self.service.set_permissions if replace else self.service.update_permissions
        if self.attempt(lambda: act(caller, name, {"access_control_list": lines}), self.refusal(caller, name)) and (
            lines or replace
        ):
            self.expected[name].bob = level

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), works=st.booleans(), offset=st.sampled_from([0, 0, 0, -1, 1]))
    def outcome(self, data: st.DataObject, works: bool, offset: int) -> None:
        """The reconciler brings up or gives up a version, the right one or one of a moment ago."""
        updating = [name for name, known in self.expected.items() if known.is_updating]
        name = data.draw(st.sampled_from(sorted(updating or self.expected)))
        known, endpoint = self.expected[name], self.service.get_endpoint(ROOT, name)
        version = known.last + offset
        is_right = known.is_updating and offset == 0
        is_repeated = works and known.active is not None and known.active[0] == version and not known.pending
        if works:
            act = lambda: self.service.activate(endpoint.id, version, 0)  # noqa: E731
        else:
            statuses = {
                entity.id: EntityStatus(Deployment.FAILED, "no")
                for entity in (endpoint.pending.served_entities if endpoint.pending else ())
            }
            act = lambda: self.service.fail(endpoint.id, version, statuses)  # noqa: E731
        done = self.attempt(act, None if is_right or is_repeated else Conflict)
        if not is_right:
            return
        if works:
            known.active, known.pending, known.update = known.pending, None, ConfigUpdate.NOT_UPDATING
            known.ids = ids_of(done)
        else:
            known.update = ConfigUpdate.UPDATE_FAILED
            known.pending = known.pending if known.active is None else None

    def begin(self, known: Expected, versions: list[int]) -> None:
        known.last += 1
        known.pending, known.update = (known.last, versions), ConfigUpdate.IN_PROGRESS

    @invariant()
    def endpoints_are_as_expected(self) -> None:
        endpoints = {endpoint.name: endpoint for endpoint in self.service.endpoints()}
        assert set(endpoints) == set(self.expected)
        for name, known in self.expected.items():
            endpoint = endpoints[name]
            for config, wanted in ((endpoint.active, known.active), (endpoint.pending, known.pending)):
                found = config and (config.version, [int(e.entity_version or 0) for e in config.served_entities])
                assert found == wanted
            assert (endpoint.config_update, endpoint.is_stopped) == (known.update, known.is_stopped)
            assert endpoint.last_config_version == known.last
            # What serves is not replaced by what fails, and keeps its workers.
            assert ids_of(endpoint) == known.ids
            if known.active is None or known.is_stopped:
                assert endpoint.ready is Ready.NOT_READY
            if endpoint.pending is not None:
                for entity in endpoint.pending.served_entities:
                    kept = known.ids.get(int(entity.entity_version or 0))
                    assert kept in (None, entity.id)

    @invariant()
    def every_endpoint_can_be_shown(self) -> None:
        for endpoint in self.service.endpoints():
            shown = detailed(endpoint, Level.CAN_MANAGE)
            assert shown["state"]["config_update"] in {state.value for state in ConfigUpdate}
            assert ("config" in shown) == (endpoint.active is not None)
            assert shown["state"]["config_update"] != "IN_PROGRESS" or "pending_config" in shown

    @invariant()
    def bob_sees_what_he_was_granted(self) -> None:
        visible = {endpoint.name for endpoint in self.service.list_endpoints(BOB)}
        assert visible == {name for name, known in self.expected.items() if known.bob}


TestControlMachine = ControlMachine.TestCase
TestControlMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
