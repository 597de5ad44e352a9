"""A world for the plan: endpoints, entities and processes as control sees them."""

from tallystick.control.plan import (
    World,
)
from tallystick.entities import (
    ConfigUpdate,
    Endpoint,
    EndpointConfig,
    EndpointId,
    ResolvedModel,
    Route,
    ServedEntityId,
    entity,
)
from tallystick.gate.report import GateReport, Outcome, Rung, RungReport
from tallystick.protocol.supervise import Phase, ProcessView, Report

NOW = 1_000_000
GOLDEN = GateReport(Outcome.PASSED, rows=512)
WRONG = GateReport(Outcome.FAILED, rows=512, rungs=(RungReport(Rung.STEPS, Outcome.FAILED, "Step prep, column age."),))
MODEL = ResolvedModel("/m", "d", "models:/m/1")


def served(name, **fields):
    return entity("m", name, id=ServedEntityId(f"e{name}"), name=f"m-{name}", **fields)


def config(version, *entities):
    share = 10_000 // len(entities)
    return EndpointConfig(version, entities, tuple(Route(e.name, share) for e in entities), NOW)


def endpoint(active=None, pending=None, update=None, **fields):
    default = ConfigUpdate.IN_PROGRESS if pending else ConfigUpdate.NOT_UPDATING
    state = {"active": active, "pending": pending, "config_update": update or default}
    return Endpoint(EndpointId("E"), "churn", "ann", 0, 0, **state, **fields)


def view(id, state="ready", phase=Phase.RUNNING, message="", **fields):
    return ProcessView(id, phase, 7, Report(state, message) if state else None, **fields)


def world(*endpoints, processes=(), resolved=(), **fields):
    values = {
        "endpoints": endpoints,
        "resolved": dict.fromkeys(resolved, MODEL),
        "processes": {each.id: each for each in processes},
        "builds": {},
        "promoted": {},
        "is_applied": True,
        "idle_s": {},
        "scale_to_zero_after_s": 1800.0,
        "now_ms": NOW,
    }
    return World(**(values | fields))


def of(kind, actions):
    return [action for action in actions if isinstance(action, kind)]


A, B = served("1"), served("2")
