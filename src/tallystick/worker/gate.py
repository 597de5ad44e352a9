"""The parity gate in a worker: the golden rows of the model that it has just loaded, by the path that callers take."""

from __future__ import annotations

import functools
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tallystick.entities import Enforcement, ResolvedModel
from tallystick.errors import BadRequest, InvalidParameter
from tallystick.gate.checks import Checked, Subject, check, nothing_to_compare
from tallystick.gate.environment import closeness, differences, observe, packages_of, used_packages
from tallystick.gate.golden import Golden, find
from tallystick.gate.report import GateReport, Outcome, Policy, Rung, RungReport
from tallystick.gate.steps import trace_steps
from tallystick.gate.wires import frame_of
from tallystick.protocol.enforce import Decoder
from tallystick.protocol.frame import GOLDEN, IDENTITY
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.worker.frame import assemble
from tallystick.worker.model import LoadedModel
from tallystick.worker.resolve import digest_of


class Lack(NamedTuple):
    """Why there are no golden rows to compare with."""

    reason: str
    #: There are some, and they cannot be read.
    is_damage: bool = False


NO_GOLDEN_ROWS = Lack("the model was logged without golden rows")
IN_A_FILE = Lack("a model in a Python file has no golden rows")


class GateClosed(Exception):
    """The model does not give training's answers, and must not serve."""

    def __init__(self, report: GateReport) -> None:
        self.report = report
        super().__init__(report.summary())


class Rereading:
    """Reads the model's files again, on a thread, while the model loads: hashing leaves the interpreter free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._digest = digest_of(self._path)
        except OSError as error:
            print(f"the model's files cannot be read again: {error}", flush=True)

    @property
    def digest(self) -> str:
        """What the files are; empty where they cannot be read. Waits."""
        self._thread.join()
        return self._digest


class Gate:
    """What stands between a model that is loaded and its traffic. Made before the model is loaded."""

    def __init__(self, spec: WorkerSpec, resolved: ResolvedModel) -> None:
        self._spec, self._path, self._wanted = spec, Path(resolved.local_path), resolved.digest
        self._policy, self._had_rows = spec.policy, resolved.has_golden_rows
        self._reading = Rereading(self._path) if self._policy is not Policy.OFF else None
        #: The golden rows, or why there are none; None while nobody asked.
        self._golden: Golden | Lack | None = None
        self._subject: Callable[[Golden], Subject] | None = None

    @property
    def example(self) -> Any:
        """Some golden rows as a frame; None where there are none, or the gate is off."""
        if self._policy is Policy.OFF:
            return None
        golden = self._rows()
        return frame_of(golden).iloc[:5] if isinstance(golden, Golden) else None

    def refuse_exchanged(self) -> None:
        """Raise GateClosed where the files are not those that were asked for, and that is a reason not to serve."""
        if self._policy is Policy.OFF:
            return
        report = nothing_to_compare(self._policy, self._digest, self._wanted, "the model was not loaded")
        if report.rungs[0].outcome is Outcome.FAILED:
            raise GateClosed(report)

    def check(self, model: LoadedModel, decoder: Decoder) -> Checked | None:
        """Return what the check found; None where the gate is off. Raises GateClosed where the model may not serve."""
        self._subject = functools.partial(self._subject_of, model, decoder)
        if self._policy is Policy.OFF:
            return None
        golden = self._rows()
        if isinstance(golden, Golden):
            checked = self._checked(golden, self._subject(golden))
        elif golden.is_damage:
            rung = RungReport(Rung.IDENTITY, Outcome.FAILED, f"{golden.reason[0].upper()}{golden.reason[1:]}.")
            checked = Checked(GateReport(Outcome.FAILED, self._policy, self._digest, rungs=(rung,)))
        else:
            checked = Checked(nothing_to_compare(self._policy, self._digest, self._wanted, golden.reason))
        has_rows = self._had_rows or isinstance(golden, Golden)
        is_binding = self._policy is Policy.BLOCK or (self._policy is Policy.AUTO and has_rows)
        if checked.report.outcome is Outcome.FAILED and is_binding:
            raise GateClosed(checked.report)
        return checked

    def _checked(self, golden: Golden, subject: Subject) -> Checked:
        try:
            return check(golden, subject, self._policy)
        except Exception as error:  # noqa: BLE001  a fault of ours must not stop what only a warning would
            traceback.print_exc()
            text = f"The check could not be carried out: {type(error).__name__}; the model's log has the rest."
            rung = RungReport(Rung.PREDICTION, Outcome.FAILED, text)
            return Checked(GateReport(Outcome.FAILED, self._policy, subject.digest, golden.rows, rungs=(rung,)))

    def answer(self, trace: str, body: bytes, content_type: str) -> bytes:
        """Return, as JSON, which files this replica has; for golden rows also what becomes of them.

        Raises BadRequest for rows that are none, compared byte by byte: nothing is said of any others.
        """
        spec = self._spec
        identity = {
            "digest": self._digest,
            "model_version": spec.model_version,
            "replica": spec.replica_id,
            "pid": os.getpid(),
        }
        if trace == IDENTITY:
            return msgspec.json.encode({"identity": identity})
        golden = self._rows()
        if trace != GOLDEN or not isinstance(golden, Golden) or self._subject is None:
            why = golden.reason if isinstance(golden, Lack) else "it is no trace"
            raise BadRequest(f"The trace '{trace[:40]}' cannot be had: {why}.")
        wire = next((wire for wire in golden.wires if wire.body == body), None)
        if wire is None:
            raise BadRequest("These are not the golden rows of this model, byte for byte; nothing else is traced.")
        subject = self._subject(golden)
        found = differences(golden.environment, subject.environment, subject.used)
        asked = msgspec.structs.replace(golden, wires=(msgspec.structs.replace(wire, content_type=content_type),))
        report = check(asked, subject, rungs=(Rung.ENVIRONMENT, Rung.WIRE, Rung.STEPS)).report
        near = closeness(golden.environment, found)
        lossy = check(golden, subject, rungs=(Rung.WIRE,)).lossy
        return msgspec.json.encode({"identity": identity, "closeness": int(near), "lossy": lossy, "report": report})

    @property
    def _digest(self) -> str:
        if self._reading is None:
            self._reading = Rereading(self._path)
        return self._reading.digest

    def _rows(self) -> Golden | Lack:
        if self._golden is None:
            self._golden = self._find()
        return self._golden

    def _find(self) -> Golden | Lack:
        if self._path.is_file():
            return IN_A_FILE
        try:
            found = find(self._path)
        except InvalidParameter as error:
            return Lack(error.message, is_damage=True)
        if found is None:
            return NO_GOLDEN_ROWS
        # Where privacy takes values out there are rows, and nothing that was predicted for them.
        return found if found.predictions.rows else Lack(next(iter(found.degraded), "no predictions were kept"))

    def _subject_of(self, model: LoadedModel, decoder: Decoder, golden: Golden) -> Subject:
        def decode(body: bytes, content_type: str) -> Any:
            return assemble([decoder.decode(body, content_type, Enforcement.FLAG)])

        def predict(frame: Any) -> Any:
            return model.predict(frame, {})

        traced = model.fitted if model.fitted is not None else predict
        return Subject(
            self._wanted,
            self._digest,
            decode,
            predict,
            lambda frame: trace_steps(traced, frame),
            observe(packages_of(golden.environment)),
            used_packages(self._path / "requirements.txt"),
        )
