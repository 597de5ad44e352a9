"""From files to a model that may serve: load it, choose the path of its rows, hold that path to golden rows.

Done alike when a worker comes up and when a model is checked with no server running.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from typing import Any

from tallystick.entities import Batching, Enforcement, EnvironmentChoice, ResolvedModel
from tallystick.gate.checks import Checked
from tallystick.gate.report import GateReport
from tallystick.protocol.enforce import Decoder, compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.worker.accelerate import ArrayPredict, accelerated
from tallystick.worker.check import rows_are_independent
from tallystick.worker.frame import assemble
from tallystick.worker.gate import Gate
from tallystick.worker.model import LoadedModel, load
from tallystick.worker.scrub import public_text


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model in memory, and what was found of it."""

    model: LoadedModel
    decoder: Decoder
    can_batch: bool
    batching_reason: str
    #: None where the gate is off.
    report: GateReport | None


def load_checked(spec: WorkerSpec, resolved: ResolvedModel, gate: Gate, say: Callable[[str], None]) -> Loaded:
    """Load the model and check it. Raises GateClosed where it may not serve; what its own code raises comes through."""
    try:
        # Else its requirements were found to be met, by `needed_environment` or by those who built this environment.
        # MLflow would read the file lists of all that is installed, which takes it a fifth of a second.
        model = load(resolved, compares_packages=spec.options.environment is EnvironmentChoice.RUNNING)
    except Exception:
        # Files that are not those that were asked for explain it better than what they raise.
        gate.refuse_exchanged()
        raise
    decoder = compile_decoder(parse_signature(model.signature), type_hints=model.has_type_hints)
    say("Comparing golden rows, and rows alone and together")
    example, params = _example(model, decoder)
    if example is None:
        example = gate.example
    fast = _accelerated(model, example)
    if fast is not None:
        model = dataclasses.replace(model, predict=fast)
    # After the choice of the path: what is checked is what callers get.
    checked = gate.check(model, decoder)
    can_batch, reason = _may_batch(spec, model, example, params, checked)
    if fast is not None:
        reason += "; arrays get the same answers as frames and are used"
    return Loaded(model, decoder, can_batch, reason, checked.report if checked is not None else None)


def _example(model: LoadedModel, decoder: Decoder) -> tuple[Any, dict[str, Any]]:
    """Return the model's input example as the model would get it from a caller; None when there is none."""
    if model.example_body is None:
        return None, {}
    try:
        decoded = decoder.decode(model.example_body, "application/json", Enforcement.FLAG)
        return assemble([decoded]), decoded.params
    except Exception:  # noqa: BLE001  an example that does not fit its own signature; what needs one does without
        traceback.print_exc()
        return None, {}


def _accelerated(model: LoadedModel, example: Any) -> ArrayPredict | None:
    if model.estimator is None or example is None:
        return None
    return accelerated(model.predict, model.estimator, model.method, example)


def _may_batch(
    spec: WorkerSpec, model: LoadedModel, example: Any, params: dict[str, Any], checked: Checked | None
) -> tuple[bool, str]:
    choice = spec.options.batching
    if choice is not Batching.AUTO:
        return choice is Batching.ON, f"batching is set to {choice.value}"
    if model.predict_stream is not None:
        return False, "the model streams"
    if checked is not None and checked.are_rows_independent is not None:
        return checked.are_rows_independent, checked.independence
    if example is None:
        return False, "the model has no input example to compare rows alone and together"
    try:
        return rows_are_independent(lambda data: model.predict(data, params), example)
    except BaseException as error:  # noqa: BLE001  the model's code; in doubt, off
        return False, f"the input example could not be predicted: {public_text(error)}"
