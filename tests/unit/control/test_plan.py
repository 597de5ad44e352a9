"""The plan, driven against a small model of the machine: what is planned is carried out, and the clock steps."""

from dataclasses import replace

from plan_world import GOLDEN, NOW, WRONG, A, B, config, endpoint, of, served, view, world

from tallystick.control import lifecycle
from tallystick.control.plan import (
    Activate,
    Build,
    BuildEnvironment,
    Fail,
    ParkReplica,
    Promote,
    Replay,
    ReplayGolden,
    SaveResolved,
    SetStatus,
    Start,
    StopReplica,
    plan,
)
from tallystick.entities import (
    Deployment,
)
from tallystick.gate.report import GateReport, Outcome, Policy, Rung, RungReport
from tallystick.protocol.supervise import Phase


def test_a_new_endpoint_starts_one_worker_of_each_entity_to_resolve_the_model():
    big = served("3", max_concurrency=12)
    actions = plan(world(endpoint(pending=config(1, A, big))))
    assert [(a.entity.name, a.number) for a in of(Start, actions)] == [("m-1", 0), ("m-3", 0)]


def test_the_other_workers_start_when_the_model_is_known():
    big = served("3", max_concurrency=12)
    actions = plan(world(endpoint(pending=config(1, big)), processes=[view("e3-0")], resolved=["e3"]))
    assert [a.number for a in of(Start, actions)] == [1, 2]
    assert not of(Promote, actions)


def test_a_ready_worker_of_an_unknown_model_is_asked_what_it_found():
    actions = plan(world(endpoint(pending=config(1, A)), processes=[view("e1-0")]))
    assert of(SaveResolved, actions)
    assert not of(Promote, actions)


def test_a_config_is_promoted_when_all_are_ready_and_active_when_all_gateways_route_by_it():
    pending = endpoint(active=config(1, A), pending=config(2, A, B))
    ready = {"processes": [view("e1-0"), view("e2-0")], "resolved": ["e1", "e2"]}
    assert of(Promote, plan(world(pending, **ready)))
    promoted = {"promoted": {"E": 2}}
    assert not of(Activate, plan(world(pending, **ready, **promoted, is_applied=False)))
    assert of(Activate, plan(world(pending, **ready, **promoted)))


def test_a_worker_is_stopped_only_when_no_gateway_may_still_use_it():
    processes = [view("e1-0"), view("e2-0")]
    only_a = endpoint(active=config(1, A))
    assert not of(StopReplica, plan(world(only_a, processes=processes, resolved=["e1"], is_applied=False)))
    stops = of(StopReplica, plan(world(only_a, processes=processes, resolved=["e1"])))
    assert [stop.replica_id for stop in stops] == ["e2-0"]


def test_a_worker_that_fails_to_load_fails_the_change_with_its_reason_and_nothing_else():
    updating = endpoint(active=config(1, A), pending=config(2, A, B))
    failing = view("e2-0", "failed", Phase.BACKOFF, "Loading the model raised ValueError: no")
    actions = plan(world(updating, processes=[view("e1-0"), failing], resolved=["e1"]))
    (fail,) = of(Fail, actions)
    assert fail.statuses["e2"].state is Deployment.FAILED
    assert "ValueError: no" in fail.statuses["e2"].message
    assert "e1" not in fail.statuses


def test_a_worker_that_dies_while_loading_fails_the_change():
    dead = view("e1-0", "loading", Phase.BACKOFF, last_exit="killed by SIGSEGV")
    (fail,) = of(Fail, plan(world(endpoint(pending=config(1, A)), processes=[dead])))
    assert "killed by SIGSEGV" in fail.statuses["e1"].message


def test_a_model_that_never_loads_fails_the_change_at_its_limit():
    loading = [view("e1-0", "loading")]
    pending = endpoint(pending=config(1, A))
    assert not of(Fail, plan(world(pending, processes=loading, now_ms=NOW + 599_000)))
    assert of(Fail, plan(world(pending, processes=loading, now_ms=NOW + 601_000)))


def test_a_worker_of_the_active_config_that_dies_does_not_fail_the_change():
    updating = endpoint(active=config(1, A), pending=config(2, A, B))
    dead = view("e1-0", "loading", Phase.BACKOFF, last_exit="killed by SIGKILL")
    assert not of(Fail, plan(world(updating, processes=[dead, view("e2-0")], resolved=["e1", "e2"])))


def test_an_active_worker_that_dies_is_recovering():
    dead = view("e1-0", "ready", Phase.BACKOFF, last_exit="killed by SIGKILL")
    (status,) = of(SetStatus, plan(world(endpoint(active=config(1, A)), processes=[dead], resolved=["e1"])))
    assert status.statuses["e1"].state is Deployment.RECOVERING
    assert "SIGKILL" in status.statuses["e1"].message


def test_a_missing_environment_is_built_once_and_then_used():
    pending = endpoint(pending=config(1, A))
    needs = [view("e1-0", "needs_environment", Phase.ENDED)]
    assert of(BuildEnvironment, plan(world(pending, processes=needs)))
    assert not of(BuildEnvironment, plan(world(pending, processes=needs, builds={"e1": Build()})))
    built = plan(world(pending, processes=needs, builds={"e1": Build(python="/env/bin/python")}))
    assert of(StopReplica, built)
    assert of(Start, plan(world(pending, builds={"e1": Build(python="/env/bin/python")})))
    (fail,) = of(Fail, plan(world(pending, processes=needs, builds={"e1": Build(error="no such package")})))
    assert fail.statuses["e1"].message == "no such package"


def test_idle_workers_are_parked_only_where_it_was_asked_for():
    sleepy, awake = served("1", scale_to_zero_enabled=True), B
    both = endpoint(active=config(1, sleepy, awake))
    state = {"processes": [view("e1-0"), view("e2-0")], "resolved": ["e1", "e2"]}
    parks = of(ParkReplica, plan(world(both, **state, idle_s={"e1": 1801, "e2": 9999})))
    assert [park.replica_id for park in parks] == ["e1-0"]
    assert not of(ParkReplica, plan(world(both, **state, idle_s={"e1": 1799, "e2": 9999})))


def test_a_parked_entity_is_ready_and_not_started_again():
    sleepy = served("1", scale_to_zero_enabled=True)
    parked = [view("e1-0", "ready", Phase.PARKED)]
    actions = plan(world(endpoint(active=config(1, sleepy)), processes=parked, resolved=["e1"]))
    (status,) = of(SetStatus, actions)
    assert status.statuses["e1"].state is Deployment.READY
    assert not of(Start, actions)


def test_a_stopped_endpoint_has_no_workers():
    stopped = endpoint(active=config(1, A), is_stopped=True)
    actions = plan(world(stopped, processes=[view("e1-0")], resolved=["e1"]))
    assert [stop.replica_id for stop in of(StopReplica, actions)] == ["e1-0"]
    assert not of(Start, actions)


def test_nothing_is_done_when_all_is_as_wanted():
    active = endpoint(active=config(1, A))
    settled = replace(active, entity_status={"e1": lifecycle.READY})
    assert plan(world(settled, processes=[view("e1-0")], resolved=["e1"])) == []


def test_golden_rows_come_through_over_http_before_a_config_is_promoted():
    pending = endpoint(active=config(1, A), pending=config(2, A, B))
    ready = {"processes": [view("e1-0"), view("e2-0")], "resolved": ["e1", "e2"], "gates": {"e2-0": GOLDEN}}
    actions = plan(world(pending, **ready))
    assert [replay.entity.id for replay in of(ReplayGolden, actions)] == ["e2"]
    assert not of(Promote, actions)
    assert not of(ReplayGolden, plan(world(pending, **ready, replays={"e2": Replay()})))
    assert not of(Promote, plan(world(pending, **ready, replays={"e2": Replay()})))
    assert of(Promote, plan(world(pending, **ready, replays={"e2": Replay(True, {"0": GOLDEN})})))


def test_a_replay_that_fails_ends_the_change_unless_a_warning_is_enough():
    pending = endpoint(active=config(1, A), pending=config(2, B))
    ready = {"processes": [view("e1-0"), view("e2-0")], "resolved": ["e1", "e2"], "gates": {"e2-0": GOLDEN}}
    for failed in (Replay(True, {"0": WRONG}), Replay(True, {}, "Parity gate: not reached.")):
        (failure,) = of(Fail, plan(world(pending, **ready, replays={"e2": failed})))
        assert failure.statuses["e2"].message == failed.failure
        warned = replace(pending, extras={"parity": {"gate": "warn"}})
        actions = plan(world(warned, **ready, replays={"e2": failed}))
        assert of(Promote, actions)
        assert of(SetStatus, actions)[0].statuses["e2"].message == failed.failure


def test_nothing_is_replayed_where_the_gate_is_off_there_are_no_rows_or_the_workers_serve_already():
    ready = {"processes": [view("e1-0"), view("e2-0")], "resolved": ["e1", "e2"]}
    pending = endpoint(active=config(1, A), pending=config(2, A, B))
    off = replace(pending, extras={"parity": {"gate": "off"}})
    assert of(Promote, plan(world(off, **ready, gates={"e2-0": GOLDEN})))
    assert of(Promote, plan(world(pending, **ready, gates={"e2-0": GateReport(Outcome.SKIPPED)})))
    assert of(Promote, plan(world(pending, **ready, gates={"e1-0": GOLDEN})))


def test_what_the_gate_says_is_in_the_state_of_a_served_entity():
    active = endpoint(active=config(1, A))
    seen = {"processes": [view("e1-0")], "resolved": ["e1"]}
    (status,) = of(SetStatus, plan(world(active, **seen, gates={"e1-0": WRONG})))
    assert (status.statuses["e1"].state, status.statuses["e1"].message) == (Deployment.READY, WRONG.summary())


def test_a_replica_with_other_files_is_told_before_what_it_says_of_itself():
    active = endpoint(active=config(1, A))
    seen = {"processes": [view("e1-0")], "resolved": ["e1"], "gates": {"e1-0": WRONG}}
    convicted = GateReport(Outcome.FAILED, rungs=(RungReport(Rung.IDENTITY, Outcome.FAILED, "Replica e1-0 serves x."),))
    (status,) = of(SetStatus, plan(world(active, **seen, replays={"e1": Replay(True, {"0": convicted})})))
    assert status.statuses["e1"].message == convicted.summary()


def test_workers_are_started_by_the_policy_of_their_endpoint():
    wanted = endpoint(pending=config(1, A), extras={"parity": {"gate": "block"}})
    assert [start.policy for start in of(Start, plan(world(wanted)))] == [Policy.BLOCK]
