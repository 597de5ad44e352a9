"""From two clients' requests to a verdict that names column, factor and client; and the same for a wrong replica."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import golden_models
import pytest
from running import Server, eventually

from tallystick.parity import Reference

RUNNING = {"TALLYSTICK_ENVIRONMENT": "running"}


class Listener:
    """A webhook's other end."""

    def __init__(self):
        self.got = got = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def listener():
    made = Listener()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model with golden rows and a reference, its copy with other weights, and fair rows."""
    folder = tmp_path_factory.mktemp("trained")
    frame, y = golden_models.training_rows(1500)
    model = golden_models.fitted(frame, y)
    some = frame.head(160)
    for name, each in (("right", model), ("wrong", golden_models.with_other_weights(model, 1.5))):
        golden_models.save(folder / name, each, some, golden_models.golden_of(model, some, y.head(160)))
        Reference.from_frame(frame, model=each.predict, y=y).save(folder / name / "parity")
    return folder, golden_models.training_rows(400, seed=8)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory, trained, listener):
    """A server that looks every second, with an endpoint of one replica and one of two."""
    made = Server(tmp_path_factory.mktemp("diagnosis") / "data", "--monitor-every", "1s")
    folder, _ = trained
    entity = {"entity_name": str(folder / "right"), "name": "m", "environment_vars": RUNNING}
    two = {"max_provisioned_concurrency": 8, "min_provisioned_concurrency": 8}
    for name, more in (("rides", {}), ("pair", two)):
        made.deploy(name, entity | more, wait=False)
    for name in ("rides", "pair"):
        assert made.settled(name)["state"]["ready"] == "READY"
    made.api("PUT", "/rides/parity", {"webhook": listener.url})
    made.api("PUT", "/pair/parity", {"gate": "warn"})
    yield made
    made.stop()


def send(server, endpoint, rows, agent):
    for start in range(0, len(rows), 20):
        body = {"dataframe_records": rows.iloc[start : start + 20].to_dict(orient="records")}
        answer = server.invoke(endpoint, body, headers={"user-agent": agent})
        assert answer.status_code == 200, answer.text


def command(server, *arguments):
    """Run the command line as its user would; return what it prints."""
    argv = [sys.executable, "-m", "tallystick", *arguments]
    done = subprocess.run(argv, env=server.env | {"TALLYSTICK_DATA_DIR": str(server.data_dir)}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def diagnosed(server, endpoint):
    (found,) = server.api("POST", f"/{endpoint}/parity/diagnose", {})["verdicts"]
    return found["verdict"]


def metric(server, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = [line for line in server.http.get("/metrics").text.splitlines() if line.startswith(name)]
    return [line for line in lines if all(each in line for each in wanted)]


def test_fair_rows_are_consistent_and_why_nothing_is_seen_is_said(server, trained):
    _, rows = trained
    verdict = diagnosed(server, "pair")
    assert verdict["status"] == "cannot_tell"
    assert "no invocation of m was recorded" in verdict["degraded"][0]
    send(server, "pair", rows.head(120), "web/1.0")
    verdict = diagnosed(server, "pair")
    assert verdict["status"] == "consistent", verdict
    assert "routing (2/2 replicas serve the digest that was asked for)" in verdict["ruled_out"]


def test_the_wrong_unit_of_one_client_is_found_proven_and_published(server, trained, listener):
    _, rows = trained
    send(server, "rides", rows.head(200), "android/7.1.3")
    send(server, "rides", rows.tail(100).assign(age=lambda frame: frame["age"] * 12), "ios/4.2.17 (iPhone)")
    verdict = diagnosed(server, "rides")
    assert (verdict["status"], verdict["strength"], verdict["kind"]) == ("cause_found", "proof", "unit"), verdict
    assert verdict["features"] == ["age"]
    assert verdict["transformation"]["factor"] == pytest.approx(12, rel=0.02)
    assert (verdict["segment"]["column"], verdict["segment"]["value"]) == ("client", "ios/4.2")
    assert verdict["segment"]["share_of_rows"] == pytest.approx(1 / 3)
    texts = "\n".join(piece["text"] for piece in verdict["evidence"])
    assert "golden rows: 160/160 equal" in texts
    assert "undone on live rows" in texts
    assert "put into labelled rows" in texts
    assert any(text.startswith("routing (1/1 replica") for text in verdict["ruled_out"])
    # The same as an event: REST, metric, webhook, and what a rollout may hold on.
    (incident,) = server.api("GET", "/rides/parity/incidents")["incidents"]
    whole = server.api("GET", f"/rides/parity/incidents/{incident['id']}")
    assert (whole["state"], whole["verdict"]["kind"], len(whole["rows"])) == ("open", "unit", 3)
    assert all(set(row["sent"]) == {"age"} for row in whole["rows"])
    live = eventually(lambda: server.api("GET", "/rides/parity")["live"]["served_entities"]["m"]["open_incidents"])
    assert live == [incident["id"]]
    assert metric(server, "tallystick_parity_incidents", endpoint="rides", kind="unit")[0].endswith(" 1.0")
    assert metric(server, "tallystick_parity_incidents", endpoint="pair", kind="")[0].endswith(" 0.0")
    notice = eventually(lambda: listener.got)[0]
    assert (notice["event"], notice["incident"]["id"]) == ("parity_incident_opened", incident["id"])
    # Replays are nobody's traffic.
    flushed = server.api("POST", "/rides/inference-table/flush")
    assert flushed == {"flushed": True}
    (counted,) = eventually(
        lambda: [
            line
            for line in metric(server, "tallystick_invocation_rows_total", endpoint="rides")
            if float(line.rpartition(" ")[2]) >= 300
        ]
    )
    assert counted.endswith(" 300.0")


def test_the_command_tells_it_in_words_with_and_without_the_server(server, trained):
    folder, _ = trained
    said = command(server, "diagnose", "rides", "--rows")
    assert "CAUSE FOUND (proof)" in said
    assert "ios/4.2" in said
    assert "age: sent → expected" in said
    table = server.data_dir / "tables" / "rides_payload"
    alone = json.loads(command(server, "diagnose", str(table), "--reference", str(folder / "right"), "--json"))
    assert alone["verdicts"][0]["verdict"]["kind"] == "unit"


def test_what_a_clients_column_looks_like_stands_beside_training(server):
    found = server.api("GET", "/rides/parity/profile?window=day&segment=client%3Dios%2F4.2&column=age")
    ((profile,), (age,)) = found["profiles"], found["profiles"][0]["columns"]
    assert (profile["served_entity"], profile["segment"], profile["rows"]) == ("m", "client=ios/4.2", 100)
    for rank in ("p25", "p50", "p75"):
        assert age["live"]["quantiles"][rank] == pytest.approx(12 * age["training"]["quantiles"][rank], rel=0.2)
    assert (age["is_far"], age["violations"]["out_of_range"] > 90) == (True, True)
    said = command(server, "parity", "profile", "rides", "--segment", "client=android/7.1")
    assert ": 200 rows" in said
    assert "No column is far from training." in said
    missing = server.http.get("/api/2.0/serving-endpoints/rides/parity/profile?column=agee")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_replica_with_the_wrong_version_is_routing_and_no_other_is(server, trained):
    folder, rows = trained
    (pair,) = server.api("GET", "/pair")["config"]["served_entities"]
    workers = server.workers(pair["id"])
    assert len(workers) == 2
    digest = next(iter(p.name for p in (server.data_dir / "models").iterdir() if (p / "parity").exists()))
    kept = server.data_dir / "models" / digest
    shutil.copytree(folder / "wrong", kept, dirs_exist_ok=True)
    os.kill(workers[1]["pid"], 9)
    eventually(lambda: server.api("GET", "/pair/parity")["gate"]["m"]["replicas"]["1"]["digest"] != digest, 30)
    shutil.copytree(folder / "right", kept, dirs_exist_ok=True)
    send(server, "pair", rows.tail(100), "web/1.0")
    verdict = diagnosed(server, "pair")
    assert (verdict["family"], verdict["kind"], verdict["status"]) == ("routing", "wrong_version", "cause_found"), (
        verdict
    )
    assert verdict["segment"]["column"] == "replica"
    assert verdict["segment"]["value"] == "1"
    # The endpoint whose clients are at fault is not blamed for its routes.
    assert diagnosed(server, "rides")["kind"] == "unit"


def test_a_restarted_monitor_goes_on_and_knows_its_incidents(server):
    os.kill(server.children()["monitor"], 9)
    eventually(lambda: metric(server, "tallystick_monitor_up")[0].endswith(" 0.0"))
    eventually(lambda: metric(server, "tallystick_monitor_up")[0].endswith(" 1.0"))
    eventually(lambda: metric(server, "tallystick_parity_incidents", endpoint="rides", kind="unit"))
    assert len(server.api("GET", "/rides/parity/incidents")["incidents"]) == 1
    (found,) = server.api("POST", "/rides/parity/diagnose", {})["verdicts"]
    assert found["incident_id"] == 1


def test_a_client_that_gets_refusals_only_is_an_incident_without_anybody_asking(server, trained):
    _, rows = trained
    commas = rows.head(60).assign(income=lambda frame: frame["income"].astype(str).str.replace(".", ","))
    for start in range(0, len(commas), 5):
        body = {"dataframe_records": commas.iloc[start : start + 5].to_dict(orient="records")}
        assert server.invoke("rides", body, headers={"user-agent": "erp/2.0"}).status_code == 400
    found = eventually(
        lambda: [
            each
            for each in server.api("GET", "/rides/parity/incidents")["incidents"]
            if each["segment"].get("value") == "erp/2.0"
        ],
        30,
    )
    assert [(each["kind"], each["features"], each["state"]) for each in found] == [
        ("decimal_comma", ["income"], "open")
    ]
