"""Start of a worker: resolve the model, load it, check whether it may be batched, serve.

Run as ``python -m tallystick.worker SPEC.json``. Says on its lifeline how far it is.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from tallystick.errors import TallystickError
from tallystick.gate.wording import ladder
from tallystick.lifeline import Lifeline, die_with_parent
from tallystick.protocol.board import PER_LINE, Board
from tallystick.protocol.frame import Hello
from tallystick.protocol.worker_spec import (
    EXIT_FAILED,
    EXIT_NEEDS_ENVIRONMENT,
    FailedDetail,
    ReadyDetail,
    WorkerSpec,
    render_detail,
)
from tallystick.worker.answer import Answerer
from tallystick.worker.batch import BatchRule
from tallystick.worker.bring_up import load_checked
from tallystick.worker.gate import Gate, GateClosed
from tallystick.worker.resolve import needed_environment, resolve
from tallystick.worker.scrub import loading_text
from tallystick.worker.serve import Server

#: New objects between two looks for garbage while the model is brought up: it makes a million that stay, and to look
#: at them again and again takes a twelfth of the time.
_START_THRESHOLD = 100_000


def main(arguments: list[str]) -> None:
    """Run one worker until it is told to stop."""
    die_with_parent()
    threshold = gc.get_threshold()
    gc.set_threshold(_START_THRESHOLD, *threshold[1:])
    # A core file of a crashed model would hold its callers' data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lifeline = Lifeline()
    spec = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=WorkerSpec)
    secrets = tuple(os.environ.get(name, "") for name in spec.secret_variables)
    started = time.monotonic()
    try:
        server, detail = _bring_up(spec, lifeline, secrets, started)
    except TallystickError as error:
        _give_up(lifeline, error.message)
    except GateClosed as closed:
        print(*ladder(closed.report), sep="\n", file=sys.stderr)
        _give_up(lifeline, closed.report.summary(), render_detail(FailedDetail(closed.report)))
    except BaseException as error:  # noqa: BLE001  the model's code; SystemExit at import must not look like success
        traceback.print_exception(error)
        _give_up(lifeline, loading_text(error, secrets))
    # What is there now stays: a full collection would walk a million objects of libraries, again and again.
    gc.collect()
    gc.freeze()
    if gc.get_threshold()[0] == _START_THRESHOLD:  # else the model has chosen its own
        gc.set_threshold(*threshold)
    lifeline.report("ready", detail.resolved.batching_reason, render_detail(detail))
    server.run()


def _give_up(lifeline: Lifeline, reason: str, detail: str = "null") -> NoReturn:
    print(reason, file=sys.stderr, flush=True)
    lifeline.report("failed", reason, detail)
    # Not sys.exit: a model's threads or exit handlers could keep the process from ending.
    os._exit(EXIT_FAILED)


def _bring_up(
    spec: WorkerSpec, lifeline: Lifeline, secrets: tuple[str, ...], started: float
) -> tuple[Server, ReadyDetail]:
    resolved = spec.resolved
    if resolved is None or not Path(resolved.local_path).exists():
        lifeline.report("resolving", f"Fetching {spec.model_uri}")
        resolved = resolve(spec)
    if not spec.is_own_environment:
        needs = needed_environment(resolved, spec.options.environment)
        if needs is not None:
            lifeline.report("needs_environment", "; ".join(needs.reasons), render_detail(needs))
            os._exit(EXIT_NEEDS_ENVIRONMENT)
    lifeline.report("loading", f"Loading {spec.model_uri}")
    gate = Gate(spec, resolved)
    loaded = load_checked(spec, resolved, gate, lambda text: lifeline.report("checking", text))
    model, can_batch = loaded.model, loaded.can_batch
    resolved = dataclasses.replace(
        resolved,
        signature=model.signature,
        can_batch=can_batch,
        can_stream=model.predict_stream is not None,
        batching_reason=loaded.batching_reason,
    )
    threads = 1 if can_batch else spec.threads
    window = PER_LINE if can_batch else threads
    server = Server(
        Answerer(model, loaded.decoder, Board(spec.board), secrets, gate=gate),
        Hello(os.getpid(), window, can_batch, spec.model_version),
        spec.socket,
        rule=BatchRule(can_batch, spec.options.max_batch_rows),
        threads=threads,
        batch_wait_s=spec.options.batch_wait_ms / 1000 if can_batch else 0.0,
        lifeline=lifeline,
    )
    return server, ReadyDetail(resolved, time.monotonic() - started, window, loaded.report)


if __name__ == "__main__":
    main(sys.argv[1:])
