"""A model held to its golden rows with no server running: resolved and loaded as a worker does it, then reported.

Run as ``python -m tallystick.worker.offline SPEC.json``; prints one JSON document, the model's own words on stderr.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import msgspec

from tallystick.errors import TallystickError
from tallystick.gate.report import GateReport
from tallystick.protocol.worker_spec import EXIT_FAILED, OfflineCheck, WorkerSpec
from tallystick.worker.bring_up import load_checked
from tallystick.worker.gate import Gate, GateClosed
from tallystick.worker.resolve import needed_environment, resolve
from tallystick.worker.scrub import loading_text


def main(arguments: list[str]) -> None:
    """Check one model."""
    # A model that prints must not end up in the document.
    document = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        found = check(msgspec.json.decode(Path(arguments[0]).read_bytes(), type=WorkerSpec))
    except TallystickError as error:
        found = OfflineCheck(problem=error.message)
    except BaseException as error:  # noqa: BLE001  the model's code; SystemExit at import must not look like success
        traceback.print_exception(error)
        found = OfflineCheck(problem=loading_text(error))
    document.write(msgspec.json.encode(found).decode())
    document.flush()
    # Not sys.exit: a model's threads could keep the process from ending.
    os._exit(EXIT_FAILED if found.problem else 0)


def check(spec: WorkerSpec) -> OfflineCheck:
    """Return what became of the golden rows. What the model's own code raises comes through."""
    resolved = resolve(spec)
    needs = needed_environment(resolved, spec.options.environment)
    report: GateReport | None
    try:
        report = load_checked(spec, resolved, Gate(spec, resolved), lambda _text: None).report
    except GateClosed as closed:
        report = closed.report
    reasons = needs.reasons if needs is not None else ()
    return OfflineCheck(resolved.resolved_uri, report, reasons, local_path=resolved.local_path)


if __name__ == "__main__":
    main(sys.argv[1:])
