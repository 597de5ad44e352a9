"""What control keeps of checks: reports of workers as they come, replays begun once, and forgotten with their entity."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.logs import BuildLogs
from tallystick.control.own_replays import OwnReplays, is_known
from tallystick.control.worker_launch import WorkerLauncher
from tallystick.entities import (
    Endpoint,
    EndpointConfig,
    EndpointId,
    ResolvedModel,
    Route,
    ServedEntityId,
    entity,
)
from tallystick.errors import Conflict, InvalidState, NotFound
from tallystick.gate.report import GateReport, Outcome, Policy, Rung, RungReport
from tallystick.protocol.routes import EndpointRoute, EndpointState, EntityRoute, RouteTable
from tallystick.protocol.supervise import Phase, ProcessView, Report
from tallystick.protocol.worker_spec import FailedDetail, ReadyDetail, WorkerSpec
from tallystick.settings import Settings

MODEL = ResolvedModel("/m", "d" * 64, "models:/m/1")
ENTITY = entity("m", "1", id=ServedEntityId("e1"), name="m-1", max_concurrency=8)
CONFIG = EndpointConfig(1, (ENTITY,), (Route("m-1", 10_000),))
ENDPOINT = Endpoint(EndpointId("E"), "churn", "ann", 0, 0, active=CONFIG)
GOOD = GateReport(Outcome.PASSED, rows=5, rungs=(RungReport(Rung.WIRE, Outcome.PASSED, "5 rows come out."),))
WRONG = GateReport(Outcome.FAILED, rows=5, rungs=(RungReport(Rung.STEPS, Outcome.FAILED, "Step prep, column age."),))


def view(number=0, detail="null", state="ready"):
    return {f"e1-{number}": ProcessView(f"e1-{number}", Phase.RUNNING, 7, Report(state, "", detail))}


def ready(report):
    return msgspec.json.encode(ReadyDetail(MODEL, 1.0, 4, report)).decode()


class Bench:
    def __init__(self, folder):
        self.logs = BuildLogs(folder)
        self.changes, self.asked, self.is_reachable = 0, [], True
        self.answer = {"0": GOOD, "1": GOOD}
        self.keeper = Gatekeeper(
            self.logs, self.replay, is_reachable=lambda _endpoint, _entity: self.is_reachable, on_change=self.changed
        )

    def changed(self):
        self.changes += 1

    async def replay(self, endpoint, entity, resolved, policy):
        self.asked.append((endpoint.name, entity.name, resolved.digest, policy))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def log(self):
        return self.logs.path("e1").read_text()


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_a_workers_report_is_kept_and_told_once_rung_by_rung(bench):
    for _ in range(2):
        bench.keeper.note(view(detail=ready(GOOD)))
    assert bench.keeper.reports == {"e1-0": GOOD}
    assert bench.log.count("wire        ok       5 rows come out.") == 1
    refused = msgspec.json.encode(FailedDetail(WRONG)).decode()
    bench.keeper.note(view(detail=refused, state="failed"))
    assert bench.keeper.reports["e1-0"].outcome is Outcome.FAILED
    assert "worker 0: Parity gate: steps differs from training. Step prep, column age." in bench.log


async def test_each_check_of_a_replica_counts_by_place_until_its_served_entity_is_gone(bench):
    for report in (GOOD, GOOD, WRONG):
        bench.keeper.note(view(detail=ready(report)))
    await bench.keeper.check(ENDPOINT, None, {ENTITY.id: MODEL})
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    while not bench.keeper.replays["e1"].is_done:
        await asyncio.sleep(0.001)
    counted = {place: each.outcomes for (_entity, place), each in bench.keeper.tally.checked.items()}
    # The same report twice is one check.
    assert counted == {"worker": {"passed": 1, "failed": 1}, "http": {"passed": 4}}
    bench.keeper.forget({"e1"})
    assert len(bench.keeper.tally.checked) == 2
    bench.keeper.forget({"other"})
    assert bench.keeper.tally.checked == {}


async def test_other_reports_say_nothing_of_the_gate(bench):
    bench.keeper.note(view(detail=ready(None)) | view(1, '{"requirements": []}', "needs_environment"))
    assert bench.keeper.reports == {}


async def test_a_replay_is_begun_once_waits_for_the_gateways_and_ends_in_its_reports(bench):
    bench.is_reachable = False
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    assert bench.keeper.reachable == {"e1"}
    await asyncio.sleep(0)
    assert (bench.asked, bench.keeper.replays["e1"].is_done) == ([], False)
    bench.is_reachable = True
    while not bench.keeper.replays["e1"].is_done:
        await asyncio.sleep(0.001)
    assert bench.asked == [("churn", "m-1", "d" * 64, Policy.AUTO)]
    assert bench.keeper.described(ENDPOINT)["m-1"]["http"] == bench.answer
    assert "worker 1 over HTTP: Parity gate: 5 golden rows" in bench.log


async def test_a_replay_that_breaks_ends_too_and_is_no_pass(bench):
    bench.answer = RuntimeError("secret words")
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    while not bench.keeper.replays["e1"].is_done:
        await asyncio.sleep(0.001)
    assert bench.keeper.replays["e1"].failure == "Parity gate: golden rows could not be replayed: RuntimeError."


async def test_a_check_on_demand_asks_what_serves_and_is_kept(bench):
    bench.answer = {"0": GOOD, "1": WRONG}
    found = await bench.keeper.check(ENDPOINT, None, {ENTITY.id: MODEL})
    assert (found["outcome"], found["entities"]) == ("failed", {"m-1": bench.answer})
    assert bench.keeper.replays["e1"].failure == WRONG.summary()
    with pytest.raises(NotFound, match="m-9"):
        await bench.keeper.check(ENDPOINT, "m-9", {})
    with pytest.raises(InvalidState, match=r"serves nothing.* tallystick endpoints get idle"):
        await bench.keeper.check(Endpoint(EndpointId("F"), "idle", "ann", 0, 0), None, {})
    with pytest.raises(InvalidState, match=rf"is stopped.* 'tallystick endpoints start {ENDPOINT.name}'"):
        await bench.keeper.check(replace(ENDPOINT, is_stopped=True), None, {})


async def test_two_checks_of_an_endpoint_do_not_run_at_once(bench):
    answer, begun = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def slow(*_arguments):
        begun.set()
        return await answer

    bench.keeper._replayer = slow
    first = asyncio.create_task(bench.keeper.check(ENDPOINT, None, {ENTITY.id: MODEL}))
    await begun.wait()
    with pytest.raises(Conflict, match="under way"):
        await bench.keeper.check(ENDPOINT, None, {ENTITY.id: MODEL})
    answer.set_result({"0": GOOD})
    assert (await first)["outcome"] == "passed"
    assert (await bench.keeper.check(ENDPOINT, None, {}))["entities"] == {}


async def test_replays_end_with_control(bench):
    bench.is_reachable = False
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    await bench.keeper.close()
    assert bench.keeper._tasks == {}


async def test_what_was_found_of_a_worker_goes_when_another_takes_its_place(bench):
    bench.answer = {"0": GOOD, "1": WRONG}
    await bench.keeper.check(ENDPOINT, None, {ENTITY.id: MODEL})
    bench.keeper.note(view(1, ready(GOOD)))
    assert bench.keeper.replays["e1"].failure == ""


async def test_everything_goes_with_the_served_entity(bench):
    bench.keeper.note(view(detail=ready(GOOD)))
    bench.is_reachable = False
    bench.keeper.replay(ENDPOINT, ENTITY, MODEL)
    bench.keeper.forget({"other"})
    assert (bench.keeper.reports, bench.keeper.replays) == ({}, {})


def test_the_gateways_know_of_what_is_routed_and_of_what_is_not_yet():
    route = EntityRoute("e1", "m-1", "m", "1", 0, (), 4, 4, 60.0)
    waiting = EndpointRoute("E", "churn", "ann", EndpointState.NOT_DEPLOYED, 0, (), pending=(route,))
    table = RouteTable(1, {"churn": waiting})
    assert is_known(table, "churn", ServedEntityId("e1"))
    assert not is_known(table, "churn", ServedEntityId("e2"))
    assert not is_known(table, "other", ServedEntityId("e1"))


def test_each_start_of_control_has_a_token_of_its_own(tmp_path):
    one, other = (OwnReplays(Settings(tmp_path), 0).tokens for _ in range(2))
    assert not one.keys() & other.keys()
    assert {token.principal for token in one.values()} == {"parity"}


def test_a_worker_that_starts_again_goes_by_the_policy_of_today(tmp_path):
    settings = Settings(tmp_path)
    settings.run_dir.mkdir(parents=True)
    launcher = WorkerLauncher(settings, {}, lambda _entity: {})
    path = launcher.spec(ENTITY, 0, MODEL, Policy.BLOCK).argv[-1]

    def policy():
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=WorkerSpec).policy

    assert policy() is Policy.BLOCK
    # Another process of control, which wrote nothing yet.
    WorkerLauncher(settings, {}, lambda _entity: {}).set_policy("e1-0", Policy.OFF)
    assert policy() is Policy.OFF
    launcher.set_policy("e9-0", Policy.OFF)
