"""A line to control over a real socket: its greeting, what is sent while control is away, and what is heard."""

import queue
import socket

import pytest

from tallystick.monitor.line import MonitorLine
from tallystick.protocol.message import MessageReader, render_message
from tallystick.protocol.monitoring import Diagnose, Diagnosed, FromMonitor, Replayed, Replaying, Watching


@pytest.fixture
def control(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "link.sock"))
        listener.settimeout(10)
        listener.listen()
        yield listener


def read(peer, count):
    messages, reader = [], MessageReader(FromMonitor)
    while len(messages) < count:
        messages += reader.feed(peer.recv(1 << 16))
    return messages


def test_the_newest_greeting_opens_each_connection_and_the_rest_is_dropped_while_control_is_away(
    control, tmp_path, monkeypatch
):
    monkeypatch.setattr("tallystick.control_line._RECONNECT_S", 0.01)
    line = MonitorLine(tmp_path / "link.sock", Watching(1))
    assert not line.send(Watching(2))
    assert not line.send(Diagnosed(7))
    line.start()
    peer, _ = control.accept()
    with peer:
        assert [message.pid for message in read(peer, 1)] == [2]
    again, _ = control.accept()
    with again:
        assert [message.pid for message in read(again, 1)] == [2]


def test_what_is_heard_wakes_who_waits_for_it(control, tmp_path):
    line = MonitorLine(tmp_path / "link.sock", Watching(1))
    line.start()
    peer, _ = control.accept()
    with peer:
        read(peer, 1)
        peer.sendall(render_message(Diagnose(5, "churn")) + render_message(Replayed(99)))
        assert line.woken.wait(10)
        assert line.wanted.get(timeout=10).number == 5
        with pytest.raises(queue.Empty):
            line.wanted.get_nowait()


def test_a_question_that_nobody_answers_ends(tmp_path):
    line = MonitorLine(tmp_path / "none.sock", Watching(1))
    assert line.ask(next(iter(Replaying)), "churn", "churn-1").problem == "control is away"
