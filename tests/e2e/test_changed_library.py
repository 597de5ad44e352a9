"""A model that is served with another library than it was trained with: from the replica's word to the package's name."""

import json
from pathlib import Path

import golden_models
import pytest
from pretended_uv import put_uv
from running import Server, eventually

from tallystick.parity import Reference

#: What training had of a package that is another one here.
THEN = "1.2.0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model whose last step gives other answers here than in training, its golden rows, and what it answers now."""
    folder = tmp_path_factory.mktemp("trained")
    frame, y = golden_models.training_rows(1500)
    model, some = golden_models.fitted(frame, y), frame.head(160)
    changed = golden_models.with_other_weights(model, 1.5)
    here = golden_models.golden_of(model, some, y.head(160))
    golden = golden_models.golden_of(
        model, some, y.head(160), environment=here.environment | {"package:scikit-learn": THEN}
    )
    golden_models.save(folder / "model", changed, some, golden)
    Reference.from_frame(frame, model=changed.predict, y=y).save(folder / "model" / "parity")
    answers = [[[float(value)] for value in each.predict(some)] for each in (model, changed)]
    return folder / "model", answers


@pytest.fixture(scope="module")
def server(tmp_path_factory, trained):
    """A server that looks every second, whose uv has the environments ready."""
    folder = tmp_path_factory.mktemp("ablation")
    home = put_uv(folder / "site", f"scikit-learn=={THEN}", *trained[1])
    made = Server(folder / "data", "--monitor-every", "1s", env={"PYTHONPATH": home})
    entity = {"entity_name": str(trained[0]), "name": "m", "environment_vars": {"TALLYSTICK_ENVIRONMENT": "running"}}
    made.api("POST", "", {"name": "rides", "config": {"served_entities": [entity]}, "parity": {"gate": "warn"}})
    assert made.settled("rides")["state"]["ready"] == "READY"
    yield made
    made.stop()


@pytest.mark.timeout(300)
def test_a_diagnosis_supposes_the_environment_and_its_incident_proves_the_package(server):
    (found,) = server.api("POST", "/rides/parity/diagnose", {})["verdicts"]
    assert (found["verdict"]["kind"], found["verdict"]["strength"]) == ("environment_differs", "strong")
    assert "is being built" in found["verdict"]["settle"][0]

    def proven():
        incident = server.api("GET", f"/rides/parity/incidents/{found['incident_id']}")
        return incident if incident["verdict"]["strength"] == "proof" else None

    # No row came meanwhile. What builds gives way to all other tests, so this may take long.
    verdict = eventually(proven, 240)["verdict"]
    assert verdict["kind"] == "environment_differs"
    assert (verdict["transformation"]["packages"], verdict["settle"]) == (["scikit-learn"], [])
    assert verdict["transformation"]["training"] == {"scikit-learn": THEN}
    (kept,) = Path(server.data_dir / "parity" / "ablations").glob("*.json")
    assert json.loads(kept.read_text())["guilty"] == ["scikit-learn"]
    # What is known is told at once, and not asked again.
    (again,) = server.api("POST", "/rides/parity/diagnose", {})["verdicts"]
    assert (again["verdict"]["strength"], again["incident_id"]) == ("proof", found["incident_id"])
    assert json.loads(kept.read_text())["tries"] == 1
