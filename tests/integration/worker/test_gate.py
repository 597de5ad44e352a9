"""The gate in a worker: which policy stops what, and what a trace says of whom."""

import json
import shutil
from types import SimpleNamespace

import pytest
from golden_models import fitted, golden_of, rotated, training_rows

from tallystick.entities import ResolvedModel, WorkerOptions
from tallystick.errors import BadRequest
from tallystick.gate import golden as format_
from tallystick.gate.golden import Golden, Matrix
from tallystick.gate.report import Outcome, Policy, Rung
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.worker.gate import Gate, GateClosed
from tallystick.worker.resolve import digest_of

FRAME, Y = training_rows(40)
MODEL = fitted(FRAME, Y)
GOLDEN = golden_of(MODEL, FRAME, Y)
TYPES = {"age": "double", "income": "double", "visits": "long", "plan": "string"}
SIGNATURE = {"inputs": json.dumps([{"name": name, "type": kind, "required": True} for name, kind in TYPES.items()])}
DECODER = compile_decoder(parse_signature(SIGNATURE))


def loaded(model):
    return SimpleNamespace(predict=lambda frame, _params: model.predict(frame), fitted=model)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    (made / format_.FOLDER).mkdir(parents=True)
    (made / "MLmodel").write_text("flavors: {}")
    (made / format_.FOLDER / format_.FILE).write_bytes(format_.render(GOLDEN))
    return made


def gate(folder, policy=Policy.AUTO, digest=None, **changes):
    resolved = ResolvedModel(str(folder), digest or digest_of(folder), "models:/m/1", has_golden_rows=True)
    spec = WorkerSpec("e-0", "", "", "models:/m/1", "1", "", WorkerOptions(), 1, policy=policy)
    return Gate(spec, ResolvedModel(**{**vars_of(resolved), **changes}))


def vars_of(resolved):
    return {name: getattr(resolved, name) for name in resolved.__slots__}


def without_rows(folder):
    shutil.rmtree(folder / format_.FOLDER)
    return folder


@pytest.mark.parametrize("policy", [Policy.AUTO, Policy.BLOCK, Policy.WARN])
def test_a_model_that_gives_trainings_answers_may_serve(folder, policy):
    checked = gate(folder, policy).check(loaded(MODEL), DECODER)
    assert (checked.report.outcome, checked.report.policy) == (Outcome.PASSED, policy)
    assert checked.report.digest == digest_of(folder)
    assert checked.are_rows_independent


@pytest.mark.parametrize("policy", [Policy.AUTO, Policy.BLOCK])
def test_one_that_does_not_is_refused_with_the_step(folder, policy):
    with pytest.raises(GateClosed, match="Step prep/cat, column plan, row 0"):
        gate(folder, policy).check(loaded(rotated(MODEL)), DECODER)


def test_a_warning_lets_it_pass_and_off_asks_nothing(folder):
    checked = gate(folder, Policy.WARN).check(loaded(rotated(MODEL)), DECODER)
    assert checked.report.outcome is Outcome.FAILED
    assert gate(folder, Policy.OFF).check(loaded(rotated(MODEL)), DECODER) is None


def test_without_golden_rows_only_block_refuses(folder):
    plain = without_rows(folder)
    digest = digest_of(plain)
    for policy in (Policy.AUTO, Policy.WARN):
        checked = gate(plain, policy, digest, has_golden_rows=False).check(loaded(MODEL), DECODER)
        assert (checked.report.outcome, checked.are_rows_independent) == (Outcome.SKIPPED, None)
        assert "nothing to compare with" in checked.report.summary()
    with pytest.raises(GateClosed, match="set to 'block'"):
        gate(plain, Policy.BLOCK, digest, has_golden_rows=False).check(loaded(MODEL), DECODER)


def test_files_that_were_exchanged_are_refused_even_where_the_golden_rows_went_with_them(folder):
    digest = digest_of(folder)
    plain = without_rows(folder)
    with pytest.raises(GateClosed, match="identity differs"):
        gate(plain, Policy.AUTO, digest).check(loaded(MODEL), DECODER)
    with pytest.raises(GateClosed, match="identity differs"):
        gate(plain, Policy.AUTO, digest).refuse_exchanged()
    gate(plain, Policy.AUTO).refuse_exchanged()


def test_what_python_compiles_beside_a_model_is_none_of_its_files(folder):
    digest = digest_of(folder)
    (folder / "code" / "__pycache__").mkdir(parents=True)
    (folder / "code" / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert digest_of(folder) == digest
    (folder / "code" / "a.py").write_text("")
    assert digest_of(folder) != digest


def test_golden_rows_that_cannot_be_read_are_refused(folder):
    (folder / format_.FOLDER / format_.FILE).write_bytes(b"damaged")
    with pytest.raises(GateClosed, match="golden file cannot be read"):
        gate(folder).check(loaded(MODEL), DECODER)
    assert gate(folder, Policy.WARN).check(loaded(MODEL), DECODER).report.outcome is Outcome.FAILED


def test_a_fault_of_the_check_itself_is_no_pass_and_stops_no_more_than_a_difference_would(folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise KeyError

    monkeypatch.setattr("tallystick.worker.gate.check", fail)
    assert gate(folder, Policy.WARN).check(loaded(MODEL), DECODER).report.outcome is Outcome.FAILED
    with pytest.raises(GateClosed, match="could not be carried out: KeyError"):
        gate(folder).check(loaded(MODEL), DECODER)


def test_rows_without_predictions_are_nothing_to_compare_with(folder):
    """Where privacy takes columns out, rows are kept and what was predicted for them is not."""
    bare = Golden(3, (), Matrix(0, 0), degraded=("privacy takes out income",))
    (folder / format_.FOLDER / format_.FILE).write_bytes(format_.render(bare))
    checked = gate(folder).check(loaded(MODEL), DECODER)
    assert (checked.report.outcome, checked.report.rows) == (Outcome.SKIPPED, 0)
    assert "privacy takes out income" in checked.report.summary()


@pytest.mark.parametrize("policy", [Policy.AUTO, Policy.OFF])
def test_a_trace_tells_files_and_rungs_for_golden_rows(folder, policy):
    asked = gate(folder, policy)
    asked.check(loaded(MODEL), DECODER)
    found = json.loads(asked.answer("golden", GOLDEN.wires[1].body, "application/json"))
    assert found["identity"]["digest"] == digest_of(folder)
    assert found["identity"]["replica"] == "e-0"
    assert [rung["rung"] for rung in found["report"]["rungs"]] == [
        Rung.ENVIRONMENT, Rung.WIRE, Rung.STEPS, Rung.PREDICTION,
    ]  # fmt: skip
    assert set(json.loads(asked.answer("identity", b"", ""))) == {"identity"}


@pytest.mark.parametrize("trace", ["golden", "steps"])
def test_nothing_is_said_of_other_rows(folder, trace):
    asked = gate(folder)
    asked.check(loaded(MODEL), DECODER)
    with pytest.raises(BadRequest):
        asked.answer(trace, GOLDEN.wires[0].body + b" ", "application/json")
