"""The worker's loop: frames in, batches through the model, frames out.

There is no event loop. A model that can be batched is called on the main thread: select, read all that is ready,
predict, answer; nothing is handed between threads, and what arrives meanwhile waits in the socket and forms the
next batch. Other models run on `threads` threads, one request each, and the main thread only reads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tallystick.errors import DeadlineExceeded
from tallystick.lifeline import Lifeline
from tallystick.protocol.frame import (
    Answer,
    BrokenFrame,
    FrameReader,
    Hello,
    Invoke,
    Kind,
    render_frame,
    short_identity,
    short_names,
)
from tallystick.worker.answer import EVENT_STREAM, Answered, Answerer, Request, failed
from tallystick.worker.batch import BatchRule, take_batch

#: A gateway that takes nothing for this long has its connection closed; others are waiting.
SEND_TIMEOUT_S = 10.0
#: After SIGTERM, with nothing left to answer, wait this long for gateways to close their connections themselves.
LINGER_S = 0.5
_READ_BYTES = 1 << 18

_encode_answer = msgspec.msgpack.Encoder().encode
_decode_invoke = msgspec.msgpack.Decoder(Invoke).decode


class Connection:
    """One gateway's connection. Reads happen on the main thread, writes on any."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.reader = FrameReader()
        self.is_open = True
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send all of `data`; a peer that is gone or stuck is closed, and its answers are dropped."""
        with self._lock:
            if not self.is_open:
                return
            try:
                self.peer.sendall(data)
            except OSError:
                self.is_open = False
                with contextlib.suppress(OSError):
                    self.peer.shutdown(socket.SHUT_RDWR)


class Server:
    """Serves one model on one unix socket until it is told to stop."""

    def __init__(
        self,
        answerer: Answerer,
        hello: Hello,
        socket_path: str,
        *,
        rule: BatchRule,
        threads: int,
        batch_wait_s: float = 0.0,
        lifeline: Lifeline | None = None,
    ) -> None:
        self.answerer = answerer
        self._hello = render_frame(0, Kind.HELLO, msgspec.msgpack.encode(hello))
        self._path = socket_path
        self._rule = rule
        self._threads = threads
        self._batch_wait_s = batch_wait_s
        self._lifeline = lifeline
        self._waiting: deque[Request] = deque()
        self._cancelled: set[int] = set()
        self._in_hands = 0
        self._in_hands_lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._is_stopping = False
        self._pool: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def run(self) -> None:
        """Listen, then serve until SIGTERM. Binding the socket is what makes this worker reachable."""
        self._install_signals()
        listener = self._listen()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        if self._lifeline is not None and self._lifeline.socket is not None:
            self._selector.register(self._lifeline.socket, selectors.EVENT_READ, self._supervisor_gone)
        for line in range(self._threads if self._threads > 1 else 0):
            threading.Thread(target=self._predict_forever, args=(line,), daemon=True).start()
        idle_since: float | None = None
        while True:
            self._poll(LINGER_S / 5 if self._is_stopping else None)
            if self._threads <= 1:
                self._predict_waiting()
            if self._cancelled and not self._waiting and not self._in_hands:
                # Cancels that came after their answers.
                self._cancelled.clear()
            if not self._is_stopping:
                continue
            if listener.fileno() >= 0:
                self._selector.unregister(listener)
                listener.close()
                Path(self._path).unlink(missing_ok=True)
            if self._in_hands or self._waiting:
                idle_since = None
                continue
            idle_since = idle_since or time.monotonic()
            if not self._connections or time.monotonic() - idle_since > LINGER_S:
                return

    # -- sockets -----------------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Bound under another name and renamed: who can connect finds a worker that listens.
        temporary = f"{self._path}.{os.getpid()}"
        Path(temporary).unlink(missing_ok=True)
        listener.bind(temporary)
        os.chmod(temporary, 0o600)
        listener.listen(64)
        os.rename(temporary, self._path)
        return listener

    def _poll(self, timeout_s: float | None) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError:  # gone again before we looked
            return
        if not _is_same_user(peer):
            peer.close()
            return
        peer.settimeout(SEND_TIMEOUT_S)
        connection = Connection(peer)
        self._connections.add(connection)
        self._selector.register(peer, selectors.EVENT_READ, lambda _: self._read(connection))
        connection.send(self._hello)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.peer.recv(_READ_BYTES)
            frames = connection.reader.feed(data) if data else []
        except (OSError, BrokenFrame) as error:
            if isinstance(error, BrokenFrame):
                print(f"closing a connection: {error.message}", file=sys.stderr)
            data, frames = b"", []
        if not data:
            self._close(connection)
            return
        now = time.monotonic()
        for number, kind, meta, body in frames:
            if kind is Kind.INVOKE:
                self._take(Request(number, _decode_invoke(meta), body, now, connection))
            elif kind is Kind.CANCEL:
                self._cancelled.add(number)

    def _take(self, request: Request) -> None:
        if self._threads > 1:
            with self._in_hands_lock:
                self._in_hands += 1
            self._pool.put(request)
        else:
            self._waiting.append(request)

    def _close(self, connection: Connection) -> None:
        connection.is_open = False
        self._connections.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.peer)
        connection.peer.close()
        self._waiting = deque(request for request in self._waiting if request.connection is not connection)

    def _supervisor_gone(self, line: socket.socket) -> None:
        if not line.recv(1024):
            os._exit(0)

    def _install_signals(self) -> None:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        reader.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = writer
        signal.signal(signal.SIGTERM, self._stop)
        # Ctrl-C at a terminal reaches the whole group; when to stop is the supervisor's to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(reader, selectors.EVENT_READ, lambda peer: peer.recv(64))

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    # -- the model on the main thread ----------------------------------------------------------------------

    def _predict_waiting(self) -> None:
        """Answer everything that waits, batch by batch, looking for more between two batches."""
        while self._waiting:
            if self._batch_wait_s:
                self._gather()
            self._decode_waiting()
            batch = take_batch(self._waiting, self._rule_now(), Request.describe)
            if not batch:
                return
            if batch[0].decoded is not None and batch[0].decoded.stream:
                self._stream(batch[0], 0)
            else:
                self._send(self.answerer.run(batch))
            self._poll(0)

    def _rule_now(self) -> BatchRule:
        if self.answerer.can_split:
            return self._rule
        return BatchRule(can_batch=False, max_rows=1)

    def _gather(self) -> None:
        """Wait a little for more rows to join, as the owner has set."""
        end = time.monotonic() + self._batch_wait_s
        while (left := end - time.monotonic()) > 0 and len(self._waiting) < self._rule.max_requests:
            self._poll(left)

    def _decode_waiting(self) -> None:
        now = time.monotonic()
        answered: list[Answered] = []
        still: deque[Request] = deque()
        for request in self._waiting:
            # Looked at again though it is decoded: one that waited past its deadline must not be run, or the gateway
            # would take this worker for one that hangs.
            done = self._drop(request, now)
            if done is None and request.decoded is None:
                done = self.answerer.decode(request)
            if done is not None:
                answered.append(done)
                continue
            still.append(request)
        self._waiting = still
        self._send(answered)

    def _drop(self, request: Request, now: float) -> Answered | None:
        """Answer without work what nobody waits for any more."""
        if request.number in self._cancelled or request.is_late(now):
            self._cancelled.discard(request.number)
            return failed(request, DeadlineExceeded("Nobody waits for this answer any more."))
        return None

    # -- the model on threads ------------------------------------------------------------------------------

    def _predict_forever(self, line: int) -> None:
        while True:
            request = self._pool.get()
            try:
                done = self._drop(request, time.monotonic()) or self.answerer.decode(request, line)
                if done is not None:
                    self._send([done])
                elif request.decoded is not None and request.decoded.stream:
                    self._stream(request, line)
                else:
                    self._send(self.answerer.run([request], line))
            finally:
                with self._in_hands_lock:
                    self._in_hands -= 1

    # -- answers -------------------------------------------------------------------------------------------

    def _send(self, answered: Sequence[Answered]) -> None:
        """Send answers, joined per connection: one system call for a batch of one gateway."""
        joined: dict[Connection, list[bytes]] = {}
        for each in answered:
            frame = render_frame(each.request.number, Kind.ANSWER, _encode_answer(each.answer), each.body)
            joined.setdefault(each.request.connection, []).append(frame)
        for connection, frames in joined.items():
            connection.send(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._cancelled:
            self._cancelled.difference_update(each.request.number for each in answered)

    def _stream(self, request: Request, line: int) -> None:
        started, decoded = time.monotonic(), request.decoded
        assert decoded is not None
        for event in self.answerer.stream(request, line):
            if request.number in self._cancelled or not request.connection.is_open:
                break
            request.connection.send(render_frame(request.number, Kind.CHUNK, b"", event))
        client_request_id, usage_context = short_identity(decoded.client_request_id, decoded.usage_context)
        answer = Answer(
            200,
            EVENT_STREAM,
            rows=decoded.rows,
            queue_ms=(started - request.arrived) * 1000,
            model_ms=(time.monotonic() - started) * 1000,
            coercions=decoded.ledger,
            ignored=short_names(decoded.notes),
            client_request_id=client_request_id,
            usage_context=usage_context,
        )
        self._send([Answered(request, answer, b"")])


def _is_same_user(peer: socket.socket) -> bool:
    """Whether the other end runs as our user (Linux; elsewhere the socket's folder, mode 0700, is the guard)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid in (os.getuid(), 0))
