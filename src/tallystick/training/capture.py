"""One capture: from training rows and a model in memory to the files of `parity/`.

A `Plan` is what was asked for, checked before anything is logged; `capture` runs once the model is saved, so that
the saved model can be asked as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.gate import golden
from tallystick.gate.golden import Golden, Matrix, Quality
from tallystick.gate.steps import trace_steps
from tallystick.parity import privacy, storage
from tallystick.parity.golden import label_numbers, metric_with_interval
from tallystick.parity.history import Asked, History, asked_of
from tallystick.parity.reference import Reference
from tallystick.parity.tables import Rows, read_rows
from tallystick.printable import count, listed_names, named
from tallystick.training import fit, lint, origin, served, wires
from tallystick.training.kinds import check_kinds, is_nested
from tallystick.training.tabular import drawn, sampled

#: Everything in `parity/` together. Models of 50 columns stay below it; wider ones are cut to it as far as they can be.
MOST_BYTES = 1_000_000
#: What golden rows may take however wide the model is: with few of them the gate would be blind.
LEAST_GOLDEN_BYTES = 400_000
#: Rows whose steps are kept: the walk of 128 rows takes some 10 ms, and they are 20 kB for a dozen steps.
STEP_ROWS = 128


@dataclass(frozen=True)
class Plan:
    """What to capture. `rows` and `labels` are at most as many as are captured; `given` says how many there were."""

    rows: Rows
    labels: Any = None
    eval_data: tuple[pd.DataFrame, Any] | None = None
    privacy: str | Mapping[str, str] = "raw"
    k_anonymity: int = 1
    given: int = 0
    degraded: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    #: Whom each of the rows is about and when it was, and the source of the features, as far as that was given.
    asked: Asked = field(default_factory=Asked)

    @property
    def is_open(self) -> bool:
        """Whether single rows may be kept as they are: privacy takes nothing out."""
        options = {self.privacy} if isinstance(self.privacy, str) else set(self.privacy.values())
        return options <= {"raw"} and self.k_anonymity <= 1


@dataclass(frozen=True)
class Captured:
    """The files, by name, and what to tell whoever trained the model."""

    reference: Reference
    files: dict[str, bytes]
    findings: tuple[str, ...] = field(default=())


def make_plan(
    X: Any,
    y: Any = None,
    eval_data: tuple[Any, Any] | None = None,
    privacy_options: str | Mapping[str, str] = "raw",
    k_anonymity: int = 1,
    given: int = 0,
    *,
    keys: Any = None,
    timestamps: Any = None,
    history: History | None = None,
) -> Plan:
    """Return a plan; `given` is the number of rows that X was drawn from, where it was drawn already.

    `keys`, `timestamps` and `history` are as for `Reference.from_frame`; the first two have an entry for each row of X.

    Raises InvalidParameter for data that cannot be captured and for unknown options.
    """
    shape = getattr(X, "shape", None)
    if shape and y is not None and len(y) != shape[0]:
        raise InvalidParameter(f"y has {count(len(y), 'value')}, X has {count(shape[0], 'row')}")
    given = given or (int(shape[0]) if shape else 0)
    is_drawn = isinstance(X, (pd.DataFrame, np.ndarray))
    kept, labels = sampled(X, y) if is_drawn else (X, y)
    rows = read_rows(kept)
    check_kinds(rows.frame)
    asked = asked_of(int(shape[0]) if shape else len(rows.frame), keys, timestamps, history)
    picked = drawn(X) if is_drawn else None
    asked = asked if picked is None else asked.taken(picked)
    privacy.check(privacy_options, tuple(rows.frame.columns))
    if k_anonymity < 1:
        raise InvalidParameter(f"k_anonymity: expected a number of rows, 1 or more, got {k_anonymity}")
    held_out = None
    if eval_data is not None:
        held_out = (read_rows(eval_data[0], "eval_data").frame, eval_data[1])
        if list(held_out[0].columns) != list(rows.frame.columns):
            raise InvalidParameter("eval_data: its columns are not those of X, in the same order")
        if len(held_out[0]) != len(held_out[1]):
            raise InvalidParameter(
                f"eval_data: {count(len(held_out[1]), 'label')} for {count(len(held_out[0]), 'row')}"
            )
    return Plan(rows, labels, held_out, privacy_options, k_anonymity, given or len(rows.frame), asked=asked)


def capture(plan: Plan, model: Any, ask: Callable[[Any], Any] | None, folder: Path, run_id: str | None) -> Captured:
    """Return the reference of a model that is saved in `folder`.

    `model` is what was trained, and `ask` answers as it will be served; without them the saved model is asked.
    Raises what the model raises for its own training rows.
    """
    saved = lint.load_saved(folder)
    model = saved.raw if model is None else model
    degraded, findings = list(plan.degraded), [*plan.findings, *saved.findings]
    if saved.signature is None:
        findings.append("no signature: nothing checks or converts what requests bring, and they cannot be CSV or Arrow")
    findings += lint.modules(folder)
    findings += lint.truths(wires.truths_as_numbers(plan.rows.frame, saved.signature))
    if ask is None:
        if saved.predict is None:
            raise InvalidParameter("the model could not be asked for predictions: " + "; ".join(saved.findings))
        ask = saved.predict
        degraded.append("predictions are those of the saved model, loaded again")

    def predict(frame: pd.DataFrame) -> Any:
        answer = ask(plan.rows.restore(frame))
        if isinstance(answer, dict) or not hasattr(answer, "__len__") or len(answer) != len(frame):
            size = f" of length {len(answer)}" if hasattr(answer, "__len__") else ""
            raise InvalidParameter(
                f"the model's answer to {count(len(frame), 'row')} is of type {type(answer).__name__}{size}: "
                "expected an array, list or frame with one entry for each row"
            )
        return answer

    options, nested = _without_nested(plan)
    reference = Reference.from_frame(
        plan.rows.frame,
        model,
        plan.labels,
        plan.eval_data,
        options,
        k_anonymity=plan.k_anonymity,
        predict=predict,
        keys=plan.asked.keys,
        timestamps=plan.asked.times,
        history=plan.asked.history,
    )
    degraded += nested
    environment = origin.environment(model, folder / "requirements.txt")
    rows = _golden_rows(reference, plan, predict)
    findings += rows.findings
    traced = ask if served.is_opaque(model) else model
    made, more = _golden_file(plan, model, traced, rows, environment, saved, reference.classes)
    findings += [*more, *lint.requirements(folder / "requirements.txt")]
    reference = msgspec.structs.replace(
        reference,
        degraded=tuple(dict.fromkeys((*reference.degraded, *degraded, *rows.degraded))),
        lint=(*reference.lint, *findings),
        lineage=origin.lineage(plan.rows.frame, plan.given, run_id, Path.cwd()),
    )
    made = msgspec.structs.replace(made, degraded=tuple(dict.fromkeys((*reference.degraded, *made.degraded))))
    files = storage.files_of(reference)
    room = MOST_BYTES - sum(map(len, files.values()))
    if room < LEAST_GOLDEN_BYTES:
        room = LEAST_GOLDEN_BYTES
        made = msgspec.structs.replace(made, degraded=(*made.degraded, fit.LARGE))
    cutter = wires.cutter(made.columns, rows.frame, saved.signature, is_array=plan.rows.is_array)
    made, block = fit.fit(made, room, cutter)
    files[golden.FILE] = block
    return Captured(reference, files, reference.lint)


def capture_rows_alone(plan: Plan) -> Captured:
    """Return a reference of rows without a model: a profile to compare live rows with, and nothing to replay."""
    options, nested = _without_nested(plan)
    reference = Reference.from_frame(
        plan.rows.frame,
        None,
        plan.labels,
        None,
        options,
        k_anonymity=plan.k_anonymity,
        keys=plan.asked.keys,
        timestamps=plan.asked.times,
        history=plan.asked.history,
    )
    reference = msgspec.structs.replace(
        reference,
        degraded=(*reference.degraded, *plan.degraded, *nested),
        lineage=origin.lineage(plan.rows.frame, plan.given, None, Path.cwd()),
    )
    return Captured(reference, storage.files_of(reference), reference.lint)


def _without_nested(plan: Plan) -> tuple[str | Mapping[str, str], list[str]]:
    """Return options that leave out columns of lists and objects, and what that means, in words."""
    frame, options = plan.rows.frame, plan.privacy
    nested = [name for name in frame.columns if is_nested(frame[name])]
    if not nested:
        return options, []
    each = dict.fromkeys(frame.columns, options) if isinstance(options, str) else dict(options)
    notes = [f"column {named(name)}: lists, objects and bytes are not profiled" for name in nested]
    return each | dict.fromkeys(nested, "none"), notes


@dataclass(frozen=True)
class _GoldenRows:
    """Rows that may be kept, what the model answered for them twice, and their labels."""

    frame: pd.DataFrame
    answer: Any = None
    again: Any = None
    labels: Any = None
    degraded: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def _golden_rows(reference: Reference, plan: Plan, predict: Callable[[pd.DataFrame], Any]) -> _GoldenRows:
    hidden = [name for name in reference.names if name not in reference.rows]
    if hidden:
        is_private = not all(is_nested(plan.rows.frame[name]) for name in hidden)
        why = "privacy takes out" if is_private else "they cannot hold what is in"
        return _GoldenRows(
            reference.rows,
            degraded=(f"no predictions, bodies and steps of golden rows: {why} {listed_names(hidden, 5)}",),
        )
    frame, labels = reference.rows, reference.labels
    infinite = np.zeros(len(frame), dtype=bool)
    for name in frame.columns:
        if pd.api.types.is_float_dtype(frame[name].dtype):
            infinite |= np.isinf(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
    findings: tuple[str, ...] = ()
    if infinite.any():
        findings = ("infinite values in training: JSON has none, so no client can send them",)
        frame = frame.loc[~infinite].reset_index(drop=True)
        labels = labels[~infinite] if len(labels) else labels
    if not len(frame):
        return _GoldenRows(frame, degraded=("no golden rows: none may be kept",), findings=findings)
    # Twice, so that a model that draws or sums in threads shows how far two runs are apart.
    return _GoldenRows(frame, predict(frame), predict(frame), labels, findings=findings)


def _golden_file(
    plan: Plan,
    model: Any,
    traced: Any,
    rows: _GoldenRows,
    environment: dict[str, str],
    saved: lint.Saved,
    classes: tuple[str, ...],
) -> tuple[Golden, list[str]]:
    columns = tuple(wires.column_of(rows.frame[name], name) for name in rows.frame.columns)
    kind = served.model_kind(model)
    if rows.answer is None:
        nothing = Golden(len(rows.frame), columns, Matrix(0, 0), model_kind=kind, environment=environment)
        return nothing, []
    predictions = Matrix.of(rows.answer)
    if predictions.rows != len(rows.frame):
        raise InvalidParameter(
            f"the model gives {count(predictions.rows, 'prediction')} for {count(len(rows.frame), 'row')}"
        )
    bodies = wires.render_bodies(
        columns, rows.frame, saved.signature, is_array=plan.rows.is_array, predict=saved.predict
    )
    degraded, findings = bodies.degraded, bodies.faults
    apart = noise(predictions, Matrix.of(rows.again))
    if apart > lint.ROUNDING:
        findings.append(f"two runs over the same rows differ by {apart:.2g} deviations: the model draws at random")
    findings += lint.saved_differs(saved, plan.rows.restore(rows.frame), bodies.parsed, predictions, apart)
    steps, why = _steps(traced, plan.rows.restore(rows.frame.head(STEP_ROWS)))
    degraded += why
    quality, labels = _quality(rows.labels, predictions, classes)
    if len(rows.labels) and quality is None:
        degraded.append("no metric over golden rows: predictions are several a row, or a score for one of many classes")
    return (
        Golden(
            rows=len(rows.frame),
            columns=columns,
            predictions=predictions,
            wires=tuple(bodies.wires),
            steps=steps,
            labels=labels,
            quality=quality,
            classes=classes,
            noise=apart,
            model_kind=kind,
            environment=environment,
            degraded=tuple(degraded),
        ),
        findings,
    )


def _steps(model: Any, rows: Any) -> tuple[tuple[golden.Step, ...], list[str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(trace_steps(model, rows)), []
    except Exception as error:  # noqa: BLE001  a step is code of the user's; without its trace all else is there
        where = getattr(error, "__notes__", [""])[0]
        return (), [f"no outputs of steps: {type(error).__name__} {where}".rstrip()]


def _quality(labels: Any, predictions: Matrix, classes: tuple[str, ...]) -> tuple[Quality | None, bytes]:
    if not len(labels):
        return None, b""
    block = np.ascontiguousarray(labels, dtype="<f8").tobytes()
    if predictions.width != 1 or (predictions.texts and not classes):
        return None, block
    scores = label_numbers(predictions.values()[:, 0], classes)
    known = np.isfinite(labels) & np.isfinite(scores)
    if not known.any():
        return None, block
    name, value, low, high = metric_with_interval(labels[known], scores[known], np.random.default_rng(0), len(classes))
    return Quality(name, value, low, high, int(known.sum())) if name else None, block


def noise(one: Matrix, other: Matrix) -> float:
    """Return the largest difference of two runs, in units of the deviation of its output; of texts their share."""
    if one.texts or other.texts:
        pairs = list(zip(one.texts, other.texts, strict=False))
        return sum(a != b for a, b in pairs) / max(1, len(pairs))
    first, second = one.values(), other.values()
    if first.shape != second.shape or not first.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second)
        # Equal infinities are no difference.
        apart[(first == second) | (np.isnan(first) & np.isnan(second))] = 0.0
        spread = np.nanstd(np.where(np.isfinite(first), first, np.nan), axis=0)
    largest = apart.max(axis=0)
    return float(np.max(np.where(largest > 0, largest / np.where(spread > 0, spread, 1.0), 0.0)))


def write(captured: Captured, folder: Path) -> None:
    """Write the files into `folder`/parity."""
    target = folder / golden.FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name, content in captured.files.items():
        (target / name).write_bytes(content)


def tell(captured: Captured) -> None:
    """Say once what was found at capture, as one warning of Python's."""
    if captured.findings:
        lines = "\n".join(f"  - {line}" for line in captured.findings)
        warnings.warn(f"tallystick: found while the reference was captured:\n{lines}", UserWarning, stacklevel=3)
