import msgspec

from tallystick.protocol.frame import Answer, FrameReader, Hello, Invoke, Kind
from tallystick.worker.answer import Request
from tallystick.worker.batch import BatchRule
from tallystick.worker.serve import Server


class Wire:
    """A connection that keeps what is sent."""

    is_open = True

    def __init__(self):
        self.sent = b""

    def send(self, data):
        self.sent += data


def test_what_waited_past_its_deadline_is_answered_and_not_run():
    """Were it run, the gateway would find it on the board after its deadline and kill a sound worker."""
    server = Server(None, Hello(1, 64, True), "", rule=BatchRule(True, 8), threads=1)
    wire = Wire()
    late = Request(7, Invoke("", "", 0.5, False, "id"), b"", arrived=0.0, connection=wire, decoded=object())
    timely = Request(8, Invoke("", "", 1e12, False, "id"), b"", arrived=0.0, connection=wire, decoded=object())
    server._waiting.extend([late, timely])
    server._decode_waiting()
    assert list(server._waiting) == [timely]
    ((number, kind, meta, _),) = FrameReader().feed(wire.sent)
    assert (number, kind) == (7, Kind.ANSWER)
    assert msgspec.msgpack.decode(meta, type=Answer).status == 504
