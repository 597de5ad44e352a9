import socket

import pytest

from tallystick.protocol.board import Board, read_board
from tallystick.protocol.frame import BrokenFrame, FrameReader, Kind, render_frame
from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.supervise import Kill, Request, Wake


def test_a_frame_cut_at_every_byte_of_a_real_socket_arrives_whole():
    left, right = socket.socketpair()
    frame = render_frame(7, Kind.INVOKE, b"meta", b"body" * 10)
    reader, out = FrameReader(), []
    for byte in frame:
        left.send(bytes([byte]))
        out += reader.feed(right.recv(100))
    assert out == [(7, Kind.INVOKE, b"meta", b"body" * 10)]
    left.close()
    right.close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 40, b"\x00" * 40])
def test_a_stream_that_is_not_ours_is_refused(data):
    with pytest.raises(BrokenFrame):
        FrameReader().feed(data)


def test_messages_come_out_as_they_went_in_byte_by_byte():
    sent = [Wake("a"), Kill("b", 7, "hung")]
    reader: MessageReader[Request] = MessageReader(Request)
    out = [message for byte in b"".join(map(render_message, sent)) for message in reader.feed(bytes([byte]))]
    assert out == sent


def test_a_message_of_another_kind_is_refused():
    with pytest.raises(BrokenMessage):
        MessageReader(Request).feed(render_message({"type": "Reboot"}))


def test_the_board_names_what_runs_until_it_is_cleared(tmp_path):
    path = tmp_path / "board"
    board = Board(path)
    assert read_board(path) == frozenset()
    board.write(0, [5, 6, 7])
    board.write(3, [2**63])
    assert read_board(path) == {5, 6, 7, 2**63}
    board.write(0, [8])
    assert read_board(path) == {8, 2**63}
    board.clear(0)
    board.clear(3)
    assert read_board(path) == frozenset()


def test_a_board_that_is_not_there_names_nothing(tmp_path):
    assert read_board(tmp_path / "none") == frozenset()


def test_a_full_line_of_the_board_does_not_run_into_the_next(tmp_path):
    board = Board(tmp_path / "board")
    board.write(0, range(1, 200))
    assert read_board(tmp_path / "board") == set(range(1, 65))
