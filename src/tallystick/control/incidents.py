"""What control knows of parity incidents: what the monitor said last, and what is on disk.

`Monitor` is control's end of the line to the monitor. `open_for` is what a rollout asks before it goes on: it answers
from memory, at once, also when the monitor is away (then as it was when it was last there).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from tallystick.errors import InternalError, InvalidParameter, NotFound, TallystickError, TemporarilyUnavailable
from tallystick.printable import listed_texts
from tallystick.protocol.message import render_message
from tallystick.protocol.monitoring import (
    INCIDENTS_FOLDER,
    PARITY_FOLDER,
    AskProfile,
    AskReplay,
    Diagnose,
    Diagnosed,
    IncidentSummary,
    Replayed,
    Watching,
    Window,
)

#: A diagnosis takes a second or two, and some more when replicas are asked; the gateway waits for a minute.
DIAGNOSE_TIMEOUT_S = 50.0
#: Diagnoses and profiles that are under way at a time.
_MAX_PENDING = 8
#: When to ask again what the monitor could not answer just now.
_RETRY_AFTER_S = 5
#: Replays that are under way for the monitor at a time.
_MAX_REPLAYS = 4
#: Incidents that are named where another was asked for.
_MOST_NUMBERS = 8

#: Does what the monitor asks of replicas; returns the body of the answer. Raises TallystickError.
Replay = Callable[[AskReplay], Awaitable[bytes]]


async def _no_replays(_asked: AskReplay) -> bytes:
    raise InvalidParameter("this server does not replay rows on single replicas")


class Monitor:
    """Control's end of the line. All methods are called on the event loop."""

    def __init__(self, replay: Replay = _no_replays) -> None:
        self.replay = replay
        #: What it said last, and when (monotonic seconds); None until it was there.
        self.watching: Watching | None = None
        self.watching_at = 0.0
        self._writer: asyncio.StreamWriter | None = None
        self._pending: dict[int, asyncio.Future[Diagnosed]] = {}
        self._numbers = itertools.count(1)
        self._replays: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        """Whether there is a monitor."""
        return self._writer is not None

    def take(self, writer: asyncio.StreamWriter, message: Watching | Diagnosed | AskReplay) -> None:
        """Take a message of the monitor."""
        match message:
            case Watching():
                self._writer = writer
                self.watching, self.watching_at = message, time.monotonic()
            case Diagnosed():
                self._answered(message)
            case AskReplay():
                if len(self._replays) >= _MAX_REPLAYS:
                    writer.write(render_message(Replayed(message.number, problem="too many replays are under way")))
                    return
                task = asyncio.create_task(self._do(writer, message))
                self._replays.add(task)
                task.add_done_callback(self._replays.discard)

    def left(self, writer: asyncio.StreamWriter) -> None:
        """A connection ended; whoever waits for the monitor is told."""
        if self._writer is not writer:
            return
        self._writer = None
        for number in list(self._pending):
            problem = "The monitor ended meanwhile; it is started again by itself."
            self._answered(Diagnosed(number, problem=problem, error_code=TemporarilyUnavailable.error_code))

    def open_for(self, endpoint: str, served_entity: str = "") -> tuple[IncidentSummary, ...]:
        """Return the open incidents of an endpoint, or of one served entity: what a rollout may hold on."""
        found = self.watching.endpoints.get(endpoint) if self.watching is not None else None
        if found is None:
            return ()
        return tuple(each for each in found.incidents if served_entity in ("", each.served_entity))

    def standing(self) -> dict[str, Any]:
        """Return how the monitor stands, for the status of the server."""
        endpoints = self.watching.endpoints.values() if self.watching is not None else ()
        return {
            "is_connected": self.is_connected,
            "open_incidents": sum(len(endpoint.incidents) for endpoint in endpoints),
        }

    def live(self, endpoint: str) -> dict[str, Any]:
        """Return how the live rows of an endpoint stand, as JSON: by served entity, with its open incidents."""
        body: dict[str, Any] = {"monitor": "connected" if self.is_connected else "away"}
        found = self.watching.endpoints.get(endpoint) if self.watching is not None else None
        entities = {} if found is None else found.entities
        return body | {
            "served_entities": {
                name: msgspec.to_builtins(entity)
                | {"open_incidents": [each.id for each in self.open_for(endpoint, name)]}
                for name, entity in entities.items()
            }
        }

    async def diagnose(
        self,
        endpoint: str,
        served_entity: str = "",
        since_s: float = 0.0,
        *,
        rows: bool = False,
        html: bool = False,
        key: str = "",
        timeout_s: float = DIAGNOSE_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Have an endpoint's rows diagnosed now.

        Raises TemporarilyUnavailable, InvalidParameter, NotFound, and InternalError when the monitor failed or a table
        is damaged.
        """

        def asked(number: int) -> Diagnose:
            return Diagnose(number, endpoint, served_entity, since_s, html, rows, key)

        return await self._ask(asked, "The diagnosis", "or for less with --since (in REST: since_s)", timeout_s)

    async def profile(
        self,
        endpoint: str,
        served_entity: str = "",
        *,
        window: Window = Window.DAY,
        ago: int = 0,
        segment: str = "",
        column: str = "",
        timeout_s: float = DIAGNOSE_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Return how live rows look beside training. Raises as `diagnose` does."""

        def asked(number: int) -> AskProfile:
            return AskProfile(number, endpoint, served_entity, window, ago, segment, column)

        return await self._ask(asked, "The profile", "", timeout_s)

    async def _ask(
        self, asked: Callable[[int], Diagnose | AskProfile], what: str, or_else: str, timeout_s: float
    ) -> dict[str, Any]:
        if self._writer is None:
            raise TemporarilyUnavailable(
                "The monitor is not running; it is started again by itself. A server that was started with "
                "--no-monitor has none: 'tallystick diagnose TABLE --reference MODEL' works without.",
                retry_after_s=3,
            )
        if len(self._pending) >= _MAX_PENDING:
            raise TemporarilyUnavailable("The monitor has too many questions to answer; ask again.", retry_after_s=5)
        number = next(self._numbers)
        done: asyncio.Future[Diagnosed] = asyncio.get_running_loop().create_future()
        self._pending[number] = done
        self._writer.write(render_message(asked(number)))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await done
        except TimeoutError as error:
            raise TemporarilyUnavailable(
                f"{what} did not end within {timeout_s:g} s; ask again later{or_else and ', '}{or_else}.",
                retry_after_s=10,
            ) from error
        finally:
            del self._pending[number]
        if answer.problem:
            raise _error_of(answer)
        body: dict[str, Any] = msgspec.json.decode(answer.body)
        return body

    def _answered(self, message: Diagnosed) -> None:
        done = self._pending.get(message.number)
        if done is not None and not done.done():
            done.set_result(message)

    async def _do(self, writer: asyncio.StreamWriter, asked: AskReplay) -> None:
        try:
            answer = Replayed(asked.number, await self.replay(asked))
        except TallystickError as error:
            answer = Replayed(asked.number, problem=error.message)
        except (OSError, TimeoutError) as error:
            answer = Replayed(asked.number, problem=f"the replicas did not answer ({type(error).__name__})")
        writer.write(render_message(answer))


def _error_of(answer: Diagnosed) -> TallystickError:
    """Return what to raise for an answer with a problem."""
    if answer.error_code == TemporarilyUnavailable.error_code:
        return TemporarilyUnavailable(answer.problem, retry_after_s=_RETRY_AFTER_S)
    kinds: tuple[type[TallystickError], ...] = (InvalidParameter, NotFound)
    return next((each for each in kinds if each.error_code == answer.error_code), InternalError)(answer.problem)


def list_incidents(data_dir: Path, endpoint_id: str) -> list[dict[str, Any]]:
    """Return all incidents of an endpoint that are kept, in short, the newest first. Blocks."""
    found = []
    for number in _numbers(data_dir, endpoint_id):
        try:
            whole = get_incident(data_dir, endpoint_id, str(number))
        except NotFound:
            # Damaged, or forgotten just now.
            continue
        found.append(_in_short(whole))
    return found


def get_incident(data_dir: Path, endpoint_id: str, number: str) -> dict[str, Any]:
    """Return one incident whole. Raises NotFound. Blocks."""
    path = data_dir / PARITY_FOLDER / endpoint_id / INCIDENTS_FOLDER / f"{number[:10]}.json"
    try:
        if not number.isdecimal():
            raise FileNotFoundError
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        kept = listed_texts((str(each) for each in _numbers(data_dir, endpoint_id)), _MOST_NUMBERS)
        raise NotFound(f"There is no incident {number[:10]!r} of this endpoint; it has {kept or 'none'}.") from error
    return found


def _numbers(data_dir: Path, endpoint_id: str) -> list[int]:
    """Return the numbers of all incidents of an endpoint that are kept, the newest first. Blocks."""
    folder = data_dir / PARITY_FOLDER / endpoint_id / INCIDENTS_FOLDER
    return sorted((int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()), reverse=True)


def _in_short(incident: dict[str, Any]) -> dict[str, Any]:
    verdict = incident["verdict"]
    kept = (
        "id",
        "endpoint",
        "served_entity",
        "state",
        "opened_at",
        "updated_at",
        "last_seen",
        "closed_at",
        "closed_because",
        "title",
    )
    told = (
        "status",
        "family",
        "kind",
        "features",
        "segment",
        "strength",
        "share",
        "rows",
        "first_seen",
        "is_older",
        "also",
    )
    return {key: incident.get(key) for key in kept} | {key: verdict.get(key) for key in told}
