"""The plan, carried out on a small model of the machine until nothing changes."""

from hypothesis import given
from hypothesis import strategies as st
from plan_world import GOLDEN, MODEL, NOW, WRONG, A, config, endpoint, served, view

from tallystick.control import lifecycle
from tallystick.control.plan import (
    Activate,
    Build,
    BuildEnvironment,
    Fail,
    Promote,
    Replay,
    ReplayGolden,
    SaveResolved,
    SetStatus,
    Start,
    StopReplica,
    World,
    plan,
    replica_id,
)
from tallystick.entities import (
    ConfigUpdate,
    ServedEntityId,
)
from tallystick.protocol.supervise import Phase

FATES = st.sampled_from(["ready", "failed", "dies", "needs_environment", "slow", "golden", "golden differs"])


@given(st.lists(FATES, min_size=1, max_size=3), st.booleans())
def test_every_change_ends_and_what_serves_is_never_stopped_before_that(fates, has_active):
    """Carry out plans until nothing changes: the change has ended, and with its right outcome."""
    entities = [served(str(number + 10), max_concurrency=4 + 4 * (number % 2)) for number in range(len(fates))]
    fate = {e.id: fate for e, fate in zip(entities, fates, strict=True)}
    now = endpoint(active=config(1, A) if has_active else None, pending=config(2, *entities))
    processes = {"e1-0": view("e1-0")} if has_active else {}
    resolved, builds, promoted, clock = ({ServedEntityId("e1"): MODEL} if has_active else {}), {}, {}, NOW
    replays = {}
    for _ in range(40):
        gates = {name: GOLDEN for name in processes if fate.get(name.rpartition("-")[0], "").startswith("golden")}
        actions = plan(
            World((now,), resolved, dict(processes), builds, promoted, True, {}, 1800.0, clock, gates, dict(replays))
        )
        for action in actions:
            match action:
                case Start(each, number, known):
                    outcome = fate.get(each.id, "ready")
                    if outcome.startswith("golden") or (outcome == "needs_environment" and each.id in builds):
                        outcome = "ready"
                    name = replica_id(each, number)
                    assert known is not None or number == 0
                    processes[name] = {
                        "ready": view(name),
                        "failed": view(name, "failed", Phase.BACKOFF, "bad"),
                        "dies": view(name, "", Phase.BACKOFF, last_exit="killed"),
                        "needs_environment": view(name, "needs_environment", Phase.ENDED),
                        "slow": view(name, "loading"),
                    }[outcome]
                case StopReplica(name):
                    assert not (has_active and name == "e1-0" and now.active.version == 1)
                    processes.pop(name, None)
                case SaveResolved(each, _):
                    resolved[each.id] = MODEL
                case BuildEnvironment(each, _):
                    builds[each.id] = Build(python="/env/python")
                case ReplayGolden(_, each):
                    assert each.id not in replays
                    replays[each.id] = Replay(True, {"0": WRONG if fate[each.id] == "golden differs" else GOLDEN})
                case Promote(_, version):
                    assert all(each.id in replays for each in entities if fate[each.id] == "golden")
                    promoted = {"E": version}
                case Activate(_, version):
                    now = lifecycle.activated(now, version, clock)
                case Fail(_, version, statuses):
                    now = lifecycle.failed(now, version, statuses)
                case SetStatus(_, statuses):
                    now = lifecycle.with_statuses(now, statuses)
        clock += 30_000
    works = all(each in ("ready", "needs_environment", "golden") for each in fates)
    assert now.config_update is (ConfigUpdate.NOT_UPDATING if works else ConfigUpdate.UPDATE_FAILED)
    serving = {name.rpartition("-")[0] for name in processes}
    expected = {e.id for e in entities} if works else ({"e1"} if has_active else set())
    assert serving == expected
