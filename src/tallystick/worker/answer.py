"""From requests to answers, without sockets: decode, call the model once for a batch, hand each its rows.

What goes wrong with one request stays with it: a request that does not decode is answered before the batch is
formed, and a batch that fails is run again one request at a time.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tallystick.entities import Enforcement
from tallystick.errors import (
    BadRequest,
    InternalError,
    ModelFailed,
    NotImplementedHere,
    TallystickError,
)
from tallystick.protocol.board import Board
from tallystick.protocol.decoded import Decoded
from tallystick.protocol.enforce import Decoder
from tallystick.protocol.frame import Answer, Invoke, short_identity, short_names
from tallystick.protocol.predictions import (
    ARROW_STREAM,
    encode_predictions,
    encode_predictions_arrow,
    split_predictions,
)
from tallystick.worker.frame import assemble
from tallystick.worker.gate import Gate
from tallystick.worker.model import LoadedModel
from tallystick.worker.scrub import public_text

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Request:
    """An invocation in the worker's hands."""

    number: int
    meta: Invoke
    body: bytes
    #: Monotonic seconds.
    arrived: float
    #: Where the answer goes; opaque here.
    connection: Any = None
    decoded: Decoded | None = None

    def is_late(self, now: float) -> bool:
        """Whether its caller has been told by now that it took too long."""
        return now - self.arrived > self.meta.time_left_s

    def describe(self) -> tuple[int, Any, bool]:
        """Return (rows, what must be equal in a batch, alone) for `take_batch`."""
        assert self.decoded is not None
        key = self.decoded.params or None
        return max(1, self.decoded.rows), (self.decoded.form, key), self.meta.alone or self.decoded.stream


@dataclass(frozen=True, slots=True)
class Answered:
    """What to send back for one request."""

    request: Request
    answer: Answer
    body: bytes


@dataclass
class Answerer:
    """One loaded model with its decoder."""

    model: LoadedModel
    decoder: Decoder
    board: Board
    #: Values that must not reach a caller.
    secrets: tuple[str, ...] = ()
    #: Set to False for good when the model's output could not be split between the callers of a batch.
    can_split: bool = True
    #: Answers what is asked of this replica and not of the model.
    gate: Gate | None = None
    _pid: int = field(default_factory=os.getpid)

    def decode(self, request: Request, line: int = 0) -> Answered | None:
        """Decode the request in place; return the answer when it ends here."""
        # Named on the board too: a body can be made to take long, and then it is to blame for the worker.
        self.board.write(line, (request.number,))
        try:
            if request.meta.trace:
                return self._trace(request)
            mode = Enforcement.STRICT if request.meta.strict else Enforcement.FLAG
            request.decoded = self.decoder.decode(request.body, request.meta.content_type, mode)
        except TallystickError as error:
            return failed(request, error)
        except Exception:  # noqa: BLE001  the request boundary: a fault of ours is this caller's alone
            traceback.print_exc()
            return failed(request, InternalError("The request could not be decoded. The server's log has the rest."))
        finally:
            self.board.clear(line)
        request.body = b""
        if request.decoded.stream and self.model.predict_stream is None:
            return failed(
                request,
                NotImplementedHere(
                    'This model has no predict_stream, so it cannot answer with "stream": true. Leave it out.'
                ),
            )
        return None

    def _trace(self, request: Request) -> Answered:
        if self.gate is None:
            raise BadRequest("This replica takes no traces.")
        started = time.monotonic()
        body = self.gate.answer(request.meta.trace, request.body, request.meta.content_type)
        model_ms = (time.monotonic() - started) * 1000
        return Answered(request, Answer(200, JSON, model_ms=model_ms), body)

    def run(self, batch: Sequence[Request], line: int = 0) -> list[Answered]:
        """Call the model once for all of `batch`; return an answer for each, in order."""
        started = time.monotonic()
        try:
            value = self._predict(batch, line)
            parts = self._split(value, batch)
        except TallystickError as error:
            parts = error
        except BaseException as error:  # noqa: BLE001  model code may raise anything, SystemExit too
            parts = self._explain(error)
        if isinstance(parts, TallystickError):
            if len(batch) > 1:
                return [answered for request in batch for answered in self.run([request], line)]
            return [failed(batch[0], parts, rows=batch[0].decoded.rows if batch[0].decoded else -1)]
        model_ms = (time.monotonic() - started) * 1000
        return [
            self._finish(request, part, started, model_ms, len(batch))
            for request, part in zip(batch, parts, strict=True)
        ]

    def stream(self, request: Request, line: int = 0) -> Iterator[bytes]:
        """Yield the events of a streamed answer: `data:` lines only, the last one `[DONE]` (as MLflow reads them)."""
        assert request.decoded is not None
        assert self.model.predict_stream is not None
        self.board.write(line, (request.number,))
        try:
            for item in self.model.predict_stream(_single_input(request.decoded), request.decoded.params):
                yield b"data: " + _encode_item(item) + b"\n\n"
            yield b"data: [DONE]\n\n"
        except BaseException as error:  # noqa: BLE001  as in `run`; the status line is out, so the reason goes in-band
            yield b"data: " + msgspec.json.encode(self._explain(error).to_body()) + b"\n\n"
        finally:
            self.board.clear(line)

    def _predict(self, batch: Sequence[Request], line: int) -> Any:
        inputs: list[Decoded] = [request.decoded for request in batch]  # type: ignore[misc]
        data = assemble(inputs)
        self.board.write(line, [request.number for request in batch])
        try:
            return self.model.predict(data, inputs[0].params)
        finally:
            self.board.clear(line)
            if os.getpid() != self._pid:
                # The model forked and its child came back here: it must not answer in our name.
                os._exit(1)

    def _split(self, value: Any, batch: Sequence[Request]) -> list[Any] | TallystickError:
        if len(batch) == 1:
            return [value]
        parts = split_predictions(value, [request.decoded.rows for request in batch])  # type: ignore[union-attr]
        if parts is None:
            self.can_split = False
            return InternalError("The model's output could not be split between the requests of a batch.")
        return list(parts)

    def _finish(self, request: Request, value: Any, started: float, model_ms: float, batch_requests: int) -> Answered:
        decoded = request.decoded
        assert decoded is not None
        try:
            if ARROW_STREAM in request.meta.accept:
                content_type, body, lost = ARROW_STREAM, encode_predictions_arrow(value), 0
            else:
                content_type = JSON
                body, lost = encode_predictions(value)
        except TallystickError as error:
            return failed(request, error, rows=decoded.rows)
        except Exception as error:  # noqa: BLE001  an output of any type at all
            return failed(request, self._explain(error), rows=decoded.rows)
        coercions: dict[str, dict[str, int]] = decoded.ledger
        if lost:
            coercions = {**coercions, "predictions": {"not_finite_to_null": lost}}
        client_request_id, usage_context = short_identity(decoded.client_request_id, decoded.usage_context)
        answer = Answer(
            status=200,
            content_type=content_type,
            rows=decoded.rows,
            batch_requests=batch_requests,
            queue_ms=(started - request.arrived) * 1000,
            model_ms=model_ms,
            coercions=coercions,
            ignored=short_names(decoded.notes),
            client_request_id=client_request_id,
            usage_context=usage_context,
        )
        return Answered(request, answer, body)

    def _explain(self, error: BaseException) -> TallystickError:
        traceback.print_exception(error)
        if isinstance(error, MemoryError):
            return ModelFailed("The model ran out of memory. Send fewer rows in one request.")
        return ModelFailed(f"The model raised {public_text(error, self.secrets)}")


def failed(request: Request, error: TallystickError, rows: int = -1) -> Answered:
    """Return the answer that tells `request`'s caller of an error."""
    return Answered(
        request, Answer(status=error.status, content_type=JSON, rows=rows), msgspec.json.encode(error.to_body())
    )


def _single_input(decoded: Decoded) -> Any:
    """Return what `predict_stream` takes: one input, not a list of them (MLflow unwraps a list of one)."""
    data = assemble([decoded])
    if isinstance(data, list):
        if len(data) != 1:
            raise BadRequest(f"predict_stream takes one input, {len(data)} were sent.")
        return data[0]
    return data


def _encode_item(item: Any) -> bytes:
    if isinstance(item, str | dict | list | int | float | bool) or item is None:
        try:
            return msgspec.json.encode(item)
        except TypeError:
            pass
    # Anything else as it would stand in a plain answer, without its wrapping.
    body, _ = encode_predictions(item)
    return bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["predictions"])
