"""The ladder over golden rows: what is honest passes; what was lost on the way is named by step, column and row."""

import copy
import json
import time

import msgspec
import numpy as np
import pandas as pd
import pytest
from golden_models import (
    TRACED,
    fitted,
    golden_of,
    in_single_precision,
    rotated,
    training_rows,
    with_other_weights,
)
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick.entities import Enforcement
from tallystick.errors import InvalidInput
from tallystick.gate import checks
from tallystick.gate.checks import Subject, check, nothing_to_compare
from tallystick.gate.golden import Quality
from tallystick.gate.report import Outcome, Policy, Rung
from tallystick.gate.steps import trace_steps
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import assemble

FRAME, Y = training_rows()
MODEL = fitted(FRAME, Y)
GOLDEN = golden_of(MODEL, FRAME, Y)
TYPES = {"age": "double", "income": "double", "visits": "long", "plan": "string"}


def decoder(types=TYPES):
    columns = [{"name": name, "type": kind, "required": True} for name, kind in types.items()]
    return compile_decoder(parse_signature({"inputs": json.dumps(columns)}))


def subject(model=MODEL, golden=GOLDEN, **changes):
    decode = decoder()
    values = {
        "wanted_digest": "d" * 64,
        "digest": "d" * 64,
        "decode": lambda body, kind: assemble([decode.decode(body, kind, Enforcement.FLAG)]),
        "predict": model.predict,
        "trace": lambda frame: trace_steps(model, frame),
        "environment": golden.environment,
        "used": frozenset({"scikit-learn", "numpy"}),
    }
    return Subject(**(values | changes))


def rungs(report):
    return {rung.rung: rung for rung in report.rungs}


def outcomes(report):
    return {rung.rung.value: rung.outcome.value for rung in report.rungs}


def test_an_honest_model_passes_every_rung():
    checked = check(GOLDEN, subject())
    assert checked.report.outcome is Outcome.PASSED
    assert set(outcomes(checked.report).values()) == {"passed"}
    assert [rung.rung for rung in checked.report.rungs] == list(Rung)
    assert checked.are_rows_independent
    assert "160 golden rows give training's predictions" in checked.report.summary()


def test_what_there_is_one_of_is_told_in_the_singular():
    golden = golden_of(MODEL, FRAME.iloc[:1])
    golden = msgspec.structs.replace(golden, steps=golden.steps[:1])
    report = check(golden, subject(golden=golden)).report
    assert rungs(report)[Rung.WIRE].text.startswith("1 row comes out of ")
    assert rungs(report)[Rung.STEPS].text == "1 step gives what it gave in training."


def test_a_scaler_left_in_the_notebook_is_named_with_what_came_instead():
    numbers = FRAME[["age", "income"]]
    whole = make_pipeline(StandardScaler(), Ridge()).fit(numbers, Y)
    golden = golden_of(whole, numbers)
    decode = decoder({"age": "double", "income": "double"})
    lost = subject(whole[-1], golden, decode=lambda body, kind: assemble([decode.decode(body, kind, Enforcement.FLAG)]))
    found = check(golden, lost).report
    difference = rungs(found)[Rung.STEPS].difference
    assert (found.outcome, difference.step, difference.column) == (Outcome.FAILED, "standardscaler", "age")
    assert f"the column as it came is {FRAME.age[0]:g}" in difference.got
    assert "standardscaler, column age, row 0" in found.summary()


def test_a_rotated_encoder_is_named_by_step_column_and_row():
    found = check(GOLDEN, subject(rotated(MODEL))).report
    difference = rungs(found)[Rung.STEPS].difference
    assert (difference.step, difference.column, difference.row) == ("prep/cat", "plan", 0)
    assert difference.expected != difference.got
    assert outcomes(found) | {"rows": "", "metric": ""} == {
        "identity": "passed", "environment": "passed", "wire": "passed", "steps": "failed", "prediction": "failed",
        "rows": "", "metric": "",
    }  # fmt: skip
    assert "100 % of the predictions change" in found.summary()


def test_a_float32_export_is_stopped_on_the_same_machine_and_told_for_what_it_is():
    found = check(GOLDEN, subject(in_single_precision(MODEL))).report
    assert (found.outcome, rungs(found)[Rung.STEPS].difference.column) == (Outcome.FAILED, "age")
    assert "single precision (float32)" in found.summary()


def test_on_another_processor_the_last_digits_are_no_fault():
    elsewhere = {**GOLDEN.environment, "cpu": "another one"}
    close = with_other_weights(MODEL, 1 + 1e-9)
    assert check(GOLDEN, subject(close)).report.outcome is Outcome.FAILED
    found = check(GOLDEN, subject(close, environment=elsewhere)).report
    assert found.outcome is Outcome.PASSED
    assert rungs(found)[Rung.ENVIRONMENT].outcome is Outcome.NOTED


def test_a_changed_library_alone_is_noted():
    golden = msgspec.structs.replace(GOLDEN, environment=GOLDEN.environment | {"package:scikit-learn": "1.2.0"})
    found = check(golden, subject(environment=GOLDEN.environment)).report
    assert (found.outcome, rungs(found)[Rung.ENVIRONMENT].outcome) == (Outcome.PASSED, Outcome.NOTED)
    assert "1.2.0 in training" in rungs(found)[Rung.ENVIRONMENT].text


def test_a_changed_library_is_the_likely_cause_where_only_predictions_differ():
    golden = msgspec.structs.replace(GOLDEN, environment=GOLDEN.environment | {"package:scikit-learn": "1.2.0"})
    found = check(golden, subject(with_other_weights(MODEL), environment=GOLDEN.environment)).report
    assert found.first_failure.rung is Rung.ENVIRONMENT
    # For who would build it again; where nothing differs nobody does.
    assert (found.environment, check(golden, subject()).report.environment) == (GOLDEN.environment, {})
    assert "scikit-learn is" in found.summary()
    assert "predictions are not training's, the first in row" in found.summary()


def test_a_step_that_differs_is_named_before_a_library_that_does():
    golden = msgspec.structs.replace(GOLDEN, environment=GOLDEN.environment | {"package:scikit-learn": "1.2.0"})
    found = check(golden, subject(rotated(MODEL), environment=GOLDEN.environment)).report
    assert found.first_failure.rung is Rung.STEPS
    assert "Likely cause: scikit-learn" in found.summary()


def test_exchanged_files_end_the_ladder_at_once():
    found = check(GOLDEN, subject(digest="e" * 64)).report
    assert outcomes(found).pop("identity") == "failed"
    assert set(list(outcomes(found).values())[1:]) == {"skipped"}
    assert "eeeeeeeeeeee, dddddddddddd was asked for" in found.summary()


def changed(change):
    """Return a subject whose decoder does something to the frame."""
    honest = subject()
    return subject(decode=lambda body, kind: change(honest.decode(body, kind)))


@pytest.mark.parametrize(
    ("change", "column", "row", "words"),
    [
        (lambda frame: frame.drop(columns="income"), "income", -1, "expected a column, got no column"),
        (lambda frame: frame.assign(extra=1), "extra", -1, "expected no column"),
        (lambda frame: frame[["income", "age", "visits", "plan"]], "age", -1, "got column income"),
        (lambda frame: frame.iloc[:-1], "", -1, "160 rows, got 159 rows"),
        (lambda frame: frame.assign(plan=frame["plan"].str.upper()), "plan", 0, "100 % of the rows differ"),
        (lambda frame: frame.assign(income=frame.income.where(frame.index != 5)), "income", 5, "got missing"),
        (lambda frame: frame.assign(visits=frame.visits.astype(str)), "visits", 0, "got '"),
    ],
)
def test_what_transport_does_to_rows_is_named_by_column(change, column, row, words):
    found = check(GOLDEN, changed(change)).report
    difference = rungs(found)[Rung.WIRE].difference
    assert (difference.encoding, difference.column, difference.row) == ("dataframe_records", column, row)
    assert words in rungs(found)[Rung.WIRE].text


def test_what_only_a_further_encoding_changes_is_noted_and_named():
    """A missing text that comes by `inputs` is read as 'None': no client need send it so."""
    honest = subject()

    def decode(body, kind):
        frame = honest.decode(body, kind)
        return frame.assign(plan=frame["plan"].str.upper()) if body.startswith(b'{"inputs"') else frame

    checked = check(GOLDEN, subject(decode=decode))
    wire = rungs(checked.report)[Rung.WIRE]
    assert (checked.report.outcome, wire.outcome, checked.lossy) == (Outcome.PASSED, Outcome.NOTED, ("inputs",))
    assert "Not of inputs: Column plan, row 0" in wire.text
    assert wire.difference.encoding == "inputs"


def without_signature(predict=MODEL.predict):
    """What a worker has of a model without a signature: `inputs` becomes a dict of arrays."""
    decode = compile_decoder(parse_signature(None))
    return subject(decode=lambda body, kind: assemble([decode.decode(body, kind, Enforcement.FLAG)]), predict=predict)


def test_an_encoding_that_a_model_without_signature_does_not_take_is_noted_and_left_out():
    checked = check(GOLDEN, without_signature())
    wire = rungs(checked.report)[Rung.WIRE]
    # CSV needs a signature.
    assert (checked.report.outcome, wire.outcome) == (Outcome.PASSED, Outcome.NOTED)
    assert set(checked.lossy) == {"csv", "inputs"}
    assert "come out of dataframe_records, dataframe_split as they went in" in wire.text
    assert "Not of inputs: the model does not take rows in this form, it raises" in wire.text


def test_an_encoding_that_a_model_without_signature_answers_otherwise_fails():
    def predict(rows):
        return MODEL.predict(rows) if isinstance(rows, pd.DataFrame) else np.full(len(rows["age"]), -1e6)

    found = check(GOLDEN, without_signature(predict)).report
    assert (found.outcome, rungs(found)[Rung.WIRE].outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert rungs(found)[Rung.WIRE].difference.encoding == "inputs"
    assert "inputs: 160 of 160 predictions are not training's" in found.summary()


def test_a_model_that_differs_in_every_form_is_told_by_its_predictions():
    other = with_other_weights(MODEL)
    found = check(GOLDEN, without_signature(other.predict)).report
    assert found.outcome is Outcome.FAILED
    assert rungs(found)[Rung.WIRE].outcome is Outcome.NOTED


def test_rows_that_are_refused_fail_with_the_reason():
    def refuse(_body, _kind):
        raise InvalidInput("age: expected long")

    found = check(GOLDEN, subject(decode=refuse)).report
    assert "golden rows are refused: age: expected long" in found.summary()


def test_rows_that_no_body_holds_are_asked_all_the_same():
    short = golden_of(MODEL, FRAME.iloc[:20])
    golden = msgspec.structs.replace(GOLDEN, wires=short.wires)
    assert rungs(check(golden, subject()).report)[Rung.PREDICTION].text == "160 of 160 predictions are training's."

    def late(frame):
        return MODEL.predict(frame) + (frame.index > 100)

    found = check(golden, subject(predict=late)).report
    assert rungs(found)[Rung.PREDICTION].difference.row == 101


def test_a_model_of_arrays_is_asked_with_arrays():
    numbers = FRAME[["age", "income"]]
    model = make_pipeline(StandardScaler(), Ridge()).fit(numbers.to_numpy(), Y)
    golden = golden_of(model, numbers)
    shapes = []

    def predict(rows):
        shapes.append(type(rows))
        return model.predict(rows)

    decoded = numbers.to_numpy()
    arrays = subject(model, golden, predict=predict, decode=lambda _body, _kind: decoded)
    assert check(golden, arrays).report.outcome is Outcome.PASSED
    assert set(shapes) == {np.ndarray}


def test_an_input_without_columns_is_asked_as_it_was_decoded():
    rows = FRAME.to_dict(orient="records")
    listed = subject(decode=lambda _body, _kind: rows, predict=lambda given: MODEL.predict(pd.DataFrame(given)))
    checked = check(GOLDEN, listed)
    assert (checked.report.outcome, checked.are_rows_independent) == (Outcome.PASSED, None)
    assert outcomes(checked.report) == {
        "identity": "passed", "environment": "passed", "wire": "skipped", "steps": "skipped", "prediction": "passed",
        "rows": "skipped", "metric": "passed",
    }  # fmt: skip


def test_another_type_of_the_same_values_is_noted():
    found = check(GOLDEN, changed(lambda frame: frame.assign(visits=frame.visits.astype(float)))).report
    assert rungs(found)[Rung.WIRE].outcome is Outcome.NOTED
    assert "visits: int64 in training, float64 here" in rungs(found)[Rung.WIRE].text


def test_a_step_that_changes_no_prediction_is_noted():
    model = copy.deepcopy(MODEL)
    scaler = model.named_steps["prep"].named_transformers_["num"].named_steps["scale"]
    scaler.mean_ = scaler.mean_ + np.array([0, 5.0, 0])
    found = check(GOLDEN, subject(trace=lambda frame: trace_steps(model, frame))).report
    assert (found.outcome, rungs(found)[Rung.STEPS].outcome) == (Outcome.PASSED, Outcome.NOTED)
    assert "No prediction changes by it" in rungs(found)[Rung.STEPS].text


def test_what_the_model_raises_on_golden_rows_is_a_finding():
    def fail(_frame):
        raise ZeroDivisionError

    found = check(GOLDEN, subject(predict=fail)).report
    assert "The model raises ZeroDivisionError on golden rows" in found.summary()


def test_a_trace_that_fails_does_not_hide_predictions():
    def fail(_frame):
        raise RuntimeError

    found = check(GOLDEN, subject(with_other_weights(MODEL), trace=fail)).report
    assert rungs(found)[Rung.STEPS].outcome is Outcome.NOTED
    assert found.first_failure.rung is Rung.PREDICTION


def test_rows_that_look_at_each_other_are_found_and_do_not_fail_the_check():
    def centred(frame):
        answer = MODEL.predict(frame)
        return answer if len(frame) == len(FRAME) else answer - answer.mean()

    checked = check(GOLDEN, subject(predict=centred))
    assert (checked.report.outcome, checked.are_rows_independent) == (Outcome.PASSED, False)
    assert "got another answer in company than alone" in checked.independence


def test_a_metric_outside_the_offline_interval_fails():
    best = msgspec.structs.replace(GOLDEN.quality, low=0.0, high=GOLDEN.quality.value / 2)
    found = check(msgspec.structs.replace(GOLDEN, quality=best), subject()).report
    assert found.first_failure.rung is Rung.METRIC
    foreign = Quality("auc", 0.9, 0.8, 1.0, 160)
    found = check(msgspec.structs.replace(GOLDEN, quality=foreign), subject()).report
    assert rungs(found)[Rung.METRIC].outcome is Outcome.SKIPPED


def test_a_check_that_takes_long_says_what_it_left_out():
    ticks = iter(range(0, 10_000, 4))
    found = check(GOLDEN, subject(), clock=lambda: float(next(ticks))).report
    assert rungs(found)[Rung.METRIC].text == "Not asked: the check took 10 s by then."


def test_without_golden_rows_only_identity_is_asked():
    assert nothing_to_compare(Policy.AUTO, "a", "a", "none").outcome is Outcome.SKIPPED
    assert nothing_to_compare(Policy.AUTO, "a", "b", "none").outcome is Outcome.FAILED
    refused = nothing_to_compare(Policy.BLOCK, "a", "a", "logged without")
    assert (refused.outcome, "logged without" in refused.summary()) == (Outcome.FAILED, True)


def test_a_model_of_text_labels_and_one_of_several_outputs_are_compared():
    labels = golden_of(_Fixed(np.array(["a", "b"] * 80, dtype=object)), FRAME)
    assert (
        check(labels, subject(_Fixed(np.array(["a", "b"] * 80, dtype=object)), labels)).report.outcome is Outcome.PASSED
    )
    assert (
        "expected 'b', got 'a'"
        in check(labels, subject(_Fixed(np.array(["a"] * 160, dtype=object)), labels)).report.summary()
    )
    pairs = golden_of(_Fixed(np.arange(320.0).reshape(160, 2)), FRAME)
    assert check(pairs, subject(_Fixed(np.arange(320.0).reshape(160, 2)), pairs)).report.outcome is Outcome.PASSED
    assert "160 x 1 values" in check(pairs, subject(_Fixed(np.arange(160.0)), pairs)).report.summary()


class _Fixed:
    """A model of one answer for each row of the golden frame, by its index."""

    def __init__(self, answers):
        self._answers = answers

    def predict(self, frame):
        return self._answers[: len(frame)]


def test_512_rows_of_50_columns_take_less_than_ten_seconds():
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(512, 50)), columns=[f"f{n}" for n in range(50)])
    y = frame.f0 * 2 + draw.normal(size=512)
    model = make_pipeline(StandardScaler(), RandomForestRegressor(20, n_jobs=1, random_state=0)).fit(frame, y)
    golden = golden_of(model, frame, y, model_kind="trees")
    decode = decoder(dict.fromkeys(frame.columns, "double"))
    wide = subject(model, golden, decode=lambda body, kind: assemble([decode.decode(body, kind, Enforcement.FLAG)]))
    started = time.perf_counter()
    assert check(golden, wide).report.outcome is Outcome.PASSED
    assert time.perf_counter() - started < checks.BUDGET_S
    assert TRACED < 512
