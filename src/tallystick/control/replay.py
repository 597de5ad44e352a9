"""Replays golden rows over HTTP, as clients send them, on each replica of a served entity; holds answers to training's.

Reads golden files, without NumPy: control is a small process. Imported when the first replay is due.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from tallystick.errors import InvalidParameter, TallystickError
from tallystick.gate.golden import Golden, Wire, find
from tallystick.gate.predictions import answer_from_json, judge
from tallystick.gate.report import Difference, GateReport, Outcome, Policy, Rung, RungReport
from tallystick.gate.tolerance import Closeness
from tallystick.printable import count

#: A replay of all replicas should be over by then.
TIMEOUT_S = 10.0
#: Replicas that are asked at a time.
_AT_A_TIME = 4
_AGAIN_S = 0.1
#: The server is starting or full; the model has not said anything yet.
_COME_BACK = frozenset({429, 503})
_ORDER = list(Rung)


@dataclass(frozen=True, slots=True)
class Target:
    """A served entity, and what its replicas should serve."""

    endpoint: str
    entity: str
    replicas: tuple[str, ...]
    digest: str
    model_folder: str


class Traced(msgspec.Struct, frozen=True):
    """What a replica says of itself and of golden rows."""

    identity: dict[str, Any]
    closeness: int = int(Closeness.OTHER)
    #: Encodings that cannot carry these rows; the worker's own report says why.
    lossy: tuple[str, ...] = ()
    report: GateReport | None = None


class Replayer:
    """Sends golden rows through the public port, with a token of control's own."""

    def __init__(self, url: str, token: str, tls_cert: str = "", transport: httpx.AsyncBaseTransport | None = None):
        self._url, self._transport = url, transport
        self._headers = {"authorization": f"Bearer {token}", "user-agent": "tallystick-parity"}
        # Plain HTTP needs no authorities, which take 50 ms to read.
        self._verify: ssl.SSLContext | bool = False
        if tls_cert:
            # The server's own certificate is the one to find there, whatever name it was made out to.
            self._verify = ssl.create_default_context(cafile=tls_cert)
            self._verify.check_hostname = False
            self._verify.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    async def replay(self, target: Target, policy: Policy) -> dict[str, GateReport]:
        """Return a report for each replica, by its number. Takes `TIMEOUT_S`; what is not asked by then fails."""
        golden = await asyncio.to_thread(_golden_of, target.model_folder)
        async with self._client() as client:
            return await _Replay(client, target, golden, policy).run()

    async def predict(self, target: Target, body: bytes) -> bytes:
        """Return the answer of the first replica to a JSON body. Raises InvalidParameter, TimeoutError."""
        async with self._client() as client, asyncio.timeout(TIMEOUT_S):
            return await _Replay(client, target, "", Policy.OFF).predict(body)

    def _client(self) -> httpx.AsyncClient:
        """Return connections of one replay, closed at its end: a gateway that stops would wait for those that idle."""
        transport = self._transport or httpx.AsyncHTTPTransport(verify=self._verify)
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=TIMEOUT_S, transport=transport)


class _Replay:
    """One replay, on all replicas of one served entity."""

    def __init__(self, client: httpx.AsyncClient, target: Target, golden: Golden | str, policy: Policy) -> None:
        self._http, self._target, self._golden, self._policy = client, target, golden, policy

    async def run(self) -> dict[str, GateReport]:
        """Return a report for each replica, by its number."""
        end, room = time.monotonic() + TIMEOUT_S, asyncio.Semaphore(_AT_A_TIME)

        async def one(replica: str) -> GateReport:
            async with room:
                return await self._replica(replica, end)

        replicas = self._target.replicas
        reports = await asyncio.gather(*map(one, replicas))
        return {replica.rpartition("-")[2]: report for replica, report in zip(replicas, reports, strict=True)}

    async def predict(self, body: bytes) -> bytes:
        """Return the answer of the first replica to a JSON body. Raises InvalidParameter."""
        answer = await self._post(self._target.replicas[0], body, {"content-type": "application/json"})
        if answer.status_code != 200:
            raise InvalidParameter(f"rows were refused with status {answer.status_code}: {_message(answer)}")
        return answer.content

    async def _replica(self, replica: str, end: float) -> GateReport:
        golden, wanted = self._golden, self._target.digest
        started, rungs, digest = time.monotonic(), list[RungReport](), ""
        environment: dict[str, str] = {}
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, end - started)):
                said = await self._trace(replica, "identity", None)
                digest = str(said.identity.get("digest", ""))
                rungs.append(_identity(replica, digest, wanted))
                if isinstance(golden, Golden) and rungs[0].outcome is Outcome.PASSED:
                    found, environment = await self._rows(replica, golden)
                    rungs += found
        except TimeoutError:
            rungs.append(_unreached(f"Replica {replica} did not answer within {TIMEOUT_S:g} s."))
        except (TallystickError, httpx.HTTPError) as error:
            words = error.message if isinstance(error, TallystickError) else str(error) or type(error).__name__
            rungs.append(_unreached(f"Golden rows could not be replayed on replica {replica}: {words}"))
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
            # A 200 with another body than predictions: a model may answer anything.
            words = f"its answer could not be read ({type(error).__name__})"
            rungs.append(_unreached(f"Golden rows could not be replayed on replica {replica}: {words}"))
        outcomes = {rung.outcome for rung in rungs}
        degraded: tuple[str, ...] = golden.degraded if isinstance(golden, Golden) else (golden,)
        outcome = Outcome.PASSED if isinstance(golden, Golden) else Outcome.SKIPPED
        if Outcome.FAILED in outcomes:
            outcome = Outcome.FAILED
        seconds = round(time.monotonic() - started, 3)
        rows = _sent(golden) if isinstance(golden, Golden) else 0
        ordered = tuple(sorted(rungs, key=lambda rung: _ORDER.index(rung.rung)))
        return GateReport(outcome, self._policy, digest, rows, seconds, ordered, degraded, environment)

    async def _rows(self, replica: str, golden: Golden) -> tuple[list[RungReport], dict[str, str]]:
        """Return what golden rows prove: how each encoding is answered, and why and in what environment it differs."""
        if not golden.wires:
            return [RungReport(Rung.WIRE, Outcome.SKIPPED, "The golden rows hold no request bodies.")], {}
        traced = await self._trace(replica, "golden", golden.wires[0])
        near = Closeness(traced.closeness)
        passed, worst = [], RungReport(Rung.PREDICTION, Outcome.PASSED, "")
        wires = [wire for wire in golden.wires if wire.encoding not in traced.lossy]
        for wire, is_packed in [*((wire, False) for wire in wires), (golden.wires[0], True)]:
            name = f"{wire.encoding} (gzip)" if is_packed else wire.encoding
            judged = await self._encoding(replica, golden, wire, near, is_packed=is_packed)
            if judged.outcome is Outcome.FAILED:
                environment = traced.report.environment if traced.report is not None else {}
                return [_named(judged, name), *_why(traced)], environment
            passed.append(name)
            worst = judged if judged.outcome is Outcome.NOTED else worst
        rows = _sent(golden)
        get = "gets" if rows == 1 else "get"
        text = f"{count(rows, 'row')} over HTTP as {', '.join(passed)} {get} training's predictions."
        rungs = [RungReport(Rung.WIRE, Outcome.PASSED, text), msgspec.structs.replace(worst, text=worst.text or text)]
        return rungs, {}

    async def _encoding(
        self, replica: str, golden: Golden, wire: Wire, near: Closeness, *, is_packed: bool
    ) -> RungReport:
        body = await asyncio.to_thread(gzip.compress, wire.body) if is_packed else wire.body
        headers = {"content-type": wire.content_type, "accept": "application/json"}
        if is_packed:
            headers["content-encoding"] = "gzip"
        answer = await self._post(replica, body, headers)
        if answer.status_code != 200:
            got = f"status {answer.status_code}: {_message(answer)}"
            difference = Difference(wire.encoding, expected="status 200", got=got[:300], share=1.0)
            return RungReport(Rung.WIRE, Outcome.FAILED, f"Golden rows are refused with {got}", difference)
        # Thousands of numbers are read and compared: not on the loop that answers everybody.
        return await asyncio.to_thread(_judged, golden, wire, answer.content, near)

    async def _trace(self, replica: str, trace: str, wire: Wire | None) -> Traced:
        headers = {"x-tallystick-trace": trace}
        if wire is not None:
            headers["content-type"] = wire.content_type
        answer = await self._post(replica, wire.body if wire is not None else b"", headers)
        if answer.status_code != 200:
            raise InvalidParameter(f"the trace was refused with status {answer.status_code}: {_message(answer)}")
        try:
            return msgspec.json.decode(answer.content, type=Traced)
        except msgspec.MsgspecError as error:
            raise InvalidParameter("the trace was answered with something that is none") from error

    async def _post(self, replica: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        target = self._target
        path = f"/serving-endpoints/{quote(target.endpoint, safe='')}/served-models/{quote(target.entity, safe='')}"
        while True:
            try:
                answer = await self._http.post(
                    f"{path}/invocations", content=body, headers={**headers, "x-tallystick-replica": replica}
                )
            except httpx.TransportError:
                # A gateway that ended takes its connections with it; its successor is there in a moment.
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status_code not in _COME_BACK:
                return answer
            await asyncio.sleep(_AGAIN_S)


def _judged(golden: Golden, wire: Wire, answer: bytes, near: Closeness) -> RungReport:
    table = answer_from_json(msgspec.json.decode(answer).get("predictions"))
    if table is None:
        difference = Difference(wire.encoding, expected="a row for each row", got="something else", share=1.0)
        return RungReport(Rung.PREDICTION, Outcome.FAILED, "The answer is no table.", difference)
    return judge(golden, table, wire.rows, near)


def _sent(golden: Golden) -> int:
    # A body holds the first rows only.
    return max((wire.rows for wire in golden.wires), default=0)


def _golden_of(folder: str) -> Golden | str:
    try:
        found = find(Path(folder))
    except InvalidParameter as error:
        return error.message
    if found is None:
        return "the model was logged without golden rows"
    return found if found.predictions.rows else next(iter(found.degraded), "no predictions were kept")


def _identity(replica: str, digest: str, wanted: str) -> RungReport:
    if digest == wanted:
        return RungReport(Rung.IDENTITY, Outcome.PASSED, f"Replica {replica} serves {wanted[:12]}, as was asked for.")
    served = digest[:12] or "files that cannot be read"
    text = f"Replica {replica} serves {served}, {wanted[:12]} was asked for."
    return RungReport(Rung.IDENTITY, Outcome.FAILED, text, Difference(expected=wanted, got=digest, share=1.0))


def _unreached(text: str) -> RungReport:
    return RungReport(Rung.WIRE, Outcome.FAILED, text)


def _named(judged: RungReport, encoding: str) -> RungReport:
    difference = msgspec.structs.replace(judged.difference or Difference(), encoding=encoding)
    return msgspec.structs.replace(judged, text=f"{encoding}: {judged.text}", difference=difference)


def _why(traced: Traced) -> list[RungReport]:
    """Return what the replica itself says of the rungs before the predictions, where they explain it."""
    if traced.report is None:
        return []
    explained = (Rung.ENVIRONMENT, Rung.STEPS)
    return [rung for rung in traced.report.rungs if rung.rung in explained and rung.outcome is not Outcome.SKIPPED]


def _message(answer: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(answer.content)["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return answer.reason_phrase
