"""The workers of one served entity, and the invocations that wait for them.

Calls wait here and not with a worker: a worker gets as many as it can run or join, so that one that hangs holds
few. What it holds and does not run goes elsewhere as soon as it is silent for too long; what it runs past a
deadline is cut, the worker killed, and its neighbours in the batch run again, each alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tallystick.errors import (
    DeadlineExceeded,
    EndpointNotFound,
    InvalidParameter,
    TemporarilyUnavailable,
    TooManyRequests,
)
from tallystick.gateway.call import Call
from tallystick.gateway.replica import ReplicaLink
from tallystick.protocol.frame import Answer
from tallystick.protocol.routes import EntityRoute, Load

#: A worker that answers nothing for this long, or this many times its slowest call, is silent.
SILENT_AFTER_S, SILENT_AFTER_CALLS = 1.0, 4.0
#: A condemned worker may finish what else it runs for so long, if it is not silent.
CONDEMNED_GRACE_S = 5.0
#: A body that ended this many workers is refused for `BLAME_S`.
DEATHS_TO_BLAME, BLAME_S = 2, 600.0
#: Pause between two requests to wake the same workers.
WAKE_AGAIN_S = 0.5
_MAX_BLAMED = 10_000
#: Requests to single replicas that may wait for one of them.
MAX_ASKED = 64


class EntityPool:
    """Queue and workers of one served entity, in this gateway process."""

    def __init__(
        self,
        route: EntityRoute,
        *,
        gateways: int,
        wake_wait_s: float,
        wake: Callable[[str], None],
        kill: Callable[[str, int, str], None],
        connect: Callable[..., ReplicaLink] = ReplicaLink,
    ) -> None:
        self.route = route
        self._connect = connect
        self._gateways = gateways
        self._wake_wait_s = wake_wait_s
        self._wake, self._kill = wake, kill
        self._queue: deque[Call] = deque()
        #: Calls that only one replica may answer; few, and of people who look into things.
        self._asked: list[Call] = []
        self._links: dict[str, ReplicaLink] = {}
        #: Links to workers that are no longer routed and have not answered everything.
        self._leaving: list[ReplicaLink] = []
        self._is_retired = False
        self._open = self._limit = 0
        self._slowest_s = 0.0
        self._woken_at = 0.0
        #: Loop time since when no worker can be reached; 0 while one can.
        self._away_since = 0.0
        #: Fingerprint -> (workers that it ended, loop time of the last).
        self._blamed: dict[bytes, tuple[int, float]] = {}
        #: Calls since the last `take_activity`.
        self._used = 0
        self.update(route)

    def update(self, route: EntityRoute) -> None:
        """Take over a new route of the same entity: workers that are gone from it finish and are let go."""
        self.route = route
        self._limit = -(-(route.concurrency + route.queue_limit) // self._gateways)
        wanted = {str(replica.id): replica for replica in route.replicas}
        for replica_id in self._links.keys() - wanted.keys():
            link = self._links.pop(replica_id)
            link.retire()
            self._leaving.append(link)
        for replica_id in [each for each in wanted if each not in self._links]:
            self._links[replica_id] = self._connect(
                wanted[replica_id],
                self._gateways,
                on_room=self._pump,
                on_lost=self._lost,
                is_wanted=lambda: bool(self._queue),
            )

    def retire(self) -> None:
        """The entity is no longer routed: answer what is in flight, then let the workers go."""
        self._is_retired = True
        for call in self._asked:
            call.fail(_replica_gone(call.replica))
        self._asked.clear()
        for link in self._links.values():
            if not self._queue:
                link.retire()
        if self._queue:
            # Accepted under the old table: answered by what was routed then.
            asyncio.get_running_loop().call_later(0.05, self.retire)

    def submit(self, call: Call) -> None:
        """Take a call. Raises TooManyRequests when the queue is full, InvalidParameter when its body is blamed."""
        if self._open >= self._limit:
            raise TooManyRequests(
                f"Too many concurrent requests for '{self.route.name}': {self._limit} are running or waiting. "
                "Consider increasing its provisioned concurrency.",
                retry_after_s=1,
            )
        if self._blamed:
            self._refuse_blamed(call)
        self._open += 1
        self._used += 1
        call.on_over = self._over
        self._queue.append(call)
        self._pump()

    def submit_to(self, call: Call, replica: str) -> None:
        """Take a call that one replica has to answer. Raises EndpointNotFound where there is none of that id."""
        if replica not in self._links:
            listed = ", ".join(self._links)
            raise EndpointNotFound(f"'{self.route.name}' has no replica '{replica[:100]}'. It has: {listed}.")
        if len(self._asked) >= MAX_ASKED:
            raise TooManyRequests(f"{MAX_ASKED} requests to single replicas wait already.", retry_after_s=1)
        self._open += 1
        call.on_over, call.replica = self._over, replica
        self._asked.append(call)
        self._pump()

    def take_activity(self) -> int:
        """Return how many calls came since the last time, or are under way."""
        used, self._used = self._used, 0
        return max(used, self._open)

    @property
    def load(self) -> Load:
        """How many calls are with workers, and how many wait for one with room."""
        in_flight = sum(len(link.in_flight) for link in (*self._links.values(), *self._leaving))
        return Load(in_flight, max(0, self._open - in_flight))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return self._open == 0

    # -- dispatch --------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Hand waiting calls to the least busy workers with room."""
        queue, now = self._queue, asyncio.get_running_loop().time()
        if self._asked:
            self._pump_asked(now)
        while queue:
            if queue[0].is_over:
                queue.popleft()
                continue
            # One that is to be alone waits for an empty worker, and the others behind it, so that one becomes empty.
            link = self._least_busy(must_be_empty=queue[0].alone)
            if link is None:
                self._wait_for_workers()
                return
            self._away_since = 0.0
            link.send(queue.popleft(), now)

    def _pump_asked(self, now: float) -> None:
        waiting, self._asked = self._asked, []
        for call in waiting:
            link = self._links.get(call.replica)
            if call.is_over:
                continue
            if link is None:
                call.fail(_replica_gone(call.replica))
            elif link.room > 0:
                link.send(call, now)
            else:
                self._asked.append(call)
                if link.hello is None:
                    link.nudge()
                    if now - self._woken_at > WAKE_AGAIN_S:
                        self._woken_at = now
                        self._wake(call.replica)

    def _least_busy(self, *, must_be_empty: bool) -> ReplicaLink | None:
        best: ReplicaLink | None = None
        for link in self._links.values():
            if must_be_empty and not link.is_empty:
                continue
            if link.room > 0 and (best is None or len(link.in_flight) < len(best.in_flight)):
                best = link
        return best

    def _wait_for_workers(self) -> None:
        """Nobody has room. If nobody is there at all, see that somebody comes."""
        links = self._links.values()
        if any(link.hello is not None and not link.condemned_at for link in links):
            self._away_since = 0.0
            return
        now = asyncio.get_running_loop().time()
        self._away_since = self._away_since or now
        for link in links:
            link.nudge()
        if now - self._woken_at > WAKE_AGAIN_S:
            self._woken_at = now
            for link in links:
                self._wake(str(link.replica.id))

    def _over(self, call: Call) -> None:
        self._open -= 1
        if call.link is not None:
            call.link.forget(call)

    # -- clocks: called some twenty times a second -----------------------------------------------------------

    def tick(self, now: float) -> None:
        """Cut what is past its deadline, move what waits behind a silent worker, tell those who wait in vain."""
        self._leaving = [link for link in self._leaving if not link.is_empty]
        for link in [*self._links.values(), *self._leaving]:
            if link.condemned_at or not link.is_empty:
                self._check_link(link, now)
            elif link.unheard_since and now - link.unheard_since > self.route.timeout_s + SILENT_AFTER_S:
                # It takes connections and says nothing: it hung before this gateway knew it.
                self._kill(str(link.replica.id), 0, "it accepts connections and does not answer")
        if self._open:
            self._check_queue(now)
        if self._blamed:
            self._blamed = {k: v for k, v in self._blamed.items() if now - v[1] < BLAME_S}

    def _check_queue(self, now: float) -> None:
        if self._asked:
            self._pump_asked(now)
            for call in self._asked:
                if call.deadline <= now:
                    call.fail(_late(self.route))
        if not self._queue:
            return
        # Callers that left are only skipped at the head; here they go from the middle too.
        self._queue = deque(call for call in self._queue if not call.is_over)
        self._pump()
        for call in list(self._queue):
            if call.deadline <= now:
                call.fail(_late(self.route))
            elif self._away_since and now - self._away_since > self._wake_wait_s:
                call.fail(
                    TemporarilyUnavailable(
                        f"'{self.route.name}' is starting and has no worker yet. Send the request again.",
                        retry_after_s=5,
                    )
                )

    def _check_link(self, link: ReplicaLink, now: float) -> None:
        late = [call for call in link.in_flight.values() if call.deadline <= now]
        late_orphans = [number for number, deadline in link.orphans.items() if deadline <= now]
        silent_after_s = max(SILENT_AFTER_S, SILENT_AFTER_CALLS * self._slowest_s)
        is_silent = now - link.heard_at > silent_after_s
        if not late and not late_orphans and not is_silent and not link.condemned_at:
            return
        link.is_silent = is_silent
        running = link.running()
        guilty = [call for call in late if call.number in running]
        if (guilty or running.intersection(late_orphans)) and not link.condemned_at:
            link.condemned_at = now
            for call in guilty:
                self._blame(call, now)
        for call in late:
            call.fail(_late(self.route))
        if is_silent or link.condemned_at:
            self._move(link, running)
        if link.condemned_at:
            is_worth_waiting = bool(link.in_flight) and not is_silent and now - link.condemned_at < CONDEMNED_GRACE_S
            if not is_worth_waiting and link.hello is not None:
                self._kill(str(link.replica.id), link.hello.pid, "it ran an invocation past its deadline")

    def _move(self, link: ReplicaLink, running: frozenset[int]) -> None:
        """Take from a silent or condemned worker what others can do.

        What it does not run was never started. What it runs in company may be held up by a neighbour, so it goes
        elsewhere once, to be run alone; a call that runs alone is its own reason and stays.
        """
        others = [other for other in self._links.values() if other is not link and other.room > 0]
        if not others and not link.condemned_at:
            return
        moved = []
        for call in list(link.in_flight.values()):
            if call.replica:
                continue
            is_running = call.number in running
            if is_running and (len(running) == 1 or call.was_moved):
                continue
            link.forget(call)
            call.alone = call.alone or is_running
            call.was_moved = call.was_moved or is_running
            moved.append(call)
        self._queue.extendleft(reversed(moved))
        self._pump()

    # -- deaths ----------------------------------------------------------------------------------------------

    def _lost(self, link: ReplicaLink, calls: list[Call], ran: frozenset[int]) -> None:
        """A worker is gone. What it ran is tried once more, alone; what it only held is tried like new."""
        now = asyncio.get_running_loop().time()
        was_condemned, link.condemned_at = bool(link.condemned_at), 0.0
        again: list[Call] = []
        if self._is_retired and all(other.is_retired for other in self._links.values()):
            for call in calls:
                # Its config is gone and so are its workers; sent again, it goes to what is routed now.
                call.fail(TemporarilyUnavailable(f"'{self.route.name}' was replaced. Send it again.", retry_after_s=1))
            return
        for call in calls:
            if call.is_over:
                continue
            if call.replica:
                call.fail(_replica_gone(call.replica))
                continue
            if call.deadline <= now:
                call.fail(_late(self.route))
                continue
            if call.number in ran and not was_condemned:
                call.attempts += 1
                call.alone = True
                if call.attempts >= DEATHS_TO_BLAME:
                    self._blame(call, now, deaths=call.attempts)
                    call.fail(_ends_workers(self.route))
                    continue
            elif call.number in ran:
                call.alone = True
            again.append(call)
        self._queue.extendleft(reversed(again))
        self._pump()

    def _blame(self, call: Call, now: float, deaths: int = 1) -> None:
        key = call.fingerprint(self.route.id)
        before = self._blamed.get(key, (0, 0.0))[0]
        if len(self._blamed) < _MAX_BLAMED or key in self._blamed:
            self._blamed[key] = (before + deaths, now)

    def _refuse_blamed(self, call: Call) -> None:
        deaths, _ = self._blamed.get(call.fingerprint(self.route.id), (0, 0.0))
        if deaths >= DEATHS_TO_BLAME:
            raise _ends_workers(self.route)

    def note_answer(self, answer: Answer) -> None:
        """Remember how long calls take, so that a slow one is not taken for a silent one."""
        # Half-life of some hundred calls: one slow start is forgotten.
        self._slowest_s = max(answer.model_ms / 1000, self._slowest_s * 0.995)


def _late(route: EntityRoute) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"'{route.name}' did not answer within {route.timeout_s:g} s. Send fewer rows, or raise the limit "
        "(environment variable TALLYSTICK_REQUEST_TIMEOUT_S of the served entity)."
    )


def _replica_gone(replica: str) -> TemporarilyUnavailable:
    return TemporarilyUnavailable(f"The replica '{replica[:100]}' ended before it answered.", retry_after_s=1)


def _ends_workers(route: EntityRoute) -> InvalidParameter:
    return InvalidParameter(
        f"This input ended the process of '{route.name}' {DEATHS_TO_BLAME} times and is refused for a while. "
        "The model's log says how the process ended."
    )
