"""Frames on a stream: they come out as they went in."""

from hypothesis import given
from hypothesis import strategies as st

from tallystick.protocol.frame import FrameReader, Kind, render_frame

FRAMES = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(Kind), st.binary(max_size=50), st.binary(max_size=500)),
    max_size=6,
)


@given(FRAMES, st.data())
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(frames, data):
    stream = b"".join(render_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, out = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += reader.feed(stream[start:end])
    assert out == frames
